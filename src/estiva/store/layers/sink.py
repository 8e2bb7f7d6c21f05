"""Where a layer's uncompressed tar lands while it comes: written, hashed and scanned in one go.

What is in here lies in ingest/ under a flock that its maker holds, so that a sweeper can tell it from what
a process that died has left.
"""

from __future__ import annotations

import hashlib
import os
import threading
from typing import TYPE_CHECKING

from estiva import files
from estiva.errors import FREE_SPACE, FULL, Unavailable
from estiva.store.layers.tree import Tree
from estiva.store.tar.scanner import Scanner

if TYPE_CHECKING:
    from typing import Self


def _full(path: str) -> Unavailable:
    return Unavailable(f"no space left in {os.path.dirname(path)}", hint=FREE_SPACE)


class BlobSink:
    """Write bytes to it. As a with-block: what nobody renamed away is removed at its end.

    fd, path: the file; size: bytes so far.
    """

    def __init__(self, directory: str) -> None:
        self.fd, self.path = files.new_file(directory, ".tmp")
        self.size = 0
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Append. Raises Unavailable when the disk is full."""
        self._hash.update(data)
        try:
            files.write_all(self.fd, data)
        except OSError as error:
            if error.errno in FULL:
                raise _full(self.path) from error
            raise
        self.size += len(data)

    def digest(self) -> str:
        """The sha256 digest of what was written."""
        return "sha256:" + self._hash.hexdigest()

    def sync(self) -> Syncing:
        """Begin to have the tar on the disk; `join` waits for it and raises what went wrong."""
        return Syncing(self.fd)

    def close(self) -> None:
        if self.fd < 0:
            return
        try:
            mine, there = os.fstat(self.fd), os.stat(self.path, follow_symlinks=False)
            if (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino):
                os.unlink(self.path)
        except FileNotFoundError:
            pass
        os.close(self.fd)
        self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class TarSink(BlobSink):
    """A BlobSink for an uncompressed tar, scanned as it comes. tree: what its entries amount to."""

    def __init__(self, directory: str) -> None:
        super().__init__(directory)
        self.tree = Tree()
        self._scanner = Scanner(self.tree.add)

    def write(self, data: bytes) -> None:
        """Append. Raises LayerError for a malformed or hostile entry, Unavailable when the disk is full."""
        self._scanner.feed(data)
        super().write(data)

    def finish(self) -> str:
        """The diffID, once all is written. Raises LayerError for a truncated tar."""
        self._scanner.close()
        self.tree.finish()
        return self.digest()


class Syncing:
    """fsync in a thread of its own."""

    def __init__(self, fd: int) -> None:
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, args=(fd,), daemon=True)
        self._thread.start()

    def _run(self, fd: int) -> None:
        try:
            os.fsync(fd)
        except OSError as error:
            self._error = error

    def join(self) -> None:
        self._thread.join()
        if self._error is not None:
            raise self._error


class Workspace:
    """An empty locked directory for a layer being made; what nobody renamed away is removed at its end."""

    def __init__(self, directory: str) -> None:
        self.fd, self.path = files.new_directory(directory, ".layer")

    def renew(self) -> None:
        """Empty it."""
        for name in os.listdir(self.path):
            files.remove_tree(f"{self.path}/{name}")

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if os.path.lexists(self.path):
            files.remove_tree(self.path)
        os.close(self.fd)
        if isinstance(error, OSError) and error.errno in FULL:
            raise _full(self.path) from error
