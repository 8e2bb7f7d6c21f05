"""DNS for tests: messages made and read here, by rules of their own, a database with containers that run, a name server
for the outside, and the resolver in a process of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

A, PTR, MX, TXT, AAAA, SRV, OPT = 1, 12, 15, 16, 28, 33, 41


def name(text: str) -> bytes:
    """A dotted name as labels."""
    labels = [label for label in text.split(".") if label]
    return b"".join(bytes((len(label),)) + label.encode() for label in labels) + b"\0"


def question(text: str, kind: int = A, klass: int = 1) -> bytes:
    return name(text) + struct.pack("!HH", kind, klass)


def query(text: str, kind: int = A, *, number: int = 4711, size: int = 0, flags: int = 0x0100) -> bytes:
    """A query; `size` makes an OPT record of it."""
    opt = b"\0" + struct.pack("!HHIH", OPT, size, 0, 0) if size else b""
    return struct.pack("!6H", number, flags, 1, 0, 0, 1 if opt else 0) + question(text, kind) + opt


class Answer:
    """An answer, read: rcode, flags, whose records are [(owner, type, ttl, value), ...]."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.id, self.flags, questions, *counts = struct.unpack_from("!6H", data)
        self.rcode = self.flags & 15
        self.truncated = bool(self.flags & 0x0200)
        at = 12
        self.questions = []
        for _ in range(questions):
            text, at = self._name(at)
            self.questions.append((text, *struct.unpack_from("!HH", data, at)))
            at += 4
        self.sections: list[list[tuple[str, int, int, object]]] = []
        for count in counts:
            section = []
            for _ in range(count):
                owner, at = self._name(at)
                kind, klass, ttl, length = struct.unpack_from("!HHIH", data, at)
                at += 10
                section.append((owner, kind, klass if kind == OPT else ttl, self._value(kind, at, length)))
                at += length
            self.sections.append(section)
        assert at == len(data), "bytes after the message"

    @property
    def addresses(self) -> list[object]:
        return [value for _, kind, _, value in self.sections[0] if kind in (A, AAAA)]

    def _name(self, at: int) -> tuple[str, int]:
        labels, end, jumps = [], -1, 0
        while self.data[at]:
            if self.data[at] >= 0xC0:
                end = at + 2 if end < 0 else end
                at = struct.unpack_from("!H", self.data, at)[0] & 0x3FFF
                jumps += 1
                assert jumps < 10
                continue
            labels.append(self.data[at + 1 : at + 1 + self.data[at]].decode("latin-1"))
            at += 1 + self.data[at]
        return ".".join(labels), at + 1 if end < 0 else end

    def _value(self, kind: int, at: int, length: int) -> object:
        data = self.data[at : at + length]
        if kind == A:
            return socket.inet_ntop(socket.AF_INET, data)
        if kind == AAAA:
            return socket.inet_ntop(socket.AF_INET6, data)
        if kind == PTR:
            return self._name(at)[0]
        if kind == SRV:
            return struct.unpack_from("!H", data, 4)[0], self._name(at + 6)[0]
        return data


def respond(data: bytes, *records: tuple[int, bytes], rcode: int = 0, flags: int = 0x8180) -> bytes:
    """An answer to the query `data`, of (type, rdata)."""
    end = 12
    while data[end]:
        end += 1 + data[end]
    asked = data[12 : end + 5]
    body = b"".join(
        b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(rdata)) + rdata for kind, rdata in records
    )
    return data[:2] + struct.pack("!5H", flags | rcode, 1, len(records), 0, 0) + asked + body


class Rows:
    """A state database with containers that run on networks: the rows that a start writes."""

    def __init__(self, path: str) -> None:
        from estiva.store.database import Database

        self.db = Database(path)

    def network(self, identity: str, name: str, **record: object) -> None:
        with self.db.write() as t:
            t.execute(
                "INSERT INTO networks (id, name, driver, created, record) VALUES (?, ?, 'bridge', 0, ?)",
                (identity, name, json.dumps(record)),
            )

    def container(self, identity: str, name: str, hostname: str = "") -> None:
        from estiva.store import containers

        with self.db.write() as t:
            record = json.dumps({"Config": {"Hostname": hostname}})
            containers.add(t, identity, name, None, "running", record, ())

    def join(self, network: str, identity: str, *addresses: str, **record: object) -> None:
        with self.db.write() as t:
            t.execute("INSERT INTO endpoints VALUES (?, ?, ?)", (network, identity, json.dumps(record)))
            for address in addresses:
                t.execute("INSERT INTO leases VALUES (?, ?, ?)", (network, address, identity))

    def leave(self, identity: str) -> None:
        with self.db.write() as t:
            t.execute("DELETE FROM leases WHERE container = ?", (identity,))


class Outside:
    """A name server on 127.0.0.1, over UDP and TCP: `reply` makes the answer to a query, or None for silence."""

    def __init__(
        self, reply: Callable[[bytes], bytes | None], address: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.reply = reply
        self.asked: list[tuple[bytes, object]] = []
        self.tcp = socket.create_server((address, port))
        self.port = self.tcp.getsockname()[1]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((address, self.port))
        self.over = False
        for work in (self._datagrams, self._streams):
            threading.Thread(target=work, daemon=True).start()

    def _datagrams(self) -> None:
        while True:
            try:
                data, sender = self.udp.recvfrom(65535)
            except OSError:
                return
            if self.over:
                return
            self.asked.append((data, sender))
            if (answer := self.reply(data)) is not None:
                self.udp.sendto(answer, sender)

    def _streams(self) -> None:
        while True:
            try:
                client, sender = self.tcp.accept()
            except OSError:
                return
            with client:
                if self.over:
                    return
                data = client.recv(65535)
                if len(data) < 14:
                    continue  # whoever it was has gone
                self.asked.append((data[2:], sender))
                if (answer := self.reply(data[2:])) is not None:
                    client.sendall(struct.pack("!H", len(answer)) + answer)

    def close(self) -> None:
        self.over = True
        for held in (self.udp, self.tcp):
            with contextlib.suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)
            held.close()


class Client:
    """Asks over UDP (connected to `address`) or TCP."""

    def __init__(
        self, address: tuple[str, int], stream: tuple[str, int] | None = None, timeout: float = 20.0
    ) -> None:
        self.address, self.stream, self.timeout = address, stream or address, timeout
        self.number = 0

    def ask(self, text: str, kind: int = A, **options: int) -> Answer:
        self.number = (self.number + 1) & 0xFFFF
        answer = Answer(self.send(query(text, kind, number=self.number, **options)))
        assert answer.id == self.number
        return answer

    def send(self, data: bytes) -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
            held.settimeout(self.timeout)
            held.connect(self.address)
            held.send(data)
            return held.recv(65535)

    def silent(self, data: bytes, seconds: float = 0.3) -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
            held.settimeout(seconds)
            held.connect(self.address)
            held.send(data)
            try:
                held.recv(65535)
            except TimeoutError:
                return True
        return False

    def over_tcp(self, *queries: bytes) -> list[Answer]:
        with socket.create_connection(self.stream, self.timeout) as held:
            for data in queries:
                held.sendall(struct.pack("!H", len(data)) + data)
            return [Answer(read_message(held)) for _ in queries]


def read_message(held: socket.socket) -> bytes:
    """One message with its length before it. Raises EOFError."""
    data = b""
    while len(data) < 2 or len(data) < 2 + struct.unpack("!H", data[:2])[0]:
        whole = 2 if len(data) < 2 else 2 + struct.unpack("!H", data[:2])[0]
        more = held.recv(whole - len(data))
        if not more:
            raise EOFError
        data += more
    return data[2:]


class Serving:
    """A resolver in a thread of this process, with containers that are handed over to it here."""

    def __init__(self, database: str, port: int = 53) -> None:
        from estiva.network.dns.names import Directory
        from estiva.network.dns.server import Resolver

        self.path = os.path.dirname(database) + "/s"
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listening.bind(self.path)
        self.listening.listen(64)
        self.made: list[socket.socket] = []
        self.ready = threading.Event()

        def run() -> None:
            self.resolver = Resolver(self.listening, Directory(database), port=port)
            self.ready.set()
            self.resolver.run(0.2)

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        self.ready.wait(20)

    def container(
        self, identity: str, *servers: tuple[str, bool], ndots: bool = False, given: int = 0
    ) -> Client:
        """Hand over one that is reached on 127.0.0.1; who asks is returned."""
        udp, tcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.create_server(("127.0.0.1", 0))
        udp.bind(("127.0.0.1", 0))
        client = Client(udp.getsockname(), tcp.getsockname())
        more = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(given)]
        more += [socket.socket() for _ in range(given)]
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        channel.connect(self.path)
        message = {"id": identity, "servers": servers, "ndots": ndots}
        fds = [held.fileno() for held in (udp, tcp, *more)]
        socket.send_fds(channel, [json.dumps(message).encode()], fds)
        for held in (udp, tcp, *more):
            held.close()
        self.made.append(channel)
        return client

    def close(self) -> None:
        for channel in self.made:
            channel.close()
        self.thread.join(20)
        assert not self.thread.is_alive()
        self.listening.close()


@contextlib.contextmanager
def outside(reply: Callable[[bytes], bytes | None]) -> Iterator[Outside]:
    made = Outside(reply)
    try:
        yield made
    finally:
        made.close()


def eventually(condition: Callable[[], object], seconds: float = 30) -> object:
    """Wait until `condition` gives something true; that."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found
