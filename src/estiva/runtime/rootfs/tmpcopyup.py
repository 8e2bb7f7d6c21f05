"""The mount option tmpcopyup: a tmpfs starts with a copy of what it covers (runtime-spec config.md).

Runs in the child, with the modules that it has: every step is by fd inside the container's root.
"""

from __future__ import annotations

import os
import stat

from estiva.linux import fs

_CHUNK = 1 << 20


def fill(under: int, root: int, destination: str, options: list[str]) -> None:
    """Copy the directory fd `under` (O_PATH, taken before the mount) to the tmpfs now at `destination`.

    Owners, modes, times and extended attributes are kept; the tmpfs itself takes those of the directory
    unless `options` of it set them. Raises OSError.
    """
    source = os.open(f"/proc/self/fd/{under}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        into = fs.open_in_root(root, destination, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _directory(source, into)
            given = {option.partition("=")[0] for option in options}
            status = os.fstat(source)
            if "uid" not in given and "gid" not in given:
                os.fchown(into, status.st_uid, status.st_gid)
            if "mode" not in given:
                os.fchmod(into, stat.S_IMODE(status.st_mode))
        finally:
            os.close(into)
    finally:
        os.close(source)


def _directory(source: int, into: int) -> None:
    with os.scandir(source) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            os.mkdir(name, 0o700, dir_fd=into)
            _copy(name, source, into, os.O_DIRECTORY, _directory)
        elif kind == stat.S_IFREG:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o600, dir_fd=into))
            _copy(name, source, into, 0, _contents)
        elif kind == stat.S_IFLNK:
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=into)
        elif kind != stat.S_IFSOCK:
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=into)
        else:
            continue
        os.chown(name, status.st_uid, status.st_gid, dir_fd=into, follow_symlinks=False)
        if kind != stat.S_IFLNK:
            os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=into)
        os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=into, follow_symlinks=False)


def _copy(name: str, source: int, into: int, flags: int, body: object) -> None:
    """Open `name` on both sides, and copy its extended attributes and what is in it."""
    assert callable(body)
    found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=source)
    try:
        if flags:
            one = os.open(".", os.O_RDONLY | os.O_CLOEXEC | flags, dir_fd=found)
        else:
            one = fs.reopen_regular(found, name, kernel=True)  # whoever asked for the copy chose the place
    finally:
        os.close(found)
    try:
        write = os.O_RDONLY | flags if flags else os.O_WRONLY
        two = os.open(name, write | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=into)
        try:
            body(one, two)
            for attribute in os.listxattr(one):
                try:
                    os.setxattr(two, attribute, os.getxattr(one, attribute))
                except OSError:
                    pass  # a tmpfs takes not all that other filesystems do
        finally:
            os.close(two)
    finally:
        os.close(one)


def _contents(one: int, two: int) -> None:
    while os.sendfile(two, one, None, _CHUNK):
        pass
