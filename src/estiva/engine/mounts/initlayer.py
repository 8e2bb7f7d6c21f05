"""The lowest layer under every container: the places that the engine itself mounts on.

An image need not have /proc or /etc/hosts. Were they made in the read-write layer, `diff` would show and
`commit` would keep them; so they lie below the image, where whatever the image has hides them. `export` and
`cp` have them, as Docker's do.
"""

from __future__ import annotations

import os

from estiva.files import new_directory, remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.paths import Paths

FOLDERS = ("dev", "dev/pts", "dev/shm", "proc", "sys", "etc")
FILES = ("dev/console", "etc/hosts", "etc/hostname", "etc/resolv.conf")
LINK, TARGET = "etc/mtab", "/proc/mounts"  # made last: where it is, all is


def provide(paths: Paths) -> str:
    """The folder, made once for a state root: aside, then renamed, so that it is there whole or not. One of
    an earlier release, or that a power cut left incomplete, is filled where it is.
    """
    path = paths.root + "/initlayer"
    if os.path.lexists(f"{path}/{LINK}"):
        return path
    if os.path.isdir(path):
        _fill(path)
        return path
    fd, aside = new_directory(paths.ingest, ".initlayer")
    os.chmod(aside, 0o755)
    _fill(aside)
    try:
        os.rename(aside, path)
    except OSError:
        remove_tree(aside)  # somebody else was faster
    os.close(fd)
    return path


def _fill(folder: str) -> None:
    """Make what is not there."""
    for name in FOLDERS:
        if _made(os.mkdir, f"{folder}/{name}"):
            os.chmod(f"{folder}/{name}", 0o755)
    for name in FILES:
        if _made(_touch, f"{folder}/{name}"):
            os.chmod(f"{folder}/{name}", 0o644)
    _made(lambda path: os.symlink(TARGET, path), f"{folder}/{LINK}")


def _made(make: Callable[[str], None], path: str) -> bool:
    try:
        make(path)
    except FileExistsError:
        return False
    return True


def _touch(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
