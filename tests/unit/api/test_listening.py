"""Addresses to listen on, whom TCP is for, and how many may connect."""

import asyncio
import contextlib
import os
import resource
import socket
import types

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, make_mocked_request

from estiva.api import app, networks, swarm
from estiva.api.listening import browsers, connections, handling, sockets
from estiva.engine.networks import asked as judging
from estiva.errors import Conflict, InvalidInput, NotFound


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
        (("127.0.0.1", 1), False, {"Host": ""}, False),
        (("127.0.0.1", 1), False, {"Host": "", "Origin": "http://evil"}, True),
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


class Server:
    """As aiohttp's: makes protocols, and knows those that are connected."""

    def __init__(self):
        self.connections = []

    def __call__(self):
        server = self

        class Protocol(asyncio.Protocol):
            transport = None
            _current_request = None

            def connection_made(self, transport):
                self.transport = transport
                server.connections.append(self)

            def data_received(self, data):
                self._current_request = data
                self.transport.write(b"200")

            def connection_lost(self, error):
                server.connections.remove(self)

            def force_close(self):
                self.transport.close()
                self.transport = None

        return Protocol()


async def knock(path, words):
    """What comes of some words, b"" for a connection that is closed; and the connection."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(words)
    return await reader.read(1 << 12) if words else b"", reader, writer


def behind_a_door(path, bound, test):
    """`test` with a function that knocks at a door for `bound` connections."""

    async def run():
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
            listening.listen(100)
            told = []
            door = connections.Door(Server(), bound, told.append)
            door.open(listening, None)
            await test(lambda words: knock(path, words), told)
            door.close()

    asyncio.run(run())


def test_a_connection_too_many_is_told_so(tmp_path):
    async def test(ask, told):
        busy = [await ask(b"words") for _ in range(3)]
        assert [answer for answer, _, _ in busy] == [b"200"] * 3
        answer, _, _ = await ask(b"words")
        assert answer.startswith(b"HTTP/1.1 503 ") and answer.endswith(
            b'{"message":"too many connections"}\n'
        )
        busy[0][2].close()
        await busy[0][2].wait_closed()
        assert (await ask(b"words"))[0] == b"200"
        assert told == []

    behind_a_door(f"{tmp_path}/s", 3, test)


def test_who_asks_for_nothing_gives_way(tmp_path):
    async def test(ask, told):
        busy, *idle = [await ask(words) for words in (b"words", *[b""] * 40)]
        assert (await ask(b"words"))[0] == b"200"
        assert await idle[0][1].read(1) == b"", "the first of them has been closed"
        assert not busy[1].at_eof()

    behind_a_door(f"{tmp_path}/s", 3, test)


def test_no_more_files_is_told_once_and_goes_by(tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "PAUSE", 0.01)

    async def test(ask, told):
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        reader, writer = await asyncio.open_unix_connection(f"{tmp_path}/s")
        await asyncio.sleep(0.05)
        fd = os.dup(0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (fd + 1, before[1]))  # room for the client's own end
        os.close(fd)
        try:
            asking = asyncio.create_task(ask(b"words"))
            while not told:
                await asyncio.sleep(0.01)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert (await asking)[0] == b"200"
        assert set(told) == {"no connection can be accepted: Too many open files"}
        writer.close()

    behind_a_door(f"{tmp_path}/s", 100, test)


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


@pytest.mark.parametrize(("name", "fine"), [("a b", True), ("a.b-c_1", True), ("a ", False), (" a", False),
                                            ("a/b", False), ("a\nb", False), ("é", False), ("", False)])  # fmt: skip
def test_names_of_networks(name, fine):
    with contextlib.nullcontext() if fine else pytest.raises(InvalidInput):
        judging.check_name(name)


@pytest.mark.parametrize("error", [NotFound("gone"), KeyError("gone")])
def test_an_answer_that_has_begun_is_broken_off(error, monkeypatch, capsys):
    """Its client must not take it for whole, nor find another answer in it."""

    async def stream(api, request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"begun")
        raise error

    module = types.SimpleNamespace(ROUTES=(("GET", "/stream", stream),))
    monkeypatch.setattr(app.routes, "TABLE", {"one": ("GET /stream",)})
    monkeypatch.setattr(app.importlib, "import_module", lambda name: module)

    async def run():
        async with TestServer(app.Api(None).application(), access_log=None) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = await asyncio.wait_for(reader.read(), 20)
            writer.close()
            return answer

    answer = asyncio.run(run())
    assert answer.endswith(b"\r\n5\r\nbegun\r\n") and answer.count(b"HTTP/1.1") == 1
    assert ("internal error: KeyError" in capsys.readouterr().err) == isinstance(error, KeyError)


@pytest.mark.parametrize("head", [b"GET / HT", b"GET / HTTP/1.1\r\nHost: d\r\n"])
def test_a_head_that_does_not_end_has_its_time(tmp_path, monkeypatch, head):
    """Silence has another: a client may keep a connection for later."""
    monkeypatch.setattr(handling, "HEAD", 0.05)

    async def answer(request):
        return web.Response(text="answer")

    async def test():
        server = web.Server(answer)
        loop = asyncio.get_running_loop()
        listening = await loop.create_unix_server(handling.handlers(server, loop), f"{tmp_path}/s")
        silent, _ = await asyncio.open_unix_connection(f"{tmp_path}/s")
        reader, writer = await asyncio.open_unix_connection(f"{tmp_path}/s")
        writer.write(b"GET / HTTP/1.1\r\nHost: d\r\n\r\n")
        assert (await reader.readuntil(b"answer")).startswith(b"HTTP/1.1 200 ")
        writer.write(head)
        assert await reader.read() == b"", "it has been closed"
        assert not silent.at_eof()
        writer.close()
        listening.close()
        server.pre_shutdown()
        await server.shutdown(0.1)

    asyncio.run(test())
