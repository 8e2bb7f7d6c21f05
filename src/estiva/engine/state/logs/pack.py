"""Rotated files of a log, compressed: log.json.1 becomes log.json.1.gz (gzip(1)), by a process of its own.

The container need not wait for that: where files come faster, they stay as they are for now, and whoever
compresses takes them in turn. There is one for each log, by a lock; another lock, on the folder, is held
while a file gets its new name, by it and by the writer that rotates.
"""

from __future__ import annotations

import fcntl
import os

from estiva.files import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CHUNK = 1 << 16
NICE = 10
LEVEL = 6


class Folder:
    """A with-block in which no file of the log at `path` gets another name."""

    def __init__(self, path: str) -> None:
        self.path = os.path.dirname(path)
        self.fd = -1

    def __enter__(self) -> None:
        self.fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self.fd, fcntl.LOCK_EX)

    def __exit__(self, *exception: object) -> None:
        os.close(self.fd)


def start(path: str, keep: int) -> None:
    """Have a grandchild compress what is not yet; at once another's when one is at work."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        if os.fork() == 0:
            from estiva.linux import process

            process.close_all_but([])  # among them the lock that says that the container runs
            os.nice(NICE)
            os.umask(0o77)
            compress(path, keep)
    finally:
        os._exit(0)


def compress(path: str, keep: int) -> None:
    """Do it now, here. Nothing if another does, or the container is removed meanwhile."""
    try:
        lock = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        while any(pack(path, number, keep) for number in range(keep - 1, 0, -1)):
            pass  # until there is none that is not compressed
    except OSError:
        pass  # another does it; the disk is full: they stay as they are
    finally:
        os.close(lock)


def pack(path: str, number: int, keep: int) -> bool:
    """Compress one of the files, if it is there and is not yet. Raises OSError."""
    try:
        source = os.open(f"{path}.{number}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    aside = path + ".gz.tmp"
    try:
        target = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            squeeze(source, target)
        finally:
            os.close(target)
        status = os.fstat(source)
        os.utime(aside, ns=(status.st_atime_ns, status.st_mtime_ns))
        with Folder(path):
            for now in range(1, keep):  # it may have been rotated meanwhile
                try:
                    if os.path.samestat(status, os.stat(f"{path}.{now}")):
                        os.rename(aside, f"{path}.{now}.gz")
                        os.unlink(f"{path}.{now}")
                        return True
                except FileNotFoundError:
                    continue
        os.unlink(aside)
        return True
    finally:
        os.close(source)


def squeeze(source: int, target: int) -> None:
    """gzip(1) from an fd to another."""
    import zlib

    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, 31)
    while data := os.read(source, CHUNK):
        write_all(target, packer.compress(data))
    write_all(target, packer.flush())


def unpack(source: int, folder: str) -> int:
    """An fd, the caller's to close, of a nameless file in `folder` with what was compressed into `source`; as
    far as that can be read."""
    import zlib

    target = nameless(folder)
    packer: Any = zlib.decompressobj(31)
    position = 0
    try:
        while (data := os.pread(source, CHUNK, position)) and not packer.eof:
            position += len(data)
            while data:
                write_all(target, packer.decompress(data, CHUNK))
                data = packer.unconsumed_tail
    except zlib.error:
        pass  # a power cut: what was before is there
    except BaseException:
        os.close(target)
        raise
    return target


def nameless(folder: str) -> int:
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:  # a read-only or full disk, a filesystem that has none
        return os.memfd_create("log", os.MFD_CLOEXEC)
