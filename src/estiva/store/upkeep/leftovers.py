"""What processes that died have left in the store, found by the locks that the kernel has dropped.

    ingest/             whoever makes something holds its flock (files.new_file); a broken download is kept
                        for RESUME seconds, to go on from
    blobs/, layers/     a file or directory without a row: its maker holds its flock until the row is there,
                        also after the rename, and a blob is renamed away inside the transaction that takes
                        its row
    fixups/             written under the lock of their directory, and named in its `chains`
    volumes/            made and removed under the lock `volumes`, which is free then

So nothing has to grow old before it may go, and nobody who is at work loses anything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from estiva import files
from estiva.errors import EstivaError
from estiva.oci import digest as digests
from estiva.store import containers
from estiva.store.layers.layer import chains
from estiva.store.layers.mounts import Mounts
from estiva.store.upkeep import gc

if TYPE_CHECKING:
    from estiva.paths import Paths
    from estiva.store import Store
    from estiva.store.database import Database

RESUME = 86400.0  # seconds that a broken download waits to be resumed


def sweep(store: Store) -> list[str]:
    """Remove what processes that died have left, and unmount the layers that no container needs; what was
    removed, in words. Cheap when there is nothing.
    """
    done: list[str] = []
    for part in (_aside, _blobs, _blob_rows, _layers, _fixups, _filters, _volumes):
        done.extend(part(store))
    try:
        store.layers.sweep()
    except OSError:
        pass  # a mount in use: the next sweep
    return done


def abandoned(path: str) -> bool:
    """Whether the maker of `path` has gone."""
    fd = files.abandoned(path)
    if fd >= 0:
        os.close(fd)
    return fd >= 0


def resumable(name: str, path: str) -> bool:
    """Whether something in ingest/ is a part of a blob that is kept to go on from."""
    if not name.endswith(".part"):
        return False
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return True
    return found.st_size > 0 and time.time() - found.st_mtime < RESUME


def kept(store: Store) -> list[str]:
    """Broken downloads that stay, in words."""
    result = []
    for name, path in entries(store.paths.ingest):
        if resumable(name, path) and abandoned(path):
            size = os.lstat(path).st_size
            result.append(
                f"{size} bytes of blob {name.removesuffix('.part')}, for the next pull to go on from"
            )
    return result


def entries(directory: str) -> list[tuple[str, str]]:
    """(name, path) of what is in a directory, none if it isn't there."""
    try:
        return [(name, f"{directory}/{name}") for name in sorted(os.listdir(directory))]
    except FileNotFoundError:
        return []


def _aside(store: Store) -> Iterator[str]:
    ingest = store.paths.ingest
    for path in files.sweep(ingest, lambda name: not resumable(name, f"{ingest}/{name}")):
        yield f"ingest/{os.path.basename(path)}: removed"


def row(db: Database, table: str, column: str, value: str) -> bool:
    """Whether a table has a row."""
    return bool(db.read(f"SELECT 1 FROM {table} WHERE {column} = ?", (value,)))


def _blobs(store: Store) -> Iterator[str]:
    known = {digest for (digest,) in store.db.read("SELECT digest FROM blobs")}
    for algorithm in digests.LENGTHS:
        for name, path in entries(f"{store.paths.blobs}/{algorithm}"):
            digest = f"{algorithm}:{name}"
            if digest in known:
                continue
            if _remove_blob(store, digest, path):
                yield f"blob {digest[:19]} without a row: removed"


def _remove_blob(store: Store, digest: str, path: str) -> bool:
    """Remove a blob that its maker has left without a row."""
    fd = files.abandoned(path)
    if fd < 0:
        return False
    aside = f"{store.paths.ingest}/{os.urandom(8).hex()}.gone"
    try:
        with store.db.write():  # nobody adds the row meanwhile
            if row(store.db, "blobs", "digest", digest):
                return False
            os.rename(path, aside)
        files.remove_tree(aside)
    except OSError:
        return False  # removed by another, or a disk error: fsck tells
    finally:
        os.close(fd)
    return True


def _blob_rows(store: Store) -> Iterator[str]:
    """Rows whose file is gone, killed between the two, of blobs that no image needs."""
    if not _without_file(store):
        return
    with store.db.write(freeing=True) as transaction:
        needed = gc.mark(store, transaction).blobs
        gone = [digest for digest in _without_file(store) if digest not in needed]
        for digest in gone:
            transaction.execute("DELETE FROM blobs WHERE digest = ?", (digest,))
            transaction.execute("DELETE FROM layer_blobs WHERE digest = ?", (digest,))
    for digest in gone:
        yield f"row of blob {digest[:19]}, which was being deleted: removed"


def _without_file(store: Store) -> list[str]:
    rows = store.db.read("SELECT digest FROM blobs")
    return [d for (d,) in rows if digests.valid(d) and not os.path.exists(store.content.path(d))]


def _layers(store: Store) -> Iterator[str]:
    if not any(not row(store.db, "layers", "diff_id", f"sha256:{n}") for n, _ in entries(store.paths.layers)):
        return
    mounts = Mounts(store.paths, store.db)
    with files.Lock(store.paths.lock("layers-commit")):
        for name, path in entries(store.paths.layers):
            if not row(store.db, "layers", "diff_id", f"sha256:{name}"):
                mounts.unmount(name)
                files.remove_tree(path)
                yield f"layer sha256:{name[:12]} without a row: removed"


def _fixups(store: Store) -> Iterator[str]:
    for name, path in entries(store.paths.fixups):
        if name == "empty":
            continue
        if not row(store.db, "layers", "diff_id", f"sha256:{name}"):
            files.remove_tree(path)
            yield f"fixups of layer sha256:{name[:12]}, which is gone: removed"
        elif _unnamed(path) or not _all_chains(path):
            with files.Lock(path + "/lock"):
                if not _all_chains(path):  # a mount makes anew what it lacks
                    files.remove_tree(f"{path}/chains")
                    yield f"fixups/{name[:12]}/chains, which was damaged: removed"
                for stray in _unnamed(path):
                    files.remove_tree(f"{path}/{stray}")
                    yield f"fixups/{name[:12]}/{stray}: removed"


def _all_chains(directory: str) -> bool:
    """Whether its list holds nothing but chains, if there is one."""
    path = f"{directory}/chains"
    if not os.path.lexists(path):
        return True
    text = "".join(" ".join(words) + "\n" for words in chains(path))
    try:
        return files.read_bounded(path, len(text)) == text.encode()
    except (OSError, EstivaError):
        return False


def _unnamed(directory: str) -> list[str]:
    """What is in a directory of fixups and not in its list."""
    there = {name for name, _ in entries(directory)}
    known = {name for name, _, _ in chains(f"{directory}/chains")}
    return sorted(there - known - {"lock", "chains"})


def _filters(store: Store) -> Iterator[str]:
    """Files that were being written (files.atomic_write names them after the writer)."""
    for name, path in entries(store.paths.cache + "/seccomp"):
        words = name.rsplit(".", 3)
        if words[-1] == "tmp" and len(words) == 4 and not os.path.isdir(f"/proc/{words[1]}"):
            files.remove_tree(path)
            yield f"cache/seccomp/{name}: removed"


def _volumes(store: Store) -> Iterator[str]:
    paths, db = store.paths, store.db
    for name, path in entries(paths.volumes):
        if name.endswith(".gone"):
            files.remove_tree(path)
            yield f"volumes/{name}: removed"
    if not _halves(paths, db)[0] and not _halves(paths, db)[1]:
        return
    done: list[str] = []
    aside: list[str] = []
    try:
        with files.Lock(paths.lock("volumes"), blocking=False), db.write() as transaction:
            rowless, homeless = _halves(paths, db)
            for name in homeless:
                transaction.execute("DELETE FROM volumes WHERE name = ?", (name,))
                done.append(f"volume {name}, whose removal was cut short: removed")
            for name in rowless:
                if _remove_volume(paths, name, aside):
                    done.append(f"directory of volume {name} without a row: removed")
    except BlockingIOError:
        return  # somebody makes or removes one: the next sweep
    for path in aside:
        files.remove_tree(path)
    yield from done


def _halves(paths: Paths, db: Database) -> tuple[list[str], list[str]]:
    """Volumes with a directory and no row; those with a row, no directory and no user."""
    there = {name for name, _ in entries(paths.volumes) if not name.endswith(".gone")}
    known = {name for (name,) in db.read("SELECT name FROM volumes")}
    used = {volume for _, volume in containers.volume_of_each(db)}
    return sorted(there - known), sorted(known - there - used)


def _remove_volume(paths: Paths, name: str, aside: list[str]) -> bool:
    """Remove an anonymous volume, by a rename to what is added to `aside`, or a named one that was never
    used: a person's files stay, whatever the database says.
    """
    path = f"{paths.volumes}/{name}"
    try:
        if len(name) == 64 and digests.is_hex(name):
            new = f"{paths.volumes}/.{os.urandom(8).hex()}.gone"
            os.rename(path, new)
            aside.append(new)
        else:
            if os.path.isdir(path + "/_data"):
                os.rmdir(path + "/_data")
            os.rmdir(path)
    except OSError:
        return False
    return True
