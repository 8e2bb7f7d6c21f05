"""Writes the EROFS image of a layer: inodes, names and attributes; the files' data stays in the layer's tar.

The image is what `mkfs.erofs --tar=i` makes, written from our own tree instead. Measured with erofs-utils
1.8.6, that tool gives directories which a tar does not name, the root among them, mode 0777, reads the
fraction of a PAX time as nanoseconds, keeps `trusted.overlay.redirect` that a hostile layer brings, and is
a second parser whose opinion could differ from the one that checked the archive. The kernel thus only ever
mounts what this module wrote.

    byte 0      zeros
         1024   superblock, 128 bytes; then one device slot, 128 bytes: the tar
         1536   inodes, 32-byte aligned, the root first, each followed by its attributes and then by
                a chunk index (files: one extent of the tar), or a short directory's or symlink's content
         ...    content of longer directories and symlinks, in whole blocks

Blocks have 512 bytes, as a tar's. Format: kernel fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst.
"""

from __future__ import annotations

import stat
from struct import Struct

from estiva.errors import LayerError, Unsupported
from estiva.store.layers.tree import Tree
from estiva.store.tar.entry import Entry, shown

BITS = 9
BLOCK = 1 << BITS
SUPER = 1024
FIRST_INODE = 1536
MAGIC = 0xE0F5E1E2
COMPAT_MTIME = 0x2
INCOMPAT_CHUNKED_FILE = 0x4
INCOMPAT_DEVICE_TABLE = 0x8
PLAIN, INLINE, CHUNKED = 0, 2, 4
CHUNK_INDEXES = 0x20
MAX_CHUNK_BITS = 31
INODE_SIZE = 64

# magic checksum compat blkszbits extslots root_nid inos time time_nsec blocks meta_blkaddr xattr_blkaddr
# uuid label incompat algorithms extra_devices devt_slotoff dirblkbits and the rest
_super = Struct("<IIIBBHQQIIII16s16sIHHHB37x")
_slot = Struct("<64sII56x")
# format xattr_icount mode reserved size u ino uid gid mtime mtime_nsec nlink
_inode = Struct("<HHHHQIIIIQII16x")
_chunk = Struct("<HHI")
_dirent = Struct("<QHBB")
_xattr = Struct("<BBH")

_FILE_TYPE = {
    stat.S_IFREG: 1,
    stat.S_IFDIR: 2,
    stat.S_IFCHR: 3,
    stat.S_IFBLK: 4,
    stat.S_IFIFO: 5,
    stat.S_IFLNK: 7,
}
_PREFIX = (
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
)


class _Inode:
    __slots__ = ("entry", "offset", "xattrs", "names", "parent", "tail", "blocks", "block", "links")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.offset = 0
        self.xattrs = b""
        self.names: list[tuple[bytes, _Inode]] = []
        self.tail = -1  # bytes kept behind the inode; -1: none
        self.blocks = 0
        self.block = 0  # block address of content outside
        self.links = 0


def _encode_xattrs(entry: Entry) -> bytes:
    values = entry.attributes()
    if not values:
        return b""
    parts = [b"\0" * 12]  # no name filter, none shared
    for name in sorted(values):
        value = values[name]
        for prefix, index in _PREFIX:
            if name.startswith(prefix):
                rest = name[len(prefix) :]
                item = _xattr.pack(len(rest), index, len(value)) + rest + value
                parts.append(item + b"\0" * (-len(item) % 4))
                break
    encoded = b"".join(parts)
    if len(encoded) > 0xFFFF * 4:
        raise Unsupported(f"layer entry {shown(entry.name)} has too many extended attributes for erofs")
    return encoded


class _Writer:
    def __init__(self, tree: Tree, tar_size: int) -> None:
        self.tar_size = tar_size
        self.inodes: list[_Inode] = []
        self._collect(tree.root)
        self._place()

    def _add(self, entry: Entry) -> _Inode:
        inode = _Inode(entry)
        if entry.xattrs or entry.opaque:
            inode.xattrs = _encode_xattrs(entry)
        self.inodes.append(inode)
        entry.mark = len(self.inodes)
        return inode

    def _collect(self, root: Entry) -> None:
        """Number every inode, breadth first, so that a directory's children lie together. Mark 0: none."""
        first = self._add(root)
        first.names = [(b".", first), (b"..", first)]
        first.links = 2
        queue = [first]
        for directory in queue:
            assert directory.entry.children is not None
            names = directory.names
            for name, entry in directory.entry.children.items():
                inode = self.inodes[entry.mark - 1] if entry.mark else self._add(entry)
                names.append((name, inode))
                inode.links += 1
                if entry.children is not None:
                    inode.names = [(b".", inode), (b"..", directory)]
                    inode.links = 2
                    directory.links += 1
                    queue.append(inode)
            names.sort(key=_by_name)

    def _place(self) -> None:
        """Give every inode its offset, and content that does not fit behind one its blocks."""
        position = FIRST_INODE
        outside: list[_Inode] = []
        for inode in self.inodes:
            entry = inode.entry
            kind = entry.kind
            head = INODE_SIZE + len(inode.xattrs)
            total = head
            if kind == stat.S_IFREG:
                if entry.size:
                    total = -(-head // 8) * 8 + 8
            elif kind == stat.S_IFDIR:
                inode.blocks, inode.tail = _directory_size(inode.names)
            elif kind == stat.S_IFLNK:
                inode.blocks, inode.tail = divmod(len(entry.link), BLOCK)
            if inode.tail >= 0:
                # the tail must lie in one block, and a fast symlink's in its inode's own
                total = head + inode.tail
                if total > BLOCK or inode.blocks and kind == stat.S_IFLNK:
                    total = head
                    inode.blocks += 1 if inode.tail else 0
                    inode.tail = -1
                elif position % BLOCK + total > BLOCK:
                    position = -(-position // BLOCK) * BLOCK
            inode.offset = position
            if inode.blocks:
                outside.append(inode)
            position += -(-total // 32) * 32
        block = -(-position // BLOCK)
        for inode in outside:
            inode.block = block
            block += inode.blocks
        self.size = -(-(block * BLOCK) // 4096) * 4096

    def image(self) -> bytearray:
        out = bytearray(self.size)
        _super.pack_into(
            out, SUPER, MAGIC, 0, COMPAT_MTIME, BITS, 0, FIRST_INODE >> 5, len(self.inodes), 0, 0,
            self.size >> BITS, 0, 0, b"", b"", INCOMPAT_CHUNKED_FILE | INCOMPAT_DEVICE_TABLE, 0, 1,
            (SUPER + 128) // 128, 0,
        )  # fmt: skip
        _slot.pack_into(out, SUPER + 128, b"", self.tar_size >> BITS, 0)
        for number, inode in enumerate(self.inodes, 1):
            self._inode(out, inode, number)
        return out

    def _inode(self, out: bytearray, inode: _Inode, number: int) -> None:
        entry = inode.entry
        kind = entry.kind
        offset = inode.offset
        xattrs = inode.xattrs
        after = offset + INODE_SIZE + len(xattrs)
        layout, union, size = PLAIN, 0, 0
        if kind == stat.S_IFREG:
            size = entry.size
            if size:
                layout = CHUNKED
                bits = max(0, (size - 1).bit_length() - BITS)
                if bits > MAX_CHUNK_BITS or entry.sparse is not None:
                    raise Unsupported(f"layer entry {shown(entry.name)} is sparse or too large for erofs")
                union = bits | CHUNK_INDEXES
                _chunk.pack_into(out, -(-after // 8) * 8, 0, 1, entry.offset >> BITS)
        elif kind == stat.S_IFDIR:
            content = _directory_content(inode.names)
            layout, union, size = self._content(out, inode, content, after)
        elif kind == stat.S_IFLNK:
            layout, union, size = self._content(out, inode, entry.link, after)
        elif kind != stat.S_IFIFO:
            major, minor = entry.rdev
            union = (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)
        seconds, nanoseconds = divmod(entry.mtime, 1_000_000_000)
        icount = (len(xattrs) - 12) // 4 + 1 if xattrs else 0
        _inode.pack_into(
            out, offset, 1 | layout << 1, icount, kind | entry.mode, 0, size, union, number, entry.uid,
            entry.gid, seconds & 0xFFFFFFFFFFFFFFFF, nanoseconds, inode.links,
        )  # fmt: skip
        if xattrs:
            out[offset + INODE_SIZE : after] = xattrs

    @staticmethod
    def _content(out: bytearray, inode: _Inode, content: bytes, after: int) -> tuple[int, int, int]:
        """Write a directory's or symlink's content; (layout, block address, size)."""
        if inode.blocks:
            start = inode.block * BLOCK
            outer = content if inode.tail < 0 else content[: inode.blocks * BLOCK]
            out[start : start + len(outer)] = outer
        if inode.tail < 0:
            return PLAIN, inode.block, len(content)
        tail = content[inode.blocks * BLOCK :]
        out[after : after + len(tail)] = tail
        return INLINE, inode.block if inode.blocks else 0, len(content)


def _by_name(item: tuple[bytes, _Inode]) -> bytes:
    return item[0]


def _directory_size(names: list[tuple[bytes, _Inode]]) -> tuple[int, int]:
    """(full blocks, bytes in the last one) of a directory: a name's entry never crosses a block."""
    blocks = used = 0
    for name, _ in names:
        need = 12 + len(name)
        if used + need > BLOCK:
            blocks += 1
            used = 0
        used += need
    return blocks, used


def _directory_content(names: list[tuple[bytes, _Inode]]) -> bytes:
    """Blocks of directory entries, each block: fixed parts first, then the names, sorted by bytes overall."""
    out: list[bytes] = []
    group: list[tuple[bytes, _Inode]] = []
    used = 0
    for item in names:
        need = 12 + len(item[0])
        if used + need > BLOCK:
            block = _directory_block(group)
            out.append(block + b"\0" * (BLOCK - len(block)))
            group, used = [], 0
        group.append(item)
        used += need
    out.append(_directory_block(group))
    return b"".join(out)


def _directory_block(group: list[tuple[bytes, _Inode]]) -> bytes:
    offset = 12 * len(group)
    heads: list[bytes] = []
    for name, inode in group:
        heads.append(_dirent.pack(inode.offset >> 5, offset, _FILE_TYPE[inode.entry.kind], 0))
        offset += len(name)
    return b"".join(heads) + b"".join([name for name, _ in group])


def encode(tree: Tree, tar_size: int) -> bytearray:
    """The image of a finished tree over a tar of `tar_size` bytes. The same tree always gives the same bytes.

    Raises Unsupported for what only the dir driver holds (sparse files), LayerError for too many inodes.
    """
    writer = _Writer(tree, tar_size)
    if writer.size > 1 << 40:
        raise LayerError("layer has too many files")
    return writer.image()
