"""The lowest layer under every container: the places that the engine itself mounts on.

An image need not have /proc or /etc/hosts. Were they made in the read-write layer, `diff` would show and
`commit` would keep them; so they lie below the image, where whatever the image has hides them.
"""

from __future__ import annotations

import os

from estiva.files import new_directory, remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.paths import Paths

FOLDERS = ("dev", "proc", "sys", "etc")
FILES = ("etc/hosts", "etc/hostname", "etc/resolv.conf")


def provide(paths: Paths) -> str:
    """The folder, made once for a state root: aside, then renamed, so that it is there whole or not."""
    path = paths.root + "/initlayer"
    if os.path.isdir(path):
        return path
    fd, aside = new_directory(paths.ingest, ".initlayer")
    os.chmod(aside, 0o755)
    for name in FOLDERS:
        os.mkdir(f"{aside}/{name}")
        os.chmod(f"{aside}/{name}", 0o755)
    for name in FILES:
        os.close(os.open(f"{aside}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
        os.chmod(f"{aside}/{name}", 0o644)
    try:
        os.rename(aside, path)
    except OSError:
        remove_tree(aside)  # somebody else was faster
    os.close(fd)
    return path
