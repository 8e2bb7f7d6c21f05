"""Relays of ports on IPv6 addresses (network/relay), by the container that they are of."""

from __future__ import annotations

from estiva.engine.state import runstate
from estiva.errors import EstivaError
from estiva.network import relaying, rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as _socket

    from estiva.engine.state.types import Network
    from estiva.paths import Paths

FILE = "/ports"  # in the run folder


def start(
    where: Paths, container_id: str, pidfd: int, ports: list[dict[str, str]], sockets: list[_socket]
) -> list[_socket]:
    """Leave those of IPv6 addresses to a relay, which ends with the container's init, `pidfd`. The sockets
    that are still the caller's. Raises OSError."""
    run = where.run_container(container_id)
    address = Address(run)
    return relaying.start(
        pidfd, address, lambda index: rules.closed(where, index), ports, sockets, run + FILE
    )


def trouble(where: Paths, container_id: str, network: Network) -> str:
    """Why nobody serves the ports on IPv6 addresses of a container that runs, in words; "" where that is
    done, or there are none. Raises OSError."""
    wants = any(":" in port["HostIp"] for port in network.get("ports") or ())
    return relaying.trouble(where.run_container(container_id) + FILE) if wants else ""


def end(where: Paths, container_id: str) -> None:
    """Kill it, should it not end by itself. Raises OSError."""
    relaying.end(where.run_container(container_id) + FILE)


class Address:
    """The address that a container publishes its ports from, as its state.json has it; "" for none. That is
    written before the address is free for others (engine/networks/connect)."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.seen = (0, 0)
        self.known = ""

    def __call__(self) -> str:
        try:
            seen = runstate.version(self.run)
            if seen != self.seen:
                live = runstate.read_in(self.run)
                self.known = _publishing(live["network"]) if live else ""
                self.seen = seen
        except (OSError, EstivaError, KeyError):
            return ""
        return self.known


def _publishing(network: Network) -> str:
    if "places" not in network:
        return network.get("address", "")
    from estiva.network import plug

    main = plug.primary(network["places"])
    return main["address"] if main is not None and plug.publishes(main) else ""
