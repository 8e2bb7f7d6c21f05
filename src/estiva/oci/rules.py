"""Rules for the values of a JSON document, as data, and a value checked against its rule.

A rule is one of

    "string" "absolute" "bool" "int64" ...    a JSON value of that type and range
    {"name!": rule, "name": rule}             an object; "!" marks what must be there; other fields are free,
                                              but with ONLY: None they may be empty only
    {EACH: rule}                              an object whose every value follows the rule; EACH_SAID: also
                                              where it is null
    [rule]                                    a list of such
    Choice(what, values)                      one of some strings
    Text(what, holds)                         a string for which `holds` is true
    Later(rule)                               what follows the rule, and yet may be empty only

An error names the field, the value and what it should have been:

    linux.namespaces[2].type: "foo" is not a kind of namespace

A null counts as absent. A string is one that the kernel can be given: without null bytes, and where it holds
half of a surrogate pair, then one that stands for a byte (PEP 383).
"""

from __future__ import annotations

from estiva.errors import InvalidInput, Unsupported, oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

EACH = "*"
EACH_SAID = "*!"
ONLY = ""

NUMBERS = {
    "uint8": (0, (1 << 8) - 1),
    "uint16": (0, (1 << 16) - 1),
    "uint32": (0, (1 << 32) - 1),
    "uint63": (0, (1 << 63) - 1),
    "uint64": (0, (1 << 64) - 1),
    "int32": (-(1 << 31), (1 << 31) - 1),
    "int64": (-(1 << 63), (1 << 63) - 1),
    "id": (0, (1 << 32) - 2),
    "mode": (0, 0o7777),
    "umask": (0, 0o777),
    "percent": (0, 100),
    "oom": (-1000, 1000),
    "level": (0, 7),
    "argument": (0, 5),
    "seconds": (1, (1 << 31) - 1),
}


class Choice:
    """One of some words; `what` is what they are, in a sentence."""

    def __init__(self, what: str, values: Iterable[str]) -> None:
        self.what = what
        self.values = tuple(values)


class Text:
    """A string with a form of its own."""

    def __init__(self, what: str, holds: Callable[[str], bool]) -> None:
        self.what = what
        self.holds = holds


class Later:
    """What is known and can't be done yet."""

    def __init__(self, rule: Any) -> None:
        self.rule = rule


def shown(value: Any) -> str:
    """A value as an error shows it."""
    if isinstance(value, str):
        return f'"{oneline(value[:100])}"'
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > 64:  # str() of a very long one takes long, or raises
        return "a number beyond 64 bits"
    return oneline(str(value)[:100])


def check(value: Any, rule: Any, where: str) -> None:
    """Raise InvalidInput unless the value at `where` follows its rule, Unsupported for what is said and may
    only be empty."""
    if type(rule) is str:
        if rule in NUMBERS:
            low, high = NUMBERS[rule]
            if type(value) is not int or not low <= value <= high:
                raise InvalidInput(f"{where}: {shown(value)} is not a number from {low} to {high}")
        elif rule == "bool":
            if type(value) is not bool:
                raise InvalidInput(f"{where}: {shown(value)} is not true or false")
        elif not _is_string(value):
            raise InvalidInput(f"{where}: {shown(value)} is not a string")
        elif rule == "absolute" and not value.startswith("/"):
            raise InvalidInput(f"{where}: {shown(value)} is not an absolute path")
    elif type(rule) is dict:
        _object(value, rule, where)
    elif type(rule) is list:
        if type(value) is not list:
            raise InvalidInput(f"{where}: {shown(value)} is not a list")
        for index, item in enumerate(value):
            check(item, rule[0], f"{where}[{index}]")
    elif type(rule) is Choice:
        if type(value) is not str or value not in rule.values:
            raise InvalidInput(
                f"{where}: {shown(value)} is not {rule.what}", hint="one of " + ", ".join(rule.values)
            )
    elif type(rule) is Later:
        check(value, rule.rule, where)
        if value:
            raise Unsupported(f"{where} is not supported yet")
    else:
        assert type(rule) is Text
        if not _is_string(value) or not rule.holds(value):
            raise InvalidInput(f"{where}: {shown(value)} is not {rule.what}")


def _is_string(value: Any) -> bool:
    if type(value) is not str or "\0" in value:
        return False
    if not value.isascii():
        try:
            value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return False
    return True


def _object(value: Any, rule: dict[str, Any], where: str) -> None:
    if type(value) is not dict:
        raise InvalidInput(f"{where or 'the config'}: {shown(value)} is not an object")
    said = rule.get(EACH_SAID)
    each = rule.get(EACH, said)
    if each is not None:
        for key, item in value.items():
            if not _is_string(key):
                raise InvalidInput(f"{where}: the name {shown(key)} is not a string")
            if item is not None or said is not None:
                check(item, each, f"{where}[{shown(key)}]")
        return
    if ONLY in rule:
        _only(value, rule, where)
    for name, inner in rule.items():
        required = name[-1:] == "!"
        if required:
            name = name[:-1]
        item = value.get(name)
        if item is not None:
            check(item, inner, f"{where}.{name}" if where else name)
        elif required:
            raise InvalidInput(f"{where}.{name} is missing" if where else f"{name} is missing")


def _only(value: dict[Any, Any], rule: dict[str, Any], where: str) -> None:
    for key, item in value.items():
        if key in rule and key != ONLY:
            continue
        if not _is_string(key):
            raise InvalidInput(f"{where}: the name {shown(key)} is not a string")
        if f"{key}!" not in rule and (item or key == ONLY):
            raise Unsupported(f"{where}.{oneline(key[:100])} is not supported")
