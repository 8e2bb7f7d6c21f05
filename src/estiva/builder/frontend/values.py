"""Small values in Dockerfiles: durations as Go writes them, sizes, modes, signals."""

from __future__ import annotations

from estiva.builder.frontend.errors import shorten
from estiva.errors import InvalidInput
from estiva.oci import units

OCTAL = frozenset("01234567")


def whole(text: str, most: int) -> int | None:
    """A whole number in ASCII digits, up to `most`; None for anything else."""
    if not (text.isascii() and text.isdecimal()) or len(text.lstrip("0")) > len(str(most)):
        return None
    number = int(text.lstrip("0") or "0")
    return number if number <= most else None


def duration(text: str) -> int:
    """A duration such as `1m30s` or `1.5h` in nanoseconds. Raises InvalidInput."""
    try:
        return units.duration(text)
    except ValueError:
        raise InvalidInput(
            f"invalid duration: {shorten(text)!r}", hint="such as 30s, 1m30s or 500ms"
        ) from None


def show(nanoseconds: int) -> str:
    """A duration as Go prints it: `30s`, `1m30s`, `1.5s`, `100ms`."""
    if nanoseconds < 10**9:
        return f"{nanoseconds / 10**6:g}ms" if nanoseconds else "0s"
    seconds = nanoseconds / 10**9
    hours, seconds = divmod(seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    text = f"{int(hours)}h" if hours else ""
    if text or minutes:
        text += f"{int(minutes)}m"
    return f"{text}{seconds:g}s"


def size(text: str) -> int:
    """A size such as `64m` or `1gb` in bytes (powers of 1024). Raises InvalidInput."""
    try:
        return units.size(text)
    except ValueError:
        raise InvalidInput(f"invalid size: {shorten(text)!r}", hint="such as 64m or 1g") from None


def signal_number(text: str) -> int:
    """A STOPSIGNAL value: a name with or without SIG, or a number. Raises InvalidInput."""
    import re
    import signal

    name = text.upper()
    name = name if name.startswith("SIG") else "SIG" + name
    number = whole(text, signal.SIGRTMAX) or signal.Signals.__members__.get(name)
    match = re.fullmatch(r"SIGRT(MIN|MAX)(?:([+-])([0-9]{1,2}))?", name)
    if match:
        base = signal.SIGRTMIN if match.group(1) == "MIN" else signal.SIGRTMAX
        number = base + int((match.group(2) or "+") + (match.group(3) or "0"))
        if not signal.SIGRTMIN <= number <= signal.SIGRTMAX:
            number = None
    if not number:
        raise InvalidInput(f"invalid signal: {shorten(text)}", hint="such as SIGTERM, SIGQUIT or 9")
    return int(number)


def octal(text: str) -> int | None:
    """A --chmod value that is a number, 0 to 7777; None for another."""
    digits = 0 < len(text) <= 5 and OCTAL.issuperset(text)
    return int(text, 8) if digits and int(text, 8) <= 0o7777 else None


def mode_change(text: str, mode: int, directory: bool) -> int:
    """`mode` after a --chmod value: octal (0 to 7777) or symbolic as chmod(1) takes it, umask 0."""
    number = octal(text)
    if number is not None:
        return number
    import re

    if re.fullmatch(r"\d+", text):
        raise InvalidInput(
            f"invalid chmod value: {shorten(text)}",
            hint="an octal number from 0 to 7777, or such as u=rwX,go=rX",
        )
    result = mode & 0o7777
    for clause in text.split(","):
        match = re.fullmatch(r"([ugoa]*)((?:[-+=][rwxXst]*|[-+=][ugo])+)", clause)
        if match is None:
            raise InvalidInput(
                f"invalid chmod value: {shorten(text)}", hint="an octal number, or such as u=rwX,go=rX"
            )
        who = match.group(1) or "a"
        who = "ugo" if "a" in who else who
        for operator, letters in re.findall(r"([-+=])([rwxXstugo]*)", match.group(2)):
            result = _apply(result, who, operator, letters, directory)
    return result


def _apply(mode: int, who: str, operator: str, letters: str, directory: bool) -> int:
    shifts = {"u": 6, "g": 3, "o": 0}
    bits, special = 0, 0
    if letters in shifts and letters:
        bits = mode >> shifts[letters] & 7
    else:
        bits = sum({"r": 4, "w": 2, "x": 1}.get(letter, 0) for letter in set(letters))
        if "X" in letters and (directory or mode & 0o111):
            bits |= 1
        if "s" in letters:
            special |= (0o4000 if "u" in who else 0) | (0o2000 if "g" in who else 0)
        if "t" in letters:
            special |= 0o1000
    mask = sum(bits << shifts[letter] for letter in set(who)) | special
    if operator == "+":
        return mode | mask
    if operator == "-":
        return mode & ~mask
    clear = (
        sum(7 << shifts[letter] for letter in set(who))
        | (0o4000 if "u" in who else 0)
        | (0o2000 if "g" in who else 0)
    )
    return mode & ~clear | mask


def ports(text: str) -> list[str]:
    """An EXPOSE word `[[address:]host:]port[-port][/protocol]` as a list of `port/protocol`.

    An address and a port of the host mean nothing, but are checked as docker does. Raises InvalidInput.
    """
    numbers, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    rest, _, numbers = numbers.rpartition(":")
    address, _, host = rest.rpartition(":")
    if protocol not in ("tcp", "udp", "sctp"):
        hint = "it is one of tcp, udp, sctp"
        raise InvalidInput(f"invalid protocol in port {shorten(text)!r}", hint=hint)
    first, last = _port_range(numbers, text)
    if address and not _is_address(address):
        raise InvalidInput(f"invalid address in port {shorten(text)!r}", hint="PORT is all that EXPOSE needs")
    if host:
        lowest, highest = _port_range(host, text)
        if last != first and highest - lowest != last - first:
            raise InvalidInput(f"the two ranges of ports in {shorten(text)!r} are not equally long")
    return [f"{number}/{protocol}" for number in range(first, last + 1)]


def _port_range(numbers: str, text: str) -> tuple[int, int]:
    low, dash, high = numbers.partition("-")
    first, last = whole(low, 65535), whole(high if dash else low, 65535)
    if first is None or last is None:
        hint = "PORT, PORT/udp or PORT-PORT, up to 65535"
        raise InvalidInput(f"invalid port: {shorten(text)!r}", hint=hint)
    if last < first:
        raise InvalidInput(f"invalid port range: {shorten(text)!r}")
    return first, last


def _is_address(text: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(text[1:-1] if text.startswith("[") and text.endswith("]") else text)
    except ValueError:
        return False
    return True
