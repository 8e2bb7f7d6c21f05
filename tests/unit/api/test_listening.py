"""Addresses to listen on, whom TCP is for, and how many may connect."""

import asyncio
import os
import socket
import types

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from estiva.api import app, networks, swarm
from estiva.api.listening import browsers, connections, sockets
from estiva.errors import Conflict, InvalidInput


@pytest.mark.parametrize(
    "word",
    ["", "unix://", "unix://relative", "unix:///a/", "tcp://", "tcp://x", "tcp://127.0.0.1:x", "tcp://127.0.0.1:99999",
     "tcp://::1:80", "tcp://[::1:80", "fd://7", "http://127.0.0.1:80"],
)  # fmt: skip
def test_words_that_are_no_address(word):
    with pytest.raises(InvalidInput):
        sockets.listeners(word, None, True, "/run/estiva")


@pytest.mark.parametrize(
    ("address", "insecure", "fine"),
    [("127.0.0.1", True, True), ("127.9.9.9", True, True), ("::1", True, True), ("127.0.0.1", False, False),
     ("0.0.0.0", True, False), ("::", True, False), ("10.0.0.1", True, False), ("::ffff:127.0.0.1", True, False)],
)  # fmt: skip
def test_tcp_without_tls(address, insecure, fine):
    if fine:
        assert sockets.judge("tcp://x", address, None, insecure) is None
        return
    with pytest.raises(InvalidInput, match="is refused without TLS"):
        sockets.judge("tcp://x", address, None, insecure)


def test_a_server_that_comes_while_another_ends(tmp_path):
    """The lock's file may have gone, or be another's, by the time that it is locked."""
    path = str(tmp_path / "s.sock")
    first = sockets.Unix(path)
    with pytest.raises(Conflict, match="another server listens"):
        sockets.Unix(path)
    os.unlink(path)  # somebody tidies up
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        first.close()
        assert os.path.exists(path), "what another has made stays"
    second = sockets.Unix(path)
    assert second.address == f"unix://{path}"
    second.close()
    assert os.listdir(tmp_path) == []


def test_the_run_root_can_be_gone_through_by_the_group_alone(tmp_path):
    run = tmp_path / "run"
    sockets.Unix(f"{run}/s.sock", str(run)).close()
    assert run.stat().st_mode & 0o767 in (0o700, 0o710) and run.stat().st_mode & 0o7 == 0


@pytest.mark.parametrize(
    ("address", "tls", "headers", "refused"),
    [
        ("/run/s", False, {"Host": "evil", "Origin": "http://evil"}, False),
        (("127.0.0.1", 1), False, {"Host": "127.0.0.1:1"}, False),
        (("127.0.0.1", 1), False, {"Host": "localhost"}, False),
        (("::1", 1, 0, 0), False, {"Host": "[::1]:1"}, False),
        (("127.0.0.1", 1), False, {"Host": "127.0.0.1.evil.example"}, True),
        (("127.0.0.1", 1), False, {"Host": "127.0.0.evil"}, True),
        (("127.0.0.1", 1), False, {}, True),
        (("127.0.0.1", 1), False, {"Host": "localhost", "Origin": "http://localhost"}, False),
        (("127.0.0.1", 1), False, {"Host": "localhost", "Origin": "http://localhost:3000"}, True),
        (("127.0.0.1", 1), False, {"Host": "localhost", "Sec-Fetch-Site": "same-site"}, True),
        (("10.0.0.1", 1), True, {"Host": "engine.example"}, False),
        (("10.0.0.1", 1), True, {"Host": "engine.example", "Origin": "https://evil"}, True),
    ],
)
def test_requests_of_web_pages(address, tls, headers, refused):
    known = {"sockname": address, "sslcontext": object() if tls else None}
    request = types.SimpleNamespace(
        headers=headers, transport=types.SimpleNamespace(get_extra_info=lambda name: known.get(name))
    )
    assert bool(browsers.problem(request)) == refused


def test_a_connection_too_many_is_told_so():
    server = types.SimpleNamespace(connections=[1, 2])

    async def ask(made):
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(made, theirs)
        ours.setblocking(False)
        await loop.sock_sendall(ours, b"GET / HTTP/1.1\r\n")
        answer = b""
        while piece := await loop.sock_recv(ours, 4096):
            answer += piece
        ours.close()
        return answer

    answer = asyncio.run(ask(connections.Bounded(server, 2)))
    assert answer.startswith(b"HTTP/1.1 503 ") and answer.endswith(b'{"message":"too many connections"}\n')
    server = type("Server", (), {"connections": [1], "__call__": lambda self: "made"})()
    assert connections.Bounded(server, 2)() == "made"


def test_an_error_that_nobody_foresaw_is_a_line_and_the_end_of_its_request(capsys):
    try:
        raise KeyError("what\nnow")
    except KeyError as error:
        answer = app.unforeseen(make_mocked_request("GET", "/x"), error)
    assert answer.status == 500 and b"internal error: KeyError" in answer.body
    told = capsys.readouterr().err
    assert told.startswith("estiva api: GET /x: internal error: KeyError") and told.count("\n") == 1
    assert (
        app.unforeseen(make_mocked_request("GET", "/x"), OSError(28, "No space left on device")).status == 503
    )
    assert capsys.readouterr().err == ""


def test_every_path_of_swarm_is_answered():
    known = {(method, path) for method, path, _ in swarm.ROUTES}
    assert len(known) == len(swarm.ROUTES)
    assert {("POST", "/secrets/create"), ("GET", "/tasks/{id}/logs"), ("POST", "/nodes/{id}/update")} <= known
    assert ("POST", "/nodes/create") not in known and ("DELETE", "/tasks/{id}") not in known


def test_what_a_network_is_asked_for():
    asked, warning = networks.wished(
        {
            "Driver": "bridge", "Internal": True, "EnableIPv6": True, "Options": {"a": "b"}, "Labels": None,
            "IPAM": {"Config": [
                {"Subnet": "10.0.0.0/24", "IPRange": "10.0.0.0/25", "Gateway": "10.0.0.1",
                 "AuxiliaryAddresses": {"x": "10.0.0.9"}},
                {"Subnet": "fd00::/64"},
            ]},
        }
    )  # fmt: skip
    assert (asked.subnets, asked.ranges, asked.gateways) == (
        ["10.0.0.0/24", "fd00::/64"], ["10.0.0.0/25"], ["10.0.0.1"])  # fmt: skip
    assert (asked.auxiliary, asked.ipv6, asked.internal, asked.labels) == ({"x": "10.0.0.9"}, True, True, {})
    assert (asked.ipam_options, warning) == (None, "")
    with pytest.raises(InvalidInput, match="the IPAM driver x is not known"):
        networks.wished({"IPAM": {"Driver": "x"}})
    with pytest.raises(InvalidInput, match="invalid subnet"):
        networks.wished({"IPAM": {"Config": [{"Gateway": "10.0.0.1"}]}})


def test_docker_forbids_with_403():
    with pytest.raises(web.HTTPForbidden):
        networks._refuse_swarm({"EnableIPv4": False})
    networks._refuse_swarm({"EnableIPv4": True, "Scope": "local", "ConfigFrom": {"Network": ""}})
