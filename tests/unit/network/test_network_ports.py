"""Published ports: what a request asks for, and that the port is held."""

from __future__ import annotations

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
