"""JSON on the cold path: the interpreter's own C scanner and encoder without the `json` package.

`import json` costs 7 ms of a 30 ms `estiva run`, nearly all of it for `re`. CPython keeps the work in the C
module `_json`; where that is missing (another implementation) the package itself is used.
"""

from __future__ import annotations

from estiva.errors import InvalidInput, StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

WHITESPACE = " \t\n\r"


def _not_finite(name: str) -> float:
    raise ValueError(f"there is no {name} in JSON")


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object_pairs_hook that refuses a key given twice (K10)."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object has the same key twice")
    return result


class _Context:
    """What `_json.make_scanner` reads of a JSONDecoder."""

    def __init__(self, hook: Callable[[list[tuple[str, Any]]], Any] | None) -> None:
        self.strict = True
        self.object_hook = None
        self.object_pairs_hook = hook
        self.parse_float = float
        self.parse_int = int
        self.parse_constant = _not_finite
        self.memo: dict[str, str] = {}


def _unserialisable(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} is not JSON")


try:
    from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner
except ImportError:
    import json as _json_package

    def _scan(text: str, hook: Callable[[list[tuple[str, Any]]], Any] | None) -> Any:
        return _json_package.loads(text, object_pairs_hook=hook, parse_constant=_not_finite)

    def _encode(value: object, sort_keys: bool, ascii: bool) -> str:
        return _json_package.dumps(value, separators=(",", ":"), sort_keys=sort_keys, ensure_ascii=ascii)

else:

    def _scan(text: str, hook: Callable[[list[tuple[str, Any]]], Any] | None) -> Any:
        start = len(text) - len(text.lstrip(WHITESPACE))
        scan = make_scanner(_Context(hook))  # type: ignore[arg-type]
        try:
            value, end = scan(text, start)
        except SystemError:  # CPython 3.11 has an error to raise, but can't find its class before this import
            import json.decoder  # noqa: F401

            value, end = scan(text, start)
        if text[end:].strip(WHITESPACE):
            raise ValueError(f"extra data at character {end}")
        return value

    def _encode(value: object, sort_keys: bool, ascii: bool) -> str:
        escape = encode_basestring_ascii if ascii else encode_basestring
        encoder = make_encoder({}, _unserialisable, escape, None, ":", ",", sort_keys, False, False)
        return "".join(encoder(value, 0))


def loads(data: bytes | str, *, what: str = "json", strict: bool = False) -> Any:
    """Parse one JSON value. `strict` refuses duplicate keys and halves of surrogate pairs, which are no text.

    Raises InvalidInput naming `what`.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        if text[:1] == "\ufeff":
            raise ValueError("it begins with a byte order mark: save it as UTF-8 without BOM")
        value = _scan(text, unique if strict else None)
        if strict and ("\\ud" in text or "\\uD" in text) and not _is_text(_encode(value, False, False)):
            raise ValueError("a string has half of a surrogate pair")
        return value
    except StopIteration as stop:
        raise InvalidInput(f"{what} is not valid json: {_no_value(text, stop.value)}") from None
    except RecursionError:
        raise InvalidInput(f"{what} is not valid json: it is nested too deeply") from None
    except UnicodeDecodeError as error:
        where = f"byte 0x{error.object[error.start]:02x} at {error.start}"
        raise InvalidInput(f"{what} is not valid json: it is not UTF-8 ({where})") from None
    except ValueError as error:
        words = str(error)
        raise InvalidInput(f"{what} is not valid json: {words[:1].lower()}{words[1:]}") from None


def _no_value(text: str, at: int | None) -> str:
    """What to say where a value should begin and none does, at a character of `text`."""
    if at is None or at >= len(text.rstrip(WHITESPACE)):
        return "it ends too early"
    before = text[:at]
    line, column = before.count("\n") + 1, at - before.rfind("\n")
    return f"expecting value: line {line} column {column} (char {at})"


def stored(data: bytes | str, *, what: str) -> Any:
    """As `loads`, of what we have written ourselves: raises StateError, for somebody damaged it."""
    try:
        return loads(data, what=what)
    except InvalidInput as error:
        raise StateError(error.message, hint="`estiva system check` looks for more that is damaged") from None


def text(value: object, *, sort_keys: bool = False, ascii: bool = False) -> str:
    """The same, of whatever is in it: with halves of surrogate pairs as they are or, in `ascii`, escaped."""
    return _encode(value, sort_keys, ascii)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def dumps(value: object, *, sort_keys: bool = False) -> str:
    """`value` as compact JSON text. Raises TypeError for what is not JSON.

    UTF-8 is kept as it is. Bytes of the command line that are none are surrogates in Python (PEP 383): with
    such, all is ASCII with escapes, which `loads` turns into the same surrogates again.
    """
    text = _encode(value, sort_keys, False)
    return text if text.isascii() or _is_text(text) else _encode(value, sort_keys, True)
