"""OCI image layouts as folders (image-spec, image-layout.md): read like an archive, written blob by blob.

A folder is as untrusted as an archive (K19): members are opened below its fd, never through a symlink, and
whatever is named by a digest must have it. Several writers may fill one folder: a blob's part file is held by
its flock and goes on where an earlier process ended, index.json changes under a lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from typing import TYPE_CHECKING, Any

from estiva import fastjson, files
from estiva.errors import IntegrityError, InvalidInput, NotFound, reason
from estiva.oci import digest as digests
from estiva.oci import image as documents
from estiva.store.layers import codec

if TYPE_CHECKING:
    from collections.abc import Iterator

REF_NAME = "org.opencontainers.image.ref.name"
FULL_NAME = "io.containerd.image.name"
VERSION = documents.encode({"imageLayoutVersion": "1.0.0"})


def place(digest: str) -> str:
    """Where a layout keeps a blob."""
    algorithm, encoded = digests.parse(digest)
    return f"blobs/{algorithm}/{encoded}"


class Member:
    """A regular file of a folder; `stored` is its size in bytes."""

    def __init__(self, name: str, stored: int) -> None:
        self.path = name
        self.name = os.fsencode(name)
        self.stored = stored


class Folder:
    """The files of a layout's folder by name, as Archive (store/archive/load.py) has those of an archive."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound(f"no such folder: {path}") from None
        except NotADirectoryError:
            raise InvalidInput(f"{path} is not a folder") from None

    def _open(self, name: str) -> int:
        """An fd of the file, -1 where there is none or anything but a plain file."""
        fd = os.dup(self.fd)
        parts = name.split("/")
        try:
            for number, part in enumerate(parts):
                last = number == len(parts) - 1
                if part in ("", ".", ".."):
                    raise FileNotFoundError
                flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
                below = os.open(part, flags | (0 if last else os.O_DIRECTORY), dir_fd=fd)
                os.close(fd)
                fd = below
            if stat.S_ISREG(os.fstat(fd).st_mode):
                return fd
        except (OSError, ValueError):  # ValueError: a NUL in it
            pass
        os.close(fd)
        return -1

    def __contains__(self, name: str) -> bool:
        fd = self._open(name)
        if fd >= 0:
            os.close(fd)
        return fd >= 0

    def find(self, name: str) -> Member:
        """The regular file of a name. Raises InvalidInput."""
        fd = self._open(name)
        if fd < 0:
            raise InvalidInput(f"there is no file {name[:200]!r} in it")
        try:
            return Member(name, os.fstat(fd).st_size)
        finally:
            os.close(fd)

    def chunks(self, member: Any, start: int = 0) -> Iterator[bytes]:
        """A member's data from `start` on."""
        fd = self._open(member.path)
        if fd < 0:
            raise InvalidInput(f"there is no file {member.path[:200]!r} in it")
        try:
            yield from codec.file_chunks(fd, member.stored - start, start)
        finally:
            os.close(fd)

    def read(self, name: str, limit: int = documents.DOCUMENT_LIMIT) -> bytes:
        """The whole of a small member."""
        member = self.find(name)
        if member.stored > limit:
            raise InvalidInput(f"{name[:200]!r} is larger than {limit} bytes")
        return b"".join(self.chunks(member))

    def close(self) -> None:
        os.close(self.fd)


class BlobFile:
    """One blob on its way into a folder: a Sink as registry/transfer/download.py wants it."""

    def __init__(self, path: str, digest: str, size: int) -> None:
        self.digest, self.size = digest, size
        self.algorithm, self.hex = digests.parse(digest)
        self.target = f"{path}/{place(digest)}"
        self.part = f"{os.path.dirname(self.target)}/.{self.hex}.part"
        self.fd, self.offset = -1, 0
        self._hash = hashlib.new(self.algorithm)
        self.complete = self._there()
        if not self.complete:
            self._lock()
            self.complete = self._there()  # whoever held the lock has made it
            if not self.complete:
                self._resume()

    def _there(self) -> bool:
        try:
            at = os.stat(self.target, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return stat.S_ISREG(at.st_mode) and at.st_size == self.size

    def _lock(self) -> None:
        while True:
            fd = os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                mine, there = os.fstat(fd), os.stat(self.part, follow_symlinks=False)
                if mine.st_ino == there.st_ino:
                    self.fd = fd
                    return
            except FileNotFoundError:
                pass  # it was renamed into place while we waited
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
            if self._there():
                return

    def _resume(self) -> None:
        if os.fstat(self.fd).st_size > self.size:
            os.ftruncate(self.fd, 0)
        for piece in codec.file_chunks(self.fd):
            self._hash.update(piece)
            self.offset += len(piece)

    def feed(self, data: bytes) -> None:
        if self.offset + len(data) > self.size:
            raise IntegrityError(f"blob {self.digest} is larger than its {self.size} bytes")
        view = memoryview(data)
        while view:
            count = os.pwrite(self.fd, view, self.offset)
            self._hash.update(view[:count])
            self.offset += count
            view = view[count:]

    def rewind(self) -> None:
        os.ftruncate(self.fd, 0)
        self.offset = 0
        self._hash = hashlib.new(self.algorithm)

    def commit(self) -> None:
        if self.complete:
            return
        found = self._hash.hexdigest()
        if found != self.hex:
            raise IntegrityError(f"blob {self.digest} has the digest {self.algorithm}:{found}")
        os.fsync(self.fd)
        os.rename(self.part, self.target)
        self.complete = True

    def close(self) -> None:
        if self.fd >= 0:
            if not self.complete and self.offset == 0:
                try:
                    os.unlink(self.part)
                except FileNotFoundError:
                    pass
            os.close(self.fd)
            self.fd = -1


def prepare(path: str) -> None:
    """Make a folder a layout, or see that it is one. Raises InvalidInput if it holds something else."""
    try:
        os.makedirs(path, mode=0o755, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"can't make {path}: {reason(error)}") from None
    if not os.path.exists(f"{path}/oci-layout"):
        if os.listdir(path):
            raise InvalidInput(f"{path} is neither empty nor an OCI image layout")
        files.atomic_write(f"{path}/oci-layout", VERSION, mode=0o644)
    for algorithm in digests.LENGTHS:
        os.makedirs(f"{path}/blobs/{algorithm}", mode=0o755, exist_ok=True)


def add(path: str, descriptor: dict[str, Any], tag: str) -> None:
    """Put a descriptor into index.json, in place of the one that had the tag."""
    with files.Lock(f"{path}/.index.lock"):
        try:
            data = files.read_bounded(f"{path}/index.json", documents.DOCUMENT_LIMIT)
            index = documents.parse_index(data)
        except FileNotFoundError:
            index = {"manifests": []}
        index["manifests"] = place_in(index["manifests"], descriptor, tag)
        index = {**index, "schemaVersion": 2, "mediaType": documents.OCI_INDEX}
        files.atomic_write(f"{path}/index.json", fastjson.dumps(index).encode(), mode=0o644)


def place_in(manifests: list[dict[str, Any]], descriptor: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    """The list with the descriptor in it, under `tag` if that is not empty; it may have a full name, too, and
    takes the place then of what has none or the same."""
    if tag:
        annotations = {**(descriptor.get("annotations") or {}), REF_NAME: tag}
        descriptor = {**descriptor, "annotations": annotations}

    own = (descriptor.get("annotations") or {}).get(FULL_NAME, "")

    def same(item: dict[str, Any]) -> bool:
        said = item.get("annotations") or {}
        name, full = said.get(REF_NAME, ""), said.get(FULL_NAME, own)
        if tag:
            return name == tag and own in ("", full)
        return not name and item["digest"] == descriptor["digest"]

    return [item for item in manifests if not same(item)] + [descriptor]


def pick(index: dict[str, Any], tag: str) -> dict[str, Any]:
    """The descriptor that a tag, full name or digest means in an index.json; without, the only one.

    Raises NotFound, InvalidInput where there are several.
    """
    manifests: list[dict[str, Any]] = index["manifests"]
    if not tag:
        if len({item["digest"] for item in manifests}) == 1:
            return manifests[0]
        names = sorted({(item.get("annotations") or {}).get(REF_NAME, "") for item in manifests} - {""})
        if not manifests:
            raise NotFound("it holds no image")
        raise InvalidInput(
            f"it holds {len(manifests)} images", hint=f"name one of {', '.join(names[:20])}" if names else ""
        )
    for item in manifests:
        annotations = item.get("annotations") or {}
        if tag in (annotations.get(REF_NAME), annotations.get(FULL_NAME), item["digest"]):
            return item
    raise NotFound(f"it holds no image called {tag[:200]}")
