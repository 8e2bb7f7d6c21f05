"""Repositories that builds have fetched from, kept bare for the next ones: those fetch what has changed.

<cache>/build/git/KEY/repository    git's own files of one, held by flock on KEY while a build uses it
<cache>/build/git/KEY/about         what it is of, for people: an address without a password

KEY is of the address and of the credentials that it was come in by: other credentials find another mirror, so
that nobody gets from here what the server would not give. What a server sends is checked by git as it comes
(an object's name is its digest). A mirror that is damaged, or has grown past LARGEST, is begun anew.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from hashlib import sha256

from estiva import files
from estiva.builder.files import folders
from estiva.errors import oneline

LARGEST = 4 << 30  # bytes of one mirror
PACKS = 100  # that one has, as each fetch leaves one
AGE = 7 * 86400  # seconds that one stays which nobody uses
LOOK = 0.2  # seconds


class Mirrors:
    """Those of one cache, below `base`."""

    def __init__(self, base: str) -> None:
        self.folder = base + "/git"

    def take(self, names: Sequence[str], about: str, *, wait: bool, look: Callable[[], object]) -> Mirror:
        """The mirror of what `names` tell, for the caller alone until it is closed; without `wait` none
        where somebody has it. `look` is called meanwhile: what it raises ends the wait.
        """
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        self.prune(AGE)
        key = sha256("\0".join(names).encode("utf-8", "surrogateescape")).hexdigest()
        path = f"{self.folder}/{key}"
        while True:
            fd = folders.hold(path)
            if fd >= 0:
                return Mirror(path, fd, about)
            if not wait:
                return Mirror("", -1, about)
            look()
            time.sleep(LOOK)

    def prune(self, age: float = 0) -> None:
        """Remove those that were not used for so many seconds."""
        files.sweep(self.folder, lambda name: folders.age(f"{self.folder}/{name}") >= age)

    def remove(self, name: str) -> bool:
        """False if a build has it."""
        return bool(files.sweep(self.folder, lambda each: each == name))

    def kept(self) -> list[tuple[str, str, int, float, bool]]:
        """(name, what it is of, bytes, when it was used, whether a build has it) of each."""
        found = []
        for name in sorted(os.listdir(self.folder)) if os.path.isdir(self.folder) else ():
            path = f"{self.folder}/{name}"
            fd = files.abandoned(path)
            if fd >= 0:
                os.close(fd)
            try:
                found.append((name, _about(path), _size(path), os.stat(path).st_mtime, fd < 0))
            except FileNotFoundError:
                pass
        return found


class Mirror:
    """`with` it the folder `path` is the caller's, "" where there is none. `known`: something is in it."""

    def __init__(self, place: str, fd: int, about: str) -> None:
        self.place = place
        self.fd = fd
        self.about = about
        self.path = place and place + "/repository"

    @property
    def known(self) -> bool:
        return bool(self.path) and bool(os.listdir(self.path))

    def __enter__(self) -> Mirror:
        if self.path:
            try:
                self._ready()
            except BaseException:
                os.close(self.fd)
                raise
        return self

    def __exit__(self, *error: object) -> None:
        if self.fd >= 0:
            os.utime(self.fd)
            os.close(self.fd)

    def _ready(self) -> None:
        """An empty folder, or a repository without what a checkout or a killed git has left."""
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        text = oneline(self.about).encode("utf-8", "replace")[:4096]
        files.atomic_write(self.place + "/about", text, mode=0o600, sync=False)
        packs = self.path + "/objects/pack"
        many = len(os.listdir(packs)) if os.path.isdir(packs) else 0
        if many > 3 * PACKS or _size(self.path) > LARGEST:
            self.clear()
        for folder, _, names in os.walk(self.path):
            for name in names:
                if name.endswith(".lock") or name == "index" or name.startswith("tmp_"):
                    os.unlink(f"{folder}/{name}")
        if self.known:
            try:
                files.atomic_write(self.path + "/HEAD", b"ref: refs/heads/none\n", sync=False)
            except IsADirectoryError:  # damaged
                self.clear()

    def clear(self) -> None:
        """Begin anew."""
        if self.path:
            files.remove_tree(self.path)
            os.mkdir(self.path, 0o700)


def _about(path: str) -> str:
    try:
        with open(path + "/about", "rb") as file:
            return file.read(4096).decode("utf-8", "replace")
    except OSError:
        return ""


def _size(path: str) -> int:
    """Bytes on the disk of all below a folder that nobody else changes."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(f"{folder}/{name}").st_blocks * 512
            except FileNotFoundError:
                pass
    return total
