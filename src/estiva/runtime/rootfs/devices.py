"""/dev: the default nodes and links (runtime-spec config-linux.md, "Default Devices"), more, the console."""

from __future__ import annotations

import errno
import os
import stat

from estiva.errors import InvalidInput
from estiva.linux import fs
from estiva.linux import mount as mnt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.runtime.rootfs.mount_plan import Mount

_DEFAULT = (
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
)
_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)
_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def is_ours(mounts: list[Mount]) -> bool:
    """False when the config binds a /dev of its own: then it is left as it is."""
    return not any(m.bind and m.destination.rstrip("/") == "/dev" for m in mounts)


def populate(root: int, devices: list[dict[str, Any]]) -> None:
    """Make the default nodes and links, then linux.devices. umask must be 0. Raises OSError, InvalidInput.

    The kernel forbids device nodes in a user namespace: there the host's are bound over empty files.
    """
    dev = fs.mkdir_in_root(root, "/dev")
    try:
        for name, major, minor in _DEFAULT:
            _node(dev, name, stat.S_IFCHR | 0o666, os.makedev(major, minor))
        for name, target in _LINKS:
            try:
                os.symlink(target, name, dir_fd=dev)
            except FileExistsError:
                pass
    finally:
        os.close(dev)
    for device in devices:
        # ptmx is the container's own, of its devpts: a privileged container's list has the host's
        if device.get("path") != "/dev/ptmx":
            _extra(root, device)


def _extra(root: int, device: dict[str, Any]) -> None:
    path = device.get("path", "")
    kind = _TYPES.get(device.get("type", ""))
    directory, _, name = path.rpartition("/")
    if kind is None or not path.startswith("/") or name in ("", ".", ".."):
        raise InvalidInput(f"linux.devices has an entry that is no device: {path!r}")
    mode = kind | (device.get("fileMode", 0o666) & 0o7777)
    number = os.makedev(device.get("major", 0), device.get("minor", 0)) if kind != stat.S_IFIFO else 0
    parent = fs.mkdir_in_root(root, directory or "/")
    try:
        _refuse_another(parent, name, mode, number, path)
        made = _node(parent, name, mode, number, path)
        if made:
            uid, gid = device.get("uid") or 0, device.get("gid") or 0
            os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
            os.chmod(f"/proc/self/fd/{parent}/{name}", stat.S_IMODE(mode))
    finally:
        os.close(parent)


def _refuse_another(parent: int, name: str, mode: int, number: int, path: str) -> None:
    """config-linux.md, "Devices": a file that is there already must be that device, or it is an error."""
    try:
        there = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_IFMT(there.st_mode) != stat.S_IFMT(mode) or there.st_rdev != number:
        raise InvalidInput(f"linux.devices: {path} is there already, and is something else")


def _node(parent: int, name: str, mode: int, number: int, path: str = "") -> bool:
    """One node in the directory fd `parent`; False when it had to be bound instead.

    What an image put there under that name is replaced (K5).
    """
    try:
        os.mknod(name, mode, number, dir_fd=parent)
        return True
    except FileExistsError:
        there = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_IFMT(there.st_mode) != stat.S_IFMT(mode) or there.st_rdev != number:
            os.unlink(name, dir_fd=parent)
            os.mknod(name, mode, number, dir_fd=parent)
        return there.st_dev == os.fstat(parent).st_dev  # else the host's, bound there before
    except OSError as error:
        if error.errno != errno.EPERM:
            raise OSError(error.errno, error.strerror, path or f"/dev/{name}") from None
    bind_node(path or f"/dev/{name}", parent, name, number)
    return False


def bind_node(source: str, parent: int, name: str, number: int) -> None:
    """Bind the host's device `source`, once it is known to be `number`, over a file `name` in `parent`:
    read-only, which is for its mode, owner and times, not for what is written to the device."""
    copy = mnt.clone_tree(source)
    try:
        mnt.mount_setattr(copy, "", mnt.MOUNT_ATTR_RDONLY)
        if os.fstat(copy).st_rdev != number:
            raise OSError(errno.ENODEV, "it is another device", source)
        _bind_file(copy, parent, name)
    finally:
        os.close(copy)


def _bind_file(mount: int, parent: int, name: str) -> None:
    flags = os.O_CREAT | os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY
    try:
        os.close(os.open(name, flags | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=parent))
    except FileExistsError:
        pass
    target = fs.openat2(parent, name, os.O_PATH | os.O_NOFOLLOW, 0, fs.RESOLVE_BENEATH)
    try:
        mnt.move_mount(mount, "", target, "")
    finally:
        os.close(target)


def open_console(root: int, size: dict[str, Any] | None) -> tuple[int, int]:
    """A pty of the container's own devpts: (master, slave).

    The multiplexer is opened through an fd that is known to be a devpts, and the slave through the master
    (TIOCGPTPEER), so nothing that an image put under /dev/pts is touched (K5). Raises OSError.
    """
    from estiva.linux import tty  # loaded by launch.plan.Process

    pts = fs.open_in_root(root, "/dev/pts", os.O_PATH | os.O_DIRECTORY)
    try:
        if fs.fstatfs(pts) != fs.DEVPTS_SUPER_MAGIC:
            raise OSError(errno.ENODEV, "it is not a devpts, and a terminal needs one", "/dev/pts")
        resolve = fs.RESOLVE_BENEATH | fs.RESOLVE_NO_SYMLINKS | fs.RESOLVE_NO_XDEV
        master = fs.openat2(pts, "ptmx", os.O_RDWR | os.O_NOCTTY, 0, resolve)
    finally:
        os.close(pts)
    tty.unlock(master)
    if size:
        tty.set_window_size(master, int(size.get("height", 0)), int(size.get("width", 0)))
    return master, tty.open_peer(master)


def bind_console(root: int, slave: int) -> None:
    """Bind the slave over /dev/console: by its fd, so that no name is trusted."""
    dev = fs.open_in_root(root, "/dev", os.O_PATH | os.O_DIRECTORY)
    try:
        copy = mnt.clone_tree(f"/proc/self/fd/{slave}")
        try:
            _bind_file(copy, dev, "console")
        finally:
            os.close(copy)
    finally:
        os.close(dev)
