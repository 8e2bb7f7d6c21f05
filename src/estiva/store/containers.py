"""The rows of containers: every statement on the tables `containers` and `container_volumes` is here (cold
path).

A row is (id, status, text): the status is created, running, exited or dead, the text is the record as JSON.
"running"
is what the row says; whether it is so is told by the container's lock (engine/state/locks.py). `reader` is
a Database or an open Transaction; what changes rows takes the Transaction.
"""

from __future__ import annotations

import time

from estiva.timestamps import ZERO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    from estiva.store.database import Database, Transaction

    Reader: TypeAlias = Database | Transaction
    Row: TypeAlias = tuple[str, str, str]

_ROWS = "SELECT id, status, record FROM containers"
# (container, image): made from it, or mounted (--mount type=image). GLOB leaves most records unparsed; one
# that is damaged says nothing.
_USES = """SELECT id AS container, image FROM containers WHERE image IS NOT NULL
 UNION SELECT id, image FROM states
 UNION SELECT containers.id, json_extract(mount.value, '$.ImageId') FROM containers,
 json_each(iif(json_valid(record), record, '{}'), '$.Mounts') AS mount
 WHERE record GLOB '*"ImageId":*' AND json_extract(mount.value, '$.ImageId') IS NOT NULL"""
IMAGES_IN_USE = f"SELECT image FROM ({_USES})"  # for `id NOT IN (...)` in statements on images


# --- reading ----------------------------------------------------------------------------------------------


def every(reader: Reader) -> list[Row]:
    """All rows, newest first."""
    return [(str(a), str(b), str(c)) for a, b, c in reader.read(f"{_ROWS} ORDER BY created DESC")]


def find(reader: Reader, word: str) -> list[Row]:
    """The rows whose id or name is `word`, the one with the id first."""
    rows = reader.read(f"{_ROWS} WHERE name = ? OR id = ? ORDER BY id = ? DESC", (word, word, word))
    return [(str(a), str(b), str(c)) for a, b, c in rows]


def find_beginning(reader: Reader, start: str) -> list[Row]:
    """The rows whose id begins with `start`, which is hexadecimal; two at most."""
    rows = reader.read(f"{_ROWS} WHERE id >= ? AND id < ? LIMIT 2", (start, start + "g"))
    return [(str(a), str(b), str(c)) for a, b, c in rows]


def get(reader: Reader, container_id: str) -> Row | None:
    """One row by its whole id."""
    for a, b, c in reader.read(f"{_ROWS} WHERE id = ?", (container_id,)):
        return str(a), str(b), str(c)
    return None


def status(reader: Reader, container_id: str) -> str:
    """A row's status; "" without a row."""
    for (found,) in reader.read("SELECT status FROM containers WHERE id = ?", (container_id,)):
        return str(found)
    return ""


def waits(reader: Reader, container_id: str) -> bool:
    """Whether one waits to be started again by its restart policy, and nobody has begun with that."""
    return bool(
        reader.read(
            "SELECT 1 FROM containers WHERE id = ? AND status = 'running'"
            " AND json_extract(record, '$.State.Began') IS NULL",
            (container_id,),
        )
    )


def name(reader: Reader, container_id: str) -> str:
    """A container's name; "" without a row."""
    for (found,) in reader.read("SELECT name FROM containers WHERE id = ?", (container_id,)):
        return str(found)
    return ""


def named(reader: Reader, name: str) -> tuple[str, str] | None:
    """(id, status) of the container that has a name."""
    for a, b in reader.read("SELECT id, status FROM containers WHERE name = ?", (name,)):
        return str(a), str(b)
    return None


def running(reader: Reader) -> list[tuple[str, str]]:
    """(id, name) of all whose rows say running."""
    rows = reader.read("SELECT id, name FROM containers WHERE status = 'running'")
    return [(str(a), str(b)) for a, b in rows]


def in_netns_of_others(reader: Reader) -> list[tuple[str, str]]:
    """(id, record) of all whose rows say running and whose network namespace seems to be another's. At every
    container's end: GLOB takes about 1 µs a row, instr 8."""
    rows = reader.read(
        "SELECT id, record FROM containers WHERE status = 'running' AND"
        """ (record GLOB '*NetworkMode":"container:*' OR record GLOB '*NetworkMode":"ns:*')"""
    )
    return [(str(a), str(b)) for a, b in rows]


def names(reader: Reader) -> list[tuple[str, str]]:
    """(name, status) of all, sorted."""
    rows = reader.read("SELECT name, status FROM containers ORDER BY name")
    return [(str(a), str(b)) for a, b in rows]


def statuses(reader: Reader) -> dict[str, str]:
    """Id -> status of all."""
    return dict(reader.read("SELECT id, status FROM containers"))


def images(reader: Reader) -> dict[str, int]:
    """How many containers are made from an image, or have it mounted, by its id."""
    return dict(reader.read(f"SELECT image, count(*) FROM ({_USES}) GROUP BY image"))


def image_of_each(reader: Reader) -> list[tuple[str, str]]:
    """(container, image), by their ids."""
    rows = reader.read("SELECT id, image FROM containers WHERE image IS NOT NULL")
    return [(str(a), str(b)) for a, b in rows]


def having(reader: Reader, image_id: str) -> list[tuple[str, str, str]]:
    """(id, name, status) of the containers made from an image, or that have it mounted, oldest first; then
    of the snapshots that stand on it, whose status is that word."""
    rows = reader.read(
        f"SELECT id, name, status FROM containers JOIN ({_USES}) AS uses ON uses.container = id"
        " WHERE uses.image = ? ORDER BY created",
        (image_id,),
    )
    rows += reader.read(
        "SELECT id, coalesce(name, ''), 'snapshot' FROM states WHERE image = ? ORDER BY created", (image_id,)
    )
    return [(str(a), str(b), str(c)) for a, b, c in rows]


def configs_in_use(reader: Reader) -> list[str]:
    """The configs, as JSON, of the images whose layers containers need that are not stopped."""
    rows = reader.read(
        f"SELECT DISTINCT images.config FROM containers JOIN ({_USES}) AS uses"
        " ON uses.container = containers.id JOIN images ON images.id = uses.image"
        " WHERE containers.status NOT IN ('created', 'exited', 'dead')"
    )
    return [str(config) for (config,) in rows]


def id_mappings(reader: Reader) -> list[str]:
    """HostConfig.IDMappings, as JSON, of all containers that have some."""
    rows = reader.read(
        "SELECT json_extract(record, '$.HostConfig.IDMappings') FROM containers"
        " WHERE record LIKE '%\"IDMappings\"%'"
    )
    return [str(text) for (text,) in rows if text]


def volumes_of(reader: Reader, container_id: str) -> list[str]:
    """The names of the volumes that a container has."""
    rows = reader.read("SELECT volume FROM container_volumes WHERE container = ?", (container_id,))
    return [str(volume) for (volume,) in rows]


def users_of(reader: Reader, volume: str) -> list[str]:
    """The ids of the containers that have a volume, sorted."""
    rows = reader.read("SELECT container FROM container_volumes WHERE volume = ? ORDER BY 1", (volume,))
    return [str(container) for (container,) in rows]


def volume_of_each(reader: Reader) -> list[tuple[str, str]]:
    """(container, volume)."""
    return [(str(a), str(b)) for a, b in reader.read("SELECT container, volume FROM container_volumes")]


def on_networks(reader: Reader) -> list[tuple[str, str, str, str, str]]:
    """(network, container, its name, the endpoint's record, address) of all that have addresses in networks
    that somebody has made, in a fixed order. A step of a build has no name and no record.
    """
    rows = reader.read(
        "SELECT leases.network, leases.container, coalesce(containers.name, ''),"
        " coalesce(endpoints.record, '{}'), leases.address"
        " FROM leases JOIN networks ON networks.id = leases.network"
        " LEFT JOIN containers ON containers.id = leases.container"
        " LEFT JOIN endpoints"
        " ON endpoints.container = leases.container AND endpoints.network = leases.network"
        " ORDER BY 1, 2, 5"
    )
    return [(str(a), str(b), str(c), str(d), str(e)) for a, b, c, d, e in rows]


def hostname(reader: Reader, container_id: str) -> str:
    """Config.Hostname of one; "" where there is none."""
    rows = reader.read(
        "SELECT json_extract(record, '$.Config.Hostname') FROM containers WHERE id = ?", (container_id,)
    )
    return next((str(name) for (name,) in rows if name), "")


def unborn(reader: Reader) -> list[str]:
    """The ids of those that have volumes and no row: they are being made, or their maker was killed."""
    rows = reader.read(
        "SELECT DISTINCT container FROM container_volumes WHERE container NOT IN (SELECT id FROM containers)"
    )
    return [str(container) for (container,) in rows]


# --- writing ----------------------------------------------------------------------------------------------


def add(
    transaction: Transaction,
    container_id: str,
    name: str,
    image: str | None,
    status: str,
    text: str,
    volumes: Iterable[str],
) -> None:
    """A new container, whose name is free, and the named volumes that it has."""
    transaction.execute(
        "INSERT INTO containers (id, name, image, status, created, record) VALUES (?, ?, ?, ?, ?, ?)",
        (container_id, name, image, status, time.time(), text),
    )
    for volume in volumes:
        add_volume(transaction, container_id, volume)


def add_volume(transaction: Transaction, container_id: str, volume: str) -> None:
    """Say that a container, whose row may be about to come, has a volume."""
    transaction.execute("INSERT OR IGNORE INTO container_volumes VALUES (?, ?)", (container_id, volume))


def set_status(transaction: Transaction, container_id: str, status: str) -> None:
    """Say that it runs, or does not."""
    transaction.execute("UPDATE containers SET status = ? WHERE id = ?", (status, container_id))


def set_running(transaction: Transaction, container_id: str, began: str, *, first: bool = True) -> None:
    """Say that it runs, and since when: the run state tells that better, but does not outlive a reboot.
    It is the `first` run unless a restart policy asks for it: nobody has stopped it, it was not restarted.
    """
    record = "json_remove(json_set(record, '$.RestartCount', 0), '$.State.Stopped')" if first else "record"
    transaction.execute(
        f"UPDATE containers SET status = 'running', record = json_set({record}, '$.State.Began', ?)"
        " WHERE id = ?",
        (began, container_id),
    )


def set_unstarted(transaction: Transaction, container_id: str) -> None:
    """A start came to nothing: it has ended, as it had before, if it has ever run, else it is created."""
    transaction.execute(
        "UPDATE containers SET record = json_remove(record, '$.State.Began'),"
        " status = CASE coalesce(json_extract(record, '$.State.StartedAt'), ?1)"
        " WHEN ?1 THEN 'created' ELSE 'exited' END WHERE id = ?2",
        (ZERO, container_id),
    )


def set_error(transaction: Transaction, container_id: str, text: str) -> None:
    """Why it could not be started again."""
    transaction.execute(
        "UPDATE containers SET record = json_set(record, '$.State.Error', ?) WHERE id = ?",
        (text, container_id),
    )


def set_record(transaction: Transaction, container_id: str, text: str, status: str | None = None) -> None:
    """Write a record anew, and where it changes the status with it."""
    transaction.execute(
        "UPDATE containers SET status = coalesce(?, status), record = ? WHERE id = ?",
        (status, text, container_id),
    )


def rename(transaction: Transaction, container_id: str, name: str, text: str) -> None:
    """Another name, which is free; `text` is the record with it."""
    transaction.execute("UPDATE containers SET name = ?, record = ? WHERE id = ?", (name, text, container_id))


def remove(transaction: Transaction, container_id: str, *, volumes: bool) -> list[str]:
    """Take a container's rows away. With `volumes` those of its anonymous volumes that nobody else has,
    too: their names, whose folders are left to the caller.
    """
    gone: list[str] = []
    mine = volumes_of(transaction, container_id)
    if mine:
        transaction.execute("DELETE FROM container_volumes WHERE container = ?", (container_id,))
    for name in mine if volumes else ():
        removed = transaction.execute(
            "DELETE FROM volumes WHERE name = ? AND anonymous = 1 AND NOT EXISTS"
            " (SELECT 1 FROM container_volumes WHERE volume = ?)",
            (name, name),
        )
        if removed.rowcount:
            gone.append(name)
    transaction.execute("DELETE FROM containers WHERE id = ?", (container_id,))
    transaction.execute("DELETE FROM state_users WHERE user = ?", (container_id,))
    return gone
