"""A running container gets another root: an overlay over the one that it has, with a fresh read-write layer.

What it has written so far is then a lower directory of it, which nobody writes to any more, and may be one of
other containers. For the caller the container has to stand still, with nobody but its init in it:

    mount        the new overlay, detached; it hides nothing and nobody sees it
    move         the mounts in the root (/proc, /dev, volumes, ...), each with what is in it, into the new one
    pivot_root   the kernel takes along all whose root, or working directory, is the old one
    umount       of the old one, without force: who has a file of it open keeps it busy, and all is undone

pivot_root(2), move_mount(2). The same superblock is never mounted for writing twice.
"""

from __future__ import annotations

import _signal
import errno
import os
import time

from estiva.errors import EngineError
from estiva.linux import mount as mnt
from estiva.linux import namespace as ns
from estiva.linux.libc import AT_FDCWD, AT_SYMLINK_NOFOLLOW
from estiva.runtime import child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.runtime.rootfs.rootfs import Rootfs

TRIES = 3  # of umount: what has just ended may be on its way out
WAIT = 0.001  # seconds
DONE, BUSY, LOST = b"d", b"b", b"l"
_FLAGS = {"ro": mnt.MOUNT_ATTR_RDONLY, "nodev": mnt.MOUNT_ATTR_NODEV, "nosuid": mnt.MOUNT_ATTR_NOSUID,
          "noexec": mnt.MOUNT_ATTR_NOEXEC}  # fmt: skip


class Lost(EngineError):
    """The container's mounts are neither as they were nor as they were to be: it has to be ended."""


class Root:
    """The root mount of a process, and what is mounted in it, as /proc/PID/mountinfo (proc(5)) tells."""

    def __init__(self, pid: int) -> None:
        with open(f"/proc/{pid}/mountinfo", "rb", buffering=0) as file:
            rows = [line.split() for line in file.read().splitlines()]
        tops = [row for row in rows if row[4] == b"/"]
        if len(tops) != 1 or tops[0][3] != b"/":
            raise BlockingIOError(errno.EBUSY, "its root is not one mount")
        top = tops[0]
        separator = {id(row): row.index(b"-") for row in rows}
        kinds = [row[separator[id(row)] + 1] for row in rows]
        again = [row for row in rows if row[2] == top[2] and row is not top]
        if top[separator[id(top)] + 1] != b"overlay" or separator[id(top)] != 6 or b"nsfs" in kinds or again:
            raise BlockingIOError(errno.EBUSY, "its root is mounted elsewhere too, or shared")
        self.inside = [_plain(row[4]) for row in rows if row[1] == top[0]]
        options = top[5].decode().split(",")
        self.attributes = sum(flag for name, flag in _FLAGS.items() if name in options)


def _plain(name: bytes) -> bytes:
    """A path of mountinfo without its escapes."""
    for code, char in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        name = name.replace(code, char)
    return name


def reroot(pid: int, rootfs: Rootfs) -> bool:
    """Give the container whose init is `pid`, and which stands still, the root `rootfs`. False, with all as
    it was, if its root is in use or is no plain overlay. Raises Lost, OSError, EngineError.
    """
    try:
        now = Root(pid)
    except BlockingIOError:
        return False
    new = rootfs.mount()
    namespace = -1
    try:
        namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        if now.attributes:
            mnt.mount_setattr(new, "", now.attributes)
        said = _elsewhere(lambda: _swap(namespace, new, now.inside))
    finally:
        os.close(new)
        if namespace >= 0:
            os.close(namespace)
    if said == BUSY:
        return False
    if said != DONE:
        raise Lost("its root could not be put back")
    return True


def _elsewhere(work: Callable[[], bytes]) -> bytes:
    """What `work` comes to in a process of its own, which goes to its end whatever becomes of us."""
    out, into = os.pipe()
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, child.ALL_SIGNALS)
    try:
        pid, pidfd = ns.fork(0)
        if pid == 0:
            said = LOST
            try:
                child.forbid_imports()
                said = work()
            finally:
                os.write(into, said)
                os._exit(0)
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
        os.close(into)
    os.close(pidfd)
    said = os.read(out, 1)
    os.close(out)
    os.waitpid(pid, 0)
    return said


def _swap(namespace: int, new: int, inside: list[bytes]) -> bytes:
    """In the process in between. Nothing is imported: names are the container's."""
    ns.setns(namespace, ns.CLONE_NEWNS)
    old = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    moved: list[bytes] = []
    attached = pivoted = False
    try:
        mnt.move_mount(new, "", AT_FDCWD, "/")
        attached = True
        for path in inside:
            _move(old, new, path)
            moved.append(path)
        os.fchdir(new)
        mnt.pivot_root(".", ".")
        pivoted = True
        os.close(old)
        old = -1
        for _ in range(TRIES):
            try:
                mnt.umount2(".", 0)  # the one on top
                return DONE
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                time.sleep(WAIT)
    except OSError:
        pass
    if pivoted:
        old = mnt.open_tree(AT_FDCWD, "..")  # of a root that is the root, with what is mounted over it
        os.fchdir(old)
        mnt.pivot_root(".", ".")
    for path in reversed(moved):
        _move(new, old, path)
    if attached:
        os.fchdir(old)
        mnt.umount2(".", mnt.MNT_DETACH)
    return BUSY


def _move(source: int, target: int, path: bytes) -> None:
    name = os.fsdecode(path).lstrip("/")
    fd = mnt.open_tree(source, name, AT_SYMLINK_NOFOLLOW)
    try:
        mnt.move_mount(fd, "", target, name)
    finally:
        os.close(fd)
