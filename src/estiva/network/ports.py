"""Published ports: which host ports a container's ports get, held by bound sockets so that nobody else gets
them.

A request is Docker's: {"HostIp", "HostPort", "ContainerPort", "Protocol"}. HostIp "" means every IPv4
address, or the one that the settings have as "ip"; "::" every IPv6 one (network/relay); HostPort "" any free
port and "8000-8010" any free one of these. With a range as ContainerPort, HostPort is empty or a range of the
same length. Resolved ports have one number in each, as strings, and an address.
"""

from __future__ import annotations

import errno
import sys
import time
from _socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    SO_REUSEADDR,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_STREAM,
    SOL_SOCKET,
    inet_ntop,
    inet_pton,
)
from _socket import socket as _socket

from estiva import settings
from estiva.errors import EngineError, InvalidInput, PortTaken, Unavailable, Unsupported, reason
from estiva.network.subnet import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

PATIENCE, PAUSE = 20, 0.02  # looks at a port, and seconds between two
FEW = 256  # ports, and other fds of a process
BACKLOG = 511  # connections that wait to be accepted
_KINDS = {"tcp": (SOCK_STREAM, 0), "udp": (SOCK_DGRAM, 0), "sctp": (SOCK_STREAM, 132)}  # and protocol


def bind(requests: Iterable[dict[str, Any]]) -> tuple[list[dict[str, str]], list[_socket]]:
    """Resolve the requests and hold every port: (resolved ports, sockets to keep open while they are
    published).

    Raises Conflict when a port is in use, InvalidInput, Unsupported (sctp, without the kernel's), Unavailable
    when the address is not this machine's; then nothing is held.
    """
    resolved: list[dict[str, str]] = []
    sockets: list[_socket] = []
    usual = str(settings.read().get("ip") or "0.0.0.0")
    wanted = [one for request in requests for one in _expand(request, usual)]
    room = Room(len(wanted)) if len(wanted) > FEW else None
    try:
        for address, choices, container, protocol in wanted:
            held, port = _hold(address, choices, protocol)
            sockets.append(held)
            if room is not None:
                sockets[-1] = room.move(held)
            resolved.append(
                {
                    "HostIp": address,
                    "HostPort": str(port),
                    "ContainerPort": str(container),
                    "Protocol": protocol,
                }
            )
    except BaseException:
        release(sockets)
        raise
    finally:
        if room is not None:
            room.close()
    return resolved, sockets


class Room:
    """Place for many fds beyond the soft limit (RLIMIT_NOFILE), which is 1024 where systemd starts a process.

    They are moved above it while it is lifted; then it is as it was, for what is opened or started later.
    """

    def __init__(self, count: int) -> None:
        import resource

        self.soft, self.hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = sys.maxsize if self.hard == resource.RLIM_INFINITY else self.hard
        self.lifted = self.soft != resource.RLIM_INFINITY and count > self.soft // 2 and most > self.soft
        if self.lifted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, self.soft + count + FEW), self.hard))

    def move(self, held: _socket) -> _socket:
        """The socket, above the limit that there was. Raises Unavailable."""
        if not self.lifted:
            return held
        import fcntl

        try:
            fd = fcntl.fcntl(held.fileno(), fcntl.F_DUPFD_CLOEXEC, self.soft)
        except OSError as error:
            raise _too_many(str(held.getsockname()[1]), error) from None
        moved = _socket(held.family, held.type, held.proto, fd)
        held.close()
        return moved

    def close(self) -> None:
        """Have the limit as it was."""
        if self.lifted:
            import resource

            resource.setrlimit(resource.RLIMIT_NOFILE, (self.soft, self.hard))


def _too_many(port: str, error: OSError) -> Unavailable:
    return Unavailable(
        f"port {port} can't be published: {reason(error)}",
        hint="publish fewer ports, or raise the hard limit of open files (ulimit -Hn)",
    )


def release(sockets: Iterable[_socket]) -> None:
    """Let the ports go."""
    for held in sockets:
        held.close()


def _expand(request: dict[str, Any], usual: str = "0.0.0.0") -> list[tuple[str, Sequence[int], int, str]]:
    """One request as (host address, host ports to try, container port, protocol) for each container port.
    `usual`: the address where none is given."""
    protocol = str(request.get("Protocol") or "tcp").lower()
    if protocol == "sctp" and ":" in str(request.get("HostIp") or ""):
        raise Unsupported("ports of sctp can't be published on IPv6 addresses", hint="give an IPv4 address")
    if protocol not in _KINDS:
        raise Unsupported(f"ports of protocol {protocol!r} can't be published", hint="use tcp, udp or sctp")
    address = str(request.get("HostIp") or usual)
    if ":" not in address:
        number(address)
    else:
        try:
            address = inet_ntop(AF_INET6, inet_pton(AF_INET6, address))
        except OSError:
            raise InvalidInput(f"{address!r} is not an IPv6 address") from None
    container = _range(request.get("ContainerPort"), "container")
    host = (
        _range(request.get("HostPort"), "host") if request.get("HostPort") not in (None, "", 0, "0") else None
    )
    if host is None:
        return [(address, (0,), port, protocol) for port in container]
    if len(container) == 1:
        return [(address, host, container[0], protocol)]
    if len(host) != len(container):
        raise InvalidInput(f"{len(container)} container ports can't be published on {len(host)} host ports")
    return [(address, (outer,), inner, protocol) for outer, inner in zip(host, container, strict=True)]


def _range(value: Any, whose: str) -> range:
    first, dash, last = str(value).partition("-")
    last = last if dash else first
    if not all(n.isascii() and n.isdigit() and 0 < int(n) < 65536 for n in (first, last)) or int(first) > int(
        last
    ):
        raise InvalidInput(f"invalid {whose} port {value!r}")
    return range(int(first), int(last) + 1)


def _hold(address: str, choices: Sequence[int], protocol: str) -> tuple[_socket, int]:
    """The first of `choices` that is free (0: any), bound."""
    for left in range(PATIENCE, 0, -1):
        for port in choices:
            held = _bind(address, port, protocol)
            if held is not None:
                return held, held.getsockname()[1]
        if left > 1:
            time.sleep(PAUSE)  # it may be a monitor's or a relay's whose container ended just now
    what = f"port {choices[0]}" if len(choices) == 1 else f"each of the ports {choices[0]}-{choices[-1]}"
    where = f"{what}/{protocol} is already in use on {address}"
    raise PortTaken(where, hint="stop what uses it, or publish on another host port")


def _bind(address: str, port: int, protocol: str) -> _socket | None:
    """A socket that holds the port, None when it is in use.

    Connections are redirected before they reach it (network/firewall). It does not listen, so that one which
    is not is refused, and nobody can share the port with SO_REUSEADDR. Where only connections that linger in
    TIME_WAIT are in the way (tcp(7)), SO_REUSEADDR gets it, and listening keeps others from doing the same.
    """
    try:
        kind, number_of = _KINDS[protocol]
        held = _socket(AF_INET6 if ":" in address else AF_INET, kind | SOCK_CLOEXEC, number_of)
    except OSError as error:
        if error.errno in (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT):
            raise Unsupported(
                f"ports of {protocol} can't be published: this kernel has no {protocol}",
                hint="`modprobe sctp` may load it",
            ) from None
        raise _too_many(f"{port}/{protocol}", error) from None
    try:
        if ":" in address:
            return _bind_relay(held, address, port, protocol)
        try:
            held.bind((address, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or protocol != "tcp" or not port:
                raise
            held.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            held.bind((address, port))
            held.listen(0)
    except OSError as error:
        held.close()
        if error.errno == errno.EADDRINUSE:
            return None
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            raise Unavailable(
                f"ports can't be published on {address}: this machine does not have that address"
            ) from None
        raise EngineError(f"bind of port {port}/{protocol} on {address}: {reason(error)}") from error
    except BaseException:
        held.close()
        raise
    return held


def _bind_relay(held: _socket, address: str, port: int, protocol: str) -> _socket:
    """A socket that the relay reads or accepts from. Connections that linger are in nobody's way: it has
    accepted them itself. Raises OSError.
    """
    held.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
    if protocol == "tcp":
        held.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    held.bind((address, port))
    if protocol == "tcp":
        held.listen(BACKLOG)
    return held
