"""Scratch directories of one build.

<cache>/build/work/XXXX/    one running build's; held by flock, swept by the next build after a kill
<cache>/build/mounts/       cache mounts (cache_mounts.py)
"""

from __future__ import annotations

import os

from estiva.builder import threads
from estiva.builder.once import Once
from estiva.files import abandoned, new_directory, remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading

    from estiva.builder.files.frozen import Frozen
    from estiva.builder.files.tree import Tree
    from estiva.paths import Paths


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
        self._removing: list[threading.Thread] = []

    def close(self) -> None:
        for thread in self._removing:
            thread.join()
        for copy in self.frozen.values():
            copy.close()
        try:
            remove_tree(self.path)
        except OSError:  # a mount in it: the next build sweeps
            pass
        os.close(self.fd)

    def directory(self) -> str:
        """A new, empty directory, 0755 so that a container's user may enter it once it is mounted."""
        path = f"{self.path}/{os.urandom(8).hex()}"
        os.mkdir(path)
        os.chmod(path, 0o755)
        return path

    def drop(self, path: str) -> None:
        """Remove such a directory, while the build goes on: of many files that takes long."""

        def remove() -> None:
            try:
                remove_tree(path)
            except OSError:  # `close` tries again
                pass

        self._removing.append(threads.start(remove, "estiva-remove"))


class Scratch:
    """What one stage's step has of a workspace while it runs: files, secrets; until `release`.

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

    def drop(self, path: str) -> None:
        """See Workspace.drop."""
        self.workspace.drop(path)

    def secret(self) -> str:
        """The path for a step's secret file, gone with `release`."""
        fd, path = new_directory(self.workspace.secret_base, "")
        self.secrets.append((path, fd))
        return path + "/secret"

    def file(self) -> int:
        """The fd of a new, empty file without a name, for reading and writing; closed by `release`."""
        fd = os.open(self.workspace.path, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self.held.append(fd)
        return fd

    def release(self) -> None:
        """Let go of a step's files, and remove its secrets."""
        while self.held:
            os.close(self.held.pop())
        while self.secrets:
            path, fd = self.secrets.pop()
            try:
                remove_tree(path)
            except OSError:
                pass
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
