"""A program of the host's that talks to a stranger: bounded in time, memory and files, and gone with us.

It starts as a shell that waits for a line, so that its limits hold before its first instruction and for all
that it starts (getrlimit(2)); it has a session of its own, which is killed whole; and where setpriv(1) is
installed, it is killed when who started it is (prctl(2), PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import os
import resource
import selectors
import signal
import subprocess
import time
from collections.abc import Callable

from estiva import programs
from estiva.errors import Unavailable

FILE = 4 << 30  # bytes of one file that it may write
MEMORY = 2 << 30  # bytes of data of each process
SECONDS = 3600.0  # for all of it
SILENT = 300.0  # seconds without a word
LOOK = 0.5  # seconds
KEPT = 8 << 10  # bytes of what it says on stderr, the last ones
_GATE = 'read -r _ && exec "$@" </dev/null'
_CHUNK = 1 << 16


class Ended:
    """How it ended: its exit status (negative: a signal), what it wrote, and the end of what it said."""

    def __init__(self, status: int, output: bytes, said: str) -> None:
        self.status = status
        self.output = output
        self.said = said


def run(
    argv: list[str],
    env: dict[str, str],
    *,
    cwd: str,
    what: str,
    most: int = 1 << 20,
    take: Callable[[bytes], None] | None = None,
    until: float = 0.0,
    look: Callable[[], None] = lambda: None,
    hear: Callable[[bytes], None] | None = None,
) -> Ended:
    """Run a program to its end. Its output is returned, at most `most` bytes, or goes to `take` in pieces.

    `until` is a time.monotonic(), `what` its name in messages; `look` is called now and then: what it
    raises ends the program; `hear` gets the end of what it has said on stderr. Raises Unavailable when it
    takes too long or writes more than that.
    """
    setpriv = programs.find("setpriv")
    keep = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
    child = subprocess.Popen(
        [*keep, "/bin/sh", "-c", _GATE, "sh", *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        cwd=cwd,
        umask=0o022,
        start_new_session=True,
    )
    assert child.stdin is not None and child.stdout is not None and child.stderr is not None
    try:
        _limit(child.pid)
        try:
            child.stdin.write(b"\n")
            child.stdin.close()
        except BrokenPipeError:
            pass
        output, said = _listen(child, what, most, take, until or time.monotonic() + SECONDS, look, hear)
        return Ended(child.wait(), output, said)
    finally:
        try:
            os.killpg(child.pid, signal.SIGKILL)  # a helper that outlives it, too
        except ProcessLookupError:
            pass
        child.wait()
        for stream in (child.stdin, child.stdout, child.stderr):
            stream.close()


def _limit(pid: int) -> None:
    wanted = {resource.RLIMIT_FSIZE: FILE, resource.RLIMIT_DATA: MEMORY, resource.RLIMIT_CORE: 0}
    for kind, most in wanted.items():
        hard = resource.prlimit(pid, kind)[1]
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.prlimit(pid, kind, (most, most))


def _listen(
    child: subprocess.Popen[bytes],
    what: str,
    most: int,
    take: Callable[[bytes], None] | None,
    until: float,
    look: Callable[[], None],
    hear: Callable[[bytes], None] | None,
) -> tuple[bytes, str]:
    output, said = bytearray(), bytearray()
    assert child.stdout is not None and child.stderr is not None
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        selector.register(child.stderr, selectors.EVENT_READ)
        heard = time.monotonic()
        while selector.get_map():
            look()
            ready = selector.select(LOOK)
            now = time.monotonic()
            if now > until:
                raise Unavailable(f"{what} took too long")
            if ready:
                heard = now
            elif now > heard + SILENT:
                raise Unavailable(f"{what} said nothing for {SILENT:.0f} seconds")
            for key, _ in ready:
                data = os.read(key.fd, _CHUNK)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fileobj is child.stderr:
                    said += data
                    del said[:-KEPT]
                    if hear is not None:
                        hear(bytes(said))
                elif take is not None:
                    take(data)
                elif len(output) + len(data) > most:
                    raise Unavailable(f"{what} wrote more than {most} bytes")
                else:
                    output += data
    return bytes(output), said.decode("utf-8", "replace")
