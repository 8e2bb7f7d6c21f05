"""Single files of a container for a program: read, write, list, stat, remove, mkdir. By fd through its root
(K1); what is there is opened by the helper that takes regular files alone (K21), and nothing of the kernel's.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat

from estiva.engine.containers.cp.place import LINKS, Place, refuse_kernel, writable
from estiva.engine.containers.cp.view import Mapped, View
from estiva.errors import InvalidInput, NotFound, Unavailable, reason
from estiva.files import write_all
from estiva.linux import fs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    from estiva.engine import Engine

    class Found(TypedDict):
        """What stat(2) says of a file; the ids as the container has them, `target` of a symlink."""

        name: str
        path: str
        kind: str
        size: int
        mode: int
        uid: int
        gid: int
        modified: float
        target: str


KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}
MOST = 100_000  # names of a folder that are listed


def read(engine: Engine, ref: str, path: str, limit: int) -> bytes:
    """The bytes of a file. Raises NotFound, InvalidInput (also for more than `limit` bytes), Unavailable."""
    with View(engine, ref) as view:
        place = Place(path, view)
        found = place.source(True)
        try:
            refuse_kernel(found, place)
            if not stat.S_ISREG(os.fstat(found).st_mode):
                raise InvalidInput(f"{place.shown} is not a file")
            return fs.read_regular(found, limit)
        except OSError as error:
            if error.errno == errno.EFBIG:
                raise InvalidInput(
                    f"{place.shown} is larger than {limit} bytes", hint="a larger limit, or download"
                ) from None
            if error.errno == errno.EAGAIN:
                raise Unavailable(f"{place.shown} is leased by a process in the container") from None
            raise InvalidInput(f"{place.shown}: {reason(error)}") from None
        finally:
            os.close(found)


def write(engine: Engine, ref: str, path: str, data: bytes | memoryview, mode: int) -> None:
    """Make a file of root's with these bytes; who reads it meanwhile sees the old one or the new one, whole.
    Missing parents are made. A symlink there is replaced. Raises InvalidInput where a folder is.
    """
    with View(engine, ref) as view, Mapped(view.owner):
        place, folder, name = _parts(path, view)
        parent = -1
        try:
            parent = fs.mkdir_in_root(view.root, folder, 0o755, *(view.owner or (0, 0)))
            writable(parent, place)
            _refuse_folder(parent, name, place)
            if place.path.endswith("/"):
                raise InvalidInput(f"{place.shown} is the name of a folder")
            aside = f".{name[:200]}.{os.urandom(6).hex()}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(aside, flags, 0o600, dir_fd=parent)
            try:
                try:
                    write_all(fd, data)
                    os.fchmod(fd, mode)
                finally:
                    os.close(fd)
                os.rename(aside, name, src_dir_fd=parent, dst_dir_fd=parent)
            except BaseException:
                os.unlink(aside, dir_fd=parent)
                raise
        except OSError as error:
            raise _told(error, place) from None
        finally:
            if parent >= 0:
                os.close(parent)
        view.tell("extract-to-dir")


def look(engine: Engine, ref: str, path: str, *, follow: bool) -> Found:
    """What is at a path; of a symlink itself unless `follow`. Raises NotFound, InvalidInput."""
    with View(engine, ref) as view:
        place = Place(path, view)
        found = place.source(follow)
        try:
            status = os.fstat(found)
            link = os.readlink("", dir_fd=found) if stat.S_ISLNK(status.st_mode) else ""
        except OSError as error:
            raise _told(error, place) from None
        finally:
            os.close(found)
        return _shape(view, place.name, os.path.normpath(place.path), status, link)


def stat_path(engine: Engine, ref: str, path: str) -> Found:
    """As `look`, of a path in Docker's words: what is at its end itself, unless a slash is there. `target` is
    where a symlink leads in the end, an absolute path, whether something is there or not."""
    with View(engine, ref) as view:
        place = Place(path, view)
        found = place.source(False)
        try:
            status = os.fstat(found)
        finally:
            os.close(found)
        link = _followed(view, place.path) if stat.S_ISLNK(status.st_mode) else ""
        return _shape(view, place.name or "/", os.path.normpath(place.path), status, link)


def _followed(view: View, path: str) -> str:
    """A path without symlinks, by their text. Raises InvalidInput for more than LINKS of them."""
    left = [part for part in reversed(path.split("/")) if part]
    done: list[str] = []
    links = 0
    while left:
        part = left.pop()
        if part in (".", ".."):
            del done[len(done) - (part == "..") :]
            continue
        done.append(part)
        try:
            fd = fs.open_in_root(view.root, "/" + "/".join(done), os.O_PATH | os.O_NOFOLLOW)
        except OSError:
            continue  # it leads nowhere
        try:
            if not stat.S_ISLNK(os.fstat(fd).st_mode):
                continue
            target = os.readlink("", dir_fd=fd)
        finally:
            os.close(fd)
        links += 1
        if links > LINKS:
            raise InvalidInput(f"{view.name}:{path} leads through too many symlinks")
        done = [] if target.startswith("/") else done[:-1]
        left += [each for each in reversed(target.split("/")) if each]
    return "/" + "/".join(done)


def exists(engine: Engine, ref: str, path: str) -> bool:
    """Whether something is at a path, after all links. Raises InvalidInput where that can't be said."""
    with View(engine, ref) as view:
        place = Place(path, view)
        try:
            os.close(place.open(place.path, os.O_PATH))
            return True
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
                return False
            raise place.problem(error) from None


def listing(engine: Engine, ref: str, path: str) -> list[Found]:
    """What a folder holds, by name. Raises NotFound, InvalidInput, also for more than MOST names."""
    with View(engine, ref) as view:
        place = Place(path, view)
        top = place.source(True)
        try:
            refuse_kernel(top, place)
            if not stat.S_ISDIR(os.fstat(top).st_mode):
                raise InvalidInput(f"{place.shown} is not a folder")
            fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=top)
        finally:
            os.close(top)
        found: list[Found] = []
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    if len(found) == MOST:
                        raise InvalidInput(f"{place.shown} holds more than {MOST} files")
                    try:
                        status = os.stat(entry.name, dir_fd=fd, follow_symlinks=False)
                        link = os.readlink(entry.name, dir_fd=fd) if stat.S_ISLNK(status.st_mode) else ""
                    except OSError:
                        continue  # it has gone meanwhile
                    whole = os.path.join(os.path.normpath(place.path), entry.name)
                    found.append(_shape(view, entry.name, whole, status, link))
        finally:
            os.close(fd)
        return sorted(found, key=lambda one: one["name"])


def mkdir(engine: Engine, ref: str, path: str, mode: int, *, parents: bool) -> None:
    """Make a folder of root's; with `parents` those above it too, and one that is there is fine. Raises
    NotFound, InvalidInput."""
    with View(engine, ref) as view, Mapped(view.owner):
        place, folder, name = _parts(path, view)
        ids = view.owner or (0, 0)
        try:
            parent = (
                fs.mkdir_in_root(view.root, folder, 0o755, *ids) if parents else _folder(folder, place, view)
            )
            try:
                writable(parent, place)
                if parents:
                    os.close(fs.mkdir_in_root(view.root, f"{folder}/{name}", mode, *ids))
                else:
                    os.mkdir(name, mode, dir_fd=parent)
            finally:
                os.close(parent)
        except OSError as error:
            raise _told(error, place) from None
        view.tell("extract-to-dir")


def remove(engine: Engine, ref: str, path: str, *, recursive: bool) -> None:
    """Remove a file, a symlink itself, an empty folder, or with `recursive` one with all that it holds.
    Raises NotFound, InvalidInput."""
    with View(engine, ref) as view:
        place, folder, name = _parts(path, view)
        parent = _folder(folder, place, view)
        try:
            writable(parent, place)
            if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                if place.path.endswith("/"):
                    raise InvalidInput(f"{place.shown} is not a folder")
                os.unlink(name, dir_fd=parent)
            elif recursive:
                shutil.rmtree(name, dir_fd=parent)  # by fd: who swaps a folder for a link gains nothing
            else:
                os.rmdir(name, dir_fd=parent)
        except RecursionError:
            raise InvalidInput(f"{place.shown} is nested too deep") from None
        except OSError as error:
            raise _told(error, place) from None
        finally:
            os.close(parent)
        view.tell("extract-to-dir")


def _parts(path: str, view: View) -> tuple[Place, str, str]:
    """(the place, its folder, its name in there). Raises InvalidInput for the root."""
    place = Place(path, view)
    folder, _, name = os.path.normpath(place.path).rpartition("/")
    if not name or name == ".." or place.path.endswith("/.."):
        raise InvalidInput(f"{place.shown} must be the path of a file or folder")
    return place, folder or "/", name


def _folder(folder: str, place: Place, view: View) -> int:
    try:
        return fs.open_in_root(view.root, folder, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        raise _told(error, place) from None


def _refuse_folder(parent: int, name: str, place: Place) -> None:
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(status.st_mode):
        raise InvalidInput(f"{place.shown} is a folder")


def _told(error: OSError, place: Place) -> NotFound | InvalidInput | Unavailable:
    """An error of the kernel about a place, in words."""
    from estiva.errors import FREE_SPACE, FULL

    if error.errno in FULL:
        return Unavailable(f"{place.shown}: {reason(error)}", hint=FREE_SPACE)
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotFound(f"no such file or folder: {place.shown}")
    hint = "recursive=True removes what it holds too" if error.errno == errno.ENOTEMPTY else ""
    return InvalidInput(f"{place.shown}: {reason(error)}", hint=hint)


def _shape(view: View, name: str, path: str, status: os.stat_result, link: str) -> Found:
    uid, gid = view.inside(status.st_uid, status.st_gid)
    return {
        "name": name,
        "path": path,
        "kind": KINDS.get(stat.S_IFMT(status.st_mode), "device"),
        "size": status.st_size,
        "mode": status.st_mode,
        "uid": uid,
        "gid": gid,
        "modified": status.st_mtime,
        "target": link,
    }
