"""Signal names and numbers, without the `signal` package (it costs 4 ms for its enums)."""

from __future__ import annotations

import _signal

from estiva.errors import InvalidInput

NUMBERS: dict[str, int] = {
    name[3:]: int(value)
    for name, value in vars(_signal).items()
    if name.startswith("SIG") and not name.startswith("SIG_") and isinstance(value, int)
}
RTMIN = NUMBERS.get("RTMIN", 34)
RTMAX = NUMBERS.get("RTMAX", 64)


def number(text: str) -> int:
    """The number of a signal given as 15, TERM, SIGTERM or RTMIN+3. Raises InvalidInput."""
    name = text.strip().upper().removeprefix("SIG")
    if name.isdecimal() and len(name) < 4 and 1 <= int(name) <= RTMAX:
        return int(name)
    if name in NUMBERS:
        return NUMBERS[name]
    base, sign, offset = name.replace("-", "+-").partition("+")
    if sign and base in ("RTMIN", "RTMAX") and offset.lstrip("-").isdecimal() and len(offset) < 4:
        value = NUMBERS.get(base, RTMAX) + int(offset)
        if RTMIN <= value <= RTMAX:
            return value
    raise InvalidInput(f"invalid signal: {text}", hint="give a number or a name such as TERM or SIGTERM")


def name(value: int) -> str:
    """SIGTERM for 15; RTMIN+n or the bare number where there is no name."""
    for key, known in NUMBERS.items():
        if known == value and key not in ("IOT", "POLL", "CLD"):
            return f"SIG{key}"
    return f"SIGRTMIN+{value - RTMIN}" if RTMIN < value <= RTMAX else str(value)
