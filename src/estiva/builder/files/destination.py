"""Where COPY and ADD write to: a rootfs, held by fd, so that no link in it leads out."""

from __future__ import annotations

import os
import stat

from estiva.builder.files.record import nothing
from estiva.builder.files.tree import Missing, Tree
from estiva.builder.frontend import values
from estiva.errors import InvalidInput, Unsupported
from estiva.files import write_all
from estiva.linux import fs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_CHUNK = 1 << 24  # bytes that the kernel copies at once: it hears of no signal meanwhile


class Destination:
    """A rootfs to write into, and the metadata that new files get.

    `owner` None keeps a stage's owners and makes a context's files root's.
    `upper` is the directory (fd) that what is written to the rootfs goes to, if it is an overlay's: what is
    below a directory that has just been made there is nowhere else, and making files by way of the overlay
    takes three times as long.
    """

    def __init__(
        self,
        rootfd: int,
        *,
        owner: tuple[int, int] | None = None,
        chmod: str = "",
        upper: int = -1,
    ) -> None:
        self.rootfd = rootfd
        self.upper = upper
        self.owner = owner
        self.chmod = chmod
        octal = values.octal(chmod)
        self.folders = 0o755 if octal is None else octal & 0o777
        self.view = Tree(rootfd, owners=True)  # not closed: the fd is the caller's

    def resolve(self, path: str) -> str:
        """Where a path of the rootfs is, its symlinks resolved inside; what is missing stays as written."""
        try:
            return self.view.resolve(path, missing=True)
        except Missing:
            message = f"can't use the path {path} in the image: a parent of it is not a directory"
            raise InvalidInput(message) from None

    def is_directory(self, path: str) -> bool:
        try:
            return stat.S_ISDIR(self.view.stat(self.resolve(path)).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def folder(self, path: str) -> tuple[str, bool]:
        """Where a directory is to be copied to, and whether there is one already. Raises InvalidInput where
        a file is.
        """
        resolved = self.resolve(path)
        try:
            kind = stat.S_IFMT(self.view.stat(resolved).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return resolved, False
        if kind != stat.S_IFDIR:
            raise InvalidInput(f"can't copy a directory onto the file /{resolved}")
        return resolved, True

    def directory(self, path: str, mode: int | None = None) -> int:
        """An O_PATH fd of a directory, made with its parents: of the owner, with `mode`, else with --chmod's
        if that is a number, else 0755.
        """
        uid, gid = self.owner or (0, 0)
        resolved = self.resolve(path)
        try:
            return fs.mkdir_in_root(
                self.rootfd, resolved, self.folders if mode is None else mode, uid, gid, follow=False
            )
        except NotADirectoryError:
            raise InvalidInput(f"can't make the directory /{resolved}: a parent of it is a file") from None

    def place(self, path: str, name: str) -> tuple[int, str]:
        """(directory fd, name) where a file goes that is copied to `path`.

        Into the directory when `path` ends with a slash or is one, else as `path` itself.
        """
        directory, last = self.whereto(path, name)
        return self.directory(directory), last

    def whereto(self, path: str, name: str) -> tuple[str, str]:
        """The same, of a directory that need not be there: its path."""
        if path.endswith(("/", "/.")) or path in ("", ".") or self.is_directory(path):
            return path, name
        parent, _, last = self.resolve(path).rpartition("/")
        return parent, last

    def owner_of(self, info: os.stat_result, owners: bool) -> tuple[int, int]:
        """(uid, gid) of a copy. `owners` as of the tree that it is from."""
        if self.owner is not None:
            return self.owner
        return (info.st_uid, info.st_gid) if owners else (0, 0)

    def mode_of(self, info: os.stat_result) -> int:
        """The permissions of a copy."""
        if self.chmod:
            return values.mode_change(self.chmod, info.st_mode, stat.S_ISDIR(info.st_mode))
        return info.st_mode & 0o7777

    def write(self, path: str, name: str, data: bytes | int, *, mode: int, mtime_ns: int) -> None:
        """A file from bytes, such as a here-document, or from a file (its fd), such as what a URL gave."""
        parent, last = self.place(path, name)
        try:
            fd = create(parent, last)
            with open(fd, "wb", buffering=0):
                if isinstance(data, int):
                    os.lseek(data, 0, os.SEEK_SET)
                    transfer(data, fd)
                else:
                    write_all(fd, data)
                os.fchown(fd, *(self.owner or (0, 0)))
                os.fchmod(fd, values.mode_change(self.chmod, mode, False) if self.chmod else mode)
                os.utime(fd, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(parent)


def kept(source: str, info: os.stat_result, tree: Tree) -> bool:
    """Whether a copy makes anything of a path: not of a socket, nor of an overlay's whiteout. Raises
    Unsupported for a context's device."""
    kind = stat.S_IFMT(info.st_mode)
    if kind not in (stat.S_IFCHR, stat.S_IFBLK):
        return kind != stat.S_IFSOCK
    if not tree.owners:
        raise Unsupported(f"{source} in the build context is a device, which is not copied")
    return info.st_rdev != 0


def lstat(parent: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def create(parent: int, name: str) -> int:
    """A new, empty file in a directory, in the place of what was there (never of a directory)."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    old = lstat(parent, name)
    if old is not None:
        if stat.S_ISDIR(old.st_mode):
            raise InvalidInput(f"can't write the file {name}: it is a directory")
        os.unlink(name, dir_fd=parent)
    return os.open(name, flags, 0o600, dir_fd=parent)


def transfer(incoming: int, outgoing: int, look: Callable[[], object] = nothing) -> None:
    """All bytes of one file, by copy_file_range(2) where the filesystems agree. What `look`
    raises ends that."""
    try:
        while os.copy_file_range(incoming, outgoing, _CHUNK):
            look()
    except OSError:
        os.lseek(incoming, os.lseek(outgoing, 0, os.SEEK_CUR), os.SEEK_SET)
        while os.sendfile(outgoing, incoming, None, _CHUNK):
            look()
