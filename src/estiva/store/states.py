"""States: what containers had written when snapshots were made of them; immutable from then on.

A state is a folder, states/ID/fs, that was a container's upper directory, or is a copy of one; and a row. A
container made from it has it as one more lowerdir, above the layers of its image and the states that it
stands on itself. Nothing of it has a digest: `commit` makes a layer of it when it is to leave this machine.

    states        (id, name, image, created, record); one without a name is there for its users alone
    state_users   who stands on it: containers, and other states

One that has no name and no users goes with the next `collect`, unless its maker still holds the flock of its
folder. The row comes after the folder is complete and goes before it. `reader` is a Database or Transaction.
"""

from __future__ import annotations

import os
import time

from estiva import fastjson, files
from estiva.errors import Conflict, NotFound
from estiva.store.layers.mounts import STATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NotRequired, TypeAlias, TypedDict

    from estiva.paths import Paths
    from estiva.store.database import Database, Transaction

    Reader: TypeAlias = Database | Transaction

    class Memory(TypedDict):
        """Of one with processes: whether our own init was the first of them, and whether it only waits."""

        init: bool
        idle: bool

    class About(TypedDict):
        """A state's record. `below`: the states that it stands on, the lowest first; `config`: what those
        made from it have of the `container` that it is of, as in an image's config; `profile`: as of that;
        `memory` of one that has its processes too."""

        below: list[str]
        config: dict[str, object]
        container: str
        copied: bool
        profile: NotRequired[str]
        memory: NotRequired[Memory]


COLUMNS = "id, name, image, created, record"


class State:
    """A row: `name` is "" without one, `created` in seconds since 1970, `image` an id."""

    __slots__ = ("id", "name", "image", "created", "about")

    def __init__(self, id: str, name: str | None, image: str, created: float, text: str) -> None:
        self.id, self.name, self.image, self.created = id, name or "", image, created
        self.about: About = fastjson.stored(text, what=f"the record of snapshot {id[:12]}")

    @property
    def chain(self) -> list[str]:
        """The words for it and what it stands on, the lowest first: Image.states."""
        return [*self.about["below"], STATE + self.id]


def folder(paths: Paths, state_id: str) -> str:
    return f"{paths.states}/{state_id}"


def memory(paths: Paths, state_id: str) -> str:
    """The folder of its processes, beside that of its files: runtime/lifecycle/memory.py."""
    return f"{folder(paths, state_id)}/memory"


# --- reading ----------------------------------------------------------------------------------------------


def every(reader: Reader, *, all: bool = False) -> list[State]:
    """Those that have a name, or `all`, newest first."""
    where = "" if all else " WHERE name IS NOT NULL"
    return [
        State(*row) for row in reader.read(f"SELECT {COLUMNS} FROM states{where} ORDER BY created DESC, id")
    ]


def find(reader: Reader, word: str) -> State | None:
    """The one of a name, a whole id, or of 12 digits or more of one."""
    rows = reader.read(f"SELECT {COLUMNS} FROM states WHERE name = ?", (word,))
    if not rows and 12 <= len(word) <= 64:
        rows = reader.read(
            f"SELECT {COLUMNS} FROM states WHERE id >= ? AND id < ? LIMIT 2", (word, word + "g")
        )
    return State(*rows[0]) if len(rows) == 1 else None


def resolve(reader: Reader, word: str) -> State:
    """As `find`. Raises NotFound."""
    found = find(reader, word)
    if found is None:
        raise NotFound(f"no such snapshot: {word}", hint="`estiva snapshot ls` shows those that are here")
    return found


def users(reader: Reader, state_id: str) -> list[str]:
    """The ids of the containers and states that stand on one."""
    rows = reader.read("SELECT user FROM state_users WHERE state = ? ORDER BY user", (state_id,))
    return [str(user) for (user,) in rows]


def identifiers(reader: Reader) -> set[str]:
    return {str(found) for (found,) in reader.read("SELECT id FROM states")}


# --- writing ----------------------------------------------------------------------------------------------


def add(transaction: Transaction, state_id: str, name: str | None, image: str, about: About) -> None:
    """A new one, whose folder is there. Raises Conflict for a name that is taken."""
    if name is not None:
        taken = transaction.read("SELECT id FROM states WHERE name = ?", (name,))
        if taken:
            raise Conflict(
                f'the name "{name}" is in use by snapshot {taken[0][0][:12]}',
                hint=f"`estiva snapshot rm {name}` removes it",
            )
    transaction.execute(
        f"INSERT INTO states ({COLUMNS}) VALUES (?, ?, ?, ?, ?)",
        (state_id, name, image, time.time(), fastjson.dumps(about)),
    )
    use(transaction, state_id, about["below"])


def use(transaction: Transaction, user: str, chain: Iterable[str]) -> None:
    """`user` stands on these. Raises NotFound for one that has gone."""
    for word in chain:
        state_id = word.removeprefix(STATE)
        if not transaction.read("SELECT 1 FROM states WHERE id = ?", (state_id,)):
            raise NotFound(f"snapshot {state_id[:12]} was removed just now")
        transaction.execute("INSERT OR IGNORE INTO state_users VALUES (?, ?)", (user, state_id))


def unname(transaction: Transaction, state_id: str) -> None:
    """Take the name away: it goes when nobody stands on it any more."""
    transaction.execute("UPDATE states SET name = NULL WHERE id = ?", (state_id,))


def collect(paths: Paths, db: Database) -> list[str]:
    """Remove those that nobody needs, and folders without a row whose makers have gone; their ids. What has
    no row and is of a container's snapshot that was cut short is empty, or a copy: nothing is lost.
    """
    gone: list[str] = []
    try:
        names = os.listdir(paths.states)
    except FileNotFoundError:
        return gone
    held: dict[str, int] = {}
    try:
        for name in names:
            fd = files.abandoned(folder(paths, name))
            if fd >= 0:
                held[name] = fd
        with db.write(freeing=True) as transaction:
            while True:  # with the last user of one goes, maybe, that of the one below
                rows = transaction.read(
                    "SELECT id FROM states WHERE name IS NULL"
                    " AND NOT EXISTS (SELECT 1 FROM state_users WHERE state = id)"
                )
                going = [found for (found,) in rows if found in held or found not in names]
                for found in going:
                    transaction.execute("DELETE FROM states WHERE id = ?", (found,))
                    transaction.execute("DELETE FROM state_users WHERE user = ?", (found,))
                if not going:
                    break
            known = identifiers(transaction)
        for name in held:
            if name not in known:
                files.remove_tree(folder(paths, name))
                gone.append(name)
    finally:
        for fd in held.values():
            os.close(fd)
    return gone


def needed(reader: Reader) -> bool:
    """Whether there is any state that has no name and no users: `collect` is worth its locks."""
    return bool(
        reader.read(
            "SELECT 1 FROM states WHERE name IS NULL"
            " AND NOT EXISTS (SELECT 1 FROM state_users WHERE state = id) LIMIT 1"
        )
    )
