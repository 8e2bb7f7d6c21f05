"""The reaper's protocol: what it takes from clients, when it begins to remove, and what hostile ones can't do."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from estiva.api.reaper import image, program
from estiva.api.reaper.program import Reaper, Refused, Settings, labels, seconds

SESSION = ("org.testcontainers.session-id=abc",)


class Fake:
    """The API: what there is, by its kind and labels; what was removed, in order; how often that fails."""

    def __init__(self) -> None:
        self.there: dict[tuple[str, tuple[str, ...]], list[dict[str, Any]]] = {}
        self.removed: list[str] = []
        self.failing = 0
        self.away = 0

    def found(self, kind: str, wanted: tuple[str, ...]) -> list[dict[str, Any]]:
        if self.away:
            self.away -= 1
            raise ConnectionRefusedError("nobody is there")
        return self.there.get((kind, wanted), [])

    def remove(self, kind: str, name: str) -> str:
        if self.failing:
            self.failing -= 1
            return "409: it is in use"
        self.removed.append(f"{kind} {name}")
        return ""


class Running:
    def __init__(self, **settings: float) -> None:
        made = Settings({})
        made.again, made.first, made.changes = 0.1, 30.0, 0.1
        for name, value in settings.items():
            setattr(made, name, value)
        made.port = 0
        self.reaper = Reaper(made)
        self.api = Fake()
        self.reaper.engine = self.api  # type: ignore[assignment]
        self.port = self.reaper.listener.getsockname()[1]
        self.result: list[bool] = []
        self.thread = threading.Thread(target=lambda: self.result.append(self.reaper.run()), daemon=True)
        self.thread.start()

    def client(self) -> socket.socket:
        one = socket.create_connection(("127.0.0.1", self.port))
        one.settimeout(20)
        return one

    def ask(self, data: bytes) -> bytes:
        """What is answered until the other end closes, or to a line that is taken."""
        with self.client() as one:
            with contextlib.suppress(ConnectionError):
                one.sendall(data)
                return one.recv(100)
            return b""

    def end(self) -> bool:
        self.thread.join(20)
        return self.result[0]


@pytest.fixture
def running() -> Iterator[Running]:
    made = Running()
    yield made
    made.reaper.forced = time.monotonic()  # one that a test has left waiting
    with contextlib.suppress(OSError):
        made.client().close()
    made.thread.join(20)


@pytest.mark.parametrize(
    ("text", "value"),
    [("10s", 10), ("1m30s", 90), ("-1s", -1), ("0", 0), ("500ms", 0.5), ("1.5h", 5400), ("1h2m3s", 3723)],
)
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "10", "s", "1x", "1.2.3s", "s1", "1s 2s", "9" * 50 + "s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError):
        seconds(text)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"RYUK_NOSUCH": "1"}, "RYUK_NOSUCH"),
        ({"RYUK_PORT": "70000"}, "RYUK_PORT"),
        ({"RYUK_REQUEST_TIMEOUT": "soon"}, "RYUK_REQUEST_TIMEOUT"),
        ({"DOCKER_HOST": "tcp://10.0.0.1:2375"}, "DOCKER_HOST"),
    ],
)
def test_settings_that_can_not_be_done_are_refused(environment: dict[str, str], words: str) -> None:
    with pytest.raises(Refused, match=words):
        Settings(environment)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (b"label=a=b", ("a=b",)),
        (b"label=b=c&label=a&label=a", ("a", "b=c")),
        (b"label=a%3Db%20c", ("a=b c",)),
    ],
)
def test_lines(line: bytes, wanted: tuple[str, ...]) -> None:
    assert labels(line) == wanted


@pytest.mark.parametrize(
    "line",
    [
        b"name=a",
        b"label=a&name=b",
        b"label=",
        b"label==a",
        b"label",
        b"\xff=a",
        b"label=%ff",
        b"&".join([b"label=a"] * 65),
    ],
)
def test_lines_that_ask_for_something_else_are_refused(line: bytes) -> None:
    with pytest.raises(Refused):
        labels(line)


def test_what_a_session_has_made_goes_when_its_connection_closes(running: Running) -> None:
    for kind in program.KINDS:
        running.api.there[kind, SESSION] = [{"Id": f"{kind}-1", "Name": "name", "Created": 1}]
    running.api.there["containers", SESSION].append(
        {"Id": "it", "Created": 1, "Labels": {program.ITSELF: "true"}}
    )
    running.api.failing = 1
    one = running.client()
    for piece in (b"\r\nlabel=", SESSION[0].encode(), b"\r\nlabel=x\nlabel=x\n"):
        one.sendall(piece)
        time.sleep(0.01)
    acks = b""
    while len(acks) < 12:
        acks += one.recv(100)
    assert acks == b"ACK\n" * 3 and not running.api.removed
    time.sleep(0.2)  # longer than one has to come back: nothing is done while somebody is there
    assert not running.api.removed and len(running.reaper.filters) == 2
    one.close()
    assert running.end()
    assert running.api.removed == [
        "containers containers-1",
        "networks networks-1",
        "volumes name",
        "images images-1",
    ]
    with pytest.raises(OSError):
        running.client()


def test_a_last_line_without_an_end_counts(running: Running) -> None:
    one = running.client()
    one.sendall(b"label=a")
    one.shutdown(socket.SHUT_WR)
    assert one.recv(10) == b"ACK\n" and one.recv(10) == b""
    assert running.end() and list(running.reaper.filters) == [("a",)]


def test_what_is_being_made_is_waited_for_and_so_is_the_api(running: Running) -> None:
    running.api.away = 2
    running.api.there["containers", ("a",)] = [{"Id": "new", "Created": time.time() + 0.3}]
    running.reaper.settings.offset = 0
    assert running.ask(b"label=a\n") == b"ACK\n"
    assert running.end() and running.api.removed == ["containers new"] and running.api.away == 0


def test_who_comes_back_in_time_keeps_what_there_is() -> None:
    made = Running(again=0.5)
    made.api.there["volumes", ("a",)] = [{"Name": "v", "CreatedAt": "2020-01-01T00:00:00Z"}]
    assert made.ask(b"label=a\n") == b"ACK\n"
    again = made.client()
    time.sleep(0.8)
    assert not made.api.removed
    again.close()
    assert made.end() and made.api.removed == ["volumes v"]


def test_what_can_not_be_removed_is_told() -> None:
    made = Running(retries=1)
    made.api.failing = 1
    made.api.there["networks", ("a",)] = [{"Id": "n", "Created": "2020-01-01T00:00:00.123456789Z"}]
    made.ask(b"label=a\n")
    assert not made.end()


def test_nobody_who_ever_comes_is_an_end_too() -> None:
    assert Running(first=0.05).end()


@pytest.mark.parametrize(
    "data", [b"a" * 3 * program.LINE, b"\0" * 100 + b"\n", b"name=db\n", b"GET / HTTP/1.1\r\n", b"label=\n"]
)
def test_hostile_lines_end_their_connection_alone(running: Running, data: bytes) -> None:
    good = running.client()
    assert running.ask(data) == b""
    good.sendall(b"label=a\n")
    assert good.recv(10) == b"ACK\n" and list(running.reaper.filters) == [("a",)]
    good.close()


def test_filters_and_clients_have_a_bound(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "FILTERS", 3)
    monkeypatch.setattr(program, "CLIENTS", 2)
    with running.client() as one, running.client() as two:
        for each in (one, two):
            each.sendall(b"label=a\n")
            assert each.recv(10) == b"ACK\n"
        assert running.ask(b"label=b\n") == b""
        one.sendall(b"".join(b"label=%d\n" % number for number in range(9)))
        got = b""
        with contextlib.suppress(ConnectionError):
            while piece := one.recv(100):
                got += piece
        two.sendall(b"label=a\n")
        assert two.recv(10) == b"ACK\n" and len(running.reaper.filters) == 3


def test_a_client_that_never_reads_costs_nothing(running: Running) -> None:
    one = running.client()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.settimeout(1)
    with contextlib.suppress(OSError):
        for _ in range(50):
            one.sendall(b"label=a\n" * 8192)
    assert running.ask(b"label=b\n") == b"ACK\n"
    one.close()


@pytest.mark.parametrize(
    ("name", "is_ours"),
    [
        ("testcontainers/ryuk:0.8.1", True),
        ("testcontainers/ryuk", True),
        ("docker.io/testcontainers/ryuk:latest", True),
        ("localhost:5000/testcontainers/ryuk:1", False),
        ("other/testcontainers/ryuk:1", False),
        ("testcontainers/ryuk-x:1", False),
        ("testcontainers/ryuk@sha256:" + "a" * 64, False),
    ],
)
def test_whose_place_it_takes(name: str, is_ours: bool) -> None:
    assert image.is_name(name) == is_ours


def test_the_program_needs_nothing_but_the_standard_library() -> None:
    words = [sys.executable, "-I", "-S", "-B", "-c", image.MODULES, image.PROGRAM]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "estiva" not in done.stdout.replace(image.PROGRAM, "") and "typing.py" not in done.stdout
