"""ADD's unpacking of a local tar archive, plain or compressed, into a directory of the rootfs.

The standard library's tarfile only parses the headers. Every file is made here by fd: names are cleaned,
parents are resolved inside the destination directory, and links are made as what they say without being
followed (K12, K14).
"""

from __future__ import annotations

import os
import posixpath
import stat
import tarfile

from estiva.builder.files.copier import Destination
from estiva.errors import InvalidInput
from estiva.linux import fs

MAX_ENTRIES = 2_000_000
MAX_BYTES = 1 << 40
_MAGIC = (b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")


def is_archive(fd: int) -> bool:
    """Whether an open file is a tar archive by its content; leaves the offset at 0."""
    try:
        head = os.pread(fd, 512, 0)
        if not head.startswith(_MAGIC) and head[257:262] != b"ustar" and not _old_tar(head):
            return False
        with _open(fd) as archive:
            return archive.next() is not None
    except (tarfile.TarError, OSError, EOFError, ValueError, InvalidInput):
        return False
    finally:
        os.lseek(fd, 0, os.SEEK_SET)


def _old_tar(head: bytes) -> bool:
    """A pre-POSIX header: its checksum is right."""
    try:
        wanted = int(head[148:156].strip(b"\0 ") or b"x", 8)
    except ValueError:
        return False
    return len(head) == 512 and sum(head[:148]) + 8 * 32 + sum(head[156:]) == wanted


def _open(fd: int) -> tarfile.TarFile:
    os.lseek(fd, 0, os.SEEK_SET)
    file = open(os.dup(fd), "rb")  # noqa: SIM115 - the archive closes it
    if os.pread(fd, 4, 0) == _MAGIC[3]:
        import zstandard

        reader = zstandard.ZstdDecompressor().stream_reader(file, closefd=True)
        return tarfile.open(fileobj=reader, mode="r|", errorlevel=2)
    return tarfile.open(fileobj=file, mode="r:*", errorlevel=2)


def extract(fd: int, path: str, to: Destination) -> None:
    """Unpack the archive into directory `path` of the rootfs. Raises InvalidInput for a malformed or hostile
    one.
    """
    os.close(to.directory(path))
    top = fs.open_in_root(to.rootfd, to.resolve(path) or ".", os.O_PATH | os.O_DIRECTORY)
    total = 0
    directories: list[tuple[str, tarfile.TarInfo]] = []
    try:
        with _open(fd) as archive:
            for count, entry in enumerate(archive):
                total += max(entry.size, 0)
                if count >= MAX_ENTRIES or total > MAX_BYTES:
                    raise InvalidInput("the archive holds too much")
                _member(archive, entry, top, to, directories)
        for name, entry in reversed(directories):
            _metadata(top, name, entry, to)
    except (tarfile.TarError, EOFError) as error:
        raise InvalidInput(f"the archive can't be unpacked: {error}") from None
    finally:
        os.close(top)


def _clean(name: str) -> str:
    """A member's name relative to the destination. Raises InvalidInput for one that climbs out."""
    cleaned = posixpath.normpath("./" + name.lstrip("/"))
    if cleaned == ".." or cleaned.startswith("../") or "\0" in name:
        raise InvalidInput(f"the archive has a member outside of itself: {name[:200]!r}")
    return "" if cleaned == "." else cleaned


def _member(
    archive: tarfile.TarFile,
    entry: tarfile.TarInfo,
    top: int,
    to: Destination,
    directories: list[tuple[str, tarfile.TarInfo]],
) -> None:
    name = _clean(entry.name)
    if not name:
        return
    directory, _, last = name.rpartition("/")
    parent = fs.mkdir_in_root(top, directory or ".", 0o755, 0, 0)
    try:
        old = _lstat(parent, last)
        if entry.isdir():
            if old is not None and not stat.S_ISDIR(old.st_mode):
                os.unlink(last, dir_fd=parent)
                old = None
            if old is None:
                os.mkdir(last, 0o700, dir_fd=parent)
            directories.append((name, entry))
            return
        if old is not None:
            if stat.S_ISDIR(old.st_mode):
                os.rmdir(last, dir_fd=parent)
            else:
                os.unlink(last, dir_fd=parent)
        if entry.islnk():
            _hard_link(entry, top, parent, last)
            return
        _make(archive, entry, parent, last)
        _apply(parent, last, entry, to)
    finally:
        os.close(parent)


def _lstat(parent: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _hard_link(entry: tarfile.TarInfo, top: int, parent: int, last: str) -> None:
    target = _clean(entry.linkname)
    directory, _, name = target.rpartition("/")
    source = fs.open_in_root(top, directory or ".", os.O_PATH | os.O_DIRECTORY)
    try:
        os.link(name, last, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
    finally:
        os.close(source)


def _make(archive: tarfile.TarFile, entry: tarfile.TarInfo, parent: int, last: str) -> None:
    if entry.issym():
        os.symlink(entry.linkname, last, dir_fd=parent)
    elif entry.isfifo():
        os.mkfifo(last, 0o600, dir_fd=parent)
    elif entry.ischr() or entry.isblk():
        if entry.devmajor == 0 and entry.devminor == 0:
            raise InvalidInput(f"the archive has an overlay whiteout: {entry.name[:200]!r}")
        kind = stat.S_IFCHR if entry.ischr() else stat.S_IFBLK
        os.mknod(last, kind | 0o600, os.makedev(entry.devmajor, entry.devminor), dir_fd=parent)
    elif entry.isreg():
        reader = archive.extractfile(entry)
        assert reader is not None
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(last, flags, 0o600, dir_fd=parent), "wb", buffering=0) as file:
            while chunk := reader.read(1 << 20):
                file.write(chunk)
    else:
        raise InvalidInput(f"the archive has a member of an unknown type: {entry.name[:200]!r}")


def _apply(parent: int, last: str, entry: tarfile.TarInfo, to: Destination) -> None:
    uid, gid = to.owner or (entry.uid, entry.gid)
    os.chown(last, uid, gid, dir_fd=parent, follow_symlinks=False)
    if not entry.issym():
        os.chmod(f"/proc/self/fd/{parent}/{last}", entry.mode & 0o7777)
    mtime = to.time(int(entry.mtime * 10**9))
    os.utime(last, ns=(mtime, mtime), dir_fd=parent, follow_symlinks=False)


def _metadata(top: int, name: str, entry: tarfile.TarInfo, to: Destination) -> None:
    """A directory's owner, mode and time, once all its members are there."""
    directory, _, last = name.rpartition("/")
    try:
        parent = fs.open_in_root(top, directory or ".", os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return
    try:
        old = _lstat(parent, last)
        if old is not None and stat.S_ISDIR(old.st_mode):
            _apply(parent, last, entry, to)
    finally:
        os.close(parent)
