"""estiva.testing: a service that answers as it should not, and what others of the machine see."""

import contextlib
import socket
import threading
import time
import types

import pytest

from estiva.errors import EstivaError, InvalidInput
from estiva.sdk.result import Result
from estiva.sdk.testing import known, waits
from estiva.sdk.testing.ready import NotReady, Service, Waiting


class Box:
    """A container, as far as a wait looks at it."""

    name, short_id, running = "box", "0" * 12, True

    def __init__(self, port=0):
        self.ports = [types.SimpleNamespace(container=80, host=port)]
        self.said = []

    def exec(self, words, **options):
        self.said.append((words, options))
        return Result(0, b"", b"", False, False)

    def doctor(self):
        raise EstivaError("not now")

    def logs(self, tail):
        return b"first\n\x1b[2J\x1b]0;title\x07last\xff"


@contextlib.contextmanager
def server(speak):
    """What each connection is told is up to `speak`."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=told, args=(client,), daemon=True).start()

        def told(client):
            with client, contextlib.suppress(OSError):
                speak(client)

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]


def drip(client):
    while True:
        client.sendall(b"H")
        time.sleep(0.05)


def go_on(client):
    while True:
        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.01)


def whatever(client):
    client.sendall(b"\x00\xff 200\r\n" * 1000)


def right(client):
    client.recv(1000)
    client.sendall(b"HTTP/1.1 404 Not here\r\n" + b"X: y\r\n")
    time.sleep(60)


def waited(wait, port, seconds=0.3):
    wait(Waiting(Service(Box(port)), seconds))


@pytest.mark.parametrize("speak", [drip, go_on, whatever])
def test_an_answer_that_does_not_come_is_not_waited_for(speak):
    done = threading.Event()

    def ask():
        with pytest.raises(NotReady, match="does not answer"):
            waited(waits.http(), port)
        done.set()

    with server(speak) as port:
        threading.Thread(target=ask, daemon=True).start()
        assert done.wait(60)


def test_an_answer_is_its_first_line():
    with server(right) as port:
        waited(waits.http("/x?y=1"), port, 30)
        waited(waits.http(status=404), port, 30)


@pytest.mark.parametrize("path", ["x", "/a b", "/a\r\nX: y", "/\x00", "/é", ""])
def test_a_path_is_a_path(path):
    with pytest.raises(InvalidInput):
        waits.http(path)


def test_last_words_do_nothing_to_a_terminal():
    with pytest.raises(NotReady) as found:
        waited(waits.http(), 1, 0.01)
    assert str(found.value).endswith(r"its last words: \x1b[2J\x1b]0;title\x07last" + "\ufffd")


def test_a_password_is_in_no_command_line(monkeypatch):
    """Which ps shows to everybody."""
    given = {}
    monkeypatch.setattr(known, "service", lambda *words, **options: given.update(options, words=words))
    known.postgres(password="well-kept")
    waiting = Waiting(Service(Box()), 1)
    given["wait"](waiting)
    ((words, options),) = waiting.box.said
    assert options["env"] == {"PGPASSWORD": "well-kept"}
    assert "well-kept" not in repr((words, given["words"]))
