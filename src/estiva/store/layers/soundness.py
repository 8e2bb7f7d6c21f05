"""Whether the files of a layer are those that were made: told by a row in `meta` for each, `layer.HEX`.

    SIZE HEX     bytes and sha256 of the one file that the driver made (index.erofs, image.erofs)
    -            a dir layer, whose files are compared with its tar
    damaged ...  a deep look has found it so: it is to be made or fetched again. What it should be follows

What costs a stat is looked at whenever a layer is asked for, the rest by `system check --deep`.
"""

from __future__ import annotations

import os
import stat

from estiva import errors
from estiva.store.layers.layer import Layer, layer_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.paths import Paths
    from estiva.store.database import Database

FILES = {"erofs": "index.erofs", "erofs-lz4": "image.erofs"}
DAMAGED = "damaged "
SQL = "coalesce((SELECT value FROM meta WHERE key = 'layer.' || substr(layers.diff_id, 8)), '')"

SET = "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)"


def key(diff_id: str) -> str:
    """The key in `meta`."""
    return f"layer.{layer_name(diff_id)}"


def find(db: Database, diff_id: str) -> Layer | None:
    """A layer by its row."""
    rows = db.read(f"SELECT diff_id, size, driver, {SQL} FROM layers WHERE diff_id = ?", (diff_id,))
    return Layer(*rows[0]) if rows else None


def set_sum(db: Database, diff_id: str, value: str) -> None:
    """What the files of a layer have to be from now on."""
    with db.write() as transaction:
        transaction.execute(SET, (key(diff_id), value))


def mark(db: Database, layer: Layer) -> None:
    """It is not here any more for whoever asks, until it is made again."""
    set_sum(db, layer.diff_id, DAMAGED + layer.sum.removeprefix(DAMAGED))


def summed(driver: str, directory: str) -> str:
    """The value in `meta` for what `driver` has made in `directory`."""
    if driver not in FILES:
        return "-"
    import hashlib

    with open(f"{directory}/{FILES[driver]}", "rb") as file:
        found = hashlib.file_digest(file, "sha256")
        return f"{file.tell()} {found.hexdigest()}"


def finding(paths: Paths, layer: Layer, *, deep: bool = False) -> str:
    """What is wrong with a layer's files, in words; "" for nothing. `deep` reads what the driver has made,
    but neither a tar, which is a blob, nor the files of a dir layer.
    """
    name = layer_name(layer.diff_id)
    directory = f"{paths.layers}/{name}"
    if layer.sum.startswith(DAMAGED):
        return "a deep check has found it damaged"
    if layer.driver not in FILES:
        there = _kind(f"{directory}/fs")
        return (
            ""
            if there == stat.S_IFDIR
            else "its files are missing"
            if not there
            else "its files are no folder"
        )
    size, _, digest = layer.sum.partition(" ")
    wrong = _file(f"{directory}/{FILES[layer.driver]}", int(size) if size.isdigit() else -1)
    if wrong:
        return f"its index {wrong}"
    if layer.driver == "erofs":
        wrong = _file(f"{paths.blobs}/sha256/{name}", layer.size)
        if wrong:
            return f"its tar {wrong}"
    if deep and summed(layer.driver, directory) != layer.sum:
        return "its index is damaged" if digest else "nothing says what its index has to be"
    return ""


def _kind(path: str) -> int:
    try:
        return stat.S_IFMT(os.stat(path, follow_symlinks=False).st_mode)
    except OSError:
        return 0


def _file(path: str, size: int) -> str:
    """What is wrong with a file that has to be `size` bytes long (negative: that is not known)."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"can't be looked at: {errors.reason(error)}"
    if not stat.S_ISREG(found.st_mode):
        return "is no file"
    if found.st_size != size and size >= 0:
        return f"is {found.st_size} bytes long instead of {size}"
    return "is empty" if size < 0 and not found.st_size else ""
