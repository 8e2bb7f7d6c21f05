"""Cache mounts: folders that outlive the build, one for each identity.

<cache>/build/mounts/HEX/   about      JSON: what it is for
                            data/      what is mounted; data.N/ for private ones while others are in use
                            lock       of data/: held by those who use it, exclusively by who wants it alone
                            lock.N     of data.N/
<cache>/build/mounts/.users held by every RUN that has one of them

Who removes one holds its lock exclusively. `data` is made aside and renamed, so that a build that is killed
leaves none with the wrong owner or half of what it should begin with. What is in it is a command's, and never
read by anybody else: links in it are followed inside of containers only, devices and setuid files are without
effect (the mounts are nodev and nosuid).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import posixpath
import stat
import time

from estiva import fastjson
from estiva.builder.files.copier import Copier
from estiva.builder.files.destination import Destination
from estiva.builder.files.record import Record
from estiva.builder.files.tree import Tree
from estiva.builder.frontend.run_mounts import Mount
from estiva.builder.struct import struct
from estiva.errors import InvalidInput
from estiva.files import atomic_write
from estiva.linux import fs
from estiva.linux.libc import AT_FDCWD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PAUSE = 0.05  # seconds between two looks at a lock
_LOCK = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
_SILENCE = 1.0  # seconds of waiting until it is told


@struct
class Base:
    """What a cache begins with: a resolved path of a tree. `content` tells what that holds, by its digest of
    what `changes`: a folder of the host's.
    """

    tree: Tree
    path: str
    content: list[str]
    changes: bool = False


@struct
class Wanted:
    """A cache mount that a RUN asks for. With a base, owner and mode are those of the base."""

    mount: Mount
    base: Base | None

    @property
    def owner(self) -> tuple[int, int, int]:
        """(uid, gid, mode) of the folder."""
        if self.base is None:
            mode = 0o755 if self.mount.mode is None else self.mount.mode
            return self.mount.uid or 0, self.mount.gid or 0, mode
        info = self.base.tree.stat(self.base.path)
        uid, gid = (info.st_uid, info.st_gid) if self.base.tree.owners else (0, 0)
        return uid, gid, stat.S_IMODE(info.st_mode)

    @property
    def name(self) -> str:
        """Its identity. One id that is asked for with another owner or mode, or another base, is another
        cache, as with docker: it could not be used in place of the first.
        """
        if self.base is not None:
            return "\0".join((self.mount.id, "from", self.base.path, *self.base.content))
        uid, gid, mode = self.owner
        usual = (uid, gid, mode) == (0, 0, 0o755)
        return self.mount.id if usual else f"{self.mount.id}\0{uid}:{gid} {mode:o}"


class CacheMounts:
    """Those of one RUN. `paths` are what to mount, in the order of `wanted`; `close` gives them free. `met`,
    after that: others had cache mounts when it ended, so that one of them may have got an open file of it,
    through a socket in a folder that they shared, and write to that still.

    base      <cache>/build/mounts
    scratch   makes an empty directory on the same filesystem
    look      called while others are waited for: what it raises ends that
    waiting   called once with the id of a cache mount that is waited for

    One that a RUN asks for twice is the same, and asked for once. All RUNs take their locks in one order, so
    that no two wait for each other.
    """

    def __init__(
        self,
        wanted: list[Wanted],
        base: str,
        scratch: Callable[[], str],
        look: Callable[[], None],
        waiting: Callable[[str], None],
    ) -> None:
        self.scratch = scratch
        self.look = look
        self.waiting = waiting
        self.held: list[int] = []
        self.users = -1
        self.shared = False
        self.met = False
        by_top: dict[str, list[Wanted]] = {}
        tops = []
        for each in wanted:
            top = f"{base}/{hashlib.sha256(each.name.encode('utf-8', 'surrogatepass')).hexdigest()}"
            by_top.setdefault(top, []).append(each)
            tops.append(top)
        try:
            os.makedirs(base, mode=0o700, exist_ok=True)
            self.users = os.open(base + "/.users", _LOCK, 0o600)
            fcntl.flock(self.users, fcntl.LOCK_SH)  # held exclusively for a moment only
            found = {top: self._take(top, by_top[top]) for top in sorted(by_top)}
        except BaseException:
            self.close()
            raise
        self.paths = [found[top] for top in tops]

    def close(self) -> None:
        while self.held:
            fd = self.held.pop()
            fcntl.flock(fd, fcntl.LOCK_UN)  # also for a fork of another thread's, which has the fd too
            os.close(fd)
        if self.users >= 0:
            self.met = self.shared and not self._alone()
            fcntl.flock(self.users, fcntl.LOCK_UN)
            os.close(self.users)
            self.users = -1

    def _alone(self) -> bool:
        """Whether no other RUN has any cache mount: a file can be handed on from one to the next."""
        try:
            fcntl.flock(self.users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _take(self, top: str, asking: list[Wanted]) -> str:
        """Lock one cache mount and make it if need be; the path to mount."""
        mount, base = asking[0].mount, asking[0].base
        sharing = {each.mount.sharing for each in asking}
        path = top + "/data"
        if "locked" in sharing:
            self._wait(top + "/lock", fcntl.LOCK_EX, mount.id)
        elif "private" in sharing:
            number = 0
            while not self._lock(f"{top}/lock.{number}" if number else top + "/lock", fcntl.LOCK_EX):
                number += 1
                path = f"{top}/data.{number}"
        else:
            self._wait(top + "/lock", fcntl.LOCK_SH, mount.id)
            self.shared = True
        if not os.path.exists(path):
            self._make(path, asking[0])
            about = {"id": mount.id, "from": mount.from_, "source": mount.source}
            atomic_write(top + "/about", fastjson.dumps(about).encode("utf-8", "replace"), sync=False)
        if base is not None and not stat.S_ISDIR(base.tree.stat(base.path).st_mode):
            return f"{path}/{posixpath.basename(base.path)}"
        return path

    def _make(self, path: str, wanted: Wanted) -> None:
        aside = self.scratch()
        base = wanted.base
        if base is not None:
            fd = os.open(aside, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                total = Record(base.tree.owners)
                Copier(base.tree, Destination(fd)).copy(base.path, posixpath.basename(base.path), "/", total)
                if base.changes and base.content != [total.digest()]:
                    name = wanted.mount.from_
                    raise InvalidInput(
                        f"{name} changed while the cache mount {wanted.mount.id} was made of it"
                    )
            finally:
                os.close(fd)
        if base is None or stat.S_ISDIR(base.tree.stat(base.path).st_mode):
            uid, gid, mode = wanted.owner
            os.chown(aside, uid, gid)
            os.chmod(aside, mode)
        try:
            fs.renameat2(AT_FDCWD, aside, AT_FDCWD, path, fs.RENAME_NOREPLACE)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise  # else another build, which shares it, was faster; what is aside goes with the build

    def _wait(self, path: str, operation: int, name: str) -> None:
        since = time.monotonic()
        told = False
        while not self._lock(path, operation):
            self.look()
            if not told and time.monotonic() - since >= _SILENCE:
                told = True
                self.waiting(name)
            time.sleep(_PAUSE)

    def _lock(self, path: str, operation: int) -> bool:
        """Take a lock if it is free, and still there then."""
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        try:
            fd = os.open(path, _LOCK, 0o600)
        except FileNotFoundError:
            return False  # just removed
        try:
            fcntl.flock(fd, operation | fcntl.LOCK_NB)
            if os.path.samestat(os.stat(path), os.fstat(fd)):
                self.held.append(fd)
                return True
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return False
