"""The erofs-lz4 driver: a layer is one EROFS image with its files compressed, made by mkfs.erofs.

It takes about half the disk of a layer's tar, and ten times as long to make as the erofs driver's; reading
decompresses. What mkfs.erofs is given is not the layer's tar but one written anew from the finished Tree,
each path once and each directory named, so it meets nothing that a hostile layer says. Its temporary files
lie beside the image.
"""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Iterator

from estiva import programs
from estiva.errors import EngineError, Unsupported, oneline
from estiva.store.layers.tree import Tree
from estiva.store.tar import entry as tar_entry
from estiva.store.tar.entry import Entry, shown
from estiva.store.tar.writer import END, Member, header, padding

NAME = "erofs-lz4"
IMAGE = "image.erofs"
PROGRAM = "mkfs.erofs"
PACKAGES = {PROGRAM: "erofs-utils", "setpriv": "util-linux"}
# 64 KiB at once: a sixth smaller than clusters of a page, and no more than readahead takes anyway
OPTIONS = ("-zlz4hc", "-C65536", "-T0", "--mkfs-time", "--tar=f")
STILL_OURS = '[ "$PPID" = "$0" ] && exec "$@"'  # else we were killed before the signal was asked for
PIECE = 1 << 20
MESSAGE = 2000  # bytes of what the program says that are kept
TYPES = {
    stat.S_IFREG: tar_entry.REGULAR,
    stat.S_IFLNK: tar_entry.SYMLINK,
    stat.S_IFCHR: tar_entry.CHARACTER,
    stat.S_IFBLK: tar_entry.BLOCKDEV,
    stat.S_IFDIR: tar_entry.DIRECTORY,
    stat.S_IFIFO: tar_entry.FIFO,
}


def build(tree: Tree, tar_fd: int, tar_size: int, directory: str) -> None:
    """Write and sync the layer's image below `directory`. Raises Unsupported for sparse files and where
    mkfs.erofs is not installed, EngineError when it fails.
    """
    image = f"{directory}/{IMAGE}"
    os.close(os.open(image, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with open(os.memfd_create(PROGRAM, os.MFD_CLOEXEC), "w+b") as said:
        process = subprocess.Popen(
            [*program(), *OPTIONS, image],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
            cwd=directory,
            env=programs.environment(TMPDIR=directory),
        )
        try:
            _feed(process, _tar(tree, tar_fd))
        except BaseException:
            process.kill()
            raise
        finally:
            status = process.wait()
        said.seek(max(0, said.seek(0, os.SEEK_END) - MESSAGE))
        message = said.read().decode(errors="replace").strip()
    if status:
        if "No space left" in message:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), image)
        raise EngineError(f"{PROGRAM} failed: {oneline(message) or f'status {status}'}")
    fd = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def program() -> tuple[str, ...]:
    """The words that start mkfs.erofs, to be killed when we are: it goes round for ever in a tar that ends
    early. Raises Unsupported when something is not installed.
    """
    found = {name: programs.find(name) for name in PACKAGES}
    for name, path in found.items():
        if not path:
            raise Unsupported(f"{name} is not installed", hint=f"it is in the package {PACKAGES[name]}")
    bound = (found["setpriv"], "--pdeathsig", "KILL", "/bin/sh", "-c", STILL_OURS, str(os.getpid()))
    return (*bound, found[PROGRAM])


def _feed(process: subprocess.Popen[bytes], pieces: Iterator[bytes]) -> None:
    assert process.stdin is not None
    try:
        with process.stdin as stdin:
            for piece in pieces:
                stdin.write(piece)
    except BrokenPipeError:
        pass  # its status and message tell why


def _tar(tree: Tree, tar_fd: int) -> Iterator[bytes]:
    """The tree as a tar, parents before children and the first of a file's names with its data."""
    made: dict[int, bytes] = {}
    stack = [(b".", tree.root)]
    while stack:
        path, entry = stack.pop()
        first = made.get(id(entry))
        if first is not None:
            yield header(Member(path, tar_entry.HARDLINK, link=first))
            continue
        if entry.nlink > 1:
            made[id(entry)] = path
        yield header(_member(path, entry))
        if entry.kind == stat.S_IFREG:
            yield from _data(entry, tar_fd)
        for name, child in sorted((entry.children or {}).items(), reverse=True):
            stack.append((path + b"/" + name, child))
    yield END


def _member(path: bytes, entry: Entry) -> Member:
    seconds, nanoseconds = divmod(entry.mtime, 10**9)
    return Member(
        path + b"/" if entry.children is not None else path,
        TYPES[entry.kind],
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        size=entry.size if entry.kind == stat.S_IFREG else 0,
        mtime=seconds,
        nanoseconds=nanoseconds if seconds >= 0 else 0,  # mkfs.erofs adds the fraction of a negative one
        link=entry.link if entry.kind == stat.S_IFLNK else b"",
        rdev=entry.rdev,
        xattrs=entry.attributes(),
    )


def _data(entry: Entry, tar_fd: int) -> Iterator[bytes]:
    if entry.sparse is not None:
        raise Unsupported(f"layer entry {shown(entry.name)} is sparse")
    offset, left = entry.offset, entry.size
    while left:
        piece = os.pread(tar_fd, min(PIECE, left), offset)
        if not piece:
            raise EngineError(f"tar is truncated in {shown(entry.name)}")
        yield piece
        offset += len(piece)
        left -= len(piece)
    yield padding(entry.size)
