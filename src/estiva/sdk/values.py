"""Arguments of the Python API, judged before anything is done: what is wrong is an InvalidInput that names
the argument, its value shortened and escaped.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import NoneType
from typing import TYPE_CHECKING, Any

from estiva.errors import InvalidInput, brief

if TYPE_CHECKING:
    from collections.abc import Iterable

SHOWN = 60  # characters of a value in a message


def shown(value: object) -> str:
    """A value for a message."""
    try:
        return brief(repr(value), SHOWN)
    except Exception:
        return f"<{type(value).__name__}>"


def wrong(what: str, wanted: str, value: object) -> InvalidInput:
    return InvalidInput(f"{what} must be {wanted}, not {shown(value)}")


def no_nul(what: str, value: str) -> str:
    """The text, which the kernel takes up to a NUL only, and as bytes. Raises InvalidInput."""
    if "\0" in value:
        raise InvalidInput(f"{what} holds a NUL byte: {shown(value)}")
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        raise InvalidInput(f"{what} can't be encoded: {shown(value)}") from None
    return value


def text(what: str, value: Any, default: str = "") -> str:
    """A str; None is `default`."""
    if value is None:
        return default
    if not isinstance(value, str):
        raise wrong(what, "text", value)
    return no_nul(what, value)


def name(what: str, value: Any) -> str:
    """The name or id of something: a str, not empty."""
    found = text("name", value)
    if not found.strip("/"):
        raise InvalidInput(f"the name of a {what} is empty")
    return found


def path(what: str, value: Any) -> str:
    """A str or path object, not empty."""
    found = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(found, str) or not found:
        raise wrong(what, "a path", value)
    return no_nul(what, found)


def paths(what: str, value: Any) -> list[str]:
    """A list of paths, of one or of an iterable of them; None is none."""
    if value is None:
        return []
    if isinstance(value, (str, os.PathLike)):
        return [path(what, value)]
    if isinstance(value, (bytes, bytearray, memoryview, dict)) or not hasattr(value, "__iter__"):
        raise wrong(what, "a path or a list of paths", value)
    return [path(what, one) for one in value]


def words(what: str, value: Any) -> list[str]:
    """The words of a command: an iterable of text and path objects, or a text that is split as a shell does.
    Nothing in it is expanded: no shell runs.
    """
    if isinstance(value, str):
        import shlex

        try:
            value = shlex.split(value)
        except ValueError as error:
            raise InvalidInput(f"{what} can't be split into words: {str(error).lower()}") from None
    if isinstance(value, (bytes, bytearray, memoryview, dict)) or not hasattr(value, "__iter__"):
        raise wrong(what, "a list of words", value)
    result = []
    for number, word in enumerate(value, 1):
        name = f"word {number} of {what}"
        plain = os.fspath(word) if isinstance(word, (str, os.PathLike)) else None
        if not isinstance(plain, str):
            raise wrong(name, "text", word)
        result.append(no_nul(name, plain))
    return result


def flag(what: str, value: Any) -> bool:
    """A bool; None is False."""
    if value is None:
        return False
    if not isinstance(value, bool):
        raise wrong(what, "True or False", value)
    return value


def whole(what: str, value: Any, least: int = 0, most: int = 1 << 63) -> int:
    """An int from `least` to below `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < most:
        upto = f" to {most - 1}" if most < 1 << 63 else ""
        raise wrong(what, f"a whole number from {least}{upto}", value)
    return int(value)


def seconds(value: Any) -> float | None:
    """A timeout; None for none."""
    if value is None or value == float("inf"):
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e300:
        return float(value)
    raise InvalidInput(f"timeout must be seconds, not {shown(value)}", hint="a number, or None for no limit")


def data(value: Any, what: str = "input") -> memoryview | None:
    """What goes to a command's stdin, or a file, as bytes."""
    try:
        plain = value.encode(errors="surrogateescape") if isinstance(value, str) else value
        return None if plain is None else memoryview(plain).cast("B")
    except (TypeError, UnicodeEncodeError):
        raise InvalidInput(f"{what} must be bytes or text, not {shown(value)}") from None


def pairs(value: Mapping[Any, Any]) -> list[str]:
    """NAME=VALUE of a mapping, NAME alone for None. Raises InvalidInput for other than text and numbers."""
    words = []
    for name, each in value.items():
        plain = os.fspath(each) if isinstance(each, os.PathLike) else each
        if not isinstance(name, str) or not isinstance(plain, (str, int, float, NoneType)):
            raise wrong("env", "names with texts or numbers", {name: each})
        words.append(name if plain is None else f"{name}={plain}")
    return words


def environment(value: Any) -> list[str]:
    """`pairs` of a mapping; a list of such words as it is."""
    if isinstance(value, Mapping):
        value = pairs(value)
    found = [] if value is None else words("env", value)
    for word in found:
        if not word or word[0] == "=":
            raise InvalidInput(f"invalid environment variable: {shown(word)}", hint="NAME=VALUE or NAME")
    return found


def user(value: Any) -> str:
    """A name, an id, or USER:GROUP."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(int(value))
    return text("user", value)


def signal(value: Any) -> str:
    """15, "TERM", "SIGTERM" or signal.SIGTERM; which there are is judged where it is sent."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(int(value))
    if not isinstance(value, str) or len(value) > 20 or not value.isascii():
        raise wrong("signal", "a number or a name", value)
    return value


def function(what: str, value: Any) -> Any:
    """Something that can be called; None is nothing."""
    if value is not None and not callable(value):
        raise wrong(what, "a function", value)
    return value


def filters(value: Any) -> dict[str, list[str]]:
    """Docker's filters: {"status": "running", "label": ["a", "b=c"]}; True is "true"."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise wrong("filters", "a dict of texts or lists of texts", value)
    return {
        text("a filter", name): listed(
            f"filter {shown(name)}", str(each).lower() if type(each) in (bool, int) else each
        )
        for name, each in value.items()
    }


def moment(what: str, value: Any) -> float | None:
    """Seconds since the epoch, of a number, a datetime, a time such as 2026-01-31T12:00:00Z, or "10m" before
    now. None is none."""
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e18:
        return float(value)
    import datetime

    if isinstance(value, datetime.datetime):
        return value.timestamp()
    if isinstance(value, str):
        from estiva.oci import units

        try:
            return units.moment(value)
        except ValueError:
            pass
    raise wrong(what, 'a time, such as seconds since the epoch or "10m"', value)


def listed(what: str, value: Any) -> list[str]:
    """A list of texts, of one text or of an iterable of them; None is none."""
    if value is None:
        return []
    if isinstance(value, str):
        return [no_nul(what, value)]
    if isinstance(value, (bytes, bytearray, memoryview, dict)) or not hasattr(value, "__iter__"):
        raise wrong(what, "text or a list of texts", value)
    found: Iterable[Any] = value
    return [text(f"an item of {what}", item, "") if item is not None else _none(what) for item in found]


def _none(what: str) -> str:
    raise wrong(f"an item of {what}", "text", None)


def table(what: str, value: Any) -> dict[str, str]:
    """A dict of texts; numbers among the values are written out. None is none."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong(what, "a dict", value)
    result = {}
    for key, each in value.items():
        if type(each) in (int, float):
            each = str(each)
        if not isinstance(each, (str, os.PathLike)) or not isinstance(key, str):
            raise wrong(what, "a dict of texts", value)
        result[no_nul(what, key)] = path(what, each) if isinstance(each, os.PathLike) else no_nul(what, each)
    return result


def engine(value: Any) -> None:
    """An Engine, or None."""
    from estiva.engine import Engine

    if value is not None and not isinstance(value, Engine):
        raise wrong("engine", "an estiva.Engine", value)
