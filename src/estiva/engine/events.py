"""`events`: what has happened and what happens, in Docker's shape (Engine API 1.45, EventMessage)."""

from __future__ import annotations

import os
import select
import time

from estiva.engine.state import eventlog
from estiva.errors import InvalidInput, Unsupported, brief

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from estiva.engine import Engine
    from estiva.engine.state.types import Event

    Filters = dict[str, list[str]]
    Wait = tuple[int, float]

FILTERS = ("container", "event", "image", "label", "network", "scope", "type", "volume")
FOREIGN = {
    "daemon": "there is no daemon here",
    "config": "there is no swarm here",
    "node": "there is no swarm here",
    "secret": "there is no swarm here",
    "service": "there is no swarm here",
    "plugin": "there are no plugins here",
}
TYPES = ("builder", "container", "image", "network", "snapshot", "volume")
LOOK_AGAIN = 0.1  # seconds, where the kernel does not tell
LATE = 1.0  # seconds in which a file that has been set aside may still grow: who had it open writes at once
RECENT = 1_000_000_000  # nanoseconds: what is younger stands in the last NEAR bytes of a file
NEAR = 1 << 18
TELLING, TELLS = 0.02, 50  # seconds between looks for an end that is being told, and how many
LATEST = (1 << 62) / 1e9  # seconds


def events(
    engine: Engine,
    *,
    since: float | None = None,
    until: float | None = None,
    filters: Filters | None = None,
    begun: Callable[[], object] = lambda: None,
) -> Iterator[dict[str, Any]]:
    """Do `happening` to its end: events as they come."""
    for one in happening(engine, since=since, until=until, filters=filters, begun=begun):
        if isinstance(one, dict):
            yield one
        else:
            wait(*one)


def ended(engine: Engine, container_id: str, seconds: float) -> int | None:
    """The exit status of a container that is not there any more, and has ended within the last so many
    seconds."""
    filters = {"type": ["container"], "container": [container_id]}
    for _ in range(TELLS):
        status, actions = None, set()
        now = time.time()
        for event in events(engine, since=now - seconds, until=now, filters=filters):
            actions.add(event["Action"])
            if event["Action"] == "die":
                status = int(event["Actor"]["Attributes"].get("exitCode", "0"))
        if status is not None or not actions or "destroy" in actions:
            return status
        time.sleep(TELLING)  # its row goes before all of its end is told
    return None


def wait(fd: int, seconds: float) -> None:
    """Until something may have come."""
    if fd < 0:
        time.sleep(seconds)
        return
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.poll(seconds * 1000 + 1)


def happening(
    engine: Engine,
    *,
    since: float | None = None,
    until: float | None = None,
    filters: Filters | None = None,
    begun: Callable[[], object] = lambda: None,
) -> Iterator[dict[str, Any] | Wait]:
    """Events as they come, from now or `since` on, to the end of time or `until` (epoch seconds). Where there
    is none it yields what to wait for: (an fd that becomes readable, or -1; seconds).

    With `until` alone, all that is known up to then. `begun` is called once nothing is missed any more.
    `filters`: see FILTERS; several values of one are alternatives, but for labels. Raises InvalidInput,
    Unsupported.
    """
    fits = judge(filters or {})
    first = _nanoseconds(since) if since is not None else 0 if until is not None else time.time_ns()
    last = _nanoseconds(until) if until is not None else 1 << 63
    engine.paths.prepare()
    follower = Follower(eventlog.path(engine.paths))
    try:
        begun()
        for event in follower.follow(last / 1e9, first):
            if isinstance(event, tuple):
                yield event
            elif first <= event["timeNano"] <= last and fits(event):
                yield shape(event)
    finally:
        follower.close()


def _nanoseconds(seconds: float) -> int:
    return int(min(max(seconds, 0.0), LATEST) * 1e9)


def shape(event: Event) -> dict[str, Any]:
    """An event with all keys that Docker's has; those of old times only of containers and images."""
    kind, actor = event["Type"], event["Actor"]
    legacy: dict[str, Any] = {}
    if kind in ("container", "image"):
        legacy = {"status": event["Action"], "id": actor["ID"]}
        if kind == "container":
            legacy["from"] = actor["Attributes"].get("image", "")
        legacy = {key: value for key, value in legacy.items() if value}
    return {
        **legacy,
        "Type": kind,
        "Action": event["Action"],
        "Actor": actor,
        "scope": "local",
        "time": event["timeNano"] // 1_000_000_000,
        "timeNano": event["timeNano"],
    }


# --- filters ----------------------------------------------------------------------------------------------


def judge(filters: Filters) -> Callable[[Event], bool]:
    """What tells whether an event passes. Raises InvalidInput, Unsupported."""
    for key, values in filters.items():
        if key in FOREIGN:
            raise Unsupported(f"the filter '{key}' is not supported: {FOREIGN[key]}")
        if key not in FILTERS:
            raise InvalidInput(f"invalid filter '{brief(key, 60)}'", hint=f"one of {', '.join(FILTERS)}")
        for value in values if key == "type" else ():
            if value in FOREIGN:
                raise Unsupported(f"the filter 'type={value}' is not supported: {FOREIGN[value]}")
            if value not in TYPES:
                raise InvalidInput(
                    f"invalid filter 'type={brief(value, 60)}'", hint=f"one of {', '.join(TYPES)}"
                )
        for value in values if key == "scope" else ():
            if value not in ("local", "swarm"):
                raise InvalidInput(f"invalid filter 'scope={brief(value, 60)}'", hint="local, swarm")
    return lambda event: all(_passes(event, key, values) for key, values in filters.items())


def _passes(event: Event, key: str, values: list[str]) -> bool:
    attributes, actor = event["Actor"]["Attributes"], event["Actor"]["ID"]
    if key == "type":
        return event["Type"] in values
    if key == "scope":
        return "local" in values
    if key == "event":  # `exec_start` is any "exec_start: COMMAND"
        return event["Action"] in values or event["Action"].partition(":")[0] in values
    if key == "label":
        pairs = [value.partition("=") for value in values]
        return all(k in attributes and (not sep or attributes[k] == v) for k, sep, v in pairs)
    if key == "image":
        if event["Type"] == "image":
            names = (actor, attributes.get("name", ""))
        else:
            names = ("", attributes.get("image", ""))
        return any(value in names or value == _untagged(names[1]) for value in values if value)
    name = attributes.get("name", "")
    return event["Type"] == key and any(
        actor.startswith(value) or name.startswith(value) for value in values if value
    )


def _untagged(name: str) -> str:
    head, slash, tail = name.partition("@")[0].rpartition("/")
    return head + slash + tail.partition(":")[0]


# --- following --------------------------------------------------------------------------------------------


class Follower:
    """Both files of the log from their beginning, and what is added, over rotations. Close it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.files: list[Tail] = []
        self.inotify = -1
        for name in (path + ".1", path):
            self.add(name)
        if len(self.files) == 2 and self.files[0].inode == self.files[1].inode:
            self.files.pop().close()  # it was set aside between our two looks
            self.add(path)

    def add(self, name: str) -> bool:
        """Take up a file, if it is there and new."""
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        tail = Tail(fd)
        if any(tail.inode == other.inode for other in self.files):
            tail.close()
            return False
        self.files.append(tail)
        return True

    def follow(self, until: float, since: int = 0) -> Iterator[Event | Wait]:
        """Events in the order of their times as far as they are there, `since` nanoseconds after the epoch,
        then as they come, up to a moment in epoch seconds; between them what to wait for."""
        if since > time.time_ns() - RECENT:
            for tail in self.files:
                tail.skip()
        there = [event for tail in self.files for event in tail.read() if event["timeNano"] >= since]
        yield from sorted(there, key=eventlog.moment)
        del there  # who follows does so for long, and may be one of hundreds
        while True:
            over = time.time() >= until
            self.watch()  # before the look: what comes after it wakes us
            for tail in self.files:
                yield from tail.read()
            if self.renew():
                continue
            if over:
                return
            yield self.inotify, self.patience(until)
            self.heed()

    def renew(self) -> bool:
        """Whether there is a new file, or one less."""
        now = time.monotonic()
        try:
            current = os.stat(self.path).st_ino
        except OSError:
            current = 0
        for tail in self.files:
            if tail.inode == current:
                tail.aside = 0.0
            elif not tail.aside:
                tail.aside = now
        gone = [tail for tail in self.files if tail.aside and now - tail.aside > LATE and tail.is_read()]
        for tail in gone:
            tail.close()
            self.files.remove(tail)
        return self.add(self.path)

    def watch(self) -> None:
        """Have the kernel tell of what is added to the newest file."""
        from estiva.linux import inotify

        tail = self.files[-1] if self.files else None
        if tail is None or tail.watched:
            return
        try:
            if self.inotify < 0:
                self.inotify = inotify.inotify_init1()
            mask = inotify.IN_MODIFY | inotify.IN_MOVE_SELF | inotify.IN_ATTRIB
            inotify.inotify_add_watch(self.inotify, f"/proc/self/fd/{tail.fd}", mask)
            tail.watched = True
        except OSError:
            pass  # the user has too many of them: we look again and again

    def patience(self, until: float) -> float:
        """Seconds after which to look although the kernel has not told."""
        quiet = len(self.files) == 1 and self.files[0].watched and not self.files[0].aside
        return min(3600.0 if quiet else LOOK_AGAIN, max(0.0, until - time.time()))

    def heed(self) -> None:
        """Take what the kernel has told: all is looked at anyway."""
        if self.inotify >= 0:
            try:
                os.read(self.inotify, 1 << 16)
            except BlockingIOError:
                pass

    def close(self) -> None:
        for tail in self.files:
            tail.close()
        self.files = []
        if self.inotify >= 0:
            os.close(self.inotify)
            self.inotify = -1


class Tail:
    """One file, and how far it has been read."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.inode = os.fstat(fd).st_ino
        self.offset = 0
        self.aside = 0.0  # since when, by the monotonic clock, it is not the one that is written
        self.watched = False

    def skip(self) -> None:
        """Go to the first whole line in the last NEAR bytes."""
        start = os.fstat(self.fd).st_size - NEAR
        if start > 0:
            self.offset = start + os.pread(self.fd, NEAR, start).find(b"\n") + 1

    def read(self) -> Iterator[Event]:
        """The events in the lines that have become whole."""
        while data := os.pread(self.fd, 1 << 20, self.offset):
            length = data.rfind(b"\n") + 1
            if not length and len(data) < 1 << 20:
                return
            self.offset += length or len(data)
            yield from eventlog.parse(data[:length])

    def is_read(self) -> bool:
        return os.fstat(self.fd).st_size <= self.offset

    def close(self) -> None:
        os.close(self.fd)
