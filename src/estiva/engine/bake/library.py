"""The functions that a bake file can call, drawing on its budget; most of them are in functions.py."""

from __future__ import annotations

import json
import math
import re
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from estiva.engine.bake.functions import SIMPLE, compiled, plain, texts, whole
from estiva.engine.bake.values import number_of, text_of, truth_of
from estiva.errors import Unsupported

if TYPE_CHECKING:
    from estiva.engine.bake.expressions import Function
    from estiva.engine.bake.values import Budget

REFUSED = (
    "bcrypt", "cidrhost", "cidrnetmask", "cidrsubnet", "cidrsubnets", "csvdecode", "formatdate",
    "formattimestamp", "rsadecrypt", "semvercmp", "setproduct", "timeadd", "unixtimestampparse", "uuidv5",
    "convert", "absolutepath", "bytesslice", "byteslen",
)  # fmt: skip
FORMAT = re.compile(r"%(?:\[(\d{1,3})\])?([-+0 #]*)(\d{0,4})(?:\.(\d{1,3}))?([a-zA-Z%])")


class Library:
    """The functions, drawing on one budget."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget

    def find(self, name: str) -> Function | None:
        """Raises Unsupported, when it is called, for one that buildx has and this has not."""
        if name in REFUSED:
            return lambda _, where: _refuse(name, where)
        method = getattr(self, "f_" + name, None)
        simple = SIMPLE.get(name)
        if method is None and simple is None:
            return None

        def call(values: list[Any], where: str) -> Any:
            if method is not None:
                return method(where, *values)
            assert simple is not None
            return simple(*values)

        return call

    # -- those whose result can be much larger than what they take

    def f_join(self, where: str, separator: Any, *lists: Any) -> str:
        words = [word for each in lists for word in texts(each)]
        glue = text_of(separator)
        self.budget.text(sum(map(len, words)) + len(glue) * len(words), where)
        return glue.join(words)

    def f_replace(self, where: str, text: Any, old: Any, new: Any) -> str:
        text, old, new = text_of(text), text_of(old), text_of(new)
        self.budget.text(len(text) + (text.count(old)) * len(new), where)
        return str(text.replace(old, new))

    def f_regex_replace(self, where: str, text: Any, pattern: Any, new: Any) -> str:
        found = compiled(pattern, text)
        template = re.sub(r"\\", r"\\\\", text_of(new))
        template = re.sub(r"\$\{(\w+)\}|\$(\w+)", lambda m: rf"\g<{m[1] or m[2]}>", template)
        self.budget.text(len(text) * (len(template) + 1), where)
        try:
            return found.sub(template, text)
        except (re.error, IndexError) as error:
            raise ValueError(f"invalid replacement: {error}") from None

    def f_indent(self, where: str, count: Any, text: Any) -> str:
        lines = text_of(text).split("\n")
        self.budget.text(len(lines) * max(whole(count), 0), where)
        return ("\n" + " " * whole(count)).join(lines)

    def f_range(self, where: str, *values: Any) -> list[Any]:
        numbers = [number_of(value) for value in values]
        if not 1 <= len(numbers) <= 3:
            raise ValueError("it takes one to three numbers")
        begin, end = (Fraction(0), numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])
        step = numbers[2] if len(numbers) == 3 else Fraction(1 if end >= begin else -1)
        if not step or (end - begin) * step < 0:
            raise ValueError("the step leads nowhere")
        count = math.ceil((end - begin) / step)
        if count > 1024:
            raise ValueError("more than 1024 values")
        self.budget.spend(count, where)
        return [begin + step * index for index in range(count)]

    def f_format(self, where: str, pattern: Any, *values: Any) -> str:
        result, at, last, taken = [], 0, 0, 0
        text = text_of(pattern)
        for found in FORMAT.finditer(text):
            result.append(text[at : found.start()])
            at = found.end()
            if found[5] == "%":
                result.append("%")
                continue
            last = int(found[1]) if found[1] else last + 1
            taken = max(taken, last)
            if not 0 < last <= len(values):
                raise ValueError(f"not enough arguments for {found[0]}")
            result.append(_formatted(found, values[last - 1]))
            self.budget.text(sum(map(len, result)), where)
        if taken < len(values) and "[" not in text:
            raise ValueError("too many arguments for the format")
        return "".join(result) + text[at:]

    def f_formatlist(self, where: str, pattern: Any, *values: Any) -> list[str]:
        lengths = {len(value) for value in values if isinstance(value, list)}
        if len(lengths) > 1:
            raise ValueError("the lists are of different lengths")
        return [
            self.f_format(where, pattern, *(v[i] if isinstance(v, list) else v for v in values))
            for i in range(lengths.pop() if lengths else 1)
        ]


def _refuse(name: str, where: str) -> Any:
    raise Unsupported(f"{where}: the function {name} is not supported in a bake file")


def _formatted(found: re.Match[str], value: Any) -> str:
    flags, width, places, verb = found[2], found[3], found[4], found[5]
    if verb == "d":
        text = f"{whole(value):+d}" if "+" in flags else str(whole(value))
    elif verb in "feg":
        text = format(float(number_of(value)), f".{places or 6}{verb}")
    elif verb in "xXob":
        text = format(whole(value), verb)
    elif verb == "t":
        text = text_of(truth_of(value))
    elif verb == "q":
        text = json.dumps(text_of(value), ensure_ascii=False)
    elif verb == "s" or (verb == "v" and not isinstance(value, list | dict) and value is not None):
        text = text_of(value)[: int(places) if places else None]
    elif verb == "v":
        text = plain(value)
    else:
        raise ValueError(f"unsupported verb {found[0]}")
    if "-" in flags:
        return text.ljust(int(width or 0))
    return text.zfill(int(width or 0)) if "0" in flags and verb in "dfeg" else text.rjust(int(width or 0))
