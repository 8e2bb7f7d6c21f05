"""The dir driver: a layer is a directory of files, for kernels that can't mount an EROFS file.

It makes a finished Tree (store/layers/tree.py) real: each path is there once and each parent is a real
directory, so nothing in here decides anything. It still trusts no name: every directory is opened beneath the
layer's root without following links, everything is made new (O_EXCL) through its directory's fd, and metadata
is set through the fd of what was made.
"""

from __future__ import annotations

import errno
import os
import stat

from estiva.errors import LayerError
from estiva.linux import fs
from estiva.store.layers.tree import Tree
from estiva.store.tar.entry import Entry, shown

NAME = "dir"
ROOT = "fs"
_MADE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_INSIDE = fs.RESOLVE_BENEATH | fs.RESOLVE_NO_SYMLINKS | fs.RESOLVE_NO_XDEV
_COPY = 1 << 20


def build(tree: Tree, tar_fd: int, tar_size: int, directory: str) -> None:
    """Extract `tree` from the tar `tar_fd` to `directory`/fs and sync it. Raises LayerError, OSError."""
    root = f"{directory}/{ROOT}"
    os.mkdir(root, 0o700)
    rootfd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _Extractor(tree, tar_fd, rootfd).run()
    finally:
        os.close(rootfd)
    os.sync()  # one for all files: fsync of each costs more than writing them


def differs(tree: Tree, tar_fd: int, directory: str) -> str:
    """The first path below `directory`/fs that is not what `build` makes of `tree`, "" for none."""
    root = os.fsencode(f"{directory}/{ROOT}")
    for path, node in tree.walk():
        place = os.path.join(root, path) if path else root
        try:
            found = os.stat(place, follow_symlinks=False)
            same = (found.st_uid, found.st_gid, found.st_mtime_ns) == (node.uid, node.gid, node.mtime)
            kind = stat.S_IFDIR if node.children is not None else node.kind
            same = same and stat.S_IFMT(found.st_mode) == kind
            if kind == stat.S_IFLNK:
                same = same and os.fsencode(os.readlink(place)) == node.link
            else:
                same = same and stat.S_IMODE(found.st_mode) == node.mode
            if kind == stat.S_IFREG:
                same = same and found.st_size == node.size and _same_bytes(place, node, tar_fd)
            if node.children is not None:
                same = same and set(os.listdir(place)) == set(node.children)
        except OSError:
            same = False
        if not same:
            return shown(b"/" + path)
    return ""


def _same_bytes(place: bytes, node: Entry, tar_fd: int) -> bool:
    source = node.offset
    with open(place, "rb") as file:
        for offset, length in node.sparse if node.sparse is not None else ((0, node.size),):
            while length:
                piece = os.pread(file.fileno(), min(length, _COPY), offset)
                if not piece or piece != os.pread(tar_fd, len(piece), source):
                    return False
                source, offset, length = source + len(piece), offset + len(piece), length - len(piece)
    return True


class _Extractor:
    def __init__(self, tree: Tree, tar_fd: int, rootfd: int) -> None:
        self.tree = tree
        self.tar_fd = tar_fd
        self.rootfd = rootfd
        self.made: dict[int, bytes] = {}  # first path of every inode that has more than one
        self.kernel_copy = True

    def run(self) -> None:
        directories: list[tuple[bytes, Entry]] = []
        for path, node in self.tree.walk():
            if node.children is not None:
                directories.append((path, node))
                self._fill(path, node)
        # last, children before parents: making things in a directory changes its time, its mode may forbid it
        for path, node in reversed(directories):
            fd = self._open(path)
            try:
                self._dress(fd, node)
            finally:
                os.close(fd)

    def _open(self, path: bytes) -> int:
        try:
            return fs.openat2(self.rootfd, path or b".", os.O_RDONLY | os.O_DIRECTORY, 0, _INSIDE)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise LayerError(f"layer entry {shown(path)} has too long a path") from None
            raise

    def _fill(self, path: bytes, directory: Entry) -> None:
        assert directory.children is not None
        fd = self._open(path)
        prefix = path + b"/" if path else b""
        try:
            for name in sorted(directory.children):
                node = directory.children[name]
                first = self.made.get(id(node))
                if first is not None:
                    os.link(first, name, src_dir_fd=self.rootfd, dst_dir_fd=fd, follow_symlinks=False)
                    continue
                if node.nlink > 1:
                    self.made[id(node)] = prefix + name
                self._make(fd, name, node)
        finally:
            os.close(fd)

    def _make(self, parent: int, name: bytes, node: Entry) -> None:
        if node.children is not None:
            os.mkdir(name, 0o700, dir_fd=parent)
        elif node.kind == stat.S_IFREG:
            fd = os.open(name, _MADE, 0o600, dir_fd=parent)
            try:
                if node.size:
                    self._copy(fd, node)
                self._dress(fd, node)
            finally:
                os.close(fd)
        elif node.kind == stat.S_IFLNK:
            os.symlink(node.link, name, dir_fd=parent)
            os.chown(name, node.uid, node.gid, dir_fd=parent, follow_symlinks=False)
            os.utime(name, ns=(node.mtime, node.mtime), dir_fd=parent, follow_symlinks=False)
        else:
            os.mknod(name, node.kind | 0o600, os.makedev(*node.rdev), dir_fd=parent)
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                own = f"/proc/self/fd/{fd}"
                os.chown(own, node.uid, node.gid)
                os.chmod(own, node.mode)
                os.utime(own, ns=(node.mtime, node.mtime))
            finally:
                os.close(fd)

    def _copy(self, fd: int, node: Entry) -> None:
        os.ftruncate(fd, node.size)
        source = node.offset
        for offset, length in node.sparse if node.sparse is not None else ((0, node.size),):
            while length:
                count = self._copy_some(fd, source, offset, length)
                if not count:
                    raise LayerError(f"tar is truncated in {shown(node.name)}")
                source += count
                offset += count
                length -= count

    def _copy_some(self, fd: int, source: int, offset: int, length: int) -> int:
        if self.kernel_copy:
            try:
                return os.copy_file_range(self.tar_fd, fd, length, source, offset)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                    raise
                self.kernel_copy = False
        return os.pwrite(fd, os.pread(self.tar_fd, min(length, _COPY), source), offset)

    @staticmethod
    def _dress(fd: int, node: Entry) -> None:
        """Owner first: chown clears setuid bits and capabilities. The time last."""
        os.fchown(fd, node.uid, node.gid)
        os.fchmod(fd, node.mode)
        for name, value in node.attributes().items():
            try:
                os.setxattr(fd, name, value)
            except OSError as error:
                # a filesystem without these attributes loses them, as it does with other extractors; the
                # opaque mark is never lost
                if error.errno != errno.EOPNOTSUPP or name.startswith(b"trusted."):
                    raise
        os.utime(fd, ns=(node.mtime, node.mtime))
