"""Files into and out of a running container, by fd through its init's root, never by a path of its making
(K1).
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from estiva.engine.mounts import volume_copy
from estiva.engine.mounts.volume_copy import Terms
from estiva.engine.state import lookup
from estiva.errors import InvalidInput, NotFound, Unavailable, reason
from estiva.files import write_all
from estiva.linux import fs

if TYPE_CHECKING:
    from estiva.engine import Engine


def root_of(engine: Engine, ref: str) -> int:
    """An fd of a running container's root folder; openat2 keeps all below it."""
    live = lookup.running_state(engine, ref)
    return os.open(f"/proc/{live['pid']}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def put(engine: Engine, ref: str, source: str | os.PathLike[str] | bytes, path: str, mode: int) -> None:
    """Write bytes, or copy a file or folder of the host, to `path`; missing parents are made.

    Raises NotFound for a missing source, InvalidInput where a folder is in the way.
    """
    if not path.startswith("/") or path.endswith("/"):
        raise InvalidInput(f"the place {path} must be an absolute path of a file or folder")
    live = lookup.running_state(engine, ref)
    owner = (live["root"][0], live["root"][1]) if live.get("root") else None
    root = os.open(f"/proc/{live['pid']}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with Mapped(owner):
            folder, _, name = os.path.normpath(path).rpartition("/")
            parent = fs.mkdir_in_root(root, folder or "/", 0o755, *(owner or (0, 0)))
            try:
                place(root, parent, name, source, path, mode, owner)
            finally:
                os.close(parent)
    finally:
        os.close(root)


class Mapped:
    """In a user namespace the host's root has no id to make files by: this thread has those of the
    container's root meanwhile.
    """

    def __init__(self, owner: tuple[int, int] | None) -> None:
        self.owner = owner

    def __enter__(self) -> None:
        if self.owner is not None:
            from estiva.linux import fsid, process

            self.dumpable = process.dumpable() == 1
            fsid.take(*self.owner)

    def __exit__(self, *exception: object) -> None:
        if self.owner is not None:
            from estiva.linux import fsid, process

            fsid.take(os.geteuid(), os.getegid())
            if self.dumpable:
                process.set_dumpable(True)


def place(
    root: int,
    parent: int,
    name: str,
    source: str | os.PathLike[str] | bytes,
    path: str,
    mode: int,
    owner: tuple[int, int] | None = None,
) -> None:
    terms = Terms(owner=owner, merge=True, kernel=True)
    if not isinstance(source, bytes):
        try:
            status = os.lstat(source)
        except FileNotFoundError:
            raise NotFound(f"no such file: {os.fspath(source)}") from None
        if not (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
            raise InvalidInput(f"{os.fspath(source)} is neither a file nor a folder")
        if stat.S_ISDIR(status.st_mode):
            outer = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                inner = folder_in(root, parent, name, path)
                try:
                    volume_copy.copy_tree(outer, inner, terms)
                finally:
                    os.close(inner)
            finally:
                os.close(outer)
            return
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno == errno.EISDIR:
            raise InvalidInput(f"{path} is a folder in the container") from None
        raise
    if isinstance(source, bytes):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=parent)
        try:
            write_all(fd, source)
            os.fchmod(fd, mode)
        finally:
            os.close(fd)
        return
    directory, base = os.path.split(os.path.abspath(os.fspath(source)))
    outer = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        volume_copy.copy_node(outer, parent, base, status, terms, name)
    finally:
        os.close(outer)


def folder_in(root: int, parent: int, name: str, path: str) -> int:
    """An fd of the folder at `path`, which may be a link to one there, made if there is none. Raises
    InvalidInput."""
    try:
        os.mkdir(name or ".", 0o755, dir_fd=parent)
    except FileExistsError:
        pass
    try:
        return fs.open_in_root(root, path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidInput(f"{path} is not a folder in the container: {reason(error)}") from None


IN_MEMORY = 256 << 20  # bytes of a file that `get` gives without a target


def get(engine: Engine, ref: str, path: str, target: str | os.PathLike[str] | None) -> bytes:
    """The bytes of a file in the container, or a copy of a file or folder at `target`.

    What is copied is the caller's own, without setuid, setgid and capabilities (K21). Raises NotFound, and
    InvalidInput for what is no file, for the kernel's own, and for more than 256 MiB without a target.
    """
    root = root_of(engine, ref)
    try:
        try:
            found = fs.open_in_root(root, path, os.O_PATH)
        except OSError as error:
            raise NotFound(f"{path} in the container: {(error.strerror or '').lower()}") from None
        try:
            kind = os.fstat(found).st_mode
            folder = stat.S_ISDIR(kind)
            if fs.is_kernel(found):
                raise InvalidInput(f"{path} is the kernel's own", hint="read it by an exec in the container")
            if target is not None and folder:
                copy_out_folder(found, os.fspath(target))
                return b""
            if not stat.S_ISREG(kind):
                raise InvalidInput(f"{path} is not a file", hint="give a target to copy a folder")
            if target is None:
                return fs.read_regular(found, IN_MEMORY)
            there = os.fspath(target)
            if os.path.isdir(there):
                there = os.path.join(there, os.path.basename(path))
                remove_link(there)
            copy_out_file(found, there)
            return b""
        except OSError as error:
            if error.errno == errno.EFBIG:
                raise InvalidInput(
                    f"{path} is larger than {IN_MEMORY >> 20} MiB",
                    hint="give a target: it is copied there, whatever its size",
                ) from None
            if error.errno == errno.EAGAIN:
                raise Unavailable(f"{path} is leased by a process in the container") from None
            raise
        finally:
            os.close(found)
    finally:
        os.close(root)


def copy_out_folder(found: int, target: str) -> None:
    """Copy what a folder holds into `target`, which gets its mode and times if it is made."""
    there = os.path.isdir(target)
    try:
        os.makedirs(target, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InvalidInput(f"{target} is not a folder") from None
    inner = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        outer = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            volume_copy.copy_entries(inner, outer, volume_copy.OUT)
            if not there:
                volume_copy.dress(outer, os.fstat(inner), inner, volume_copy.OUT)
        finally:
            os.close(outer)
    finally:
        os.close(inner)


def remove_link(path: str) -> None:
    """A link by the name of a container's file may have come from there: it is not written through."""
    try:
        if stat.S_ISLNK(os.lstat(path).st_mode):
            os.unlink(path)
    except FileNotFoundError:
        pass


def copy_out_file(found: int, target: str) -> None:
    """Copy a file to `target`; its mode goes along without setuid, setgid and sticky."""
    reader = fs.reopen_regular(found)
    try:
        writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            status = os.fstat(reader)
            volume_copy.copy_content(reader, writer, status)
            os.fchmod(writer, stat.S_IMODE(status.st_mode) & 0o777)
        finally:
            os.close(writer)
    finally:
        os.close(reader)
