"""The Docker Engine API under attack: fields of any type, HTTP/2 that is none, bombs, streams in their hundreds,
kills; and what is left behind."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import time

import hpack
import pytest

from apikit import IMAGE, Connection, serving
from enginekit import ESTIVA, eventually
from estiva.engine.spec.fields import CONFIG, HOST

STRANGE = (True, -1, 10**30, 1.5, "x", "\0", "é\ud800", [None], [{"x": 1}], {"": None}, {"x": {"y": []}})
# right types that docker's daemon answers with 500, whatever they say
DOCKERS = {"Isolation": str, "IOMaximumIOps": int, "IOMaximumBandwidth": int, "StorageOpt": dict}


@pytest.fixture(scope="module")
def api():
    with serving() as made:
        made.stop()
        made.told = pathlib.Path(made.folder) / "stderr"
        with open(made.told, "w") as stderr:
            made.serve(stderr=stderr)
        made.estiva("run", "-d", "--name", "up", "--network", "none", IMAGE, "sleep", "1000")
        yield made
        made.estiva("rm", "-f", "up")


@pytest.fixture(autouse=True)
def nothing_is_told(api):
    """The server tells of no client's doings, and answers."""
    before = api.told.stat().st_size
    yield
    assert api.told.read_text()[before:] == "" or api.told.stat().st_size < before
    assert api.get("/_ping")[0] == 200


def memory(api):
    """MB that the server has in RAM."""
    text = pathlib.Path(f"/proc/{api.server.pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) // 1024


def threads(api):
    return len(os.listdir(f"/proc/{api.server.pid}/task"))


def connect(api, data=b""):
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    one.connect(api.socket)
    one.settimeout(60)
    one.sendall(data)
    return one


# --- fields -----------------------------------------------------------------------------------------------


def refused(status, body, sent):
    message = body["message"]
    assert status in (400, 501), (sent, status, message)
    assert 0 < len(message) < 500 and "\n" not in message and "internal" not in message, (sent, message)


@pytest.mark.parametrize("where", ["", "HostConfig"])
def test_fields_of_a_create_of_any_type(api, where):
    for name in (HOST if where else CONFIG).keys() - {"", "Image!"}:
        for value in STRANGE:
            sent = {"Image": IMAGE, "HostConfig": {"NetworkMode": "none"}}
            (sent[where] if where else sent)[name.rstrip("!")] = value
            status, _, body = api.post("/containers/create", sent)
            if status == 201:  # a true where one belongs, a word where any does
                api.ask("DELETE", f"/containers/{body['Id']}")
            elif type(value) is not DOCKERS.get(name):
                refused(status, body, sent)


@pytest.mark.parametrize("name", ["Cmd", "Env", "Labels", "Volumes", "ExposedPorts", "Healthcheck", "User"])
def test_fields_of_a_commit_of_any_type(api, name):
    for value in (True, -1, 10**30, 1.5, "\0", [None], [{"x": 1}]):
        status, _, body = api.post("/commit?container=up&repo=made", {name: value})
        refused(status, body, {name: value})
    assert api.get("/images/made/json")[0] == 404


def test_a_word_of_ps_with_a_null_byte(api):
    assert api.get("/containers/up/top?ps_args=a%00b")[0] == 400


# --- many clients -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "POST /containers/up/attach?stream=1&stdout=1",
        "GET /containers/up/logs?follow=1&stdout=1",
        "GET /containers/up/stats",
        "GET /events",
        "POST /containers/up/wait",
    ],
)
def test_three_hundred_streams_have_no_thread_each(api, words):
    log = pathlib.Path(api.folder) / "root/events.log"
    event = {"timeNano": 1, "Type": "image", "Action": "tag", "Actor": {"ID": "x", "Attributes": {}}}
    with open(log, "a") as file:  # a long past, of which none of them keeps anything
        file.write((json.dumps(event) + "\n") * 3000)
    api.get("/events?until=2")
    before, files = memory(api), len(os.listdir(f"/proc/{api.server.pid}/fd"))
    with contextlib.ExitStack() as stack:
        request = f"{words} HTTP/1.1\r\nHost: d\r\n\r\n".encode()
        clients = [stack.enter_context(connect(api, request)) for _ in range(300)]
        for one in clients:
            assert one.recv(12) == b"HTTP/1.1 200"
        assert threads(api) < 40
        assert memory(api) - before < 60
    eventually(lambda: len(os.listdir(f"/proc/{api.server.pid}/fd")) < files + 40)


def test_bodies_that_never_end_have_a_bound_together(api):
    head = "POST /volumes/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
    data = f"{head}Content-Length: 4000000\r\n\r\n".encode() + b" " * 3_900_000
    before = memory(api)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(api, data)) for _ in range(60)]
        eventually(lambda: b"503" in clients[-1].recv(12))
        assert memory(api) - before < 250
    eventually(lambda: api.ask("POST", "/volumes/create", b"{" + b" " * 1_000_000 + b"}")[0] in (201, 400))


# --- BuildKit ---------------------------------------------------------------------------------------------

HEADERS, DATA, RESET = 1, 0, 3
CONTROL = "/moby.buildkit.v1.Control/"


def frame(kind, flags, stream, data=b""):
    return struct.pack(">I", len(data))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + data


def literal(name, value):
    value = value if isinstance(value, bytes) else value.encode()
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value


def call(stream, path, *more):
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "d"), *more]
    return frame(HEADERS, 4, stream, b"".join(literal(*field) for field in fields))


def message(data):
    return b"\0" + struct.pack(">I", len(data)) + data


def frames(one):
    """(kind, flags, stream, data) until the other ends."""
    with one.makefile("rb") as file:
        while len(head := file.read(9)) == 9:
            size, kind, flags = int.from_bytes(head[:3]), head[3], head[4]
            yield kind, flags, int.from_bytes(head[5:]), file.read(size)


def upgraded(api):
    one = connect(api, b"POST /grpc HTTP/1.1\r\nHost: d\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += one.recv(1)
    one.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
    return one


def ended(one, stream, decoder=None):
    """The trailers of a call that ends."""
    for kind, flags, number, data in frames(one):
        if kind == HEADERS and decoder:
            data = dict(decoder.decode(data))
        if number == stream and (kind == RESET or kind == HEADERS and flags & 1):
            return kind, data
    return None, b""


@pytest.mark.parametrize(
    "data",
    [
        call(1, CONTROL + "Info", ("x", b"\xff\xfe")),
        call(1, b"/\xff"),
        frame(HEADERS, 5, 1),
        frame(HEADERS, 0, 1) + frame(9, 0, 1, literal("a", "b" * 100)) * 5000,
        frame(9, 4, 1),
        b"".join(call(2 * n + 1, CONTROL + "Info") for n in range(101)),
        b"\xff\xff\xff\0\0\0\0\0\1" + b"a" * 400_000,
        b"GET / HTTP/1.1\r\n\r\n" * 100,
    ],
    ids=[
        "text",
        "path",
        "no headers",
        "continuation",
        "no beginning",
        "too many",
        "overlong",
        "another protocol",
    ],
)
def test_http2_that_is_none_ends_its_connection(api, data):
    with upgraded(api) as one, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        one.sendall(data)
        for _ in frames(one):
            pass
    with upgraded(api) as one:
        one.sendall(call(1, CONTROL + "Info") + frame(DATA, 1, 1, message(b"")))
        assert ended(one, 1)[0] == HEADERS


def test_who_resets_at_once_and_never_reads(api):
    before = memory(api)
    body = message(b"\x0a\x01x")
    with upgraded(api) as one, upgraded(api) as deaf:
        for first in range(1, 4000, 400):
            numbers = range(first, first + 400, 2)
            one.sendall(
                b"".join(
                    call(n, CONTROL + "DiskUsage")
                    + frame(DATA, 1, n, body)
                    + frame(RESET, 0, n, b"\0\0\0\x08")
                    for n in numbers
                )
            )
        deaf.settimeout(1)
        with pytest.raises(TimeoutError):  # the server stops to read
            while True:
                deaf.sendall(frame(6, 0, 0, b"12345678") * 1000)
        assert memory(api) - before < 40
        assert threads(api) < 90


def test_a_message_of_a_million_fields(api):
    with upgraded(api) as one:
        data = message(b"\x18\0" * 400_000)
        one.sendall(call(1, CONTROL + "Solve"))
        for at in range(0, len(data), 1 << 14):
            one.sendall(frame(DATA, 0, 1, data[at : at + (1 << 14)]))
        one.sendall(frame(DATA, 1, 1))
        began = time.monotonic()
        assert api.get("/_ping")[0] == 200 and time.monotonic() - began < 60
        assert ended(one, 1)[0] == HEADERS


def test_long_messages_that_are_never_whole(api):
    before = memory(api)
    piece = b"x" * (1 << 14)
    with upgraded(api) as one:
        one.sendall(b"".join(call(2 * n + 1, CONTROL + "Solve") for n in range(5)))
        for n in range(5):
            one.sendall(frame(DATA, 0, 2 * n + 1, b"\0" + struct.pack(">I", 16 << 20)))
        lost = set()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for n in range(5):
                for _ in range(900):
                    one.sendall(frame(DATA, 0, 2 * n + 1, piece))
        one.sendall(call(11, CONTROL + "Info") + frame(DATA, 1, 11, message(b"")))
        for kind, flags, number, _ in frames(one):
            if kind == RESET or kind == HEADERS and flags & 1:
                lost.add(number)
            if 11 in lost:
                break
        assert len(lost) > 1
        assert memory(api) - before < 120


def test_builds_that_have_failed_keep_no_place(api):
    decoder = hpack.Decoder()
    with upgraded(api) as one:
        for n in range(1, 1101, 2):
            solve = b"\x0a\x05" + b"b%04d" % n + b"\x3a\x00\x32\x04nope"
            one.sendall(call(n, CONTROL + "Solve") + frame(DATA, 1, n, message(solve)))
            trailers = ended(one, n, decoder)[1]
            assert trailers["grpc-message"].startswith("the frontend nope is not here"), n


# --- little of everything ---------------------------------------------------------------------------------


def test_few_files_are_no_reason_to_be_silent(api):
    """`ulimit -n 64`: streams of which each needs several leave room to tell the next one that there is none,
    and for a verb."""
    path = f"{api.folder}/few.sock"
    words = [
        "sh",
        "-c",
        'ulimit -n 64; exec "$@"',
        "sh",
        ESTIVA,
        "api",
        "serve",
        "--listen",
        f"unix://{path}",
    ]
    server = subprocess.Popen(
        [*api.prefix, *words], env=api.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout.readline().startswith("serving")
        with contextlib.ExitStack() as stack:
            answers = []
            for _ in range(60):
                one = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                one.settimeout(20)
                one.connect(path)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    one.sendall(b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n")
                    answers.append(one.recv(12)[9:])
            assert answers.count(b"200") >= 4 and answers.count(b"503") >= 4
            assert set(answers) <= {b"200", b"503", b""}
        eventually(lambda: asked_at(path, "/containers/json") == 200)
    finally:
        server.terminate()
        told = server.communicate(timeout=20)[1]
    assert told == "" and server.returncode == 0


def asked_at(path, words):
    connection = Connection(path)
    try:
        connection.request("GET", words)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_ends_in_the_middle_of_everything_leaves_nothing(api, number):
    made = api.post("/containers/up/exec", {"Cmd": ["true"], "AttachStdout": True})[2]["Id"]
    half = "Content-Type: application/x-tar\r\nContent-Length: 100000\r\n\r\n" + "x" * 600
    requests = [
        "POST /containers/up/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\n\r\n",
        "POST /containers/up/wait HTTP/1.1\r\nHost: d\r\n\r\n",
        "GET /containers/up/export HTTP/1.1\r\nHost: d\r\n\r\n",
        f"GET /images/{IMAGE}/get HTTP/1.1\r\nHost: d\r\n\r\n",
        f"POST /exec/{made}/start HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\n{{}}",
        *(f"POST {path} HTTP/1.1\r\nHost: d\r\n{half}" for path in ("/build", "/images/load")),
        f"PUT /containers/up/archive?path=/tmp HTTP/1.1\r\nHost: d\r\n{half}",
    ]
    with contextlib.ExitStack() as stack:
        for words in requests:
            stack.enter_context(connect(api, words.encode()))
        api.get("/_ping")
        api.stop(number)
    with open(api.told, "w") as stderr:
        api.serve(stderr=stderr)
    assert api.out("ps", "--format", "{{.Names}}") == "up"
    assert api.out("exec", "up", "echo", "alive") == "alive"
    api.estiva("system", "prune", "-f")
    assert os.listdir(f"{api.folder}/root/ingest") == []
