"""Streams of the Engine API: attach, exec, logs, stats, events, archives."""

import asyncio
import base64
import contextlib
import io
import json
import pathlib
import socket
import struct
import tarfile
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from apikit import IMAGE, Api, serving
from enginekit import eventually

MANY = 300


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with serving() as made:
        yield made


@pytest.fixture
def named(api: Api, request: pytest.FixtureRequest) -> Iterator[str]:
    name = request.node.name.removeprefix("test_")[:40]
    yield name
    api.estiva("rm", "-f", name, status=None)


def run(api: Api, name: str, script: str, *options: str) -> None:
    words = ("run", "-d", "--name", name, "--network", "none", *options, IMAGE, "sh", "-c", script)
    api.estiva(*words)


class Hijacked:
    """A connection that was taken over; what its client has read so far."""

    def __init__(self, api: Api, path: str, body: Any = None) -> None:
        data = json.dumps(body).encode() if body is not None else b""
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(60)
        self.socket.connect(api.socket)
        head = f"POST {path} HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        self.socket.sendall(head.encode() + data)
        self.data = b""
        while b"\r\n\r\n" not in self.data:
            self._more()
        self.head, _, self.data = self.data.partition(b"\r\n\r\n")

    def _more(self) -> bool:
        data = self.socket.recv(1 << 16)
        self.data += data
        return bool(data)

    def until(self, words: bytes) -> bytes:
        while words not in self.data:
            assert self._more(), self.data
        return self.data

    def rest(self) -> bytes:
        while self._more():
            pass
        self.socket.close()
        return self.data


def frame(number: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", number, len(data)) + data


def make_exec(api: Api, name: str, **asked: Any) -> str:
    status, _, made = api.post(f"/containers/{name}/exec", asked)
    assert status == 201, made
    return str(made["Id"])


def test_exec_outlives_its_server(api: Api, named: str) -> None:
    run(api, named, "sleep 1000", "-t")
    script = "echo here; while ! stty size | grep -q '33 44'; do sleep 0.1; done; exit 7"
    made = make_exec(
        api,
        named,
        Cmd=["sh", "-c", script],
        Tty=True,
        AttachStdout=True,
        AttachStdin=True,
        ConsoleSize=[5, 6],
    )
    found = api.get(f"/exec/{made}/json")[2]
    assert (found["Running"], found["ExitCode"], found["ProcessConfig"]["entrypoint"]) == (False, None, "sh")
    stream = Hijacked(api, f"/exec/{made}/start", {"Tty": True})
    stream.until(b"here")
    api.stop(9)
    assert stream.rest().endswith(b"here\r\n")
    api.serve()
    assert api.get(f"/exec/{made}/json")[2]["Running"]
    assert api.post(f"/exec/{made}/start", {"Detach": True})[0] == 409
    assert api.post(f"/exec/{made}/resize?h=33&w=44")[0] == 200
    eventually(lambda: api.get(f"/exec/{made}/json")[2]["ExitCode"] == 7)
    status, _, said = api.post(f"/exec/{made}/start", {"Detach": True})
    assert (status, said["message"]) == (409, f"exec command {made} has already run")
    assert api.get("/exec/nope/json")[2] == {"message": "No such exec instance: nope"}


def test_exec_streams_and_fails_as_dockers(api: Api, named: str) -> None:
    run(api, named, "sleep 1000")
    made = make_exec(
        api, named, Cmd=["sh", "-c", "cat; echo no >&2; exit 3"], AttachStdin=True, AttachStdout=True
    )
    stream = Hijacked(api, f"/exec/{made}/start", {})
    stream.socket.sendall(b"typed")
    stream.until(frame(1, b"typed"))
    stream.socket.shutdown(socket.SHUT_WR)
    assert stream.rest() == frame(1, b"typed")  # stderr was not asked for
    assert api.get(f"/exec/{made}/json")[2]["ExitCode"] == 3
    assert b"multiplexed-stream" in stream.head
    made = make_exec(api, named, Cmd=["nothing-here"], AttachStdout=True)
    assert b"nothing-here" in Hijacked(api, f"/exec/{made}/start", {}).rest()
    assert api.get(f"/exec/{made}/json")[2]["ExitCode"] == 126
    assert api.post(f"/containers/{named}/exec", {})[2] == {"message": "No exec command specified"}
    assert api.post("/containers/nobody/exec", {"Cmd": ["true"]})[2] == {
        "message": "No such container: nobody"
    }
    kept = make_exec(api, named, Cmd=["sleep", "1000"])
    assert api.post(f"/exec/{kept}/start", {"Detach": True})[0] == 200
    assert kept in api.get(f"/containers/{named}/json")[2]["ExecIDs"]


def test_attached_before_another_starts_it(api: Api, named: str) -> None:
    words = ("create", "--name", named, "-i", "--network", "none", IMAGE)
    made = api.out(*words, "sh", "-c", "while read line; do echo got $line; done; echo over >&2")
    stream = Hijacked(api, f"/containers/{made}/attach?stream=1&stdin=1&stdout=1&stderr=1")
    api.estiva("start", named)
    stream.socket.sendall(b"one\n")
    stream.until(b"got one")
    stream.socket.shutdown(socket.SHUT_WR)  # it was made by -i: this is the end of its input
    assert stream.rest().endswith(frame(2, b"over\n"))
    assert api.get(f"/containers/{named}/json")[2]["State"]["Status"] in ("running", "exited")


def test_detach_keys_and_logs_before(api: Api, named: str) -> None:
    run(api, named, "echo hello; cat", "-it")
    eventually(lambda: api.out("logs", named).strip() == "hello")
    path = f"/containers/{named}/attach?stream=1&stdin=1&stdout=1&detachKeys=a,b&logs=1"
    stream = Hijacked(api, path)
    stream.socket.sendall(b"xaab")  # the first a begins nothing
    assert stream.rest().startswith(b"hello\r\n")
    assert api.get(f"/containers/{named}/json")[2]["State"]["Running"]
    assert api.post(f"/containers/{named}/attach?detachKeys=abc")[0] == 400
    assert Hijacked(api, f"/containers/{named}/attach?logs=1&stdout=1").rest().startswith(b"hello\r\n")
    assert api.post(f"/containers/{named}/resize?h=20&w=70")[0] == 200


async def _crowd(api: Api, name: str) -> None:
    opened = []
    for _ in range(MANY):
        reader, writer = await asyncio.open_unix_connection(api.socket)
        writer.write(
            f"POST /containers/{name}/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\n"
            "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode()
        )
        assert b"101" in await reader.readuntil(b"\r\n\r\n")
        opened.append((reader, writer))
    threads = len(list(pathlib.Path(f"/proc/{api.server.pid}/task").iterdir()))
    assert threads < 100
    await asyncio.to_thread(api.estiva, "exec", name, "touch", "/go")
    for reader, _ in opened:
        await reader.readuntil(b"went\n")
    for _, writer in opened:
        writer.close()


def test_a_crowd_is_attached_without_threads(api: Api, named: str) -> None:
    run(api, named, "while [ ! -e /go ]; do sleep 0.1; done; echo went; sleep 1000")
    fds = pathlib.Path(f"/proc/{api.server.pid}/fd")
    api.get("/_ping")
    before = len(list(fds.iterdir()))
    asyncio.run(_crowd(api, named))
    eventually(lambda: len(list(fds.iterdir())) < before + 20)  # who has gone leaves nothing


def test_who_reads_nothing_costs_nothing(api: Api, named: str) -> None:
    run(api, named, "head -c 30000000 /dev/zero | tr '\\0' x; sleep 1000")
    stream = Hijacked(api, f"/containers/{named}/attach?stream=1&stdout=1")
    logs = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    logs.connect(api.socket)
    logs.sendall(f"GET /containers/{named}/logs?stdout=1&follow=1 HTTP/1.1\r\nHost: d\r\n\r\n".encode())
    idle = make_exec(api, named, Cmd=["yes"], AttachStdout=True)
    yes = Hijacked(api, f"/exec/{idle}/start", {})
    time.sleep(2)
    status = pathlib.Path(f"/proc/{api.server.pid}/status").read_text()
    assert int(status.partition("VmRSS:")[2].split()[0]) < 150_000  # kB
    assert api.get("/_ping")[0] == 200
    for each in (stream.socket, logs, yes.socket):
        each.close()
    api.estiva("rm", "-f", named)  # nobody keeps it


def test_logs(api: Api, named: str) -> None:
    run(api, named, "echo out; echo err >&2; read line; echo $line", "-i")
    eventually(lambda: len(api.out("logs", named).split()) >= 1)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(60)
    connection.connect(api.socket)
    words = f"GET /containers/{named}/logs?stdout=1&stderr=1&follow=1&tail=1 HTTP/1.0\r\nHost: d\r\n\r\n"
    connection.sendall(words.encode())
    attached = Hijacked(api, f"/containers/{named}/attach?stream=1&stdin=1")
    attached.socket.sendall(b"typed\n")
    data = b""
    while piece := connection.recv(1 << 16):
        data += piece
    assert data.endswith(frame(1, b"typed\n"))
    attached.socket.close()
    assert api.get(f"/containers/{named}/logs?stdout=1")[2].startswith(frame(1, b"out\n"))
    assert api.get(f"/containers/{named}/logs?stderr=1")[2] == frame(2, b"err\n")
    status, _, said = api.get(f"/containers/{named}/logs")
    assert (status, said["message"]) == (400, "Bad parameters: you must choose at least one stream")
    assert api.get(f"/containers/{named}/logs?stdout=1&since=soon")[0] == 400
    api.estiva("rm", "-f", named)
    run(api, named, "echo out; sleep 1000", "--log-driver", "none")
    status, _, said = api.get(f"/containers/{named}/logs?stdout=1")
    assert (status, said["message"]) == (501, "configured logging driver does not support reading")


def test_archives(api: Api, named: str) -> None:
    run(api, named, "mkdir -p /d/e; echo one >/d/f; ln -s ../d/f /d/link; echo up; sleep 1000")
    api.until_up(named)
    path = pathlib.Path(api.folder)
    api.docker("cp", f"{named}:/d", path / "got")
    assert (path / "got/f").read_text() == "one\n"
    (path / "got/f").write_text("two\n")
    api.docker("cp", path / "got/f", f"{named}:/d/g")
    assert api.out("exec", named, "cat", "/d/g") == "two"
    status, headers, _ = api.ask("HEAD", f"/containers/{named}/archive?path=/d/link")
    found = json.loads(base64.b64decode(headers["X-Docker-Container-Path-Stat"]))
    assert (found["name"], found["linkTarget"], found["mode"] >> 27) == ("link", "/d/f", 1)
    assert api.get(f"/containers/{named}/archive?path=/none")[2] == {
        "message": f"Could not find the file /none in container {named}"
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("e"), io.BytesIO())
    place = f"/containers/{named}/archive?path=/d"
    body = {"Content-Type": "application/x-tar"}
    assert api.ask("PUT", place + "&noOverwriteDirNonDir=1", packed.getvalue(), body)[0] == 400
    assert api.ask("PUT", place, packed.getvalue(), body)[0] == 200
    assert api.out("exec", named, "stat", "-c", "%F", "/d/e") == "regular empty file"
    status, _, said = api.ask("PUT", f"/containers/{named}/archive?path=/d/f", packed.getvalue(), body)
    assert (status, said["message"]) == (400, "extraction point is not a directory")
    assert api.ask("PUT", place, b"no tar at all" * 100, body)[0] == 400


def test_stats(api: Api, named: str) -> None:
    run(api, named, "while :; do :; done")
    now = api.get(f"/containers/{named}/stats?stream=false")[2]
    used = now["cpu_stats"]["cpu_usage"]["total_usage"] - now["precpu_stats"]["cpu_usage"]["total_usage"]
    whole = now["cpu_stats"]["system_cpu_usage"] - now["precpu_stats"]["system_cpu_usage"]
    assert 0 < used <= whole * 1.5
    assert now["memory_stats"]["usage"] > 0
    assert now["memory_stats"]["stats"]
    assert (now["name"], now["pids_stats"]["current"]) == (f"/{named}", 1)
    once = api.get(f"/containers/{named}/stats?stream=false&one-shot=true")[2]
    assert once["precpu_stats"]["cpu_usage"]["total_usage"] == 0
    assert named in api.docker("stats", "--no-stream", named).stdout
    api.estiva("kill", named)
    eventually(lambda: not api.get(f"/containers/{named}/json")[2]["State"]["Running"])
    assert api.get(f"/containers/{named}/stats?stream=false")[2]["pids_stats"] == {}


def test_events(api: Api, named: str) -> None:
    began = time.time()
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(60)
    connection.connect(api.socket)
    words = json.dumps({"container": [named], "event": ["start"]}).replace(" ", "")
    connection.sendall(f"GET /events?filters={words} HTTP/1.1\r\nHost: d\r\n\r\n".encode())
    data = connection.recv(1 << 16)
    assert b"200 OK" in data
    run(api, named, "sleep 1000")
    while b"}\n" not in data:
        data += connection.recv(1 << 16)
    connection.close()
    assert b'"Action":"start"' in data
    query = f"since={began:.9f}&until={time.time():.9f}"
    lines = api.get(f"/events?{query}&filters={words}")[2]
    event = lines if isinstance(lines, dict) else json.loads(lines)
    assert (event["status"], event["from"], event["scope"]) == ("start", IMAGE, "local")
    assert api.get(f'/events?{query}&filters={{"type":["daemon"]}}')[2] == b""
    assert api.get("/events?since=yesterday")[0] == 400


async def _websocket(api: Api, name: str) -> None:
    path = f"http://d/containers/{name}/attach/ws?stream=1&stdin=1&stdout=1"
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(api.socket)) as session:
        async with session.ws_connect(path) as client:
            await client.send_bytes(b"typed\n")
            assert (await client.receive_bytes(timeout=60)).startswith(b"typed")
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(path, origin="http://elsewhere.example")


def test_a_websocket(api: Api, named: str) -> None:
    run(api, named, "cat", "-i")
    asyncio.run(_websocket(api, named))


def test_what_comes_broken_harms_that_request_alone(api: Api, named: str) -> None:
    run(api, named, "sleep 1000")
    for words in (
        f"PUT /containers/{named}/archive?path=/ HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        f"POST /containers/{named}/exec HTTP/1.1\r\nHost: d\r\nContent-Length: 99999999999\r\n\r\n{{",
        "GET /containers/x/logs HTTP/1.1\r\nX: " + "x" * 100_000 + "\r\n\r\n",
    ):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(60)
        connection.connect(api.socket)
        connection.sendall(words.encode())
        with contextlib.suppress(ConnectionError):
            assert b" 400 " in connection.recv(1 << 16)
        connection.close()
    assert api.get("/_ping")[0] == 200
