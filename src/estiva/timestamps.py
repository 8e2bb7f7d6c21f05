"""Times as Docker and the OCI documents write them: RFC 3339, UTC."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ZERO = "0001-01-01T00:00:00Z"


def rfc3339(nanoseconds: int | None = None, *, short: bool = False) -> str:
    """The moment `nanoseconds` after the epoch (now by default) as 2026-01-31T12:00:00.000000001Z.

    `short` leaves out zeros at the end of the fraction, as image documents do.
    """
    moment = time.time_ns() if nanoseconds is None else nanoseconds
    seconds, rest = divmod(moment, 1_000_000_000)
    y, mo, d, h, mi, s = time.gmtime(seconds)[:6]
    fraction = f".{rest:09}"
    if short:
        fraction = fraction.rstrip("0").rstrip(".")
    return f"{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}{fraction}Z"


def seconds(text: str) -> float:
    """The time in an RFC 3339 text as seconds since the epoch. Raises ValueError."""
    from datetime import datetime

    if len(text) > 64:
        raise ValueError("longer than a time is")
    head, dot, tail = text.partition(".")
    if dot:  # datetime knows microseconds only
        digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
        text = f"{head}.{digits[:6]:0<6}{tail[len(digits) :]}"
    try:
        return datetime.fromisoformat(text).timestamp()
    except OverflowError:
        raise ValueError(f"{text} is out of range") from None


def seconds_of_document(text: Any) -> float:
    """What a document says its time is, as `seconds`; 0.0 for what is no time."""
    try:
        return seconds(text) if isinstance(text, str) else 0.0
    except ValueError:
        return 0.0
