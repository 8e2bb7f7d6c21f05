"""What requests say and answers look like: words of a query, bodies and JSON, each bounded (K10, K22)."""

from __future__ import annotations

import json as _json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from estiva.errors import InvalidInput, Unavailable, brief

if TYPE_CHECKING:
    from collections.abc import Mapping

BODY = 4 << 20  # bytes of a JSON body
BODIES = 128 << 20  # bytes of all bodies that are being read
FILTERS = 1 << 16  # bytes of a query's filters
FALSE = ("", "0", "no", "false", "none")  # as docker reads a flag; all else is true


_held = 0  # bytes of bodies that are being read


def json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """`value` as docker writes it: with a line's end."""
    return ready(text(value), status, headers)


def text(value: Any) -> str:
    return _json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def ready(words: str, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """What is JSON already."""
    data = f"{words}\n".encode("utf-8", "replace")
    return web.Response(status=status, body=data, content_type="application/json", headers=headers)


def nothing(status: int = 204) -> web.Response:
    return web.Response(status=status)


def flag(request: web.Request, name: str, default: bool = False) -> bool:
    """A word of the query that is true or false."""
    text = request.query.get(name)
    return default if text is None else text.strip().lower() not in FALSE


def number(request: web.Request, name: str, default: int | None = None) -> int | None:
    """A whole number of the query. Raises InvalidInput."""
    text = request.query.get(name, "")
    if not text:
        return default
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
        raise InvalidInput(f"{name} is not a number: {brief(text, 60)}")
    return int(text)


def filters(request: web.Request) -> dict[str, list[str]]:
    """The query's `filters`: {"name": ["value"]} or, older, {"name": {"value": true}}. Raises
    InvalidInput."""
    text = request.query.get("filters", "")
    if not text:
        return {}
    found = parse(text.encode("utf-8", "surrogatepass"), "filters", FILTERS)
    if not isinstance(found, dict):
        raise InvalidInput("invalid filters: they are no JSON object")
    result: dict[str, list[str]] = {}
    for name, values in found.items():
        given = [word for word, wanted in values.items() if wanted] if isinstance(values, dict) else values
        if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
            raise InvalidInput(f"invalid filter '{brief(name, 60)}': it is no list of words")
        result[name] = given
    return result


async def body(request: web.Request, most: int = BODY) -> dict[str, Any]:
    """The JSON object that a request brings, {} for none. Raises InvalidInput."""
    data = await read(request, most)
    if not data.strip():
        return {}
    kind = request.content_type
    if kind not in ("application/json", "application/octet-stream", "text/plain") or (
        kind == "text/plain" and "Content-Type" in request.headers
    ):
        raise InvalidInput(f"unsupported Content-Type {brief(kind, 60)}: must be 'application/json'")
    found = parse(data, "the request's body", most)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InvalidInput("the request's body is no JSON object")
    return found


async def read(request: web.Request, most: int) -> bytes:
    """All that a request brings. Raises InvalidInput for more than `most` bytes, Unavailable where others
    that are not whole yet take all the room."""
    global _held
    if (request.content_length or 0) > most:
        raise InvalidInput(f"the request's body has more than {most} bytes")
    found = bytearray()
    try:
        async for piece in request.content.iter_chunked(1 << 16):
            if len(found) + len(piece) > most:
                raise InvalidInput(f"the request's body has more than {most} bytes")
            if _held + len(piece) > BODIES:
                raise Unavailable("too many requests with long bodies are under way")
            found += piece
            _held += len(piece)
    finally:
        _held -= len(found)
    return bytes(found)


def parse(data: bytes, what: str, most: int) -> Any:
    """A JSON value. Raises InvalidInput for what is none, too long or nested too deep."""
    if len(data) > most:
        raise InvalidInput(f"{what} has more than {most} bytes")
    try:
        return _json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{what} can't be read as JSON: {brief(str(error), 100)}") from None


def _no_constant(name: str) -> float:
    raise ValueError(f"there is no {name} in JSON")


WORDS = 1 << 20  # bytes of a JSON value of a query


def query(request: web.Request, name: str, kind: type, doing: str) -> Any:
    """A JSON value of the query; None without one. Raises InvalidInput."""
    text = request.query.get(name, "")
    if not text:
        return None
    found = parse(text.encode("utf-8", "surrogatepass"), f"{doing}: {name}", WORDS)
    if found is not None and not isinstance(found, kind):
        raise InvalidInput(f"{doing}: {name} is no JSON {'object' if kind is dict else 'array'}")
    return found


def texts(request: web.Request, name: str, doing: str) -> list[str]:
    """An array of texts in the query. Raises InvalidInput."""
    found: list[str] = query(request, name, list, doing) or []
    if not all(isinstance(each, str) for each in found):
        raise InvalidInput(f"{doing}: a name is no text")
    return found
