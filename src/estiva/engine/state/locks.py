"""What "running" means: the lock of a container's run folder.

A container runs while somebody holds the lock of its run folder: the starter first, then its monitor, which
inherits it. The kernel drops it when the monitor dies. So nobody is fooled by a recycled pid or a stale row:

    row "running", lock held    runs (or is being started)
    row "running", lock free    its monitor was killed: `life.reconcile` ends it and settles the row

Whoever makes, removes or sweeps a container holds the lock too. It is an open file description lock
(fcntl(2), F_OFD_SETLK): passed on by fork and by socket as flock(2) is, but it can be looked at (F_OFD_GETLK)
without being taken, even for a moment, from one who wants it. Of its two bytes the first is the lock; who
waits for the end waits on the second, and so is in nobody's way either. The file's content is the exit
status, once there is one: who waits has it open, and can read it even when the container is removed (--rm).
"""

from __future__ import annotations

import fcntl
import os
from _struct import pack, unpack

from estiva.engine.state import runstate
from estiva.files import remove_tree
from estiva.paths import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.types import RunState


_FLOCK = "hhqqi4x"  # struct flock on 64-bit machines: type, whence, start, length, pid


_RUNS, _WAIT = 0, 1  # the two bytes
LINGERS = "/lingers"


def _lock(fd: int, command: int, kind: int, byte: int) -> int:
    """fcntl(2) with a struct flock; the type of lock that it tells (F_UNLCK: none is in the way)."""
    answer = fcntl.fcntl(fd, command, pack(_FLOCK, kind, os.SEEK_SET, byte, 1, 0))
    return int(unpack(_FLOCK, answer)[0])


def take(where: Paths, container_id: str, *, new: bool = False) -> int:
    """The container's lock, as an fd to keep open. Raises BlockingIOError while another has it.

    `new`: nobody knows of the container yet, so only a sweeper may have it, which lets it go.
    """
    run = where.run_container(container_id)
    while True:
        try:
            fd = os.open(run + "/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            try:
                os.makedirs(run, mode=0o700)
            except FileExistsError:
                pass  # made, or even removed again, by another
            continue
        except (NotADirectoryError, IsADirectoryError) as error:  # what nobody of ours has made
            remove_tree(run if isinstance(error, NotADirectoryError) else run + "/lock")
            continue
        try:
            _lock(fd, fcntl.F_OFD_SETLKW if new else fcntl.F_OFD_SETLK, fcntl.F_WRLCK, _RUNS)
            _lock(fd, fcntl.F_OFD_SETLKW, fcntl.F_WRLCK, _WAIT)
            # the folder may have been taken away, with the lock in it, between our open and our lock
            if os.fstat(fd).st_ino == os.stat(run + "/lock").st_ino:
                return fd
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def held(where: Paths, container_id: str) -> bool:
    """Whether the container runs, or is being made, started, removed or swept."""
    try:
        fd = os.open(where.run_container(container_id) + "/lock", os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False
    try:
        return _lock(fd, fcntl.F_OFD_GETLK, fcntl.F_WRLCK, _RUNS) != fcntl.F_UNLCK
    finally:
        os.close(fd)


def runs(where: Paths, live: RunState) -> bool:
    """Whether the run whose state was `live` goes on; not so when the container has been started again."""
    if not held(where, live["id"]):
        return False
    now = runstate.read(where, live["id"])
    return now is not None and runstate.same(now, live)


def await_end(where: Paths, container_id: str) -> int | None:
    """Block until the monitor has settled everything and gone; the exit status, if it left one."""
    fd = watch(where, container_id)
    if fd < 0:
        return None
    try:
        return await_end_of(fd)
    finally:
        os.close(fd)


def watch(where: Paths, container_id: str) -> int:
    """An fd for `await_end_of`, the caller's to close: of the run that is on now. -1 without one."""
    try:
        return os.open(where.run_container(container_id) + "/lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1


def await_end_of(fd: int) -> int | None:
    """See `await_end`."""
    _lock(fd, fcntl.F_OFD_SETLKW, fcntl.F_RDLCK, _WAIT)
    return exit_status(fd)


def has_ended(fd: int) -> bool:
    """Whether `await_end_of` would not block."""
    return _lock(fd, fcntl.F_OFD_GETLK, fcntl.F_RDLCK, _WAIT) == fcntl.F_UNLCK


def tell_end(lock: int) -> None:
    """By who holds it: a run has ended, whose exit status is written. Those who wait hear of it, and the
    container is still held, to be started again."""
    _lock(lock, fcntl.F_OFD_SETLK, fcntl.F_UNLCK, _WAIT)


def linger(where: Paths, container_id: str, lock: int) -> int:
    """By who holds it: it has ended, others may start it again, and this process is to remove it. An fd in
    place of `lock` which says that for as long as it is open (flock(2) on a file in the container's folder).
    """
    try:
        fd = os.open(where.container(container_id) + LINGERS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        fd = -1  # the folder has gone, or the disk is full
    else:
        fcntl.flock(fd, fcntl.LOCK_SH)
    os.close(lock)
    return fd


def lingers(where: Paths, container_id: str) -> bool:
    """Whether one that has ended has somebody who is to remove it."""
    try:
        fd = os.open(where.container(container_id) + LINGERS, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)


def begin_again(lock: int) -> None:
    """After `tell_end`: the next run begins. Who has heard of the last one's end has read its exit status."""
    _lock(lock, fcntl.F_OFD_SETLKW, fcntl.F_WRLCK, _WAIT)
    os.ftruncate(lock, 0)


def exit_status(lock: int) -> int | None:
    """The exit status that the monitor has left in the lock file, if it came to that."""
    status = os.pread(lock, 16, 0)
    return int(status) if status.isdigit() else None


def left(where: Paths, container_id: str) -> tuple[int, int] | None:
    """(exit status, nanoseconds since the epoch) of a run whose end could not be written into the row."""
    try:
        fd = os.open(where.run_container(container_id) + "/lock", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        code = exit_status(fd)
        return None if code is None else (code, os.fstat(fd).st_mtime_ns)
    finally:
        os.close(fd)


def let_go(where: Paths, container_id: str, lock: int) -> None:
    """Let go of the lock of a container that has not been started after all. The run folder goes, unless it
    says how a run has ended whose row does not.
    """
    if exit_status(lock) is None:
        leave(where, container_id)
    os.close(lock)


def leave(where: Paths, container_id: str) -> None:
    """Remove a container's run folder, whose lock the caller holds.

    It is renamed first: who comes now makes a new one, and never a lock in what is being removed.
    """
    aside = f"{where.run_containers}/.{os.urandom(8).hex()}"
    try:
        os.rename(where.run_container(container_id), aside)
    except FileNotFoundError:
        return
    remove_tree(aside)
