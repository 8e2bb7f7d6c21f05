"""Content by digest: immutable files below blobs/, each with its row in `blobs`.

A blob comes in as a story: `ingest` opens (or reopens) the part file under an exclusive flock, `write`
appends, `commit` proves digest and size, syncs, renames the part into place and adds the row. A process that
dies in between leaves the part, and the next ingest of that digest goes on where it ended. A second process
that wants the same digest waits for the lock and then finds the blob there.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time

from estiva import files
from estiva.errors import FREE_SPACE, FULL, EstivaError, IntegrityError, NotFound, Unavailable
from estiva.oci import digest as digests

TYPE_CHECKING = False
if TYPE_CHECKING:
    import hashlib
    from collections.abc import Iterator
    from types import TracebackType

    from estiva.paths import Paths
    from estiva.store.database import Database

CHUNK = 1 << 20
READ_LIMIT = 4 << 20
AGAIN = "pull its image again"


class Content:
    """The blobs of one store.

    Every method takes a canonical digest and raises InvalidInput for anything else.
    """

    def __init__(self, paths: Paths, db: Database) -> None:
        self.paths = paths
        self.db = db

    def path(self, digest: str) -> str:
        """Where the blob is, or would be."""
        algorithm, encoded = digests.parse(digest)
        return f"{self.paths.blobs}/{algorithm}/{encoded}"

    def has(self, digest: str) -> bool:
        """True if the blob is here: row and file."""
        path = self.path(digest)
        return bool(self.db.read("SELECT 1 FROM blobs WHERE digest = ?", (digest,))) and _is_file(path)

    def size(self, digest: str) -> int:
        """The blob's size in bytes. Raises NotFound."""
        digests.parse(digest)
        rows = self.db.read("SELECT size FROM blobs WHERE digest = ?", (digest,))
        if not rows:
            raise _no_blob(digest)
        return int(rows[0][0])

    def open(self, digest: str) -> int:
        """A read-only fd of the blob; the caller closes it. Raises NotFound."""
        try:
            # not to wait for the other end of a FIFO that somebody put there
            fd = os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            raise _no_blob(digest) from None
        except OSError:  # a link, or a socket
            raise IntegrityError(f"blob {digest} is no file on the disk", hint=AGAIN) from None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise IntegrityError(f"blob {digest} is no file on the disk", hint=AGAIN)
        return fd

    def read(self, digest: str, limit: int = READ_LIMIT) -> bytes:
        """The whole blob, at most `limit` bytes, with its digest verified.

        Raises NotFound, IntegrityError.
        """
        fd = self.open(digest)
        try:
            data = files.read_bounded(f"/proc/self/fd/{fd}", limit)
        finally:
            os.close(fd)
        hasher = digests.hasher(digest.partition(":")[0])
        hasher.update(data)
        if hasher.hexdigest() != digest.partition(":")[2]:
            raise IntegrityError(f"blob {digest} is damaged on the disk", hint=AGAIN)
        return data

    def put(self, data: bytes) -> str:
        """Store a small blob; returns its sha256 digest."""
        digest = digests.sha256(data)
        with self.ingest(digest, len(data)) as ingest:
            if not ingest.exists:
                ingest.rewind()
                ingest.write(data)
                ingest.commit()
        return digest

    def ingest(
        self, digest: str, size: int | None, *, limit: int | None = None, hashing: bool = True
    ) -> Ingest:
        """Begin, or resume, storing a blob; waits while another process stores the same one.

        `size` in bytes as declared, None if unknown; then `limit` bounds it. With `hashing` off the caller
        hashes by himself and says `commit(verified=True)`.
        """
        return Ingest(self, digest, size, limit, hashing)

    def adopt(self, path: str, digest: str, size: int) -> None:
        """Take a verified file on the same filesystem into the store (it is renamed)."""
        target = self.path(digest)
        with _Disk(target):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if os.fstat(fd).st_size != size:
                    raise IntegrityError(f"{path} is not {size} bytes long")
                os.fsync(fd)
            finally:
                os.close(fd)
            files.make_room(target)
            os.rename(path, target)
            files.sync_directory(os.path.dirname(target))
        self.register(digest, size)

    def register(self, digest: str, size: int) -> None:
        """Add the row of a blob whose file is in place."""
        path = self.path(digest)
        with self.db.write() as transaction:
            if not _is_file(path):  # a reclaim that ran between rename and row
                raise Unavailable(f"blob {digest} was deleted while it was stored", hint="try again")
            transaction.execute(
                "INSERT OR REPLACE INTO blobs (digest, size, created) VALUES (?, ?, ?)",
                (digest, size, time.time()),
            )

    def delete(self, digest: str) -> int:
        """Forget the blob and remove its file; returns the bytes freed (0 if it was not there)."""
        path = self.path(digest)
        aside = f"{self.paths.ingest}/{os.urandom(8).hex()}.gone"
        with self.db.write(freeing=True) as transaction:
            transaction.execute("DELETE FROM blobs WHERE digest = ?", (digest,))
            try:
                size = os.stat(path, follow_symlinks=False).st_size
                os.rename(path, aside)  # to free gigabytes takes longer than others should wait
            except FileNotFoundError:
                return 0
        files.remove_tree(aside)
        return size


class Ingest:
    """One blob on its way in. Use as a with-block, or `close` it; what was written stays for a later resume.

    `exists`   the blob is in the store already; nothing to do
    `offset`   bytes on the disk so far: where to continue
    `path`     the part file, `fd` open for reading and writing
    """

    def __init__(
        self, content: Content, digest: str, size: int | None, limit: int | None, hashing: bool
    ) -> None:
        self.content = content
        self.digest = digest
        self.size = size
        self.limit = size if size is not None else limit
        self.hashing = hashing
        self.exists = False
        self.full = False  # the last write failed
        self.offset = 0
        self.fd = -1
        self.target = content.path(digest)
        self.path = f"{content.paths.ingest}/{digest}.part"
        self.algorithm, self.hex = digests.parse(digest)
        self._hash: hashlib._Hash | None = None
        self._guard = files.Lock(content.paths.root + "/writing.lock", shared=True)  # see upkeep/gc.py
        if content.has(digest):
            self.exists = True
            self.offset = content.size(digest)
            return
        self._guard.__enter__()
        try:
            self._lock()
            self._settle()
        except BaseException:
            self.close()
            raise

    def _lock(self) -> None:
        """Open the part file and hold its flock.

        A file that was renamed or unlinked while waiting is let go.
        """
        while True:
            with _Disk(self.path):
                fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                mine = os.fstat(fd)
                there = os.stat(self.path, follow_symlinks=False)
                if (mine.st_ino, mine.st_dev) == (there.st_ino, there.st_dev):
                    self.fd = fd
                    return
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def _settle(self) -> None:
        """Under the lock: is the blob there by now, and what of it is in the part?"""
        if self.content.has(self.digest) or self._recover():
            self.exists = True
            self.offset = self.content.size(self.digest)
            os.unlink(self.path)
            self.close()
            return
        self.offset = os.fstat(self.fd).st_size
        if self.limit is not None and self.offset > self.limit:
            self.rewind()
        if self.hashing:
            self._hash = digests.hasher(self.algorithm)
            for chunk in self.chunks():
                self._hash.update(chunk)

    def _recover(self) -> bool:
        """A file without a row: its process died between rename and row, or is about to add it."""
        if not _is_file(self.target):
            return False
        fd = self.content.open(self.digest)
        try:
            size, encoded = hash_fd(fd, self.algorithm)
        finally:
            os.close(fd)
        if encoded != self.hex:
            os.unlink(self.target)
            return False
        self.content.register(self.digest, size)
        return True

    def chunks(self) -> Iterator[bytes]:
        """The bytes on the disk so far, from the start, in pieces of up to 1 MiB."""
        at = 0
        while at < self.offset:
            chunk = os.pread(self.fd, min(CHUNK, self.offset - at), at)
            if not chunk:
                raise IntegrityError(f"the part of {self.digest} became shorter")
            yield chunk
            at += len(chunk)

    def write(self, data: bytes | memoryview) -> None:
        """Append. Raises IntegrityError, with nothing written, for more bytes than declared; Unavailable when
        the disk is full.
        """
        if self.limit is not None and self.offset + len(data) > self.limit:
            raise IntegrityError(f"blob {self.digest} is larger than the {self.limit} bytes it should have")
        self.full = True
        with _Disk(self.path):
            view = memoryview(data)
            while view:
                count = os.pwrite(self.fd, view, self.offset)
                if self._hash is not None:
                    self._hash.update(view[:count])
                self.offset += count
                view = view[count:]
        self.full = False

    def rewind(self) -> None:
        """Throw away what was written and begin again at offset 0."""
        os.ftruncate(self.fd, 0)
        self.offset = 0
        if self._hash is not None:
            self._hash = digests.hasher(self.algorithm)

    def commit(self, *, verified: bool = False) -> None:
        """Prove size and digest, then make the blob part of the store.

        Raises IntegrityError for a wrong one, which is thrown away.

        `verified`: the caller has hashed exactly the bytes that are in the part.
        """
        if self.exists:
            return
        if self.size is not None and self.offset != self.size:
            short = self.offset
            raise IntegrityError(f"blob {self.digest} ended after {short} of {self.size} bytes")
        if not verified:
            encoded = self._hash.hexdigest() if self._hash else hash_fd(self.fd, self.algorithm)[1]
            if encoded != self.hex:
                self.rewind()
                raise IntegrityError(f"blob {self.digest} has the digest {self.algorithm}:{encoded}")
        with _Disk(self.path):
            os.fsync(self.fd)
            files.make_room(self.target)
            os.rename(self.path, self.target)
            files.sync_directory(os.path.dirname(self.target))
        self.content.register(self.digest, self.offset)
        self.exists = True
        self.close()

    def close(self) -> None:
        """Let the lock go. Without `commit` the part stays, unless it is empty or the disk is full."""
        if self.fd >= 0:
            if not self.exists and (self.offset == 0 or self.full):
                try:
                    os.unlink(self.path)
                except FileNotFoundError:
                    pass
            os.close(self.fd)
            self.fd = -1
        if self._guard.fd >= 0:
            self._guard.__exit__(None, None, None)

    def __enter__(self) -> Ingest:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Disk:
    """Turns a full disk inside the block into Unavailable; other OSErrors pass."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError) and error.errno in FULL:
            raise Unavailable(f"no space left in {os.path.dirname(self.path)}", hint=FREE_SPACE) from error


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _no_blob(digest: str) -> EstivaError:
    return NotFound(f"no blob {digest} in the store")


def hash_fd(fd: int, algorithm: str) -> tuple[int, str]:
    """(size, hex digest) of the whole file behind `fd`."""
    hasher = digests.hasher(algorithm)
    at = 0
    while chunk := os.pread(fd, CHUNK, at):
        hasher.update(chunk)
        at += len(chunk)
    return at, hasher.hexdigest()
