"""The words in which people give quantities: sizes, durations, cpus.

One reading for the command lines, the Python API and Dockerfiles, with Docker's grammars: what
RAMInBytes of its go-units takes, what Go's time.ParseDuration takes, a decimal. Signs and exponents are
refused: nothing here may be negative. Whole numbers come out, within 64 bits and without a float's rounding;
of an endless number no more digits are computed than can count, so the work grows with its length only.
"""

from __future__ import annotations

from estiva.errors import brief

MAX = (1 << 63) - 1  # what the kernel, and Docker's API, can hold
_DECIMAL = "0123456789."
_DIGITS = 19  # of MAX
_POWERS = {"": 0, "b": 0} | {
    letter + end: power + 1 for power, letter in enumerate("kmgtp") for end in ("", "b", "ib")
}
_NANOSECONDS = {
    "ns": 1, "us": 1000, "µs": 1000, "μs": 1000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip
_DAY = 24 * 3600 * 10**9


def size(text: str, unit: int = 1024) -> int:
    """Bytes of "64m", "1.5g", "64 MiB", "6291456"; every unit is a power of 1024, or of `unit`: go-units'
    FromHumanSize has 1000. Raises ValueError."""
    word = text.strip().lower()
    number = word[: len(word) - len(word.lstrip(_DECIMAL))]
    power = _POWERS.get(word[len(number) :].removeprefix(" "))
    if power is None or not _is_decimal(number):
        raise ValueError(f"invalid size: '{brief(text, 60)}'")
    return _bounded(_times(number, unit**power))


def duration(text: str, *, days: bool = False) -> int:
    """Nanoseconds of "1h30m", "1.5s", "100ms", "0". `days` takes "7d" too, which Go does not. Raises
    ValueError."""
    units = {**_NANOSECONDS, "d": _DAY} if days else _NANOSECONDS
    if text == "0":
        return 0
    total = position = 0
    while position < len(text) or not text:
        middle = _end(text, position, True)
        end = _end(text, middle, False)
        factor = units.get(text[middle:end])
        if factor is None or not _is_decimal(text[position:middle]):
            raise ValueError(f"invalid duration: '{brief(text, 60)}'")
        total += _times(text[position:middle], factor)
        position = end
    return _bounded(total)


def moment(text: str) -> float:
    """Seconds since the epoch of "10m" (so long before now), "-10m" (after it), "1732455480.5" or an ISO 8601
    time; "0" is the epoch itself. Raises ValueError."""
    import time

    from estiva import timestamps

    try:
        if text != "0":
            ago = -duration(text[1:]) if text[:1] == "-" else duration(text.removeprefix("+"))
            return time.time() - ago / 1e9
        return 0.0
    except ValueError:
        pass
    try:
        if text.isascii() and text.replace(".", "", 1).isdigit() and len(text) < 40:
            return float(text)
        return timestamps.seconds(text)
    except ValueError:
        raise ValueError(f"invalid time '{brief(text, 60)}'") from None


def _end(text: str, start: int, decimal: bool) -> int:
    """Where the run of characters ends that may, or may not, stand in a decimal."""
    while start < len(text) and (text[start] in _DECIMAL) is decimal:
        start += 1
    return start


def nano_cpus(text: str) -> int:
    """Billionths of a cpu, of a decimal with nine places at most. Raises ValueError."""
    if not text or text.strip(_DECIMAL) or not _is_decimal(text):
        raise ValueError(f"failed to parse {brief(text, 60)} as a decimal number")
    if len(text.partition(".")[2].rstrip("0")) > 9:
        raise ValueError("value is too precise")
    return _bounded(_times(text, 10**9))


def _is_decimal(text: str) -> bool:
    """Of a text of ASCII digits and dots: whether it is a number."""
    return text.count(".") < 2 and text not in ("", ".")


def _times(number: str, factor: int) -> int:
    """A decimal times a whole number, rounded down; more than MAX, but not how much, if it is that large."""
    whole, _, part = number.partition(".")
    whole, part = whole.lstrip("0"), part[:_DIGITS]
    if len(whole) > _DIGITS:
        return MAX + 1
    return int(whole or 0) * factor + int(int(part or 0) * factor // 10 ** len(part))


def _bounded(count: int) -> int:
    if count > MAX:
        raise ValueError("it is too large")
    return count
