"""Folders of build contexts that clients send (mirror.py), kept for their next builds.

<cache>/build/contexts/KEY         one context's, held by flock while a build reads it
<cache>/build/contexts/*.once      of a second build of the same context at that time; gone with it
"""

from __future__ import annotations

import os
from hashlib import sha256
from typing import IO, TYPE_CHECKING

from estiva import files
from estiva.builder.files import folders, untar
from estiva.builder.frontend import parser
from estiva.files import new_directory

if TYPE_CHECKING:
    from estiva.engine import Engine

ONCE = ".once"
AGE = 7 * 86400  # seconds that a folder stays which nobody uses


class Folder:
    """One build's. `close` it."""

    def __init__(self, engine: Engine, key: str) -> None:
        """`key` is the same for the same context of the same client."""
        base = place(engine)
        os.makedirs(base, mode=0o700, exist_ok=True)
        prune(engine, AGE)
        self.once = False
        name = sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
        self.path = f"{base}/{name}"
        self._fd = folders.hold(self.path) if key else -1
        if self._fd >= 0:
            os.utime(self._fd)
        else:
            self.once = True
            self._fd, self.path = new_directory(base, ONCE)

    def close(self) -> None:
        if self._fd < 0:
            return
        try:
            if self.once:
                files.remove_tree(self.path)
        finally:
            os.close(self._fd)
            self._fd = -1


def is_archive(file: IO[bytes]) -> bool:
    """Whether a file is a tar archive, compressed or not; one that is empty is none."""
    found = untar.is_archive(file.fileno())
    file.seek(0)
    return found


def text(file: IO[bytes]) -> str:
    """A Dockerfile that was sent instead of an archive."""
    return file.read(parser.LIMIT + 1).decode("utf-8", "replace")


def place(engine: Engine) -> str:
    return engine.paths.cache + "/build/contexts"


def prune(engine: Engine, age: float = 0) -> None:
    """Remove the folders that were not used for so many seconds, and what killed builds have left."""
    base = place(engine)
    files.sweep(base, lambda name: name.endswith(ONCE) or folders.age(f"{base}/{name}") >= age)


def kept(engine: Engine) -> list[tuple[str, int, float, bool]]:
    """(name, bytes, when it was used, whether a build has it) of each folder."""
    from estiva.store.volumes import tree_size

    found = []
    base = place(engine)
    for name in sorted(os.listdir(base)) if os.path.isdir(base) else ():
        fd = files.abandoned(f"{base}/{name}")
        if fd >= 0:
            os.close(fd)
        try:
            used = os.stat(f"{base}/{name}").st_mtime
            found.append((name, tree_size(f"{base}/{name}"), used, fd < 0))
        except FileNotFoundError:
            pass
    return found


def remove(engine: Engine, name: str) -> bool:
    """False if a build has it."""
    return bool(files.sweep(place(engine), lambda each: each == name))


def read(folder: str, name: str) -> bytes | None:
    """A file of a folder that a client has filled, links resolved inside it; None where it is not there.
    Raises InvalidInput."""
    from estiva.builder.frontend.source import inner

    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return inner(fd, name)
    finally:
        os.close(fd)


def write(folder: str, name: str, data: bytes) -> None:
    """A file of ours beside what a client has sent."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(os.path.join(folder, name), flags, 0o600), "wb") as file:
        file.write(data)


def patterns(data: bytes, name: str) -> list[str]:
    """What a .dockerignore leaves out, cleaned. Raises InvalidInput."""
    from estiva.builder.frontend.ignore import read_ignore

    found = read_ignore(data.decode("utf-8", "replace"), name).patterns
    return [f"!{each.text}" if each.negated else each.text for each in found]
