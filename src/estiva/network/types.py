"""What rows and plans of networks hold, by name. For type checkers alone: nothing imports this module when it
runs.

Subnet          of a network's record: Docker's IPAM config
NetworkRecord   `networks.record`
EndpointRecord  `endpoints.record`: what a container that belongs to a network has asked for there
Place           what a container that starts, or runs, has of a network: in the monitor's plan and in
                state.json
Settings, Kept  of its name server
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NotRequired, TypeAlias, TypedDict


class Subnet(TypedDict):
    Subnet: str
    Gateway: NotRequired[str]
    IPRange: NotRequired[str]
    AuxiliaryAddresses: NotRequired[dict[str, str]]


class Before(TypedDict):
    """What an adopted bridge had: see bridges.before. Settings: under /proc/sys/net, with {} for its name."""

    Settings: dict[str, str]
    Addresses: list[str]


class NetworkRecord(TypedDict):
    """Docker's words. Bridge: the interface that it is on the host, "" for those of a parent; Adopted: it was
    there before, and stays; Before: as what; Vlan: the parent is a vlan that was made for it."""

    Subnets: list[Subnet]
    Bridge: str
    Adopted: bool
    Before: NotRequired[Before]
    Vlan: NotRequired[bool]
    Internal: bool
    EnableIPv6: bool
    Attachable: bool
    Options: dict[str, str]
    IPAMOptions: NotRequired[dict[str, str]]
    Labels: dict[str, str]


class EndpointRecord(TypedDict, total=False):
    Name: str  # of the network, should it have gone
    Position: int  # of the container's interfaces
    Aliases: list[str]
    Links: list[list[str]]  # container id, or its name where a name server tells names; alias
    Linked: list[str]  # the same as it was asked for, which is what is shown
    IPv4: str
    IPv6: str
    LinkLocal: list[str]
    MacAddress: str
    GwPriority: int
    DriverOpts: dict[str, str]
    Detached: bool  # not in the default bridge, or in none, though that is its network mode


Read: TypeAlias = "Callable[[str], EndpointRecord]"  # of a row


class Place(TypedDict):
    """Addresses and prefixes (bits) as text and numbers, "" and 0 for none. `default`: the default route goes
    there, and published ports come from there."""

    network: str  # id, or ipam.DEFAULT_NETWORK
    name: str
    driver: str
    id: str  # of the endpoint
    interface: str
    named: bool  # so by the user
    bridge: str  # or the parent of a macvlan
    mode: str  # of a macvlan
    address: str
    prefix: int
    gateway: str
    address6: str
    prefix6: int
    gateway6: str
    mac: str
    mtu: int  # bytes, 0 for that of the bridge
    isolated: bool  # its containers don't reach each other
    internal: bool
    default: bool
    position: int
    priority: int
    veth: NotRequired[str]  # the host's end, once it is plugged in
    own: NotRequired[str]  # the default bridge's address, where the default route leads elsewhere
    own6: NotRequired[str]  # and that of IPv6
    locals: NotRequired[list[str]]  # link-local addresses, beside the others


class Settings(TypedDict):
    """What a container's queries that are not about names here are to do."""

    servers: list[tuple[str, bool]]  # address; whether it is asked from the host's network namespace
    ndots: bool  # somebody has set the option: names without a dot are not forwarded
    allow: NotRequired[list[str]]  # whom alone it may ask for, and reach: network/dns/allow.py


class Kept(TypedDict):
    """`Names`, as another interpreter in the same process reads it."""

    id: str
    root: str
    run_root: str
    settings: Settings
    sockets: list[int]
    channel: int
    hurried: NotRequired[int]
