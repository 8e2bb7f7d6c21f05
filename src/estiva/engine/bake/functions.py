"""The functions that a bake file can call: those of buildx that have one meaning here and there.

A function takes values and raises ValueError for those that it can't take. Those here make about as much as
they take; others, and what is refused, are in library.py.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
import time
import uuid
from fractions import Fraction
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from estiva.engine.bake.values import kind_of, number, number_of, text_of, truth_of

if TYPE_CHECKING:
    from collections.abc import Callable


MAX_PATTERN_TEXT = 512  # characters that a pattern is tried on, as Python's may take exponential time
MAX_REPEATS, MAX_CHOICES = 2, 8  # in one pattern: of * + {}, and of those with ? and |


def listed(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    raise ValueError(f"a list is required, not {kind_of(value)}")


def mapped(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise ValueError(f"an object is required, not {kind_of(value)}")


def whole(value: Any) -> int:
    result = number_of(value)
    if result.denominator != 1:
        raise ValueError("a whole number is required")
    return int(result)


def texts(value: Any) -> list[str]:
    return [text_of(each) for each in listed(value)]


def unique(values: list[Any]) -> list[Any]:
    result: list[Any] = []
    seen: set[str] = set()
    for value in values:
        key = plain(value)
        if key not in seen:
            seen.add(key)
            result.append(value)
    return result


def plain(value: Any) -> str:
    """JSON as Go writes it."""

    def simple(value: Any) -> Any:
        if isinstance(value, Fraction):
            return int(value) if value.denominator == 1 else float(value)
        if isinstance(value, list):
            return [simple(each) for each in value]
        return {key: simple(value[key]) for key in sorted(value)} if isinstance(value, dict) else value

    return json.dumps(simple(value), separators=(",", ":"), ensure_ascii=False)


def valued(value: Any) -> Any:
    """A value out of JSON."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number(repr(value))
    if isinstance(value, list):
        return [valued(each) for each in value]
    return {key: valued(each) for key, each in value.items()} if isinstance(value, dict) else value


def compiled(pattern: Any, text: Any) -> re.Pattern[str]:
    """Raises ValueError for one that could take long."""
    pattern, text = text_of(pattern), text_of(text)
    repeats = re.sub(r"\\.|\[\^?\]?[^\]]*\]", "x", pattern)
    if len(text) > MAX_PATTERN_TEXT or len(pattern) > MAX_PATTERN_TEXT:
        raise ValueError(f"a pattern and its text have at most {MAX_PATTERN_TEXT} characters here")
    repeats = re.sub(r"\(\?|([*+?}])\?", r"(\1", repeats)  # (?: and lazy ones are no choices
    if len(re.findall(r"[*+{]", repeats)) > MAX_REPEATS or re.search(r"\)[*+{]", repeats):
        raise ValueError(f"a pattern has at most {MAX_REPEATS} repeats here, and none of a group")
    if len(re.findall(r"[*+{?|]", repeats)) > MAX_CHOICES:
        raise ValueError(f"a pattern has at most {MAX_CHOICES} choices here")
    if re.search(r"\(\?[^:iP]|\\[1-9]", pattern):
        raise ValueError("a pattern has no look-around and no reference here")
    try:
        return re.compile(pattern)
    except (re.error, OverflowError) as error:
        raise ValueError(f"invalid pattern: {error}") from None


def _captures(found: re.Match[str]) -> Any:
    if found.re.groupindex:
        return found.groupdict()
    return list(found.groups()) if found.re.groups else found[0]


def regex(pattern: Any, text: Any) -> Any:
    found = compiled(pattern, text).search(text_of(text))
    if found is None:
        raise ValueError("the pattern does not match")
    return _captures(found)


def regexall(pattern: Any, text: Any) -> Any:
    return [_captures(found) for found in compiled(pattern, text).finditer(text_of(text))]


def length(value: Any) -> Fraction:
    if not isinstance(value, list | dict):
        raise ValueError(f"a list or an object is required, not {kind_of(value)}")
    return Fraction(len(value))


def coalesce(*values: Any) -> Any:
    for value in values:
        if value is not None:
            return value
    raise ValueError("no argument is other than null")


def coalescelist(*values: Any) -> Any:
    return next((value for value in values if listed(value)), [])


def concat(*values: Any) -> list[Any]:
    return [each for value in values for each in listed(value)]


def flatten(value: Any) -> list[Any]:
    return [x for each in listed(value) for x in (flatten(each) if isinstance(each, list) else [each])]


def element(value: Any, index: Any) -> Any:
    if not listed(value):
        raise ValueError("the list is empty")
    return value[whole(index) % len(value)]


def hasindex(value: Any, key: Any) -> bool:
    if isinstance(value, dict):
        return isinstance(key, str) and key in value
    return isinstance(key, Fraction) and key.denominator == 1 and 0 <= key < len(listed(value))


def index(value: Any, key: Any) -> Any:
    if not hasindex(value, key):
        raise ValueError("there is no such element")
    return value[key] if isinstance(value, dict) else value[int(key)]


def indexof(value: Any, wanted: Any) -> Fraction:
    for at, each in enumerate(listed(value)):
        if each == wanted:
            return Fraction(at)
    raise ValueError("it is not in the list")


def lookup(value: Any, key: Any, default: Any = None) -> Any:
    return mapped(value).get(text_of(key), default)


def merge(*values: Any) -> dict[str, Any]:
    return {key: each for value in values if value is not None for key, each in mapped(value).items()}


def zipmap(keys: Any, values: Any) -> dict[str, Any]:
    return dict(zip(texts(keys), listed(values), strict=True))


def slice_(value: Any, begin: Any, end: Any = None) -> list[Any]:
    stop = len(listed(value)) if end is None else whole(end)
    if not 0 <= whole(begin) <= stop <= len(value):
        raise ValueError("the end is not in the list, or before the beginning")
    return list(value[whole(begin) : stop])


def chunklist(value: Any, size: Any) -> list[Any]:
    step = whole(size)
    if step < 0:
        raise ValueError("the size is negative")
    return [value[at : at + step] for at in range(0, len(listed(value)), step)] if step else [value]


def substr(text: Any, offset: Any, count: Any) -> str:
    text, begin, many = text_of(text), whole(offset), whole(count)
    begin = max(begin + len(text), 0) if begin < 0 else begin
    return str(text[begin:] if many < 0 else text[begin : begin + many])


def title(text: Any) -> str:
    return re.sub(r"(?<!\w)\w", lambda found: found[0].upper(), text_of(text))


def sanitize(text: Any) -> str:
    return re.sub(r"[^a-zA-Z0-9_-]", "_", text_of(text))


def parseint(text: Any, base: Any) -> Fraction:
    if len(text_of(text)) > 400:
        raise ValueError("the number is too long")
    return Fraction(int(text_of(text), whole(base)))


def power(one: Any, two: Any) -> Fraction:
    base, exponent = number_of(one), number_of(two)
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if not base and exponent < 0 or base < 0 and exponent.denominator != 1:
        raise ValueError("there is no such number")
    if abs(exponent) * size > 4096:
        raise ValueError("the number would be too large")
    return Fraction(base**exponent) if exponent.denominator == 1 else Fraction(float(base) ** float(exponent))


def modulo(one: Any, two: Any) -> Fraction:
    return number_of(one) - number_of(two) * int(divide(one, two))


def divide(one: Any, two: Any) -> Fraction:
    if not number_of(two):
        raise ValueError("division by zero")
    return number_of(one) / number_of(two)


def signum(value: Any) -> Fraction:
    return Fraction((number_of(value) > 0) - (number_of(value) < 0))


def timestamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def homedir() -> str:
    return os.path.expanduser("~")


def dirname(path: Any) -> str:
    return os.path.normpath(os.path.dirname(text_of(path)) or ".")


def ordered(values: Any) -> list[str]:
    return sorted(texts(values))


def equal(one: Any, two: Any) -> bool:
    return kind_of(one) == kind_of(two) and bool(one == two)


def _digest(kind: str) -> Callable[[Any], str]:
    return lambda text: hashlib.new(kind, text_of(text).encode(), usedforsecurity=False).hexdigest()


def _sets(keep: Callable[[bool, bool], bool]) -> Callable[..., list[Any]]:
    def combine(first: Any, *others: Any) -> list[Any]:
        result = unique(listed(first))
        for other in others:
            left, right = {plain(x) for x in result}, {plain(x) for x in listed(other)}
            result = [x for x in unique(result + other) if keep(plain(x) in left, plain(x) in right)]
        return result

    return combine


SIMPLE: dict[str, Callable[..., Any]] = {
    "absolute": lambda value: abs(number_of(value)),
    "add": lambda one, two: number_of(one) + number_of(two),
    "and": lambda one, two: truth_of(one) and truth_of(two),
    "base64decode": lambda text: base64.b64decode(text_of(text), validate=True).decode(),
    "base64encode": lambda text: base64.b64encode(text_of(text).encode()).decode(),
    "basename": lambda path: os.path.basename(os.path.normpath(text_of(path))),
    "ceil": lambda value: Fraction(math.ceil(number_of(value))),
    "chomp": lambda text: text_of(text).rstrip("\r\n"),
    "chunklist": chunklist,
    "coalesce": coalesce,
    "coalescelist": coalescelist,
    "compact": lambda values: [word for word in texts(values) if word],
    "concat": concat,
    "contains": lambda values, wanted: any(equal(each, wanted) for each in listed(values)),
    "dirname": dirname,
    "distinct": lambda values: unique(listed(values)),
    "divide": divide,
    "element": element,
    "equal": equal,
    "flatten": flatten,
    "floor": lambda value: Fraction(math.floor(number_of(value))),
    "greaterthan": lambda one, two: number_of(one) > number_of(two),
    "greaterthanorequalto": lambda one, two: number_of(one) >= number_of(two),
    "hasindex": hasindex,
    "homedir": homedir,
    "index": index,
    "indexof": indexof,
    "int": lambda value: Fraction(int(number_of(value))),
    "jsondecode": lambda text: valued(json.loads(text_of(text))),
    "jsonencode": plain,
    "keys": lambda value: sorted(mapped(value)),
    "length": length,
    "lessthan": lambda one, two: number_of(one) < number_of(two),
    "lessthanorequalto": lambda one, two: number_of(one) <= number_of(two),
    "log": lambda value, base: Fraction(math.log(number_of(value), number_of(base))),
    "lookup": lookup,
    "lower": lambda text: text_of(text).lower(),
    "max": lambda *values: max(map(number_of, values)),
    "md5": _digest("md5"),
    "merge": merge,
    "min": lambda *values: min(map(number_of, values)),
    "modulo": modulo,
    "multiply": lambda one, two: number_of(one) * number_of(two),
    "negate": lambda value: -number_of(value),
    "not": lambda value: not truth_of(value),
    "notequal": lambda one, two: not equal(one, two),
    "or": lambda one, two: truth_of(one) or truth_of(two),
    "parseint": parseint,
    "pow": power,
    "regex": regex,
    "regexall": regexall,
    "reverse": lambda text: text_of(text)[::-1],
    "reverselist": lambda values: listed(values)[::-1],
    "sanitize": sanitize,
    "sethaselement": lambda values, wanted: any(equal(each, wanted) for each in listed(values)),
    "setintersection": _sets(lambda left, right: left and right),
    "setsubtract": _sets(lambda left, right: left and not right),
    "setsymmetricdifference": _sets(lambda left, right: left is not right),
    "setunion": _sets(lambda left, right: True),
    "sha1": _digest("sha1"),
    "sha256": _digest("sha256"),
    "sha512": _digest("sha512"),
    "signum": signum,
    "slice": slice_,
    "sort": ordered,
    "split": lambda separator, text: text_of(text).split(text_of(separator)) if text_of(text) else [""],
    "strlen": lambda text: Fraction(len(text_of(text))),
    "substr": substr,
    "subtract": lambda one, two: number_of(one) - number_of(two),
    "timestamp": timestamp,
    "title": title,
    "trim": lambda text, characters: text_of(text).strip(text_of(characters)),
    "trimprefix": lambda text, prefix: text_of(text).removeprefix(text_of(prefix)),
    "trimspace": lambda text: text_of(text).strip(),
    "trimsuffix": lambda text, suffix: text_of(text).removesuffix(text_of(suffix)),
    "try": coalesce,  # which the evaluator does, and can: their arguments may fail
    "can": coalesce,
    "upper": lambda text: text_of(text).upper(),
    "urlencode": lambda text: quote_plus(text_of(text)),
    "uuidv4": lambda: str(uuid.uuid4()),
    "values": lambda value: [mapped(value)[key] for key in sorted(value)],
    "zipmap": zipmap,
}
