"""What a container has written, and writes: `logs`."""

from __future__ import annotations

import os
import time

from estiva.engine.containers.logreader import BLOCK, END, MISSING, NONE, Follower, Log, blocks, entries
from estiva.engine.state.logs.logfile import LOST
from estiva.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import TypeVar

    from estiva.engine import Engine
    from estiva.paths import Paths

    Result = TypeVar("Result")

FILES = ("json-file", "local")  # drivers whose log is a file alone; the others have one beside
TAIL, LINE = 1 << 16, 400  # bytes of all last lines, characters of one
LOOK_AGAIN = 0.05  # seconds
EXACT = len("2026-01-31T12:00:00.000000")
LAST = 253402300799  # epoch seconds: the end of the year 9999


def logs(
    engine: Engine,
    ref: str,
    out: Callable[[bytes], object],
    err: Callable[[bytes], object],
    *,
    follow: bool = False,
    tail: int | None = None,
    since: float | None = None,
    until: float | None = None,
    timestamps: bool = False,
    details: bool = False,
    missing: Callable[[], object] = lambda: None,
    full: Callable[[int], object] = lambda _: None,
) -> None:
    """Do `reading` to its end, with a Show of `out` and `err`."""
    show = Show(out, err, since, until, timestamps, details)
    finish(reading(engine, ref, show, follow=follow, tail=tail, missing=missing, full=full))


def finish(task: Generator[bool, None, Result]) -> Result:
    """Do one of the tasks below to its end; what it returns."""
    while True:
        try:
            idle = next(task)
        except StopIteration as end:
            result: Result = end.value
            return result
        if idle:
            time.sleep(LOOK_AGAIN)


def reading(
    engine: Engine,
    ref: str,
    show: Show,
    *,
    follow: bool = False,
    tail: int | None = None,
    missing: Callable[[], object] = lambda: None,
    full: Callable[[int], object] = lambda _: None,
) -> Generator[bool, None, None]:
    """A task that gives a container's output to `show`, many lines at a time. `tail`: lines, all if negative.

    With `follow`, until the run that goes on now has ended: every line once, however often the log is rotated
    meanwhile, and though the container is removed. Only where the reader falls a gigabyte behind something is
    left out, and `missing` called. `full` is called with the bytes that a full disk has taken, as long as the
    log itself can't say so. It yields after each piece, and True where there is nothing to do for LOOK_AGAIN
    seconds; it may be closed at any of these. Raises NotFound, Unsupported.
    """
    from estiva.engine.state import lookup

    record = lookup.resolve(engine, ref)
    path = engine.paths.container(record["Id"]) + "/log.json"
    kind = (record["HostConfig"].get("LogConfig") or {}).get("Type") or "json-file"
    cached = ((record["HostConfig"].get("LogConfig") or {}).get("Config") or {}).get("cache-disabled") or ""
    if kind == "none" or (kind not in FILES and cached.lower() in ("1", "t", "true")):
        raise Unsupported("configured logging driver does not support reading")
    goes_on = run(engine, record["Id"])
    follower = Follower(path, engine.paths.ingest) if follow and goes_on() else None
    log = Log(path, engine.paths.ingest)
    try:
        starts = [0] * len(log.fds) if tail is None or tail < 0 else log.tail(tail)
        if follower is not None and log.fds:
            follower.skip(log.fds[-1])
        for index, start in enumerate(starts[:-1]):
            if start < END and not show.too_old(log.fds[index]):
                yield from draining(log.plain(index), start, show)
        current, start = (log.take(), starts[-1]) if log.fds else (-1, 0)
        try:
            if follower is not None:
                given, current = current, -1
                current = yield from following(follower, given, start, show, goes_on, missing)
            elif current >= 0:
                yield from draining(current, start, show)
        finally:
            if current >= 0:
                os.close(current)
    finally:
        log.close()
        if follower is not None:
            follower.close()
    gone = lost(engine.paths, record["Id"])
    if gone:
        full(gone)


def mark(paths: Paths, container_id: str) -> tuple[tuple[int, int], ...]:
    """Another one once there may be more to read, or the run may have ended: a look that costs little."""
    found = []
    for path in (paths.container(container_id) + "/log.json", paths.run_container(container_id) + "/lock"):
        try:
            status = os.stat(path)
            found.append((status.st_ino, status.st_size + status.st_mtime_ns))
        except OSError:
            found.append((0, 0))
    return tuple(found)


def lost(paths: Paths, container_id: str) -> int:
    """Bytes of output that the log of a running container has lost, and could not say so: the disk is
    full. -1: an unknown number."""
    try:
        with open(f"{paths.run_container(container_id)}/{LOST}", "rb") as file:
            text = file.read(20)
    except OSError:
        return 0
    return int(text) if text.isdigit() else -1  # there was no room for the number either


def go_on(
    follower: Follower,
    current: int,
    start: int,
    show: Show,
    goes_on: Callable[[], bool],
    missing: Callable[[], object],
) -> int:
    """Do `following` to its end."""
    return finish(following(follower, current, start, show, goes_on, missing))


def following(
    follower: Follower,
    current: int,
    start: int,
    show: Show,
    goes_on: Callable[[], bool],
    missing: Callable[[], object],
) -> Generator[bool, None, int]:
    """Show what is added until the run has ended, from `start` of the file `current` (-1: none yet) on.

    The last file, to be closed; it is closed here where this task is, or fails.
    """
    try:
        while True:
            over = not goes_on() or show.is_over()
            start = yield from draining(current, start, show)
            after = follower.next(current)
            if after != NONE:
                yield from draining(current, start, show)  # what came before the writer left this file
                read, current, start = current, max(after, -1), 0
                if read >= 0:
                    os.close(read)
                if after == MISSING:
                    missing()
            elif over:
                return current
            else:
                yield True
    except BaseException:
        if current >= 0:
            os.close(current)
        raise


def drain(fd: int, start: int, show: Show) -> int:
    """Do `draining` to its end."""
    return finish(draining(fd, start, show))


def draining(fd: int, start: int, show: Show) -> Generator[bool, None, int]:
    """Show the lines from an offset on; the offset after them."""
    if fd >= 0:
        for lines, after in blocks(fd, start, show.most):
            show(lines)
            start = after
            yield False
    return start


def run(engine: Engine, container_id: str) -> Callable[[], bool]:
    """A function that tells whether the run that goes on now still does; a later one does not count."""
    from estiva.engine.state import locks, runstate

    live = runstate.read(engine.paths, container_id)

    def goes_on() -> bool:
        nonlocal live
        if live is not None:
            return locks.runs(engine.paths, live)
        live = runstate.read(engine.paths, container_id)  # it was being started
        return locks.held(engine.paths, container_id)

    return goes_on


class Show:
    """Gives the text of log lines to `out` and `err`, as much at once as goes the same way. `since`, `until`:
    epoch seconds."""

    def __init__(
        self,
        out: Callable[[bytes], object],
        err: Callable[[bytes], object],
        since: float | None,
        until: float | None,
        timestamps: bool,
        details: bool = False,
    ) -> None:
        self.out = out
        self.err = err
        self.first = moment(since)
        self.last = moment(until)
        self.since = since
        self.until = until
        self.timestamps = timestamps
        self.details = details
        self.most = BLOCK  # bytes of the log that are given at once

    def __call__(self, lines: bytes) -> None:
        texts: list[bytes] = []
        stream = b""
        for come_by, at, text in entries(lines, self.details):
            if not self.fits(at):
                continue
            if come_by != stream:
                self.give(stream, texts)
                stream, texts = come_by, []
            texts.append(at + b" " + text if self.timestamps else text)
        self.give(stream, texts)

    def fits(self, at: bytes) -> bool:
        """Whether a line of that time is wanted."""
        return not (self.first and at[:EXACT] < self.first or self.last and at[:EXACT] > self.last)

    def give(self, stream: bytes, texts: list[bytes]) -> None:
        if texts:
            (self.err if stream == b"stderr" else self.out)(b"".join(texts))

    def too_old(self, fd: int) -> bool:
        """Whether a file has not been written to since `since`; a second is for the coarse clock of files."""
        return self.since is not None and os.fstat(fd).st_mtime + 1 < self.since

    def is_over(self) -> bool:
        """Whether nothing that comes will be shown."""
        return self.until is not None and time.time() > self.until


def moment(seconds: float | None) -> bytes:
    """A time as a log writes it, to the microsecond; such texts are in the order of time."""
    if seconds is None:
        return b""
    from estiva.timestamps import rfc3339

    return rfc3339(round(min(max(seconds, 0), LAST) * 1e6) * 1000).encode()[:EXACT]


def last_lines(engine: Engine, ref: str, count: int = 10) -> list[str]:
    """The last lines of a container's log, for people: each cut to LINE characters and fit for a terminal.
    Nothing where there is no log to be read."""
    from estiva.errors import EstivaError, brief

    kept = bytearray()

    def take(text: bytes) -> None:
        kept.extend(text)
        del kept[: -TAIL if len(kept) > TAIL else 0]

    try:
        logs(engine, ref, take, take, tail=count)
    except (EstivaError, OSError):
        return []
    lines = kept.decode(errors="replace").splitlines()
    return [brief(line, LINE) for line in lines[-count:]]
