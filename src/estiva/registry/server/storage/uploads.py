"""Upload sessions of the registry server: bytes are hashed as they are written, and survive a restart.

start --> append ... append --> finish --> a blob
             |                    `------> DIGEST_INVALID: the session is gone
             `--> cancel, or idle for too long: gone
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
import uuid

from estiva import files
from estiva.errors import IntegrityError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.registry.server.storage.storage import Storage

IDLE = 3600.0  # seconds without a byte after which a session is dropped
_STEP = 1 << 20
MOST_CHUNKS = 512  # the kernel takes 1,024 at once


class Upload:
    """One session. `lock` keeps its requests one after another; `append` and `close` run in a thread."""

    def __init__(self, upload_id: str, repository: str, algorithm: str, fd: int) -> None:
        self.id = upload_id
        self.repository = repository
        self.algorithm = algorithm
        self.fd = fd
        self.offset = 0
        self.hash = hashlib.new(algorithm)
        self.lock = asyncio.Lock()

    def append(self, chunks: list[bytes]) -> None:
        size = sum(map(len, chunks))
        try:
            _write_all(self.fd, chunks, size)
        except OSError:
            os.ftruncate(self.fd, self.offset)  # a full disk: file, offset and hash stay at one point
            os.lseek(self.fd, self.offset, os.SEEK_SET)
            raise
        for chunk in chunks:
            self.hash.update(chunk)
        self.offset += size

    def replay(self) -> None:
        """Bring offset and hash to the end of a file that an earlier server wrote."""
        self.hash = hash_file(self.fd, self.algorithm)
        self.offset = os.lseek(self.fd, 0, os.SEEK_END)

    def digest(self, algorithm: str) -> str:
        if algorithm == self.algorithm:
            return f"{algorithm}:{self.hash.hexdigest()}"
        return f"{algorithm}:{hash_file(self.fd, algorithm).hexdigest()}"

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _write_all(fd: int, chunks: list[bytes], size: int) -> None:
    """All of the chunks, in one system call if they are few and the disk takes them."""
    if len(chunks) <= MOST_CHUNKS:
        wrote = os.writev(fd, chunks)
        if wrote == size:
            return
    else:
        wrote = 0
    for chunk in chunks:
        if wrote < len(chunk):
            files.write_all(fd, memoryview(chunk)[wrote:])
        wrote = max(0, wrote - len(chunk))


def hash_file(fd: int, algorithm: str) -> hashlib._Hash:
    """The hash of a file from its first byte, read through `fd` without moving it."""
    result = hashlib.new(algorithm)
    offset = 0
    while data := os.pread(fd, _STEP, offset):
        result.update(data)
        offset += len(data)
    return result


class Uploads:
    """The sessions of one storage. All methods but `forget` block: run them in a thread."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.open: dict[str, Upload] = {}

    def path(self, upload_id: str) -> str:
        return f"{self.storage.root}/uploads/{upload_id}"

    def start(self, repository: str, algorithm: str) -> Upload:
        upload_id = str(uuid.uuid4())
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self.path(upload_id), flags, 0o600)
        upload = Upload(upload_id, repository, algorithm, fd)
        try:
            self._add(upload_id, repository, algorithm)
        except BaseException:
            upload.close()
            raise
        return self.open.setdefault(upload_id, upload)

    def get(self, repository: str, upload_id: str) -> Upload | None:
        """A session of this repository, also one that an earlier server began."""
        upload = self.open.get(upload_id)
        if upload is None:
            rows = self.storage.read("SELECT repository, algorithm FROM uploads WHERE id=?", (upload_id,))
            if not rows:
                return None
            row = rows[0]
            try:
                fd = os.open(self.path(upload_id), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                return None
            fresh = Upload(upload_id, row[0], row[1], fd)
            fresh.replay()
            upload = self.open.setdefault(upload_id, fresh)
            if upload is not fresh:
                fresh.close()
        return upload if upload.repository == repository else None

    def finish(self, upload: Upload, digest: str) -> None:
        """Turn the session into a blob. Raises IntegrityError when its bytes are not what `digest` says."""
        got = upload.digest(digest.partition(":")[0])
        if got != digest:
            self.cancel(upload)
            raise IntegrityError(f"the upload has digest {got}, not {digest}")
        os.fsync(upload.fd)
        self.storage.add_blob(upload.repository, digest, upload.offset, self.path(upload.id))
        self.cancel(upload)

    def cancel(self, upload: Upload) -> None:
        """End a session; its file, if it has not become a blob, goes with it."""
        self.open.pop(upload.id, None)
        self._drop(upload.id)
        upload.close()

    def expire(self, seconds: float = IDLE) -> int:
        """Drop sessions that nothing has been written to for `seconds`. Returns how many."""
        idle = self._idle(seconds)
        for name in idle:
            upload = self.open.get(name)
            if upload is None:
                self._drop(name)
            elif not upload.lock.locked():
                self.cancel(upload)
        return len(idle)

    def _add(self, upload_id: str, repository: str, algorithm: str) -> None:
        with self.storage.write() as transaction:
            transaction.execute("INSERT INTO uploads VALUES (?,?,?)", (upload_id, repository, algorithm))

    def _drop(self, upload_id: str) -> None:
        with self.storage.write() as transaction:
            transaction.execute("DELETE FROM uploads WHERE id=?", (upload_id,))
        try:
            os.unlink(self.path(upload_id))
        except FileNotFoundError:
            pass

    def _idle(self, seconds: float) -> list[str]:
        """Sessions whose file is gone or has not changed for `seconds`, and such files without a session."""
        known = {row[0] for row in self.storage.read("SELECT id FROM uploads")}
        now = time.time()
        fresh = set()
        with os.scandir(self.storage.root + "/uploads") as entries:
            for entry in entries:
                try:
                    if now - entry.stat(follow_symlinks=False).st_mtime < seconds:
                        fresh.add(entry.name)
                    else:
                        known.add(entry.name)
                except FileNotFoundError:
                    continue
        return sorted(known - fresh)

    def close(self) -> None:
        for upload in self.open.values():
            upload.close()
        self.open.clear()
