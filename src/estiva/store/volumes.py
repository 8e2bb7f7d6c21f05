"""Volumes: directories that outlive the containers they are mounted in.

A volume is a row and the directory volumes/NAME/_data. The directory comes before the row; on removal it is
renamed aside together with the row's end and emptied afterwards, so that a new volume of the name never shows
old files. Both happen under the lock `volumes`, so that who has it sees no half of one.
"""

from __future__ import annotations

import os
import time

from estiva import fastjson, files
from estiva.errors import Conflict, EngineError, InvalidInput, NotFound
from estiva.store import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

    from estiva.paths import Paths
    from estiva.store.database import Database

NAME_LIMIT = 255
_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_NAME = _FIRST | {"_", ".", "-"}


class Volume:
    """One volume. `created` is in seconds since 1970; `path` is the directory that is mounted, or with
    `options` (type, device, o) the place that something else stands for (engine/mounts/detached.py). `new`:
    of what `Volumes.create` gives, whether it was not there before.
    """

    __slots__ = ("name", "created", "anonymous", "labels", "path", "options", "new")

    def __init__(
        self,
        name: str,
        created: float,
        anonymous: bool,
        labels: dict[str, str],
        path: str,
        options: dict[str, str],
    ) -> None:
        self.name = name
        self.created = created
        self.anonymous = anonymous
        self.labels = labels
        self.path = path
        self.options = options
        self.new = False


def check_name(name: str) -> str:
    """`name` if a volume may have it: letters, digits, "_", "." and "-", not starting with one of these."""
    if not name or len(name) > NAME_LIMIT or name[0] not in _FIRST or not _NAME.issuperset(name):
        from estiva.errors import oneline

        raise InvalidInput(
            f'invalid volume name "{oneline(name[:NAME_LIMIT])}"',
            hint="use letters, digits, _ . and -, beginning with a letter or digit",
        )
    return name


def check_new_name(name: str) -> str:
    """`name` if a volume may be made with it: as docker has it, of two characters at least. Those of one that
    are there already stay what they are.
    """
    if len(check_name(name)) < 2:
        raise InvalidInput(f"the volume name {name} is too short", hint="names have at least two characters")
    return name


class Volumes:
    """The volumes of one store."""

    def __init__(self, paths: Paths, db: Database) -> None:
        self.paths = paths
        self.db = db

    def path(self, name: str) -> str:
        """Where a volume's files are, or would be."""
        return f"{self.paths.volumes}/{check_name(name)}/_data"

    def create(
        self,
        name: str | None = None,
        labels: dict[str, str] | None = None,
        *,
        anonymous: bool = False,
        user: str = "",
        options: dict[str, str] | None = None,
    ) -> Volume:
        """Make a volume; one that exists is returned as it is. Without a name it is anonymous. `options`
        are judged already.

        `user` is the id of a container that is being made: from the first moment it has the volume, so that
        nobody prunes it, and should its maker be killed a sweep knows whose it was. Of one with a name, and
        without options, that is there nothing is written: who writes the container's row looks whether
        it still is (`gone`).
        """
        if name is None:
            name, anonymous = os.urandom(32).hex(), True
        path = self.path(name)
        if user and not anonymous:
            there = self.find(name)
            if there and not there.anonymous and not there.options and os.path.isdir(path):
                return there
        with files.Lock(self.paths.lock("volumes")):
            new = not os.path.isdir(path)
            try:
                if new:
                    files.make_directory(os.path.dirname(path), exist_ok=True)
                    files.make_directory(path, 0o755)  # containers' users must get in
                    if not anonymous:  # one with a name may be filled later, and must be there then
                        files.sync_directory(os.path.dirname(path))
                        files.sync_directory(self.paths.volumes)
                with self.db.write() as transaction:
                    inserted = transaction.execute(
                        "INSERT OR IGNORE INTO volumes (name, created, anonymous, labels, options)"
                        " VALUES (?, ?, ?, ?, ?)",
                        (
                            name,
                            time.time(),
                            int(anonymous),
                            fastjson.dumps(labels or {}),
                            fastjson.dumps(options or {}),
                        ),
                    ).rowcount
                    if user:
                        containers.add_volume(transaction, user, name)
            except BaseException:
                if new:
                    files.remove_tree(os.path.dirname(path))
                raise
        volume = self.get(name)
        volume.new = bool(inserted)
        return volume

    def find(self, name: str) -> Volume | None:
        """The volume, or None."""
        found = self._select("WHERE name = ?", (check_name(name),))
        return found[0] if found else None

    def get(self, name: str) -> Volume:
        """The volume. Raises NotFound."""
        volume = self.find(name)
        if volume is None:
            raise NotFound(f"no such volume: {name}", hint="`estiva volume ls` shows them")
        return volume

    def _select(self, rest: str, params: tuple[Any, ...]) -> list[Volume]:
        rows = self.db.read(f"SELECT name, created, anonymous, labels, options FROM volumes {rest}", params)
        return [
            Volume(
                name,
                created,
                bool(anonymous),
                fastjson.loads(labels, what="labels"),
                self.path(name),
                fastjson.loads(options, what="options"),
            )
            for name, created, anonymous, labels, options in rows
        ]

    def in_use_by(self, name: str) -> list[str]:
        """The ids of the containers that mount it."""
        return containers.users_of(self.db, name)

    def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a volume with its files.

        Raises Conflict while a container has it, NotFound unless `force`.
        """
        check_name(name)
        with files.Lock(self.paths.lock("volumes")):
            aside = self._remove(name, force)
        files.remove_tree(aside)

    def _remove(self, name: str, force: bool) -> str:
        """Take the row away and rename the directory; its new path."""
        aside = f"{self.paths.volumes}/.{os.urandom(8).hex()}.gone"
        with self.db.write(freeing=True) as transaction:
            users = containers.users_of(transaction, name)
            if users:
                ids = ", ".join(sorted(user[:12] for user in users))
                raise Conflict(
                    f"volume {name} is in use by container {ids}", hint="remove the container first"
                )
            gone = transaction.execute("DELETE FROM volumes WHERE name = ?", (name,)).rowcount
            if not gone and not force:
                raise NotFound(f"no such volume: {name}")
            if gone and os.path.isdir(f"{self.paths.volumes}/{name}"):
                # before the row is gone for others: a new volume of the name never shows old files
                os.rename(f"{self.paths.volumes}/{name}", aside)
        return aside

    def prune(self, *, all: bool = False, fits: Callable[[Volume], bool] | None = None) -> list[str]:
        """Remove the anonymous volumes (with `all`, the named too) that no container has, of those that fit.

        Returns their names.
        """
        removed = []
        for volume in self.list():
            if (volume.anonymous or all) and (fits is None or fits(volume)):
                try:
                    self.remove(volume.name)
                except (Conflict, NotFound):
                    continue
                removed.append(volume.name)
        return removed

    def size(self, name: str) -> int:
        """Bytes on the disk below a volume."""
        return tree_size(self.path(name))

    def list(self) -> list[Volume]:
        """All volumes by name."""
        return self._select("ORDER BY name", ())


def tree_size(path: str) -> int:
    """Bytes on the disk of all below `path`, hard links once; 0 if it isn't there.

    By fd, and no symlink is followed, whatever a container that works in it makes of it meanwhile (K1); nor
    does it matter how deep it nests folders. What it moves away just then may not be counted.
    """
    from estiva.store.layers.descent import FOLDER, walk

    total = 0
    seen: set[tuple[int, int]] = set()

    def look(fd: int, _: list[str]) -> list[str]:
        nonlocal total
        folders = []
        with os.scandir(fd) as entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                elif status.st_nlink > 1:
                    if (status.st_dev, status.st_ino) in seen:
                        continue
                    seen.add((status.st_dev, status.st_ino))
                total += status.st_blocks * 512
        return folders

    try:
        root = os.open(path, FOLDER)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    try:
        walk(root, look)
    except EngineError:  # a folder was moved
        pass
    finally:
        os.close(root)
    return total


def gone(reader: containers.Reader, names: Collection[str]) -> list[str]:
    """Those of the names that no volume has."""
    marks = ", ".join("?" * len(names))
    rows = reader.read(f"SELECT name FROM volumes WHERE name IN ({marks})", tuple(names)) if names else ()
    return sorted(set(names).difference(name for (name,) in rows))
