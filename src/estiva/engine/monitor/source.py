"""One stream that comes out of a container, by poll(2): read here, and passed on to who listens."""

from __future__ import annotations

import fcntl
import os
import select
from errno import EAGAIN, EIO
from select import POLLIN, POLLOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.engine.monitor.audience import Audience
    from estiva.engine.monitor.life.bounds import Bounds

    Log = Callable[[bytes], None] | None

CHUNK = 1 << 16
WIDE = 1 << 18  # of one that fills CHUNK
HEAP = 4 << 20  # bytes of memory that are kept then
STDOUT, STDERR = b"1", b"2"


class Source:
    """One stream that comes out of a container: a pipe's read end or a pty's master.

    A target that does not block, and is full, gets the rest when there is room: nothing more is read before.
    """

    def __init__(self, fd: int, target: int, log: Log, tag: bytes = STDOUT) -> None:
        self.fd = fd
        self.target = target
        self.log = log
        self.tag = tag
        self.chunk = CHUNK
        self.waiting = memoryview(b"")  # what its target has no room for
        self.bounds: Bounds | None = None  # how much it may say
        self.passes = False  # whether the process is to see that the caller has closed its end

    @property
    def watched(self) -> tuple[int, int]:
        """(fd, event) after which `pump` has something to do."""
        return (self.target, POLLOUT) if self.waiting else (self.fd, POLLIN)

    def pump(self, audience: Audience | None = None) -> bool:
        """Move what is there. False at the end of the stream."""
        if self.waiting:
            return self.flush()
        try:
            data = os.read(self.fd, self.chunk)
        except OSError as error:
            if error.errno == EAGAIN:
                return True
            if error.errno != EIO:  # EIO: the pty's last user has gone
                raise
            data = b""
        if not data:
            return False
        if len(data) == CHUNK:
            self.widen()
        if self.bounds is not None:
            data = self.bounds.cut(data)
            if not data:
                return True
        if self.log is not None:
            self.log(data)
        if audience is not None:
            audience.put(self.tag, data)
        if self.target >= 0:
            self.waiting = memoryview(data)
            return self.flush()
        return True

    def flush(self) -> bool:
        """Give the target what it has room for. False where it has gone, and the process is to see that."""
        try:
            while self.waiting:
                self.waiting = self.waiting[os.write(self.target, self.waiting) :]
        except BlockingIOError:
            pass
        except OSError:
            self.leave()  # the caller has gone; the container, as a rule, need not know
            return not self.passes
        return True

    def rest(self) -> None:
        """Once the process has ended: what is in its pipe still, as far as there is room."""
        os.set_blocking(self.fd, False)
        more = True
        while more and not self.waiting:
            poll = select.poll()
            poll.register(self.fd, POLLIN)
            more = bool(poll.poll(0)) and self.pump()

    def widen(self) -> None:
        """It says much: take more at once, of a wider pipe, and don't have the kernel clear the same memory
        again and again."""
        from estiva.linux import mallopt

        self.chunk = WIDE
        mallopt.keep(HEAP)
        try:
            fcntl.fcntl(self.fd, fcntl.F_SETPIPE_SZ, WIDE)
        except OSError:
            pass  # a terminal, or the user has too many pipes

    def leave(self) -> None:
        """Let go of the caller's end, if it is not our own stdout."""
        if self.target > 2:
            os.close(self.target)
        self.target = -1
        self.waiting = memoryview(b"")


def deliver(sources: list[Source], program: int) -> None:
    """What the readers have not taken yet, as long as there is one, and the `program` (a pidfd, or -1) that
    they are in lives."""
    while left := [source for source in sources if source.waiting]:
        poll = select.poll()
        for source in left:
            poll.register(source.target, POLLOUT)
        if program >= 0:
            poll.register(program, POLLIN)
        ready = dict(poll.poll())
        if program in ready:
            return
        for source in left:
            if source.target in ready:
                source.flush()
                source.rest()
