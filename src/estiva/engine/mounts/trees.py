"""Trees of files copied from one root to another by fd (K1): a new volume filled from the image, `cp`, and
the Python API's put and get.

Nothing is resolved by the kernel outside of the two roots: below the two tops every step is one name, opened
with O_NOFOLLOW, and what was looked at is what is read: the same fd (K20).
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys

from estiva.engine.mounts.terms import ALL, FOLDER, Terms, dress
from estiva.errors import InvalidInput, Unavailable, oneline
from estiva.linux import fs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK = 8 << 20
LARGE = 1 << 20  # bytes
PIPE = 1 << 20  # bytes; as much as a user may have (fs.pipe-max-size)
F_SETPIPE_SZ = 1031
FOUND = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
TOLD = 100  # of what was left out, so many by name
ACROSS = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)


class _Folder:
    """A folder that is being copied: what is left of it, and where that goes."""

    __slots__ = ("source", "target", "path", "names", "status", "device", "ours")

    def __init__(self, source: int, target: int, path: str, ours: bool) -> None:
        self.source, self.target, self.path, self.ours = source, target, path, ours
        self.status = os.fstat(source)
        self.device = self.status.st_dev
        self.names = os.listdir(source)

    def close(self) -> None:
        if self.ours:
            os.close(self.source)
            os.close(self.target)


class Copy:
    """One copying. Afterwards `bytes` and `files` say how much there was, `left_out` what did not go along
    ([path, why], TOLD of them at most) and `omitted` how many those were.
    """

    def __init__(self, terms: Terms = ALL) -> None:
        self.terms = terms
        self.bytes = self.files = self.omitted = 0
        self.left_out: list[tuple[str, str]] = []
        self._own = (0, 0)  # of the target, which is not copied into itself
        self._top, self._base = -1, ""  # of `contents`: the target, and what its source is called
        self._links: dict[tuple[int, int], tuple[str, tuple[int, int]]] = {}

    def tree(self, source: int, target: int, path: str = "") -> None:
        """What the folder `source` (fd) holds goes into the folder `target` (fd), which then gets the owner,
        mode and times of the source. `path` is what messages call it.
        """
        self.contents(source, target, path)
        dress(target, os.fstat(source), source, self.terms)

    def contents(self, source: int, target: int, path: str = "") -> None:
        """The same without the folder's own owner, mode and times.

        Raises OSError, InvalidInput, Unavailable.
        """
        if not self.terms.kernel and fs.is_kernel(source):
            self._leave(path or "/", "the kernel's own")
            return
        self._top, self._base = target, path
        top = os.fstat(target)
        self._own = top.st_dev, top.st_ino
        stack = [_Folder(source, target, path, False)]
        try:
            while stack:
                folder = stack[-1]
                if folder.names:
                    inner = self._step(folder, folder.names.pop())
                    if inner is not None:
                        stack.append(inner)
                    continue
                if folder.ours:
                    dress(folder.target, folder.status, folder.source, self.terms)
                stack.pop().close()
        except OSError as error:
            if error.errno == errno.EMFILE:
                raise InvalidInput(
                    f"{oneline(stack[-1].path[:200])}... is nested too deep: {len(stack)} folders",
                    hint="raise the limit of open files (ulimit -n)",
                ) from None
            raise
        finally:
            for folder in stack:
                folder.close()

    def _step(self, folder: _Folder, name: str) -> _Folder | None:
        path = f"{folder.path}/{name}"
        try:
            found = os.open(name, FOUND, dir_fd=folder.source)
        except FileNotFoundError:
            return None  # removed meanwhile
        try:
            status = os.fstat(found)
            if status.st_dev != folder.device and not self.terms.kernel and fs.is_kernel(found):
                if stat.S_ISDIR(status.st_mode):  # where it was, a folder is
                    os.close(self.terms.enter(name, folder.target))
                self._leave(path, "the kernel's own")
                return None
            if not stat.S_ISDIR(status.st_mode):
                self.file(found, folder.target, name, path, status)
                return None
            if (status.st_dev, status.st_ino) == self._own:
                self._leave(path, "what is being copied into")
                return None
            inner = os.open(".", FOLDER, dir_fd=found)
            try:
                outer = self.terms.enter(name, folder.target)
                try:
                    return _Folder(inner, outer, path, True)
                except BaseException:
                    os.close(outer)
                    raise
            except BaseException:
                os.close(inner)
                raise
        except OSError as error:
            if error.errno == errno.EMFILE:
                raise
            raise OSError(error.errno, error.strerror, path) from None
        finally:
            os.close(found)

    def file(
        self, found: int, target: int, name: str, path: str, status: os.stat_result | None = None
    ) -> None:
        """What the O_PATH fd `found` stands for, no folder, as `name` in the folder `target` (fd).

        What is there under that name already is replaced at once, when the new is whole; where something is
        mounted there, its content is. Raises OSError, InvalidInput, Unavailable.
        """
        status = status or os.fstat(found)
        kind = stat.S_IFMT(status.st_mode)
        if not self.terms.takes(kind):
            if kind != stat.S_IFSOCK:  # as tar, which leaves out sockets without a word
                self._leave(path, "a device" if kind != stat.S_IFIFO else "a fifo")
            return
        if status.st_nlink > 1 and self._link(status, target, name):
            return
        if kind == stat.S_IFREG:
            made = self._regular(found, target, name, path)
        elif kind == stat.S_IFLNK:
            text = os.readlink("", dir_fd=found)
            made = self._node(target, name, status, lambda new: os.symlink(text, new, dir_fd=target))
        else:
            made = self._node(
                target, name, status, lambda new: os.mknod(new, kind | 0o600, status.st_rdev, dir_fd=target)
            )
        self.files += 1
        if status.st_nlink > 1 and made is not None:
            self._links[status.st_dev, status.st_ino] = path, made

    def _leave(self, path: str, why: str) -> None:
        self.omitted += 1
        if len(self.left_out) < TOLD:
            self.left_out.append((path, why))

    def _link(self, status: os.stat_result, target: int, name: str) -> bool:
        """Make a hard link to what was made of the same file before. False if that is not there."""
        path, made = self._links.get((status.st_dev, status.st_ino), ("", (0, 0)))
        if not path or self._top < 0:
            return False
        within = fs.RESOLVE_BENEATH | fs.RESOLVE_NO_SYMLINKS
        try:
            first = fs.openat2(self._top, path[len(self._base) :].lstrip("/"), FOUND, 0, within)
        except OSError:
            return False
        try:
            there = os.fstat(first)
            if (there.st_dev, there.st_ino) != made:
                return False
            own = f"/proc/self/fd/{first}"
            self._replace(
                target, name, lambda new: os.link(own, new, dst_dir_fd=target, follow_symlinks=True)
            )
        except OSError:  # another filesystem, or as many links as that can have
            return False
        finally:
            os.close(first)
        return True

    def _node(
        self, target: int, name: str, status: os.stat_result, make: Callable[[str], None]
    ) -> tuple[int, int]:
        """A symlink, fifo or device."""

        def whole(new: str) -> None:
            make(new)
            self.terms.own(new, status, target)
            if not stat.S_ISLNK(status.st_mode):
                os.chmod(new, self.terms.mode(status), dir_fd=target)
            os.utime(new, ns=self.terms.times(status), dir_fd=target, follow_symlinks=False)

        self._replace(target, name, whole)
        there = os.stat(name, dir_fd=target, follow_symlinks=False)
        return there.st_dev, there.st_ino

    def _replace(self, target: int, name: str, make: Callable[[str], None]) -> None:
        """Have `make` make something under `name`, or aside and moved there where something is."""
        try:
            make(name)
            return
        except FileExistsError:
            if not self.terms.merge:
                raise
        self._refuse_folder(target, name)
        aside = _aside()
        try:
            make(aside)
            os.rename(aside, name, src_dir_fd=target, dst_dir_fd=target)
        except BaseException:
            _unlink(target, aside)
            raise

    def _refuse_folder(self, target: int, name: str) -> None:
        try:
            if stat.S_ISDIR(os.stat(name, dir_fd=target, follow_symlinks=False).st_mode):
                raise InvalidInput(f"a folder is where the file {oneline(name)} goes")
        except FileNotFoundError:
            pass

    def _regular(self, found: int, target: int, name: str, path: str) -> tuple[int, int] | None:
        try:
            reader = fs.reopen_regular(found, path, kernel=True)  # whether it may be has been seen
        except BlockingIOError:
            raise Unavailable(f"{oneline(path)} is leased by a process that works on it") from None
        try:
            status = os.fstat(reader)
            writer, new = self._create(target, name)
            try:
                # files of procfs say that they are empty; one of a container might grow for ever
                if self.terms.kernel and fs.is_kernel(reader):
                    copy_bytes(reader, writer, sys.maxsize)
                else:
                    copy_content(reader, writer, status)
                if new:
                    dress(writer, status, reader, self.terms)
                    if new != name:
                        os.rename(new, name, src_dir_fd=target, dst_dir_fd=target)
            except BaseException:
                if new:
                    _unlink(target, new)  # half a file is none
                raise
            finally:
                made = os.fstat(writer)
                os.close(writer)
        finally:
            os.close(reader)
        self.bytes += status.st_size
        return (made.st_dev, made.st_ino) if new else None

    def _create(self, target: int, name: str) -> tuple[int, str]:
        """(fd, the name it has so far): a new file; aside where `name` is taken, or where it is all there is
        to copy: killed, that leaves no part of it under the name. "" for what is mounted there, which is
        written to as it is: a rename would take the mount away from under the container.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            if self._top >= 0 or not self.terms.merge:
                return os.open(name, flags, 0o600, dir_fd=target), name
        except FileExistsError:
            if not self.terms.merge:
                raise
        try:
            os.close(fs.openat2(target, name, FOUND, 0, fs.RESOLVE_NO_XDEV | fs.RESOLVE_BENEATH))
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return _in_place(target, name), ""
        self._refuse_folder(target, name)
        aside = _aside()
        return os.open(aside, flags, 0o600, dir_fd=target), aside


def _aside() -> str:
    return f".{os.urandom(8).hex()}.estiva-cp"


def _unlink(target: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=target)
    except OSError:
        pass  # what keeps us from that has been told


def _in_place(target: int, name: str) -> int:
    """An fd to write the content of the regular file with that is mounted at `name`."""
    found = os.open(name, FOUND, dir_fd=target)
    try:
        kind = os.fstat(found).st_mode
        if stat.S_ISDIR(kind):
            raise InvalidInput(f"a folder is where the file {oneline(name)} goes")
        if not stat.S_ISREG(kind) or fs.is_kernel(found):
            raise InvalidInput(f"{oneline(name)} is mounted there, and is no file that can be written")
        flags = os.O_WRONLY | os.O_TRUNC | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        return os.open(f"/proc/self/fd/{found}", flags)
    finally:
        os.close(found)


def copy_content(reader: int, writer: int, status: os.stat_result) -> None:
    """As many bytes as the file has by its `status`; holes stay holes."""
    size, at = status.st_size, 0
    if status.st_blocks * 512 >= size:
        if size >= LARGE:  # with its blocks at once, so that no rename over an old file waits for them (ext4)
            fs.preallocate(writer, size)
        if copy_bytes(reader, writer, size) and size >= LARGE:
            os.ftruncate(writer, os.fstat(writer).st_size)  # it is shorter by now
        return
    while at < size:
        try:
            at = os.lseek(reader, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break  # nothing but a hole is left
        end = min(os.lseek(reader, at, os.SEEK_HOLE), size)
        os.lseek(reader, at, os.SEEK_SET)
        os.lseek(writer, at, os.SEEK_SET)
        copy_bytes(reader, writer, max(0, end - at))
        at = max(end, at + 1)
    os.ftruncate(writer, size)


def copy_bytes(reader: int, writer: int, left: int) -> int:
    """`left` bytes, or what there is, of one file into another, in the kernel where it can; how many were not
    there."""
    try:
        while left and (done := os.copy_file_range(reader, writer, min(left, CHUNK))):
            left -= done
    except OSError as error:
        if error.errno not in ACROSS:
            raise
        if left > PIPE:
            left = _splice(reader, writer, left)
        while left and (done := os.sendfile(writer, reader, None, min(left, CHUNK))):
            left -= done
    return left


def _splice(reader: int, writer: int, left: int) -> int:
    """The same between filesystems, through a pipe larger than sendfile's: half its cost. What is left."""
    out, into = os.pipe()
    try:
        while left:
            try:
                fcntl.fcntl(out, F_SETPIPE_SZ, PIPE)
                inside = os.splice(reader, into, min(left, PIPE))
            except OSError as error:
                if error.errno in (errno.EINVAL, errno.EPERM):  # a filesystem without; too many pipes
                    break
                raise
            if not inside:
                break
            left -= inside
            while inside:
                inside -= os.splice(out, writer, inside)
    finally:
        os.close(out)
        os.close(into)
    return left
