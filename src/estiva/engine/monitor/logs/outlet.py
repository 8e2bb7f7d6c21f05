"""Where a container's lines go besides its file: systemd's journal, or a syslog daemon.

Nothing here waits for a peer: what it does not take now is kept, up to a size, and sent when it does, over a
new connection where the old one is lost. Once that much waits, the container has to wait too, but never
longer than PATIENCE: then, or at once with mode=non-blocking, the oldest goes, and a line tells how much.
"""

from __future__ import annotations

import os
import time
from _socket import (
    AF_INET,
    AF_INET6,
    AF_UNIX,
    SCM_RIGHTS,
    SO_ERROR,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)
from _struct import pack
from errno import EAGAIN, EINPROGRESS, EMSGSIZE, ENOBUFS
from select import POLLOUT, poll

from estiva.errors import Unavailable
from estiva.files import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.engine.state.types import Outlet as Settings

LINE = 16 << 10  # bytes; a longer line goes in several parts, as Docker has it
PATIENCE = 5.0  # seconds that a container waits for a peer that takes nothing
RETRY = 1.0  # seconds between two attempts to connect
LAST = 2.0  # seconds that what is left has at the container's end
JOURNAL = "/run/systemd/journal/socket"
DEV_LOG = ("/dev/log", "/var/run/syslog", "/var/run/log")
SORTS = {
    "": (SOCK_DGRAM, SOCK_STREAM),  # this machine's own
    "unix": (SOCK_STREAM, SOCK_DGRAM),
    "unixgram": (SOCK_DGRAM,),
}
INFO, ERROR = 6, 3  # severities: syslog(3)


class Outlet:
    """See above. `connect` raises Unavailable when nobody is there at the start."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.journal = settings["driver"] == "journald"
        self.partial = {"stdout": b"", "stderr": b""}
        self.queue: list[bytes] = []
        self.size = 0  # bytes in it
        self.dropped = 0  # messages
        self.channel: socket | None = None
        self.stream = False  # whether what is sent is one stream of bytes
        self.connecting = False
        self.half = False  # whether part of the first that waits is out
        self.tried = 0.0
        self.moved = time.monotonic()  # when the peer took something last, or nothing waited

    # --- lines ---

    def write(self, stream: str, data: bytes) -> None:
        """Take what a container has said."""
        data = self.partial[stream] + data
        start = 0
        while True:
            newline = data.find(b"\n", start, start + LINE + 1)
            if newline >= 0:
                self.put(stream, data[start:newline], False)
                start = newline + 1
            elif len(data) - start > LINE:
                self.put(stream, data[start : start + LINE], True)
                start += LINE
            else:
                break
        self.partial[stream] = data[start:]
        self.flush()

    def put(self, stream: str, line: bytes, partial: bool) -> None:
        if not self.queue:
            self.moved = time.monotonic()
        if line or partial:
            severity = INFO if stream == "stdout" else ERROR
            self.add((self.entry if self.journal else self.message)(severity, line, partial))

    def add(self, packet: bytes) -> None:
        self.queue.append(packet)
        self.size += len(packet)
        patient = not self.settings["drops"] and time.monotonic() - self.moved < PATIENCE
        most = 2 * self.settings["size"] if patient else self.settings["size"]
        if self.size > most:
            self.drop(most)

    def drop(self, most: int) -> None:
        first = int(self.half)
        gone = first
        while self.size > most and gone < len(self.queue) - 1:
            self.size -= len(self.queue[gone])
            gone += 1
        self.dropped += gone - first
        del self.queue[first:gone]

    def message(self, severity: int, line: bytes, partial: bool) -> bytes:
        """For syslog: RFC 3164 4.1, RFC 5424 6."""
        settings = self.settings
        priority = settings["facility"] * 8 + severity
        tag, pid, form = settings["tag"], os.getpid(), settings["format"]
        seconds = time.time()
        local = time.localtime(seconds)
        if form.startswith("rfc5424"):
            zone = time.strftime("%z", local)
            fraction = f".{int(seconds % 1 * 1e6):06}" if form == "rfc5424micro" else ""
            stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}{fraction}{zone[:3]}:{zone[3:]}"
            head = f"<{priority}>1 {stamp} {os.uname().nodename} {tag} {pid} {tag} - "
        else:
            stamp = f"{MONTHS[local.tm_mon - 1]} {local.tm_mday:2} {time.strftime('%H:%M:%S', local)}"
            host = f"{os.uname().nodename} " if form == "rfc3164" else ""
            head = f"<{priority}>{stamp} {host}{tag}[{pid}]: "
        return head.encode("utf-8", "replace") + line.replace(b"\0", b"") + b"\n"

    def entry(self, severity: int, line: bytes, partial: bool) -> bytes:
        """For the journal: https://systemd.io/JOURNAL_NATIVE_PROTOCOL."""
        fields: dict[str, bytes] = {
            "PRIORITY": b"%d" % severity,
            **{key: value.encode("utf-8", "replace") for key, value in self.settings["fields"].items()},
            "SYSLOG_TIMESTAMP": f"{time.time():.6f}".encode(),
        }
        if partial:
            fields["CONTAINER_PARTIAL_MESSAGE"] = b"true"
        parts = [b"MESSAGE\n", pack("<Q", len(line)), line, b"\n"]
        for key, value in fields.items():
            if b"\n" in value:
                parts += (key.encode(), b"\n", pack("<Q", len(value)), value, b"\n")
            else:
                parts.append(b"%b=%b\n" % (key.encode(), value))
        return b"".join(parts)

    # --- the peer ---

    def start(self) -> None:
        """Connect for the first time. Raises Unavailable."""
        try:
            self.connect()
            channel = self.channel
            if self.connecting and channel is not None:
                waiting = poll()
                waiting.register(channel.fileno(), POLLOUT)
                waiting.poll(PATIENCE * 1000)
                error = channel.getsockopt(SOL_SOCKET, SO_ERROR)
                if error or not waiting.poll(0):
                    raise OSError(error, os.strerror(error) if error else "it does not answer")
                self.connecting = False
        except OSError as error:
            self.hang_up()
            if self.journal:
                why = "journald is not enabled on this host"
            else:
                kind, host, port = self.settings["address"]
                where = f"{host}:{port}" if port else host
                why = f"{kind} {where}: {(error.strerror or str(error)).lower()}"
                if not where:  # clients of docker's take "no such file" for a command that there isn't: 127
                    why = "Unix syslog delivery error"
            raise Unavailable(f"failed to initialize logging driver: {why}") from None

    def connect(self) -> None:
        """Begin to. Raises OSError."""
        self.tried = time.monotonic()
        if self.journal:
            return self.open(AF_UNIX, SOCK_DGRAM, JOURNAL)
        kind, host, port = self.settings["address"]
        if kind in ("udp", "tcp"):
            family = AF_INET6 if ":" in host else AF_INET
            return self.open(family, SOCK_DGRAM if kind == "udp" else SOCK_STREAM, (host, port))
        last = OSError(2, "there is no syslog socket")
        for path in (host,) if host else DEV_LOG:
            for sort in SORTS[kind if host else ""]:
                try:
                    return self.open(AF_UNIX, sort, path)
                except OSError as error:
                    last = error
        raise last

    def open(self, family: int, kind: int, address: object) -> None:
        channel = socket(family, kind | SOCK_CLOEXEC | SOCK_NONBLOCK)
        error = channel.connect_ex(address)  # type: ignore[arg-type]
        if error not in (0, EINPROGRESS):
            channel.close()
            raise OSError(error, os.strerror(error))
        self.connecting = error == EINPROGRESS
        self.channel, self.stream = channel, kind == SOCK_STREAM

    def hang_up(self) -> None:
        if self.channel is not None:
            self.channel.close()
            self.channel = None
        self.connecting = False
        if self.half:  # what a new connection would not understand
            self.half = False
            self.size -= len(self.queue.pop(0))
            self.dropped += 1

    def flush(self) -> None:
        """Send what can be sent now."""
        if self.channel is None and self.queue and time.monotonic() - self.tried >= RETRY:
            try:
                self.connect()
            except OSError:
                pass
        if self.channel is None or self.connecting:
            return
        sent = 0
        try:
            while sent < len(self.queue):
                packet = self.queue[sent]
                done = self.send(self.channel, packet)
                if done < len(packet):
                    self.queue[sent] = packet[done:]
                    self.size -= done
                    self.half = self.half or done > 0
                    break
                self.half = False
                sent += 1
            lost = False
        except OSError as error:
            stuck = not self.stream and time.monotonic() - self.moved > PATIENCE  # another may be there now
            lost = stuck or error.errno not in (EAGAIN, ENOBUFS)
        if sent:
            self.moved = time.monotonic()
        self.size -= sum(map(len, self.queue[:sent]))
        del self.queue[:sent]
        if lost:
            self.hang_up()
        if not self.queue and self.dropped:
            count, self.dropped = self.dropped, 0
            self.put(
                "stderr", b"estiva: %d lines are missing here: they were not taken in time" % count, False
            )

    def send(self, channel: socket, packet: bytes) -> int:
        """How many bytes of it are out. Raises OSError."""
        try:
            return channel.send(packet)
        except OSError as error:
            if error.errno != EMSGSIZE:
                raise
            if not self.journal:
                return len(packet)  # nobody would ever take it
        memory = os.memfd_create("entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            write_all(memory, packet)
            channel.sendmsg([b""], [(SOL_SOCKET, SCM_RIGHTS, pack("i", memory))])
        finally:
            os.close(memory)
        return len(packet)

    # --- the loop of who copies (streams.py) ---

    @property
    def full(self) -> bool:
        """Whether the container has to wait."""
        waits = self.size > self.settings["size"] and not self.settings["drops"]
        return waits and time.monotonic() - self.moved < PATIENCE

    def register(self, waiting: poll) -> None:
        """Say what is wanted now: room."""
        if self.channel is not None and (self.queue or self.connecting):
            waiting.register(self.channel.fileno(), POLLOUT)

    def serve(self) -> None:
        """After each wait."""
        if self.connecting and self.channel is not None:
            waiting = poll()
            waiting.register(self.channel.fileno(), POLLOUT)
            if waiting.poll(0):
                if self.channel.getsockopt(SOL_SOCKET, SO_ERROR):
                    self.hang_up()
                self.connecting = False
        if self.queue:
            self.flush()

    def close(self) -> None:
        """The container has ended: what is left goes out now, or, after LAST seconds, not at all."""
        for stream, rest in self.partial.items():
            if rest:
                self.put(stream, rest, False)
                self.partial[stream] = b""
        deadline = time.monotonic() + LAST
        while self.queue and time.monotonic() < deadline:
            self.serve()
            waiting = poll()
            self.register(waiting)
            waiting.poll(50)
        self.hang_up()


MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Both:
    """An outlet, and the file beside it if there is one: what a monitor writes its log to."""

    def __init__(self, outlet: Outlet, file: FileWriter | None) -> None:
        self.outlet = outlet
        self.file = file

    def stream(self, name: str) -> Callable[[bytes], None]:
        keep = self.file.stream(name) if self.file is not None else None

        def write(data: bytes) -> None:
            if keep is not None:
                keep(data)
            self.outlet.write(name, data)

        return write

    @property
    def partial(self) -> dict[str, bytes]:
        """Lines without their ends, of both."""
        mine = {f"outlet.{name}": rest for name, rest in self.outlet.partial.items()}
        return {**mine, **(self.file.partial if self.file is not None else {})}

    @partial.setter
    def partial(self, found: dict[str, bytes]) -> None:
        self.outlet.partial = {name: found[f"outlet.{name}"] for name in ("stdout", "stderr")}
        if self.file is not None:
            self.file.partial = {name: found[name] for name in ("stdout", "stderr")}

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
        self.outlet.close()


if TYPE_CHECKING:
    from estiva.engine.state.logs.logfile import Writer as FileWriter
