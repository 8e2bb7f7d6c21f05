"""gRPC over one HTTP/2 connection: what a call is, which methods are answered, and how errors are told.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from estiva.api.buildkit import messages
from estiva.errors import (
    Conflict,
    Denied,
    EstivaError,
    InvalidInput,
    NotFound,
    Unavailable,
    Unsupported,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

OK, CANCELLED, UNKNOWN, INVALID, DEADLINE, NOT_FOUND, EXISTS, DENIED = range(8)
UNIMPLEMENTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 12, 13, 14, 16
MESSAGE = 16 << 20  # bytes of one message, as with BuildKit
TOLD = 4000  # characters of an error's message: trailers are bounded by who reads them
DETAILS = 1 << 15  # bytes of what is said beside it

_CODES: tuple[tuple[type[EstivaError], int], ...] = (
    (InvalidInput, INVALID),
    (NotFound, NOT_FOUND),
    (Conflict, EXISTS),
    (Denied, UNAUTHENTICATED),
    (Unavailable, UNAVAILABLE),
    (Unsupported, UNIMPLEMENTED),
)


class RpcError(Exception):
    """A call's end that is none: a code of gRPC, words, and what more there is (google.rpc.Status)."""

    def __init__(self, code: int, message: str, details: Iterable[dict[str, Any]] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = list(details)

    def trailers(self) -> list[tuple[str, str]]:
        found = [("grpc-status", str(self.code)), ("grpc-message", quote(self.message[:TOLD], safe=_SAFE))]
        if self.details:
            status = {"code": self.code, "message": self.message[:TOLD], "details": self.details}
            data = messages.STATUS.encode(status)
            if len(data) <= DETAILS:
                found.append(("grpc-status-details-bin", base64.b64encode(data).decode().rstrip("=")))
        return found


_SAFE = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"


def of_error(error: EstivaError, details: Iterable[dict[str, Any]] = ()) -> RpcError:
    code = next((code for kind, code in _CODES if isinstance(error, kind)), UNKNOWN)
    return RpcError(code, error.message, details)


def of_trailers(headers: dict[str, str]) -> RpcError | None:
    """What a call's end says; None for a good one."""
    text = headers.get("grpc-status", "")
    if text == "0":
        return None
    code = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else UNKNOWN
    return RpcError(code, unquote(headers.get("grpc-message", "")) or "the client gave no answer")
