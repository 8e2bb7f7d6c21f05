"""Times as Docker writes them: RFC 3339, UTC, nanoseconds."""

from __future__ import annotations

import time

ZERO = "0001-01-01T00:00:00Z"


def rfc3339(nanoseconds: int | None = None) -> str:
    """The moment `nanoseconds` after the epoch (now by default) as 2026-01-31T12:00:00.000000001Z."""
    moment = time.time_ns() if nanoseconds is None else nanoseconds
    seconds, rest = divmod(moment, 1_000_000_000)
    y, mo, d, h, mi, s = time.gmtime(seconds)[:6]
    return f"{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}.{rest:09}Z"


def seconds(text: str) -> float:
    """The epoch seconds of an RFC 3339 time; 0.0 for Docker's zero time. Raises ValueError."""
    if text == ZERO:
        return 0.0
    from datetime import datetime

    head, dot, fraction = text.partition(".")
    if not dot:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    digits = fraction.rstrip("Z")
    for sign in "+-":
        if sign in digits:
            digits, _, offset = digits.partition(sign)
            return datetime.fromisoformat(f"{head}.{digits[:6]:0<6}{sign}{offset}").timestamp()
    return datetime.fromisoformat(f"{head}.{digits[:6]:0<6}+00:00").timestamp()
