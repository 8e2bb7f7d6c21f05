"""The network of a container as the kernel has it now: it may have been changed from inside."""

from __future__ import annotations

import os
import socket
import threading
from ipaddress import ip_address

from estiva.engine.containers import stats
from estiva.engine.containers.listing import networks_of
from estiva.engine.explain.running import sockets
from estiva.linux import namespace as ns
from estiva.linux.net import families, netlink
from estiva.speech import say
from estiva.view.seen import Seen, clean
from estiva.view.shapes import Interface, Listener, Network, Port, Route

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.engine.state.types import Record, RunState

MOST = 200  # interfaces, routes, listeners
IFF_UP = 1


def within(init: Seen, work: Callable[[], None]) -> None:
    """Do something in the network and UTS namespaces of a process, in a thread that ends with it: nobody else
    is ever there. Raises what `work` does, and OSError."""
    failed: list[BaseException] = []

    def there() -> None:
        try:
            for name, flag in (("net", ns.CLONE_NEWNET), ("uts", ns.CLONE_NEWUTS)):
                fd = os.open(f"ns/{name}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=init.fd)
                try:
                    ns.setns(fd, flag, f"{name} namespace")
                finally:
                    os.close(fd)
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=there, daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


class Inside:
    """What is seen there."""

    def __init__(self) -> None:
        self.hostname = ""
        self.links: list[netlink.Link] = []
        self.addresses: list[tuple[int, str, int]] = []
        self.routes: list[tuple[str, str, int]] = []

    def look(self) -> None:
        self.hostname = socket.gethostname()
        with netlink.Socket() as kernel:
            self.links = kernel.links()
            self.addresses = families.addresses(kernel)
            self.routes = families.ways(kernel)


def gather(record: Record, live: RunState, init: Seen) -> Network:
    """Raises OSError, ValueError."""
    inside = Inside()
    within(init, inside.look)
    mode = record["HostConfig"].get("NetworkMode") or "default"
    host = mode == "host"
    counters = {} if host else stats.interfaces(live)
    addresses: dict[int, list[str]] = {}
    for index, address, prefix in inside.addresses:
        addresses.setdefault(index, []).append(f"{address}/{prefix}")
    names = {link.index: clean(link.name, 40) for link in inside.links}
    interfaces = [
        Interface(
            name=names[link.index],
            up=bool(link.flags & IFF_UP),
            mtu=link.mtu,
            mac=link.address.hex(":"),
            addresses=tuple(addresses.get(link.index, ())[:MOST]),
            received=counters.get(link.name, {}).get("rx_bytes", 0),
            sent=counters.get(link.name, {}).get("tx_bytes", 0),
        )
        for link in inside.links[:MOST]
    ]
    return Network(
        mode=clean(mode, 100),
        hostname=clean(inside.hostname, 100),
        networks=tuple(clean(name, 100) for name in networks_of(record)),
        interfaces=tuple(interfaces),
        routes=tuple(
            Route(to, gateway, names.get(index, str(index))) for to, gateway, index in inside.routes[:MOST]
        ),
        ports=ports(record),
        listening=() if host else listening(init),
    )


def ports(record: Record) -> tuple[Port, ...]:
    """The published ones."""
    found = []
    for key, bound in sorted((record["NetworkSettings"].get("Ports") or {}).items()):
        inner, _, protocol = key.partition("/")
        for one in bound or ():
            found.append(Port(int(inner), protocol, one["HostIp"], int(one["HostPort"] or 0)))
    return tuple(found[:MOST])


def listening(init: Seen) -> tuple[Listener, ...]:
    found = {
        (protocol, port, address)
        for protocol in ("tcp", "udp")
        for address, port in sockets(init.pid, protocol)
    }
    return tuple(Listener(protocol, address, port) for protocol, port, address in sorted(found)[:MOST])


def reach(one: Listener) -> str:
    """Who can reach a listener, in words; "" for everybody who reaches the container."""
    return say("only from inside of the container") if ip_address(one.address).is_loopback else ""
