"""The values of a bake file's expressions, and how much work may be spent on them.

Values are those of JSON: None, bool, text, list, dict, and Fraction for numbers.
"""

from __future__ import annotations

from decimal import Context as Decimals
from fractions import Fraction
from typing import Any

from estiva.errors import InvalidInput, oneline

MAX_STEPS = 500_000  # nodes evaluated, and elements made, of all files together
MAX_TEXT = 1 << 20  # characters of one text
MAX_EXPONENT = 4  # characters of a number's, its sign included
MAX_BITS = 4096  # of a number


class Budget:
    """How much may still be done."""

    def __init__(self) -> None:
        self.steps = MAX_STEPS
        self.depth = 0

    def spend(self, count: int, where: str) -> None:
        self.steps -= count
        if self.steps < 0:
            raise InvalidInput(f"{where}: this bake file asks for too much work")

    def text(self, length: int, where: str) -> None:
        """Before a text of that length is made."""
        if length > MAX_TEXT:
            raise InvalidInput(f"{where}: a text would be longer than {MAX_TEXT} characters")
        self.spend(length >> 6, where)

    def value(self, value: Any, where: str) -> Any:
        """A value that was made: all that it holds is counted, what it shares with others as well."""
        left = [value]
        while left:
            self.spend(1, where)
            each = left.pop()
            if isinstance(each, dict):
                left.extend(each.values())
            elif isinstance(each, list):
                left.extend(each)
            elif isinstance(each, str):
                self.text(len(each), where)
            elif isinstance(each, Fraction) and _bits(each) > MAX_BITS:
                raise InvalidInput(f"{where}: a number is too large")
        return value


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def text_of(value: Any) -> str:
    """A text, number or truth value as text. Raises ValueError for any other."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Fraction):
        if value.denominator == 1:
            return str(value.numerator)
        return f"{Decimals(prec=154).divide(value.numerator, value.denominator):f}"
    raise ValueError("null value is not allowed" if value is None else f"{kind_of(value)} is not text")


def kind_of(value: Any) -> str:
    kinds = ((bool, "bool"), (str, "string"), (Fraction, "number"), (list, "list"), (dict, "object"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


def number_of(value: Any) -> Fraction:
    """Raises ValueError."""
    if isinstance(value, Fraction):
        return value
    if isinstance(value, str):
        return number(value)
    raise ValueError(f"a number is required, not {kind_of(value)}")


def number(text: str) -> Fraction:
    """Raises ValueError."""
    exponent = text.lower().partition("e")[2].lstrip("+-")
    if len(text) > 400 or len(exponent) > MAX_EXPONENT - 1 or "/" in text or "_" in text:
        raise ValueError(f"{oneline(text)[:40]} is not a number")
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{oneline(text)[:40]!r} is not a number") from None


def truth_of(value: Any) -> bool:
    """Raises ValueError."""
    if isinstance(value, str) and value in ("true", "false", "1", "0"):
        return value in ("true", "1")
    if isinstance(value, bool):
        return value
    raise ValueError(f"a bool is required, not {kind_of(value)}")
