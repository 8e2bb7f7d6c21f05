"""Files into and out of a container by the Python API, by fd through its root (K1)."""

from __future__ import annotations

import errno
import os
import stat

from estiva.engine.containers.cp.place import Place, writable
from estiva.engine.containers.cp.view import Mapped, View
from estiva.engine.mounts.terms import FOLDER, OUT, Terms
from estiva.engine.mounts.trees import Copy
from estiva.errors import InvalidInput, NotFound, Unavailable, reason
from estiva.files import write_all
from estiva.linux import fs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine


def put(engine: Engine, ref: str, source: str | os.PathLike[str] | bytes, path: str, mode: int) -> None:
    """Write bytes, or copy a file or folder of the host, to `path`; missing parents are made.

    Raises NotFound for a missing source, InvalidInput where a folder is in the way.
    """
    if not path.startswith("/") or path.endswith("/"):
        raise InvalidInput(f"the place {path} must be an absolute path of a file or folder")
    with View(engine, ref) as view, Mapped(view.owner):
        folder, _, name = os.path.normpath(path).rpartition("/")
        parent = fs.mkdir_in_root(view.root, folder or "/", 0o755, *(view.owner or (0, 0)))
        try:
            writable(parent, Place(path, view))
            place(view, parent, name, source, path, mode)
        finally:
            os.close(parent)


def place(
    view: View, parent: int, name: str, source: str | os.PathLike[str] | bytes, path: str, mode: int
) -> None:
    work = Copy(Terms(owner=view.owner, merge=True, kernel=True))
    if isinstance(source, bytes):
        _write(parent, name, source, path, mode)
        return
    try:
        found = os.open(source, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f"no such file: {os.fspath(source)}") from None
    try:
        kind = os.fstat(found).st_mode
        if stat.S_ISDIR(kind):
            outer = os.open(".", FOLDER, dir_fd=found)
            try:
                inner = folder_in(view.root, parent, name, path)
                try:
                    work.tree(outer, inner)
                finally:
                    os.close(inner)
            finally:
                os.close(outer)
        elif stat.S_ISREG(kind) or stat.S_ISLNK(kind):
            work.file(found, parent, name, os.fspath(source))
        else:
            raise InvalidInput(f"{os.fspath(source)} is neither a file nor a folder")
    finally:
        os.close(found)


def _write(parent: int, name: str, data: bytes, path: str, mode: int) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno == errno.EISDIR:
            raise InvalidInput(f"{path} is a folder in the container") from None
        raise
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=parent)
    try:
        write_all(fd, data)
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


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
    with View(engine, ref) as view:
        try:
            found = fs.open_in_root(view.root, path, os.O_PATH)
        except OSError as error:
            raise NotFound(f"{path} in the container: {(error.strerror or '').lower()}") from None
        try:
            return _get(found, path, None if target is None else os.fspath(target))
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


def _get(found: int, path: str, target: str | None) -> bytes:
    kind = os.fstat(found).st_mode
    if fs.is_kernel(found):
        raise InvalidInput(f"{path} is the kernel's own", hint="read it by an exec in the container")
    if target is not None and stat.S_ISDIR(kind):
        copy_out_folder(found, target)
        return b""
    if not stat.S_ISREG(kind):
        raise InvalidInput(f"{path} is not a file", hint="give a target to copy a folder")
    if target is None:
        return fs.read_regular(found, IN_MEMORY)
    if os.path.isdir(target):
        directory, name = target, os.path.basename(path)
    else:
        # through symlinks of the caller's own: what is at their end is replaced
        directory, name = os.path.split(os.path.realpath(target))
    outer = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        Copy(OUT).file(found, outer, name, path)
    finally:
        os.close(outer)
    return b""


def copy_out_folder(found: int, target: str) -> None:
    """Copy what a folder holds into `target`, which gets its mode and times if it is made."""
    there = os.path.isdir(target)
    try:
        os.makedirs(target, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InvalidInput(f"{target} is not a folder") from None
    inner = os.open(".", FOLDER, dir_fd=found)
    try:
        outer = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            (Copy(OUT).contents if there else Copy(OUT).tree)(inner, outer)
        finally:
            os.close(outer)
    finally:
        os.close(inner)
