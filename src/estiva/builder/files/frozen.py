"""Mounts for a command to read or write to in vain: of what is there, of a copy, or of an overlay on those.

A copy of a folder of the host's is packed, as an image's layer is: the bytes of its files one after another
in one file, and an EROFS image that says where each begins (store/layers/drivers/erofs.py). Making files is
what costs in a copy. Where the kernel can't mount that, and for a single file, files are made.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat

from estiva.builder.files import record
from estiva.builder.files.copier import Copier
from estiva.builder.files.destination import Destination
from estiva.builder.files.record import Record
from estiva.builder.files.tree import Tree
from estiva.errors import InvalidInput, Unsupported
from estiva.files import write_all
from estiva.linux import fs
from estiva.linux import mount as mnt
from estiva.store.layers.drivers.erofs_image import BLOCK, encode
from estiva.store.layers.mounts import OVERLAY_OPTIONS, open_erofs
from estiva.store.layers.tree import Tree as Image
from estiva.store.snapshots import make_upper
from estiva.store.tar.entry import Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Frozen(Protocol):
        """A copy that nobody changes any more. `digest`: what the cache's key tells of it."""

        digest: str

        def close(self) -> None: ...

        def mount(self) -> int:
            """A detached read-only mount of it, -1 where the kernel can't."""


_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_ATTRIBUTES = mnt.MOUNT_ATTR_NOSUID | mnt.MOUNT_ATTR_NODEV


def detached(fd: int, *, writable: bool = False) -> int:
    """A detached mount of what the O_PATH fd `fd` stands for, which is closed.

    -1 where the kernel can't copy a mount that is itself detached (before Linux 6.15), as a stage's is.
    """
    try:
        made = mnt.clone_tree("", dirfd=fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return -1
    finally:
        os.close(fd)
    try:
        attributes = _ATTRIBUTES if writable else _ATTRIBUTES | mnt.MOUNT_ATTR_RDONLY
        mnt.mount_setattr(made, "", attributes, propagation=mnt.MS_PRIVATE)
    except BaseException:
        os.close(made)
        raise
    return made


def in_memory(data: bytes, mode: int, uid: int, gid: int) -> int:
    """A detached read-only mount of a file that is on no disk, not even in swap where the kernel can, and has
    no name: it is gone with its last mount and fd, however its users end. -1 where the kernel can't (before
    Linux 6.15).
    """
    options = [("mode", "0700"), ("size", "1m"), ("noswap", "")]
    try:
        top = mnt.new_filesystem("tmpfs", options, _ATTRIBUTES)
    except OSError:  # as in a user namespace
        top = mnt.new_filesystem("tmpfs", options[:2], _ATTRIBUTES)
    try:
        fd = os.open("file", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=top)
        with open(fd, "wb", buffering=0) as file:
            write_all(file.fileno(), data)
            os.fchown(file.fileno(), uid, gid)
            os.fchmod(file.fileno(), mode)
        return detached(os.open("file", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top))
    finally:
        os.close(top)


def over(fd: int, scratch: str) -> int:
    """A detached overlay over the detached mount `fd`, which is closed: what is written goes to `scratch`, an
    empty directory. -1 where the kernel can't: for a file, and before Linux 6.15.
    """
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            return -1
        below, upper, work = f"/proc/self/fd/{fd}", scratch + "/upper", scratch + "/work"
        make_upper(upper, below)
        os.mkdir(work)
        made = mnt.overlay([below], upper, work, options=OVERLAY_OPTIONS)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return -1
    finally:
        os.close(fd)
    mnt.mount_setattr(made, "", _ATTRIBUTES)
    return made


class Copied:
    """Files made in an empty directory."""

    def __init__(self, tree: Tree, path: str, directory: str) -> None:
        total = Record(tree.owners)
        self.fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            name = posixpath.basename(path) or "root"
            below = Copier(tree, Destination(self.fd)).copy(path, name, "/", total)
        except BaseException:
            self.close()
            raise
        self.name = "." if below else name
        self.digest = total.digest()

    def close(self) -> None:
        os.close(self.fd)

    def mount(self, *, writable: bool = False) -> int:
        fd = fs.openat2(self.fd, self.name, os.O_PATH, 0, fs.RESOLVE_NO_SYMLINKS)
        return detached(fd, writable=writable)


class Packed:
    """What a directory of a context holds, in two files that are made in an empty directory."""

    def __init__(self, tree: Tree, path: str, directory: str) -> None:
        self.data = directory + "/data"
        self.index = directory + "/index.erofs"
        out = os.open(self.data, _NEW, 0o600)
        try:
            packer = _Packer(tree, out)
            packer.pack(path)
            size = packer.aligned()
            os.ftruncate(out, size)
        finally:
            os.close(out)
        self.digest = packer.total.digest()
        out = os.open(self.index, _NEW, 0o600)
        try:
            write_all(out, memoryview(encode(packer.image, size)))
        finally:
            os.close(out)

    def close(self) -> None:
        """The files go with their directory."""

    def mount(self) -> int:
        try:
            fd = open_erofs(self.index, self.data, directio=True)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            fd = open_erofs(self.index, self.data, directio=False)
        mnt.mount_setattr(fd, "", _ATTRIBUTES | mnt.MOUNT_ATTR_RDONLY)
        return fd


class _Packer:
    """Appends the files of a context to the file `out`; `image` tells where they are, `total` what."""

    def __init__(self, tree: Tree, out: int) -> None:
        self.tree = tree
        self.out = out
        self.image = Image()
        self.total = Record(False)
        self.links: dict[tuple[int, int], tuple[Entry, os.stat_result, str]] = {}

    def pack(self, path: str) -> None:
        """All below a resolved directory."""
        strip = len(path) + 1 if path else 0
        top = self.tree.stat(path)
        self._describe(self.image.root, top)
        self.total.add("", top)
        places = {path: self.image.root}
        for entry in self.tree.entries(path):
            made, info, text = self._entry(*entry)
            self.total.add(entry.path[strip:], info, text)
            if made.kind == stat.S_IFSOCK:
                continue
            children = places[posixpath.dirname(entry.path)].children
            assert children is not None
            children[os.fsencode(entry.name)] = made
            if made.children is not None:
                places[entry.path] = made

    @staticmethod
    def _describe(made: Entry, info: os.stat_result) -> Entry:
        made.mode = stat.S_IMODE(info.st_mode)
        made.mtime = info.st_mtime_ns
        return made

    def _entry(
        self, path: str, parent: int, name: str, info: os.stat_result
    ) -> tuple[Entry, os.stat_result, str]:
        """One path without what is below it: its inode, and what a record takes."""
        kind = stat.S_IFMT(info.st_mode)
        if kind == stat.S_IFREG:
            return self._file(path, parent, name, info)
        made = self._describe(Entry(os.fsencode(name), kind, 0), info)
        target = ""
        if kind == stat.S_IFDIR:
            made.children = {}
        elif kind == stat.S_IFLNK:
            target = os.readlink(name, dir_fd=parent)
            made.link = os.fsencode(target)
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            raise Unsupported(f"{path} in the build context is a device, which is not copied")
        return made, info, target

    def _file(
        self, path: str, parent: int, name: str, info: os.stat_result
    ) -> tuple[Entry, os.stat_result, str]:
        known = self.links.get((info.st_dev, info.st_ino)) if info.st_nlink > 1 else None
        if known is not None:
            return known
        fd = os.open(name, _FILE, dir_fd=parent)
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise InvalidInput(f"{path} changed while it was copied")
            made = self._describe(Entry(os.fsencode(name), stat.S_IFREG, 0), info)
            made.offset = os.lseek(self.out, self.aligned(), os.SEEK_SET)
            text = record.content(fd, {}, self.out, look=self.tree.going)
            made.size = os.lseek(self.out, 0, os.SEEK_CUR) - made.offset
        finally:
            os.close(fd)
        if info.st_nlink > 1:
            self.links[info.st_dev, info.st_ino] = made, info, text
        return made, info, text

    def aligned(self) -> int:
        """Where the next block of the file begins."""
        return -(-os.lseek(self.out, 0, os.SEEK_CUR) // BLOCK) * BLOCK
