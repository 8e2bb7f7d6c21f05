"""Writing files so that a reader, or the next boot, sees the old or the new one and never a half."""

from __future__ import annotations

import errno
import fcntl
import os

from estiva.errors import Denied, IntegrityError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


def nameable(path: str) -> bool:
    """Whether a text can be a path at all: no NUL in it, and nothing that no bytes stand for."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def write_all(fd: int, data: bytes | memoryview) -> None:
    """write(2) until all of `data` is out. Raises OSError, which names no file."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def atomic_write(path: str, data: bytes, *, mode: int = 0o600, sync: bool = True) -> None:
    """Replace `path` by a file that holds `data`: written aside in the same directory, synced, renamed.

    `sync=False` is for what a reboot may lose (the run root). Raises OSError.
    """
    aside = f"{path}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    try:
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    try:
        try:
            write_all(fd, data)
            os.fchmod(fd, mode)
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(aside, path)
    except BaseException as error:
        try:
            os.unlink(aside)
        except FileNotFoundError:
            pass
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, path) from None
        raise
    if sync:
        sync_directory(os.path.dirname(path) or ".")


def sync_directory(path: str) -> None:
    """fsync a directory, so that a rename in it is on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_room(path: str) -> None:
    """Remove a folder that is where a file is to be renamed to: what else is there, rename(2) replaces."""
    if os.path.isdir(path) and not os.path.islink(path):
        remove_tree(path)


def make_directory(path: str, mode: int = 0o700, *, exist_ok: bool = False) -> None:
    """mkdir(2) with exactly that mode, whatever the umask (K16)."""
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        if exist_ok and os.path.isdir(path):
            return
        raise
    os.chmod(path, mode)


def refuse_others(path: str) -> None:
    """State of which another user is the owner, or that others may write to, is not to be trusted, nor is
    what lies in a folder, or is reached by a link, of such: who has it says what runs with our rights, and
    where it is mounted (K24). Fine where nothing is there yet, or where what others may write has the sticky
    bit, as /tmp. Raises Denied.
    """
    at = os.open("/", _STEP)
    # in a user namespace without a mapping of root's, / and much below it is of an id that says nothing
    trusted = (0, os.geteuid(), os.fstat(at).st_uid)
    seen, todo, links = "", path.split("/")[::-1], 0
    try:
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            fd = os.open(name, _STEP, dir_fd=at)
            there = os.fstat(fd)
            mode = there.st_mode
            if mode & 0o170000 == 0o120000:
                if there.st_uid not in trusted:
                    os.close(fd)
                    raise Denied(
                        f"{seen}/{name} is a link of {_user(there.st_uid)}, who could have it lead elsewhere",
                        hint=f"name what it leads to instead of {path}",
                    )
                target = os.readlink("", dir_fd=fd)
                os.close(fd)
                links += 1
                if links > 40:
                    return  # ELOOP, for whoever needs it
                todo += target.split("/")[::-1]
                if target.startswith("/"):
                    before, at, seen = at, os.open("/", _STEP), ""
                    os.close(before)
                continue
            before, at, seen = at, fd, seen.rpartition("/")[0] if name == ".." else f"{seen}/{name}"
            os.close(before)  # no name of it is left: Ctrl-C comes after it
            if any(word not in ("", ".") for word in todo):
                _refuse_above(path, seen, there, trusted)
            else:
                _refuse(path, there)
    except (OSError, ValueError):
        return  # whoever needs it will tell
    finally:
        os.close(at)


_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def _refuse(path: str, there: os.stat_result) -> None:
    if there.st_uid not in (0, os.geteuid()):
        raise Denied(
            f"{path} belongs to {_user(there.st_uid)}, who could change what is kept there",
            hint=f"choose another directory, or if it is yours: chown -R {os.geteuid()} {path}",
        )
    mode = there.st_mode & 0o7777
    if mode & 0o022 and not mode & 0o1000:
        raise Denied(
            f"{path}, of {_user(there.st_uid)}, may be written to by others (mode {mode:04o})",
            hint=f"chmod go-w {path}, if you know what is in it",
        )


def _refuse_above(path: str, folder: str, there: os.stat_result, trusted: tuple[int, ...]) -> None:
    """Of a folder on the way to `path`. A group's right to write is no other's where it is root's, or the one
    that a user has to himself."""
    if there.st_uid not in trusted:
        raise Denied(
            f"{path} is below {folder}, which belongs to {_user(there.st_uid)}, who could put another there",
            hint="choose a directory that nobody else can replace",
        )
    mode = there.st_mode & 0o7777
    own = there.st_gid == 0 or there.st_gid == os.getegid() == os.geteuid()
    if mode & (0o002 if own else 0o022) and not mode & 0o1000:
        raise Denied(
            f"{path} is below {folder}, which others may write to (mode {mode:04o})",
            hint=f"chmod go-w {folder}, or chmod +t it, or choose another directory",
        )


def _user(uid: int) -> str:
    import pwd

    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def read_bounded(path: str, limit: int, *, wait: bool = False) -> bytes:
    """The whole of a file of at most `limit` bytes (K13). Raises IntegrityError when it is larger.

    `wait` is for what a user names: a pipe such as bash's <(COMMAND) is read to its end.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if wait:
            os.set_blocking(fd, True)
        chunks: list[bytes] = []
        left = limit + 1
        while left > 0:
            chunk = os.read(fd, min(left, 1 << 20))
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
            left -= len(chunk)
    finally:
        os.close(fd)
    raise IntegrityError(f"{path} is larger than {limit} bytes")


def flock(fd: int, operation: int, path: str) -> None:
    """flock(2) on an open file, `path`. Raises OSError, and StateError, which names it, for a process that is
    stopped while it has the lock (waiting.py)."""
    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        from estiva import waiting

        waiting.flock(fd, operation, path)


class Lock:
    """flock(2) on a file, as a with-block: `shared` for readers; not `blocking` raises BlockingIOError.

    The kernel drops the lock when the process dies, however it dies.
    """

    def __init__(self, path: str, *, shared: bool = False, blocking: bool = True) -> None:
        self.path = path
        self.operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        self.blocking = blocking
        self.fd = -1

    def __enter__(self) -> Lock:
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if self.blocking:
                flock(fd, self.operation, self.path)
            else:
                fcntl.flock(fd, self.operation | fcntl.LOCK_NB)
        except BaseException:
            os.close(fd)
            raise
        self.fd = fd
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        fcntl.flock(self.fd, fcntl.LOCK_UN)  # also for a fork of another thread's, which has the fd too
        os.close(self.fd)
        self.fd = -1

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        """Of a block whose end Ctrl-C came before."""
        if self.fd >= 0:
            close(self.fd)


def remove_tree(path: str) -> None:
    """Remove `path` and all below it by directory fds, never through a symlink. Fine if it isn't there, or
    if another process removes it at the same time.

    Raises OSError for what can't be removed (a mount point in it: EBUSY).
    """
    try:
        parent = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        _remove_at(parent, os.path.basename(path), -1, 0)
    finally:
        os.close(parent)


DEEPEST = 100  # folders; what lies deeper is moved up first: a container may nest them without end


def _remove_at(parent: int, name: str, top: int, depth: int) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        try:
            fd = os.open(name, flags, dir_fd=parent)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            _gone(os.unlink, name, parent)
            return
        try:
            for child in os.listdir(fd):
                # most entries are files: one call, where opening each first would take three
                try:
                    _gone(os.unlink, child, fd)
                except (IsADirectoryError, PermissionError):
                    _remove_folder(fd, child, top, depth)
        finally:
            os.close(fd)
        try:
            _gone(os.rmdir, name, parent)
            return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            # else: what lay deep is here now, or somebody put something in meanwhile


def _remove_folder(fd: int, child: str, top: int, depth: int) -> None:
    try:
        os.rmdir(child, dir_fd=fd)  # many are empty
        return
    except OSError:
        pass
    if depth < DEEPEST:
        _remove_at(fd, child, fd if top < 0 else top, depth + 1)
    else:
        os.rename(child, f".deep.{os.urandom(8).hex()}", src_dir_fd=fd, dst_dir_fd=top)


def _gone(remove: Callable[..., None], name: str, parent: int) -> None:
    try:
        remove(name, dir_fd=parent)
    except FileNotFoundError:
        pass


def new_file(directory: str, suffix: str) -> tuple[int, str]:
    """(fd, path) of a new file, 0600, whose flock the fd holds: a sweeper sees by it that its maker lives,
    also after a rename.
    """
    while True:
        path = f"{directory}/{os.getpid()}-{os.urandom(6).hex()}{suffix}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if _hold(fd, path):
            return fd, path


def new_directory(directory: str, suffix: str) -> tuple[int, str]:
    """(fd, path) of a new directory, 0700, with its flock as `new_file` has it."""
    while True:
        path = f"{directory}/{os.getpid()}-{os.urandom(6).hex()}{suffix}"
        os.mkdir(path, 0o700)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        if _hold(fd, path):
            return fd, path


def _hold(fd: int, path: str) -> bool:
    """flock what was just made. False, with the fd closed, when a sweeper was faster and it is gone."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        there, mine = os.stat(path, follow_symlinks=False), os.fstat(fd)
        if (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
            return True
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return False


def abandoned(path: str) -> int:
    """An fd that holds the flock of `path` if its maker has gone (see `new_file`), else -1: keep it open
    while sweeping, so that nobody takes it up again.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return -1
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return fd
    except OSError:  # EWOULDBLOCK; or of a filesystem without locks, where nobody can tell
        os.close(fd)
        return -1


def sweep(directory: str, wanted: Callable[[str], bool]) -> list[str]:
    """Remove the `wanted` names in a directory whose makers have gone (see `new_file`); their paths."""
    removed: list[str] = []
    try:
        names = os.listdir(directory)
    except OSError:
        return removed
    for name in names:
        path = f"{directory}/{name}"
        fd = abandoned(path) if wanted(name) else -1
        if fd >= 0:
            try:
                remove_tree(path)
                removed.append(path)
            except OSError:
                pass  # a mount in it, or a disk error
            finally:
                os.close(fd)
    return removed
