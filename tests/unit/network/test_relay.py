"""network/relay: hostile and unlucky clients, over loopback."""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from estiva.linux import process
from estiva.network import relay

HANGS = 120  # seconds; for what would wait for ever, not for a slow machine


@contextmanager
def relayed(
    target: tuple[str, int], kind: int, files: int = 0, where: Callable[[], str] | None = None
) -> Iterator[tuple[int, tuple[str, int]]]:
    """A relay to `target` in a process of its own, with at most so many `files`: its pid, where it listens.
    `where`: the target's address of now."""
    outer = socket.socket(socket.AF_INET, kind)
    outer.bind(("127.0.0.1", 0))
    if kind == socket.SOCK_STREAM:
        outer.listen(511)
    ends, hold = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            process.close_all_but([ends, outer.fileno()])  # what others have open here is not to count
            if files:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
            relay.Relay(ends, [(outer, target[1])], where or (lambda: target[0]), lambda _: False).run()
        finally:
            os._exit(0)
    os.close(ends)
    address = outer.getsockname()
    outer.close()
    try:
        yield child, address
    finally:
        os.close(hold)  # as the end of the container's init
        assert os.waitpid(child, 0)[1] == 0


@contextmanager
def echo() -> Iterator[tuple[str, int]]:
    """A server that sends back what it gets, and ends when the client does."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=511)

    def serve(client: socket.socket) -> None:
        with client:
            try:
                while data := client.recv(65536):
                    client.sendall(data)
            except OSError:
                pass

    def accept() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listening.getsockname()
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def said(address: tuple[str, int], data: bytes) -> bytes:
    with socket.create_connection(address, timeout=HANGS) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        found = b""
        while part := client.recv(65536):
            found += part
        return found


def rests(pid: int) -> bool:
    """Whether a process comes to wait for something: one that looks again and again never does."""
    end = time.monotonic() + HANGS
    while time.monotonic() < end:
        with open(f"/proc/{pid}/stat") as file:
            if file.read().rpartition(")")[2].split()[0] == "S":
                return True
        time.sleep(0.01)
    return False


def test_more_connections_than_there_are_files_for_wait_for_their_turn() -> None:
    with echo() as target, relayed(target, socket.SOCK_STREAM, files=40) as (pid, address):
        crowd = [socket.create_connection(address, timeout=HANGS) for _ in range(200)]
        for client in crowd[:5]:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        assert rests(pid)
        for client in crowd:
            client.close()
        assert said(address, b"after the crowd") == b"after the crowd"


def test_a_server_that_is_not_there_ends_the_connection() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with relayed(nobody.getsockname(), socket.SOCK_STREAM) as (_, address):
            for _ in range(3):
                with socket.create_connection(address, timeout=HANGS) as client:
                    try:
                        assert client.recv(1) == b""
                    except ConnectionResetError:
                        pass


@pytest.mark.parametrize("how", ["closed", "reset"])
def test_a_client_that_goes_while_much_waits_costs_nothing(how: str) -> None:
    """The server does not read: what was sent waits, and the end of the client is told only once."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        relayed(server.getsockname(), socket.SOCK_STREAM) as (pid, address),
    ):
        client = socket.create_connection(address, timeout=1)
        inner, _ = server.accept()
        sent = 0
        try:
            while True:
                sent += client.send(b"x" * 65536)
        except TimeoutError:
            pass
        if how == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        assert rests(pid)
        inner.settimeout(HANGS)
        got = 0
        try:
            while part := inner.recv(65536):
                got += len(part)
        except ConnectionResetError:
            pass
        assert got == sent or how == "reset"
        inner.close()


def test_half_a_connection_goes_on() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        relayed(server.getsockname(), socket.SOCK_STREAM) as (_, address),
    ):
        client = socket.create_connection(address, timeout=HANGS)
        inner, _ = server.accept()
        with client, inner:
            client.shutdown(socket.SHUT_WR)
            inner.settimeout(HANGS)
            assert inner.recv(1) == b""
            inner.sendall(b"still here")
            assert client.recv(100) == b"still here"


def test_it_follows_the_container_and_not_the_address(tmp_path: Path) -> None:
    """127.0.0.2 is the container's; then 127.0.0.3, and the other has got the old one; then it has none."""
    place = tmp_path / "place"
    place.write_text("127.0.0.2")
    asked = tmp_path / "asked"

    def where() -> str:
        now = place.read_text()
        asked.write_text(now)
        return now

    old, new = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    old.bind(("127.0.0.2", 0))
    new.bind(("127.0.0.3", old.getsockname()[1]))
    for server in (old, new):
        server.settimeout(HANGS)
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with old, new, client, relayed(old.getsockname(), socket.SOCK_DGRAM, where=where) as (_, at):
        client.sendto(b"1", at)
        assert old.recv(100) == b"1"
        place.write_text("127.0.0.3")
        client.sendto(b"2", at)
        assert new.recv(100) == b"2"
        place.write_text("")
        client.sendto(b"3", at)
        while asked.read_text():
            time.sleep(0.01)
        place.write_text("127.0.0.3")
        client.sendto(b"4", at)
        assert new.recv(100) == b"4"
        old.setblocking(False)
        with pytest.raises(BlockingIOError):
            old.recv(100)
    with echo() as target, relayed(target, socket.SOCK_STREAM, where=where) as (_, at):
        place.write_text("127.0.0.1")
        assert said(at, b"here") == b"here"
        place.write_text("")
        with socket.create_connection(at, timeout=HANGS) as gone:
            try:
                assert gone.recv(1) == b""
            except ConnectionResetError:
                pass


def test_more_senders_of_datagrams_than_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "MOST", 8)
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.settimeout(HANGS)
    with server, relayed(server.getsockname(), socket.SOCK_DGRAM, files=64) as (pid, address):
        senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(40)]
        for number, sender in enumerate(senders):
            sender.settimeout(HANGS)
            sender.sendto(b"%d" % number, address)
            data, back = server.recvfrom(100)
            server.sendto(b"re:" + data, back)
            assert sender.recv(100) == b"re:%d" % number
        assert len(os.listdir(f"/proc/{pid}/fd")) < 30
        for sender in senders:
            sender.close()
