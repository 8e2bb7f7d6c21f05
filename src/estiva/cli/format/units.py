"""Numbers for people: sizes and ages in the words that Docker's lists use (go-units)."""

from __future__ import annotations

from estiva.oci.ages import ago as ago
from estiva.oci.ages import duration as duration

DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def size(count: float, digits: int = 4) -> str:
    """Bytes in powers of 1000, with that many significant digits: 7.73MB."""
    return _scaled(count, 1000.0, DECIMAL, digits)


def binary_size(count: float, digits: int = 4) -> str:
    """Bytes in powers of 1024: 64MiB."""
    return _scaled(count, 1024.0, BINARY, digits)


def _scaled(count: float, base: float, names: tuple[str, ...], digits: int) -> str:
    power = 0
    while float(f"{count:.{digits}g}") >= base and power < len(names) - 1:
        count /= base
        power += 1
    return f"{count:.{digits}g}{names[power]}"


def local_time(timestamp: float) -> str:
    """Seconds since the epoch as Docker's lists show a moment: 2024-11-24 13:38:00 +0000 UTC."""
    import time

    moment = time.localtime(timestamp)
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", moment)


def ellipsis(text: str, width: int) -> str:
    """At most `width` characters; a cut text ends with an ellipsis."""
    return text if len(text) <= width else text[: width - 1] + "…"


def short_id(digest: str) -> str:
    """The twelve digits that lists show of an id or digest."""
    return digest.rpartition(":")[2][:12]
