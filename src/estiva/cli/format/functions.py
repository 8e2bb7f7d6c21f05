"""The functions of templates (see estiva.cli.format.template): Go's own and those that Docker adds."""

from __future__ import annotations

import json
from typing import Any

from estiva.cli.format.struct import ADDRESS, Map, Nil, Shown, Struct

WIDTH = 4  # digits of what is printed in columns (K13)


def show(value: Any, *, within: bool = False, plain: bool = False) -> str:
    """A value as Go's fmt.Print shows it. A pointer to a struct is an address `within` another thing, and has
    an ampersand as an argument of a function (`plain`); a template prints what it points to.
    """
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Nil):
        return value.text
    if isinstance(value, Shown):
        return value.shown()
    if isinstance(value, Struct):
        if value.text:
            return value.text
        if value.pointer and within:
            return ADDRESS
        known = value.printed()
        if known is not None:
            words = " ".join(show(item, within=True) for item in known)
            return ("&{" if value.pointer and plain else "{") + words + "}"
    if isinstance(value, dict):
        pairs = (f"{show(key)}:{show(item, within=True)}" for key, item in sorted(value.items()))
        return f"map[{' '.join(pairs)}]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(show(item, within=True) for item in value) + "]"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def _shown(value: Any) -> str:
    return show(value, plain=True)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_null)


def _null(value: Any) -> None:
    if not isinstance(value, Nil):
        raise TypeError(f"{type(value).__name__} is not JSON")


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if value is None or isinstance(value, Nil):
            return value.zero if isinstance(value, Nil) else None
        if isinstance(value, Map):
            value = value.get(key, value.zero)
        elif isinstance(value, dict):
            # Go gives the zero value of the map's type for a missing key, most often ""
            value = value.get(key, "" if all(isinstance(item, str) for item in value.values()) else None)
        else:
            if isinstance(key, int) and not 0 <= key < len(value):
                raise ValueError(f"index out of range: {key}")
            value = value[key]
    return value


def _slice(value: Any, *bounds: int) -> Any:
    start, end = [*bounds, 0][0], [*bounds, len(value)][1] if len(bounds) > 1 else len(value)
    if not 0 <= start <= end <= len(value):
        raise ValueError("slice bounds out of range")
    return value[start:end]


def _print(*values: Any) -> str:
    text = ""
    for number, value in enumerate(values):
        if number and not isinstance(value, str) and not isinstance(values[number - 1], str):
            text += " "  # as Go: a space between operands when neither is a string
        text += _shown(value)
    return text


def _printf(pattern: str, *values: Any) -> str:
    result, rest, given = "", pattern, list(values)
    while rest:
        before, percent, rest = rest.partition("%")
        result += before
        if not percent:
            break
        flags = ""
        while rest[:1] and rest[0] in "-+ 0123456789.#":
            flags, rest = flags + rest[0], rest[1:]
        if any(len(number) > WIDTH for number in flags.lstrip("-+ #").split(".")):
            raise ValueError(f"%{flags} is too wide")
        verb, rest = rest[:1], rest[1:]
        if verb == "%":
            result += "%"
            continue
        if not given:
            result += f"%!{verb}(MISSING)"
            continue
        value = given.pop(0)
        if verb in ("s", "v"):
            result += f"%{flags}s" % _shown(value)
        elif verb == "q":
            result += json.dumps(show(value), ensure_ascii=False)
        elif verb in ("x", "X") and isinstance(value, str):
            result += f"%{flags}s" % (value.encode().hex() if verb == "x" else value.encode().hex().upper())
        elif verb in ("d", "o", "b", "c", "e", "f", "g", "t") and isinstance(value, str):
            result += f"%!{verb}(string={value})"
        elif verb in ("d", "x", "X", "o", "f", "g", "e", "c"):
            result += f"%{flags}{verb}" % value
        elif verb == "t":
            result += show(bool(value))
        else:
            result += f"%!{verb}({show(value)})"
    return result


def _equal(first: Any, *others: Any) -> bool:
    if not others:
        raise TypeError("missing argument for comparison")
    return any(first == other for other in others)


def _pad(text: str, before: int, after: int) -> str:
    if max(before, after) >= 10**WIDTH:
        raise ValueError("too many spaces")
    return " " * before + text + " " * after


def _title(text: str) -> str:
    """strings.Title: the first letter of each word, and nothing else, is changed."""
    result, before = "", " "
    for char in text:
        ends = not (before.isalnum() or before == "_") if before.isascii() else before.isspace()
        result += char.title() if ends else char
        before = char
    return result


def _urlquery(*values: Any) -> str:
    from urllib.parse import quote_plus

    return quote_plus(_print(*values))


HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;", "\0": "\ufffd"})
JS = str.maketrans(
    {"\\": "\\\\", "'": "\\'", '"': '\\"'}
    | {char: f"\\u{ord(char):04X}" for char in ("<", ">", "&", "=", *map(chr, range(32)))}
)


def _html(*values: Any) -> str:
    return _print(*values).translate(HTML)


def _js(*values: Any) -> str:
    """Text within a string of JavaScript, in whatever quotes."""
    text = _print(*values).translate(JS)
    return "".join(c if c.isprintable() else f"\\u{ord(c):04X}" for c in text)


def _truncate(text: str, width: int) -> str:
    return text[:width]


TABLE: dict[str, Any] = {
    "json": _json,
    "index": _index,
    "slice": _slice,
    "len": len,
    "print": _print,
    "println": lambda *values: " ".join(_shown(value) for value in values) + "\n",
    "printf": _printf,
    "join": lambda values, separator: separator.join(show(value) for value in values or ()),
    "split": lambda text, separator: text.split(separator),
    "upper": lambda text: text.upper(),
    "lower": lambda text: text.lower(),
    "title": _title,
    "pad": _pad,
    "truncate": _truncate,
    "eq": _equal,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "not": lambda value: not value,
    "and": None,  # these two look at their arguments one by one: template.py
    "or": None,
    "urlquery": _urlquery,
    "html": _html,
    "js": _js,
}
