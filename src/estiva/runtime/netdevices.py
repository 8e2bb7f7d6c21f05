"""linux.netDevices: interfaces of the host that a container takes along (runtime-spec config-linux.md).

They go by name into the container's network namespace, get the name that is wanted there and their permanent
addresses of global scope again, which the kernel drops on the way, and are set up. What becomes of them when
the namespace ends is the kernel's affair.
"""

from __future__ import annotations

import errno
import os

from estiva.errors import Conflict, InvalidInput, NotFound, oneline
from estiva.linux import namespace as ns
from estiva.linux.net import netlink, netlink_move

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAME_LIMIT = 15  # IFNAMSIZ less the NUL


def plan(devices: Any) -> list[tuple[str, str]]:
    """(name here, name there) of each. Raises InvalidInput."""
    if not isinstance(devices, dict):
        raise InvalidInput("linux.netDevices is not an object")
    result = []
    for name, entry in devices.items():
        there = (entry or {}).get("name") or name
        for what, where in ((name, "linux.netDevices"), (there, f"linux.netDevices.{name}.name")):
            if not _valid(what):
                raise InvalidInput(f"{where}: {what!r} is not the name of an interface")
        result.append((name, there))
    if len({there for _, there in result if "%" not in there}) < len([1 for _, t in result if "%" not in t]):
        raise InvalidInput("linux.netDevices: two interfaces can't have one name in the container")
    return result


def _valid(name: Any) -> bool:
    """dev_valid_name() of the kernel, of names that can be written in a config."""
    return (
        isinstance(name, str)
        and 0 < len(name.encode()) <= _NAME_LIMIT
        and name not in (".", "..")
        and not any(letter in "/:" or letter.isspace() for letter in name)
    )


def move(devices: Any, pid: int) -> None:
    """Move them to the network namespace of `pid`. The caller has one thread. Raises InvalidInput, NotFound,
    Conflict, OSError; those that have been moved by then go with the namespace."""
    planned = plan(devices)
    theirs = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    ours = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.path.samestat(os.fstat(theirs), os.fstat(ours)):
            raise InvalidInput(
                "linux.netDevices: the network namespace is the host's",
                hint="give the container one of its own",
            )
        with netlink.Socket() as here:
            ns.setns(theirs, ns.CLONE_NEWNET, "the container's network namespace")
            try:
                there = netlink.Socket()
            finally:
                ns.setns(ours, ns.CLONE_NEWNET)
            with there:
                for name, new in planned:
                    _move(here, there, theirs, name, new)
    finally:
        os.close(theirs)
        os.close(ours)


def _move(here: netlink.Socket, there: netlink.Socket, namespace: int, name: str, new: str) -> None:
    link = here.link(name)
    if link is None:
        raise NotFound(f"linux.netDevices: there is no interface {oneline(name)}")
    addresses = netlink_move.addresses(here, link.index)
    before = {one.index for one in there.links()}
    try:
        here.exchange(netlink_move.move(link.index, namespace, new, name))
    except OSError as error:
        if error.errno == errno.EEXIST:
            raise Conflict(
                f"linux.netDevices: the container has an interface {oneline(new)} already",
                hint="a name that ends in %d is made unique",
            ) from None
        raise
    index = next(one.index for one in there.links() if one.index not in before)
    for told in addresses:
        there.exchange(netlink_move.give_address(index, told, name))
    there.exchange(netlink_move.up(index, new))
