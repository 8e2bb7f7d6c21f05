"""Scratch directories of one build, and the directories of cache mounts.

<cache>/build/work/XXXX/    one running build's; held by flock, swept by the next build after a kill
<cache>/build/mounts/HEX/   a cache mount by its id: data/, data.N/ for private ones in use at once, lock
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile

from estiva.builder.files.tree import Tree
from estiva.builder.frontend.run_mounts import Mount
from estiva.builder.once import Once
from estiva.files import abandoned, new_directory, remove_tree
from estiva.paths import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.builder.files.frozen import Frozen


class Workspace:
    """A build's own directory, 0700, gone after `close`.

    `frozen` are copies of folders, by what they were made of.
    """

    def __init__(self, paths: Paths) -> None:
        self.base = paths.cache + "/build"
        self.mounts = self.base + "/mounts"
        work = self.base + "/work"
        self.secret_base = paths.run_root + "/build"
        for directory in (self.base, work, self.mounts, self.secret_base):
            os.makedirs(directory, mode=0o700, exist_ok=True)
        _sweep(work)
        _sweep(self.secret_base)
        self.fd, self.path = new_directory(work, "")
        self.frozen: Once[tuple[Tree, str], Frozen] = Once()

    def close(self) -> None:
        for copy in self.frozen.values():
            copy.close()
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.fd)

    def directory(self) -> str:
        """A new, empty directory, 0755 so that a container's user may enter it once it is mounted."""
        path = tempfile.mkdtemp(dir=self.path)
        os.chmod(path, 0o755)
        return path


class Scratch:
    """What one stage's step has of a workspace while it runs: files, secrets, cache mounts; until `release`.

    Stages run beside each other, so each has its own.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.secrets: list[tuple[str, int]] = []
        self.held: list[int] = []

    @property
    def frozen(self) -> Once[tuple[Tree, str], Frozen]:
        return self.workspace.frozen

    def directory(self) -> str:
        """See Workspace.directory."""
        return self.workspace.directory()

    def secret(self) -> str:
        """The path for a step's secret file, gone with `release`."""
        fd, path = new_directory(self.workspace.secret_base, "")
        self.secrets.append((path, fd))
        return path + "/secret"

    def file(self) -> int:
        """The fd of a new, empty file without a name, for reading and writing; closed by `release`."""
        fd, path = tempfile.mkstemp(dir=self.workspace.path)
        self.held.append(fd)
        os.unlink(path)
        return fd

    def cache_mount(self, mount: Mount) -> str:
        """The directory of a cache mount. Waits for its lock if it is `locked`; keep it until `release`.

        One id that is asked for with another owner or mode is another cache, as with docker: it could not be
        used with those of the first.
        """
        uid, gid = mount.uid or 0, mount.gid or 0
        mode = 0o755 if mount.mode is None else mount.mode
        named = mount.id if (uid, gid, mode) == (0, 0, 0o755) else f"{mount.id}\0{uid}:{gid} {mode:o}"
        top = f"{self.workspace.mounts}/{hashlib.sha256(named.encode('utf-8', 'surrogatepass')).hexdigest()}"
        os.makedirs(top, mode=0o700, exist_ok=True)
        if mount.sharing == "private":
            number = 0
            while not self._lock(f"{top}/lock.{number}", blocking=False):
                number += 1
            path = f"{top}/data.{number}" if number else f"{top}/data"
        else:
            if mount.sharing == "locked":
                self._lock(f"{top}/lock", blocking=True)
            path = f"{top}/data"
        if not os.path.isdir(path):
            os.mkdir(path, 0o700)
            os.chown(path, uid, gid)
            os.chmod(path, mode)
        return path

    def _lock(self, path: str, *, blocking: bool) -> bool:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if blocking else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(fd)
            return False
        self.held.append(fd)
        return True

    def release(self) -> None:
        """Let go of a step's files and of the locks of its cache mounts, and remove its secrets."""
        while self.held:
            os.close(self.held.pop())
        while self.secrets:
            path, fd = self.secrets.pop()
            shutil.rmtree(path, ignore_errors=True)
            os.close(fd)


def sweep(paths: Paths) -> list[str]:
    """Remove what killed builds have left; the paths."""
    removed = []
    for directory in (paths.cache + "/build/work", paths.run_root + "/build"):
        if os.path.isdir(directory):
            removed += _sweep(directory)
    return removed


def _sweep(work: str) -> list[str]:
    """Remove what killed builds left; the paths."""
    removed = []
    for name in os.listdir(work):
        path = f"{work}/{name}"
        fd = abandoned(path)
        if fd < 0:
            continue
        try:
            remove_tree(path)
            removed.append(path)
        finally:
            os.close(fd)
    return removed
