"""What goes between a client and a monitor; shapes of what streams say."""

import asyncio
import socket
import stat
import threading
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from estiva.api import hijack, streaming
from estiva.api.containers import archive, exec, logs, stats, streams
from estiva.api.streaming import Terms, framed
from estiva.errors import InvalidInput


class Client:
    """Types what it was given, and keeps what it hears; then it has finished, or has gone."""

    def __init__(self, *typed: bytes, stays: bool = False) -> None:
        self.typed = list(typed)
        self.stays = stays
        self.heard: list[bytes] = []
        self.lost = False

    async def read(self) -> bytes:
        if not self.typed and self.stays:
            await asyncio.sleep(3600)
        return self.typed.pop(0) if self.typed else b""

    async def write(self, data: bytes) -> None:
        self.heard.append(data)


def relayed(client: Client, terms: Terms, *said: bytes) -> tuple[bool, list[bytes]]:
    """(whether it left by its keys, what the monitor got) while the monitor says that."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setblocking(False)

    async def work() -> bool:
        for packet in said:
            theirs.send(packet)
        return await asyncio.wait_for(streams.relay(client, ours, terms), 30)

    with ours, theirs:
        left = asyncio.run(work())
        got = []
        while True:
            try:
                got.append(theirs.recv(1 << 16))
            except BlockingIOError:
                return left, got


ALL = frozenset((0, 1, 2))
PIPES = Terms(ALL, framed=True, tty=False, once=True)
TERMINAL = Terms(ALL, framed=False, tty=True, once=True)
END = b'{"event": "exited", "status": 0}'


def test_frames_and_what_nobody_asked_for() -> None:
    client = Client(stays=True)
    assert relayed(client, PIPES._replace(wanted=frozenset((0, 2))), b"1out", b"2err", END) == (
        False,
        [b'{"do":"eof"}'],
    )
    assert client.heard == [framed(2, b"err")] == [b"\x02\0\0\0\0\0\0\x03err"]


def test_the_end_of_input_is_the_containers_if_it_is_its_only_one() -> None:
    client = Client(b"a", b"b")
    assert relayed(client, PIPES, b"1x", END)[1][:2] == [b"ia", b"ib"]
    assert relayed(Client(b"a"), PIPES._replace(once=False)) == (False, [b"ia"])


def test_who_always_has_something_to_say_leaves_others_their_turn() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setblocking(False)

    class Endless(Client):
        async def write(self, data: bytes) -> None:
            theirs.send(b"1more")  # there is always one that waits
            self.heard.append(data)
            assert len(self.heard) < 10_000, "nobody else had a turn"

    async def work() -> None:
        client = Endless(stays=True)
        theirs.send(b"1first")
        relay = asyncio.create_task(streams.relay(client, ours, PIPES))
        await asyncio.sleep(0.01)
        relay.cancel()
        with pytest.raises(asyncio.CancelledError):
            await relay

    with ours, theirs:
        asyncio.run(work())


def test_a_client_that_has_gone_is_no_more_written_to() -> None:
    ours, theirs = socket.socketpair()

    class Request:
        transport: asyncio.Transport
        protocol = asyncio.Protocol()

    async def work() -> None:
        request: Any = Request()
        request.transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        stream = hijack.Stream(request)
        theirs.close()
        with pytest.raises(ConnectionResetError):
            for _ in range(3):  # without a turn of the loop, which would tell of its end
                await stream.write(b"x")
        request.transport.abort()

    asyncio.run(work())


@pytest.mark.parametrize("typed", [(b"x\x10\x11y",), (b"x\x10", b"\x11y"), (b"x", b"\x10", b"\x11")])
def test_detach_keys_wherever_they_are_cut(typed: tuple[bytes, ...]) -> None:
    left, got = relayed(Client(*typed, stays=True), TERMINAL)
    assert left
    assert b"".join(packet[1:] for packet in got).rstrip(b"\x10") == b"x"


def test_without_a_terminal_they_are_bytes() -> None:
    assert relayed(Client(b"\x10\x11"), PIPES._replace(once=False)) == (False, [b"i\x10\x11"])


def test_lines_of_a_log_are_a_frame_each() -> None:
    shown = logs.Shown(frozenset((1,)), True)
    shown.out(b"a\rb\nc\n")
    shown.err(b"no\n")
    shown.out(b"rest")
    assert shown.take() == framed(1, b"a\rb\n") + framed(1, b"c\n") + framed(1, b"rest")
    assert shown.take() == b""


def test_a_task_whose_caller_is_cancelled_is_closed_after_its_step() -> None:
    inside, go, closed = threading.Event(), threading.Event(), threading.Event()

    def task() -> Any:
        try:
            inside.set()
            go.wait(30)
            yield True
        finally:
            closed.set()

    async def work() -> None:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as pool:
            step = asyncio.create_task(streaming.step(pool, next, task()))
            await asyncio.to_thread(inside.wait, 30)
            step.cancel()
            with pytest.raises(asyncio.CancelledError):
                await step
            assert not closed.is_set()
            go.set()
            assert await asyncio.to_thread(closed.wait, 30)

    asyncio.run(work())


def test_an_exec_is_asked_for_in_any_case() -> None:
    request = make_mocked_request("POST", "/v1.45/x", match_info={"version": "1.45"})
    asked = exec.asked_of(exec._known({"cmd": ["a", "b"], "detachKeys": "ctrl-a,b", "TTY": True}), request)
    assert (asked["argv"], asked["detach_keys"], asked["tty"], asked["env"]) == (
        ["a", "b"],
        "\x01b",
        True,
        [],
    )
    assert exec.asked_of({"Cmd": ["a"], "ConsoleSize": [1 << 40, -1]}, request)["size"] == [65535, 0]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"Cmd": "sh"},
        {"Cmd": [1]},
        {"Cmd": ["a"], "Env": "A=1"},
        {"Cmd": ["a"], "Tty": 1},
        {"Cmd": ["a"], "User": 0},
        {"Cmd": ["a"], "ConsoleSize": [1]},
        {"Cmd": ["a"], "ConsoleSize": ["1", "2"]},
        {"Cmd": ["a"], "DetachKeys": "ctrl-1"},
    ],
)
def test_a_bad_exec_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        exec.asked_of(given, make_mocked_request("POST", "/", match_info={}))


@pytest.mark.parametrize("query", ["", "?h=1", "?h=a&w=1", "?h=-1&w=1", "?h=1&w=99999999999999"])
def test_a_bad_size_is_refused(query: str) -> None:
    with pytest.raises(InvalidInput, match="invalid resize"):
        streams.size_of(make_mocked_request("POST", f"/{query}"))


@pytest.mark.parametrize(
    ("kind", "mode", "wanted"),
    [
        ("file", stat.S_IFREG | 0o4755, 1 << 23 | 0o755),
        ("folder", stat.S_IFDIR | 0o1777, 1 << 31 | 1 << 20 | 0o777),
        ("link", stat.S_IFLNK | 0o777, 1 << 27 | 0o777),
        ("device", stat.S_IFCHR | 0o600, 1 << 26 | 1 << 21 | 0o600),
    ],
)
def test_modes_are_gos(kind: str, mode: int, wanted: int) -> None:
    found: Any = {"name": "x", "size": 1, "kind": kind, "mode": mode, "modified": 1.5, "target": ""}
    assert archive.path_stat(found)["mode"] == wanted
    assert archive.path_stat(found)["mtime"] == "1970-01-01T00:00:01.5Z"


def test_stats_of_what_does_not_run() -> None:
    found = stats.shape("/a", "1" * 64, None)
    assert (found["read"], found["pids_stats"], found["memory_stats"]) == ("0001-01-01T00:00:00Z", {}, {})
    assert "networks" not in found
    assert found["blkio_stats"]["sectors_recursive"] is None
    later = stats.follow({"read": "b", "cpu_stats": 2}, {"read": "a", "cpu_stats": 1})
    assert (later["preread"], later["precpu_stats"]) == ("a", 1)
