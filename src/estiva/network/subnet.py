"""The subnet of the default bridge."""

from __future__ import annotations

from _socket import inet_aton, inet_ntoa

from estiva.errors import InvalidInput

PREFIX = 16  # bits, of those that are chosen here


class Subnet:
    """`base`: its network address as a number, `prefix` bits of it; the bridge has `gateway`, the first host
    if nothing else is said. Containers get addresses from `first` to `last`, which are numbers too.

    `way`: where the default route leads to, if not to the bridge; else 0. `dual`: there is IPv6 beside it.
    """

    __slots__ = ("base", "prefix", "own", "first", "last", "way", "dual")

    def __init__(self, address: str, prefix: int = PREFIX, gateway: str = "") -> None:
        """The subnet that `address` is in. Raises InvalidInput."""
        mask = (1 << (32 - prefix)) - 1
        self.prefix = prefix
        self.base = number(address) & ~mask
        self.own = number(gateway) if gateway else self.base + 1
        self.first, self.last = self.base + 1, self.base + mask - 1
        self.way, self.dual = 0, False

    @classmethod
    def read(cls, stored: str) -> Subnet:
        """One that was written down as `stored`. Raises InvalidInput."""
        subnet, _, gateway = stored.partition(" ")
        address, _, prefix = subnet.partition("/")
        return cls(address, int(prefix), gateway)

    @property
    def stored(self) -> str:
        """As the database has it."""
        return str(self) if self.own == self.base + 1 else f"{self} {self.gateway}"

    def __str__(self) -> str:
        return f"{dotted(self.base)}/{self.prefix}"

    @property
    def gateway(self) -> str:
        return dotted(self.own)

    @property
    def plain(self) -> bool:
        """Whether its address alone tells all of it: as those that are chosen here."""
        return self.prefix == PREFIX and self.own == self.base + 1 and not self.way and not self.dual

    def holds(self, address: str) -> bool:
        """Whether an address is in it."""
        return self.covers(Subnet(address, 32))

    def covers(self, other: Subnet) -> bool:
        """Whether all addresses of the other are in it."""
        shift = 32 - self.prefix
        return other.prefix >= self.prefix and other.base >> shift == self.base >> shift

    def same(self, other: Subnet | None) -> bool:
        """Whether the bridge would be the same."""
        return other is not None and self.stored == other.stored

    def narrow(self, part: Subnet) -> None:
        """Have containers get addresses of `part` alone, which it covers."""
        end = part.base + (1 << (32 - part.prefix)) - 1
        self.first, self.last = max(self.first, part.base), min(self.last, end)

    def judge(self, address: str) -> None:
        """Raises InvalidInput when an address can't be a container's here."""
        edge = (self.base, self.base + (1 << (32 - self.prefix)) - 1, self.own, self.way)
        if not self.holds(address) or number(address) in edge:
            raise InvalidInput(f"address {address} is not a free address of {self}")

    def offers(self, address: str) -> bool:
        """Whether it is one of those that containers are given that ask for none."""
        try:
            self.judge(address)
        except InvalidInput:
            return False
        return self.first <= number(address) <= self.last


def number(address: str) -> int:
    """An IPv4 address in dotted form as a number. Raises InvalidInput."""
    try:
        packed = inet_aton(address)
    except OSError:
        packed = b""
    if not packed or inet_ntoa(packed) != address:  # inet_aton also reads "10.1" and "0x7f.1"
        raise InvalidInput(f"{address!r} is not an IPv4 address")
    return int.from_bytes(packed, "big")


def dotted(value: int) -> str:
    """An IPv4 address from its number."""
    return inet_ntoa(value.to_bytes(4, "big"))
