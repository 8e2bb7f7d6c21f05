"""ADD's unpacking of a local tar archive, plain or compressed, into a directory of the rootfs.

store/tar reads the headers, with its rules for names and its bounds (K12, K13). Every file is made here by
fd: parents are resolved inside the destination directory, and links are made as what they say without being
followed. Memory stays flat: a member is made as soon as its bytes are there.
"""

from __future__ import annotations

import os
import stat

from estiva.builder.files import record
from estiva.builder.files.destination import Destination
from estiva.errors import InvalidInput, LayerError, Unsupported
from estiva.files import write_all
from estiva.linux import fs
from estiva.store.archive.compression import HEAD, MAGIC, plain
from estiva.store.layers import codec
from estiva.store.tar.entry import BLOCK, Entry, shown
from estiva.store.tar.scanner import Scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def is_archive(fd: int) -> bool:
    """Whether an open file is a tar archive by its content: a header with a right checksum comes first."""
    head = os.pread(fd, BLOCK, 0)
    if not head.startswith(MAGIC):
        return _is_header(head)
    head = b""
    try:
        for piece in _plain(fd):
            head += piece
            if len(head) >= BLOCK:
                break
    except (LayerError, Unsupported):
        return False
    return _is_header(head[:BLOCK])


def _is_header(block: bytes) -> bool:
    """Whether a block is a member's header, also a pre-POSIX one."""
    try:
        wanted = int(block[148:156].strip(b"\0 ") or b"x", 8)
    except ValueError:
        return False
    rest = block[:148] + b" " * 8 + block[156:]
    signed = sum(byte - 256 if byte > 127 else byte for byte in rest)  # as some old programs counted
    return len(block) == BLOCK and wanted in (sum(rest), signed)


def _plain(fd: int) -> Iterator[bytes]:
    """The uncompressed bytes of an archive, from its begin."""
    return plain(os.pread(fd, HEAD, 0), codec.file_chunks(fd))


def extract(
    fd: int, scratch: int, path: str, to: Destination, look: Callable[[], object] = record.nothing
) -> None:
    """Unpack the archive into directory `path` of the rootfs; what it expands to goes to the file `scratch`.
    What `look` raises ends it.

    Nobody else writes `fd`. Raises InvalidInput for a malformed or hostile archive.
    """
    os.close(to.directory(path, 0o755))
    top = fs.open_in_root(to.rootfd, to.resolve(path) or ".", os.O_PATH | os.O_DIRECTORY)
    try:
        Extraction(top, to, look).run(fd, scratch)
    except (LayerError, Unsupported) as error:
        raise InvalidInput(f"the archive can't be unpacked: {error}") from None
    finally:
        os.close(top)


class Extraction:
    """Of one archive: members wait in `pending` until all their bytes are in the file `data`. `look` is
    called for each piece and each member."""

    def __init__(self, top: int, to: Destination, look: Callable[[], object] = record.nothing) -> None:
        self.look = look
        self.top = top
        self.to = to
        self.parents = (0, 0)  # whose those folders are that no member says anything of
        self.data = -1
        self.pending: list[Entry] = []
        self.times: list[tuple[bytes, int]] = []  # of directories: set when nothing is made in them any more

    def run(self, fd: int, scratch: int) -> None:
        scanner = Scanner(self.pending.append)
        packed = os.pread(fd, BLOCK, 0).startswith(MAGIC)
        self.data = scratch if packed else fd
        for piece in _plain(fd):
            self.look()
            if packed:
                write_all(scratch, piece)
            scanner.feed(piece)
            self._make(scanner.position)
        scanner.close()
        for name, mtime in reversed(self.times):
            self._time(name, mtime)

    def feed(self, pieces: Iterator[bytes], scratch: int) -> None:
        """The same of an archive that comes in pieces, uncompressed already."""
        scanner = Scanner(self.pending.append)
        self.data = scratch
        for piece in pieces:
            self.look()
            write_all(scratch, piece)
            scanner.feed(piece)
            self._make(scanner.position)
        scanner.close(unpadded=True)
        for name, mtime in reversed(self.times):
            self._time(name, mtime)

    def _make(self, written: int) -> None:
        """Make the members whose bytes are among the first `written`."""
        done = 0
        for entry in self.pending:
            if entry.offset + entry.stored > written:
                break
            self.look()
            if entry.name:
                self._member(entry)
            done += 1
        del self.pending[:done]

    def _member(self, entry: Entry) -> None:
        directory, _, last = entry.name.rpartition(b"/")
        parent = fs.mkdir_in_root(self.top, os.fsdecode(directory) or ".", 0o755, *self.parents)
        try:
            old = _lstat(parent, last)
            if old is not None:
                self._clear(entry, old)
            if entry.kind == stat.S_IFDIR:
                if old is not None and not stat.S_ISDIR(old.st_mode):
                    os.unlink(last, dir_fd=parent)
                    old = None
                if old is None:
                    os.mkdir(last, 0o700, dir_fd=parent)
                self._apply(parent, last, entry)
                self.times.append((entry.name, entry.mtime))
                return
            if old is not None and stat.S_ISDIR(old.st_mode):
                import shutil

                shutil.rmtree(last, dir_fd=parent)
            elif old is not None:
                os.unlink(last, dir_fd=parent)
            if entry.kind == 0:
                self._hard_link(entry, parent, last)
                return
            self._new(entry, parent, last)
            self._apply(parent, last, entry)
            mtime = entry.mtime
            os.utime(last, ns=(mtime, mtime), dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(parent)

    def _clear(self, entry: Entry, old: os.stat_result) -> None:
        """What is there already gives way, whatever it is."""

    def _hard_link(self, entry: Entry, parent: int, last: bytes) -> None:
        directory, _, name = entry.link.rpartition(b"/")
        source = fs.open_in_root(self.top, os.fsdecode(directory) or ".", os.O_PATH | os.O_DIRECTORY)
        try:
            os.link(name, last, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(source)

    def _new(self, entry: Entry, parent: int, last: bytes) -> None:
        if entry.kind == stat.S_IFLNK:
            os.symlink(entry.link, last, dir_fd=parent)
        elif entry.kind == stat.S_IFIFO:
            os.mkfifo(last, 0o600, dir_fd=parent)
        elif entry.kind in (stat.S_IFCHR, stat.S_IFBLK):
            if entry.rdev == (0, 0):
                raise InvalidInput(f"the archive has an overlay whiteout: {shown(entry.name)!r}")
            os.mknod(last, entry.kind | 0o600, os.makedev(*entry.rdev), dir_fd=parent)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.open(last, flags, 0o600, dir_fd=parent)
            try:
                self._data(entry, file)
            finally:
                os.close(file)

    def _data(self, entry: Entry, file: int) -> None:
        place = entry.offset
        for start, length in entry.sparse if entry.sparse is not None else [(0, entry.size)]:
            os.lseek(file, start, os.SEEK_SET)
            while length:
                count = os.sendfile(file, self.data, place, length)
                if not count:
                    raise LayerError(f"{shown(entry.name)} is cut off")
                place += count
                length -= count
        os.ftruncate(file, entry.size)

    def _apply(self, parent: int, last: bytes, entry: Entry) -> None:
        """A member's owner, mode and attributes, in an order in which none undoes another."""
        uid, gid = self.to.owner or (entry.uid, entry.gid)
        os.chown(last, uid, gid, dir_fd=parent, follow_symlinks=False)
        if entry.kind == stat.S_IFLNK:
            return
        own = b"/proc/self/fd/%d/%s" % (parent, last)
        os.chmod(own, entry.mode)
        for key, value in (entry.xattrs or {}).items() if entry.kind == stat.S_IFREG else ():
            try:
                if os.fsdecode(key).startswith(record.ATTRIBUTES):
                    os.setxattr(own, key, value, follow_symlinks=False)
            except OSError:  # a filesystem without
                pass

    def _time(self, name: bytes, mtime: int) -> None:
        """A directory's time, if it is one still."""
        directory, _, last = name.rpartition(b"/")
        try:
            parent = fs.open_in_root(self.top, os.fsdecode(directory) or ".", os.O_PATH | os.O_DIRECTORY)
        except OSError:
            return
        try:
            old = _lstat(parent, last)
            if old is not None and stat.S_ISDIR(old.st_mode):
                os.utime(last, ns=(mtime, mtime), dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(parent)


def _lstat(parent: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
