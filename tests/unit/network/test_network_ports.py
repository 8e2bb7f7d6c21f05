"""Published ports: what a request asks for, and that the port is held."""

from __future__ import annotations

import os
import resource
import socket
from typing import Any

import pytest

from estiva.errors import Conflict, InvalidInput, Unavailable, Unsupported
from estiva.network import ports

LOCAL = "127.0.0.1"


def request(host: str, container: Any = "80", protocol: str = "tcp", address: str = LOCAL) -> dict[str, Any]:
    return {"HostIp": address, "HostPort": host, "ContainerPort": container, "Protocol": protocol}


def test_free_port_is_held_until_released() -> None:
    resolved, sockets = ports.bind([request("", 80), request("", "53", "udp")])
    number = int(resolved[0]["HostPort"])
    assert number > 0 and resolved[0] == request(str(number))
    assert resolved[1]["Protocol"] == "udp" and resolved[1]["ContainerPort"] == "53"
    with socket.socket() as other, pytest.raises(OSError):
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((LOCAL, number))
    ports.release(sockets)
    with socket.socket() as other:
        other.bind((LOCAL, number))


def test_same_port_of_tcp_and_udp() -> None:
    first, held = ports.bind([request("")])
    try:
        second, more = ports.bind([request(first[0]["HostPort"], protocol="udp")])
        ports.release(more)
        assert second[0]["HostPort"] == first[0]["HostPort"]
    finally:
        ports.release(held)


def test_clash_names_the_port_and_frees_the_others() -> None:
    first, held = ports.bind([request("")])
    number = first[0]["HostPort"]
    with socket.socket() as probe:
        probe.bind((LOCAL, 0))
        other = str(probe.getsockname()[1])
    try:
        with pytest.raises(Conflict, match=rf"port {number}/tcp is already in use on 127.0.0.1"):
            ports.bind([request(other), request(number)])
        with socket.socket() as free:
            free.bind((LOCAL, int(other)))
        with pytest.raises(Conflict, match=rf"port {number}/tcp is already in use on 0.0.0.0"):
            ports.bind([request(number, address="")])
    finally:
        ports.release(held)


def test_ranges_pair_up() -> None:
    found = ports._expand(request("8000-8002", "80-82"))
    assert [(list(host), container) for _, host, container, _ in found] == [
        ([8000], 80),
        ([8001], 81),
        ([8002], 82),
    ]
    assert len(ports._expand(request("", "80-89"))) == 10
    with pytest.raises(InvalidInput, match="3 container ports"):
        ports._expand(request("8000-8001", "80-82"))


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (request("0x50"), InvalidInput),
        (request("70000"), InvalidInput),
        (request("90-80"), InvalidInput),
        (request("80", "0"), InvalidInput),
        (request("80", None), InvalidInput),
        (request("8٣"), InvalidInput),
        (request("80", address="localhost"), InvalidInput),
        (request("80", protocol="sctp"), Unsupported),
        (request("80", address="::g"), InvalidInput),
        (request("8123", address="203.0.113.77"), Unavailable),
    ],
)
def test_refused(wrong: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        ports.bind([wrong])


def test_many_ports_take_no_place_of_what_is_opened_later() -> None:
    """Where the soft limit of open files is a small one, as systemd's."""
    child = os.fork()
    if child == 0:
        try:
            _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            low = os.open("/dev/null", os.O_RDONLY)
            resource.setrlimit(resource.RLIMIT_NOFILE, (low + 100, hard))
            wanted = [{"HostIp": "127.0.0.1", "ContainerPort": str(port)} for port in range(1, 400)]
            resolved, sockets = ports.bind(wanted)
            right = len({one["HostPort"] for one in resolved}) == 399
            right = right and min(held.fileno() for held in sockets) >= low + 100
            right = right and resource.getrlimit(resource.RLIMIT_NOFILE) == (low + 100, hard)
            right = right and os.open("/dev/null", os.O_RDONLY) < low + 100
            # and where there is no more to be had
            ports.release(sockets)
            resource.setrlimit(resource.RLIMIT_NOFILE, (low + 100, low + 200))
            try:
                ports.bind(wanted)
            except Unavailable as error:
                right = right and "too many open files" in str(error)
            os._exit(0 if right and os.open("/dev/null", os.O_RDONLY) < low + 100 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
