"""The reaper: what a session of tests has made is removed once nobody is connected to it any more.

It runs in a container of its own, alone in its image (image.py), so it imports the standard library and
nothing else. Clients of testcontainers start it with the API's socket mounted and its port published, connect
by TCP and send lines such as

    label=org.testcontainers=true&label=org.testcontainers.sessionId=6dd7...

each of which is answered with ACK. When no client has been connected for RYUK_RECONNECTION_TIMEOUT, what has
the labels of one of these lines goes: containers, networks, volumes, images; then the reaper ends. See the
README.md of testcontainers/moby-ryuk. Two things are stricter: a line that asks for anything but labels ends
its connection without ACK, so that its sender hears of it; and all is bounded (K22).
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote

TYPE_CHECKING = False  # typing would be 130 KB of the image
if TYPE_CHECKING:
    from typing import Any

LINE = 8192  # bytes of one line
LABELS = 64  # in one line
FILTERS = 1024  # lines that differ
CLIENTS = 256  # at once
TOLD = 10_000  # lines of its log: more than that is somebody's flood
ANSWER = 64 << 20  # bytes of an answer of the API
KINDS = ("containers", "networks", "volumes", "images")  # in this order: what uses before what is used
ITSELF = "org.testcontainers.ryuk"  # the label of reapers, which are nobody's rubbish
KEPT_ALIVE = ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))  # seconds
UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
SETTINGS = {
    "RYUK_CONNECTION_TIMEOUT": "60s",  # without any client at the beginning
    "RYUK_RECONNECTION_TIMEOUT": "10s",  # without any client from then on
    "RYUK_REQUEST_TIMEOUT": "10s",  # of one request to the API
    "RYUK_RETRY_OFFSET": "-1s",  # what is younger, seen from a check, is still being made
    "RYUK_CHANGES_RETRY_INTERVAL": "1s",  # until the next check when something is
    "RYUK_SHUTDOWN_TIMEOUT": "10m",  # how long clients, or an API that does not answer, hold up an end
}


class Refused(Exception):
    """Of a setting, or of a client's line."""


def seconds(text: str) -> float:
    """A duration as Go writes it: 10s, 1m30s, -1s. Raises ValueError."""
    rest, total = text.lstrip("+-"), 0.0
    if rest == "0":
        return 0.0
    if not rest or len(text) > 40:
        raise ValueError(text)
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        unit = digits
        while unit < len(rest) and rest[unit] not in "0123456789.":
            unit += 1
        if rest[digits:unit] not in UNITS:
            raise ValueError(text)
        total += float(rest[:digits]) * UNITS[rest[digits:unit]]
        rest = rest[unit:]
    return -total if text.startswith("-") else total


class Settings:
    """Of the environment, by ryuk's names. One that there isn't is refused."""

    def __init__(self, environment: dict[str, str]) -> None:
        given = {name: value for name, value in environment.items() if name.startswith("RYUK_")}
        self.port = _number(given.pop("RYUK_PORT", "8080"), "RYUK_PORT", 65535)
        self.retries = _number(given.pop("RYUK_REMOVE_RETRIES", "10"), "RYUK_REMOVE_RETRIES", 1000)
        self.verbose = given.pop("RYUK_VERBOSE", "").lower() in ("1", "t", "true")
        times = []
        for name, default in SETTINGS.items():
            text = given.pop(name, "") or default
            try:
                times.append(seconds(text))
            except ValueError:
                raise Refused(f"{name} is no duration such as 10s: {text[:40]!r}") from None
        self.first, self.again, self.request, self.offset, self.changes, self.shutdown = times
        if given:
            raise Refused(f"there is no setting {min(given)[:60]}")
        host = environment.get("DOCKER_HOST", "") or "unix:///var/run/docker.sock"
        if not host.startswith("unix:///"):
            raise Refused(f"DOCKER_HOST has to be a unix socket, not {host[:60]!r}")
        self.socket = host.removeprefix("unix://")


def _number(text: str, name: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 8 and 0 < int(text) <= most):
        raise Refused(f"{name} is a number from 1 to {most}, not {text[:20]!r}")
    return int(text)


def labels(line: bytes) -> tuple[str, ...]:
    """The labels that a line asks for, sorted. Raises Refused."""
    try:
        pairs = parse_qsl(line.decode(), True, True, "utf-8", "strict", LABELS)  # blank values, strictly
    except ValueError:
        raise Refused(f"is not of the form label=NAME=VALUE&label=NAME: {_brief(line)}") from None
    for name, value in pairs:
        if name != "label":
            raise Refused(f"asks for {_brief(name.encode())}: only label= is known")
        if not value.partition("=")[0]:
            raise Refused("has a label without a name, which would be everything")
    return tuple(sorted({value for _, value in pairs}))


def _brief(data: bytes) -> str:
    return repr(data[:100].decode(errors="replace"))


class Engine:
    """The API at a unix socket; one connection for each request."""

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        self.timeout = timeout

    def ask(self, method: str, path: str) -> tuple[int, object]:
        """Status and JSON (None for none). Raises OSError, ValueError."""
        end = time.monotonic() + self.timeout
        data = bytearray()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
            one.settimeout(self.timeout)
            one.connect(self.path)
            # of 1.0, so that the answer ends with the connection, in one piece
            one.sendall(f"{method} {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
            while piece := one.recv(1 << 16):
                data += piece
                if len(data) > ANSWER or time.monotonic() > end:
                    raise TimeoutError("the answer is too long")
        head, _, body = bytes(data).partition(b"\r\n\r\n")
        words = head.split(b"\r\n", 1)[0].split()
        if len(words) < 2 or not words[1].isdigit():
            raise ValueError("not an answer of HTTP")
        return int(words[1]), json.loads(body) if body.strip() else None

    def found(self, kind: str, wanted: tuple[str, ...]) -> list[dict[str, Any]]:
        """What has all these labels. Raises OSError, ValueError."""
        filters = quote(json.dumps({"label": wanted}))
        path = {"containers": "containers/json", "images": "images/json"}.get(kind, kind)
        status, answer = self.ask("GET", f"/{path}?all=1&filters={filters}")
        if isinstance(answer, dict) and kind == "volumes":
            answer = answer.get("Volumes") or []
        if status != 200 or not isinstance(answer, list):
            raise ValueError(f"{kind}: {status}: {answer}")
        return [each for each in answer if isinstance(each, dict)]

    def remove(self, kind: str, name: str) -> str:
        """Why it is still there, or "". Raises OSError, ValueError."""
        words = {"containers": "?force=1&v=1", "volumes": "?force=1"}.get(kind, "")
        status, answer = self.ask("DELETE", f"/{kind}/{quote(name, safe='')}{words}")
        return "" if status in (200, 204, 404) else f"{status}: {answer}"


def made(item: dict[str, Any]) -> float:
    """When something was made, in seconds since 1970."""
    told = item.get("Created", item.get("CreatedAt"))
    if isinstance(told, int | float):
        return float(told)
    try:
        return datetime.fromisoformat(str(told)).timestamp()
    except ValueError:
        return 0.0


class Reaper:
    """One listener, its clients, and what they have asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine = Engine(settings.socket, settings.request)
        self.filters: dict[tuple[str, ...], None] = {}
        self.clients: dict[int, tuple[socket.socket, bytearray]] = {}
        self.told = 0
        self.forced = 0.0  # when to end at the latest, once asked to
        self.poll = select.poll()
        self.listener = listen(settings.port)
        self.poll.register(self.listener, select.POLLIN)
        self.due = time.monotonic() + settings.first

    def say(self, text: str) -> None:
        self.told += 1
        if self.told <= TOLD:
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            print(f"{now} {text if self.told < TOLD else 'too much to tell'}", flush=True)

    def end(self) -> None:
        """Asked to end: at once without clients, else when they have gone, or after a while."""
        self.say(f"asked to end; {len(self.clients)} clients")
        now = time.monotonic()
        self.forced = now + self.settings.shutdown
        if not self.clients:
            self.due = now
        self._deaf()

    def _deaf(self) -> None:
        if self.listener.fileno() >= 0:
            self.poll.unregister(self.listener)
            self.listener.close()

    def wait(self, wakeup: int = -1) -> None:
        """Until it is time to look for what is to go."""
        if wakeup >= 0:
            self.poll.register(wakeup, select.POLLIN)
        while True:
            now = time.monotonic()
            when = (self.forced or now + 3600) if self.clients else self.due
            if now >= when:
                return
            self.turn(when - now, wakeup)

    def turn(self, patience: float, wakeup: int = -1) -> bool:
        """Serve who has something to say; whether anybody had."""
        ready = self.poll.poll(max(0, patience) * 1000)
        for fd, _ in ready:
            if fd == wakeup:
                os.read(fd, 64)
                self.end()
            elif fd in self.clients:
                self._read(fd)
            else:
                self._accept()
        return bool(ready)

    def _accept(self) -> None:
        try:
            one, address = self.listener.accept()
        except OSError:
            return
        if len(self.clients) >= CLIENTS:
            one.close()
            return
        one.setblocking(False)
        # a client whose machine has gone says nothing: after half a minute it counts as gone
        one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEPT_ALIVE:
            one.setsockopt(socket.IPPROTO_TCP, option, value)
        self.clients[one.fileno()] = one, bytearray()
        self.poll.register(one, select.POLLIN)
        self.say(f"client {address[0].removeprefix('::ffff:')} connected; clients: {len(self.clients)}")

    def _read(self, fd: int) -> None:
        one, waiting = self.clients[fd]
        try:
            piece = one.recv(LINE)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        waiting += piece
        try:
            while (at := waiting.find(b"\n")) >= 0:
                line = bytes(waiting[:at])
                del waiting[: at + 1]
                self._take(one, line)
            if len(waiting) > LINE:
                raise Refused("is too long")
            if not piece and waiting:
                self._take(one, bytes(waiting))  # a last one without an end
        except Refused as error:
            self.say(f"a client's line {error}")
            piece = b""
        if not piece:
            self._gone(fd)

    def _take(self, one: socket.socket, line: bytes) -> None:
        """Raises Refused."""
        line = line.rstrip(b"\r")
        if not line:
            return
        wanted = labels(line)
        if wanted not in self.filters:
            if len(self.filters) >= FILTERS:
                raise Refused(f"is one too many: there are {FILTERS}")
            self.filters[wanted] = None
            self.say(f"will remove what has the labels {', '.join(wanted)}"[:500])
        try:
            one.send(b"ACK\n")
        except OSError:
            pass  # its line holds, read or not; a connection that is broken is found so by the next poll

    def _gone(self, fd: int) -> None:
        self.poll.unregister(fd)
        self.clients.pop(fd)[0].close()
        self.say(f"client disconnected; clients: {len(self.clients)}")
        if not self.clients:
            self.due = time.monotonic() + (0 if self.forced else self.settings.again)

    def look(self) -> dict[str, list[str]] | None:
        """What is to go, by kind; None while some of it is still being made. Raises OSError, ValueError."""
        youngest = time.time() + self.settings.offset
        result: dict[str, list[str]] = {}
        for kind in KINDS:
            names: dict[str, None] = {}
            for wanted in self.filters:
                for item in self.engine.found(kind, wanted):
                    if kind == "containers" and (item.get("Labels") or {}).get(ITSELF) == "true":
                        continue
                    if made(item) > youngest:
                        return None
                    names[str(item.get("Name" if kind == "volumes" else "Id"))] = None
            result[kind] = list(names)
        return result

    def remove(self, found: dict[str, list[str]]) -> bool:
        """Whether all of it has gone."""
        left: dict[str, str] = {}
        count = {kind: len(names) for kind, names in found.items()}
        for kind, names in found.items():
            for attempt in range(self.settings.retries):
                if attempt and names:
                    time.sleep(1)
                names = [name for name in names if self._remains(kind, name, left)]
            count[kind] -= len(names)
        self.say("removed: " + ", ".join(f"{number} {kind}" for kind, number in count.items()))
        for what, why in left.items():
            self.say(f"{what} is left: {why}"[:500])
        return not left

    def _remains(self, kind: str, name: str, left: dict[str, str]) -> bool:
        what = f"{kind[:-1]} {name}"
        try:
            why = self.engine.remove(kind, name)
        except (OSError, ValueError) as error:
            why = str(error)
        if self.settings.verbose:
            self.say(f"{what}: {why or 'removed'}"[:500])
        left.pop(what, None)
        if why:
            left[what] = why
        return bool(why)

    def run(self, wakeup: int = -1) -> bool:
        """Until all that clients have asked for is done; whether it is."""
        unanswered = 0.0  # since when the API has not answered
        while True:
            self.wait(wakeup)
            now = time.monotonic()
            try:
                found = self.look()
                unanswered = 0
            except (OSError, ValueError) as error:
                self.say(f"the API does not answer: {error}"[:500])
                unanswered = unanswered or now
                if now - unanswered > self.settings.shutdown:
                    return False
                found = None
            if found is None and self.forced and now > self.forced:
                return False
            if found is None:
                self.due = now + max(self.settings.changes, 0.1)
            elif not self.turn(0, wakeup):  # nobody has come meanwhile
                self._deaf()
                return self.remove(found)


def listen(port: int) -> socket.socket:
    """On all of the container's addresses: who publishes the port says for whom. Raises OSError."""
    try:
        made = socket.create_server(
            ("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=CLIENTS
        )
    except OSError:
        made = socket.create_server(("", port), backlog=CLIENTS)
    made.setblocking(False)
    return made


def main() -> int:
    try:
        settings = Settings(dict(os.environ))
        reaper = Reaper(settings)
    except (Refused, OSError) as error:
        print(f"reaper: {error}", file=sys.stderr)
        return 2
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    signal.set_wakeup_fd(writes)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    # clients look for this word in the log, some with and some without the mark
    reaper.say(f"Started! Estiva's reaper, on port {settings.port}")
    return 0 if reaper.run(reads) else 1


if __name__ == "__main__":
    sys.exit(main())
