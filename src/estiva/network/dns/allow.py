"""--allow-host: hosts and ports that a container may reach, and addresses that it may not, whatever a name
server says.

    NAME:PORT[/udp]   the addresses that our name server has found for the name, if they are of the internet
    ADDRESS:PORT      that address (`[ADDRESS]:PORT` of IPv6), which may be a private one, as it was asked for

Neither leads to loopback, link-local addresses, clouds' metadata or multicast. network/dns/gate.py has who
enforces it.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_pton

from estiva.errors import InvalidInput, brief

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Ports = list[tuple[int, int]]  # (protocol, port)
    Net = tuple[int, int]  # the first bits of an address, and how many have not been counted

MOST = 64  # entries
LONGEST = 253  # bytes of a name
LABEL = 63
PROTOCOLS = {"tcp": 6, "udp": 17}


def _nets(*words: str) -> tuple[Net, ...]:
    found = []
    for word in words:
        address, _, bits = word.partition("/")
        packed = inet_pton(AF_INET6 if ":" in address else AF_INET, address)
        shift = len(packed) * 8 - int(bits or len(packed) * 8)
        found.append((int.from_bytes(packed, "big") >> shift, shift))
    return tuple(found)


# never, for anybody: this machine, its links, and where clouds tell a machine its secrets
_NEVER = {
    4: _nets(
        "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "100.100.100.200", "168.63.129.16",
        "192.0.0.192",
    ),
    16: _nets("::/16", "fe80::/10", "fec0::/10", "ff00::/8", "fd00:ec2::254", "fd20:ce::254"),
}  # fmt: skip
# addresses that hold one of IPv4: where they lead depends on somebody's translator
_HIDING = _nets("::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
# not by a name, which could mean these a moment later: RFC 1918, 6598, 6890, 2544, 4193
_PRIVATE = {
    4: _nets(
        "10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15"
    ),
    16: _nets("fc00::/7"),
}  # fmt: skip
_GLOBAL = _nets("2000::/3")


def _among(packed: bytes, nets: Iterable[Net]) -> bool:
    number = int.from_bytes(packed, "big")
    return any(number >> shift == first for first, shift in nets)


def never(packed: bytes) -> bool:
    """Whether nobody may reach that address, though it be asked for."""
    return _among(packed, _NEVER[len(packed)]) or (len(packed) == 16 and _among(packed, _HIDING))


def public(packed: bytes) -> bool:
    """Whether a name may mean that address."""
    if never(packed) or _among(packed, _PRIVATE[len(packed)]):
        return False
    return len(packed) == 4 or _among(packed, _GLOBAL)


class Table:
    """Who may be reached: `names` and `addresses` (packed), each with its ports. `order` are the names."""

    def __init__(self) -> None:
        self.names: dict[bytes, Ports] = {}
        self.addresses: dict[bytes, Ports] = {}

    @property
    def order(self) -> list[bytes]:
        return list(self.names)


def table(words: Sequence[str]) -> Table:
    """What a list of words says. Raises InvalidInput."""
    if len(words) > MOST:
        raise InvalidInput(f"{len(words)} hosts are allowed, the most is {MOST}")
    found = Table()
    for word in words:
        host, port = _split(word)
        packed = _packed(host)
        if packed is None:
            found.names.setdefault(_name(host, word), []).append(port)
        elif never(packed):
            raise InvalidInput(
                f"invalid allowed host '{brief(word)}': that address is never reachable",
                hint="loopback, link-local and metadata addresses are this machine's own",
            )
        else:
            found.addresses.setdefault(packed, []).append(port)
    return found


def _wrong(word: str, hint: str = "NAME:PORT or ADDRESS:PORT, such as pypi.org:443") -> InvalidInput:
    return InvalidInput(f"invalid allowed host '{brief(word)}'", hint=hint)


def _split(word: str) -> tuple[str, tuple[int, int]]:
    whole, slash, protocol = word.partition("/")
    if slash and protocol not in PROTOCOLS:
        raise _wrong(word, "its protocol is tcp or udp")
    host, colon, port = whole.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host:
            raise _wrong(word)
    elif ":" in host:
        raise _wrong(word, "an IPv6 address stands in brackets: [2001:db8::1]:443")
    if not colon or not host or not (port.isascii() and port.isdigit() and len(port) <= 5):
        raise _wrong(word)
    if not 0 < int(port) < 1 << 16:
        raise _wrong(word, "its port is from 1 to 65535")
    return host, (PROTOCOLS[protocol or "tcp"], int(port))


def _packed(host: str) -> bytes | None:
    try:
        return inet_pton(AF_INET6 if ":" in host else AF_INET, host)
    except (OSError, ValueError):
        return None


def _name(host: str, word: str) -> bytes:
    labels = host.rstrip(".").lower().split(".")
    good = all(
        0 < len(label) <= LABEL and label.isascii() and all(c.isalnum() or c in "-_" for c in label)
        for label in labels
    )
    if not good or len(host) > LONGEST or labels[-1].isdigit():
        hint = "every name is told; there are no patterns" if "*" in host else ""
        raise _wrong(word, hint) if hint else _wrong(word)
    return ".".join(labels).encode()
