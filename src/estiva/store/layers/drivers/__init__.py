"""The snapshot drivers. A driver turns a finished Tree and its tar into what can be a lowerdir of an overlay:

    build(tree, tar_fd, tar_size, directory)    makes and syncs the layer's files below `directory`

erofs keeps the tar and adds an image that points into it, erofs-lz4 makes a compressed image, dir extracts
it. Every layer's row says which one made it, so all kinds mix in a chain, and a layer that erofs can't hold
(sparse members) is a dir layer. All pass one contract suite (tests/system/store/test_layers_contract.py).
"""

from __future__ import annotations

import os
from types import ModuleType
from typing import TYPE_CHECKING

from estiva.errors import InvalidInput, Unsupported

if TYPE_CHECKING:
    from estiva.paths import Paths
    from estiva.store.database import Database

META = "storage_driver"
NAMES = ("erofs", "erofs-lz4", "dir")


def load(name: str) -> ModuleType:
    """The driver's module."""
    if name == "erofs":
        from estiva.store.layers.drivers import erofs

        return erofs
    if name == "erofs-lz4":
        from estiva.store.layers.drivers import erofs_lz4

        return erofs_lz4
    if name == "dir":
        from estiva.store.layers.drivers import dir as directory

        return directory
    raise InvalidInput(f"no storage driver {name}", hint=f"the drivers are {', '.join(NAMES)}")


def choose(paths: Paths, db: Database, wanted: str | None = None) -> str:
    """The driver for new layers: `wanted`, else ESTIVA_STORAGE_DRIVER, else erofs where it works, else dir.

    What the kernel can do is found out once and remembered in `meta`. Raises Unsupported when erofs was asked
    for and does not work.
    """
    wanted = wanted or os.environ.get("ESTIVA_STORAGE_DRIVER") or None
    if wanted is not None:
        load(wanted)
    if wanted == "dir":
        return wanted
    rows = db.read("SELECT value FROM meta WHERE key = ?", (META,))
    found = rows[0][0] if rows else _probe(paths, db)
    if found == "dir" and wanted is not None:
        found = _probe(paths, db)
        if found == "dir":
            raise Unsupported(
                "this kernel can't mount an erofs file",
                hint="it needs Linux 6.12 or later; use the driver dir",
            )
    if wanted == "erofs-lz4":
        from estiva.store.layers.drivers import erofs_lz4

        erofs_lz4.program()
        return wanted
    return "dir" if found == "dir" else "erofs"


def _probe(paths: Paths, db: Database) -> str:
    from estiva import files
    from estiva.store.layers.drivers import erofs

    fd, directory = files.new_directory(paths.ingest, ".probe")
    try:
        found = erofs.probe(directory) or "dir"
    finally:
        files.remove_tree(directory)
        os.close(fd)
    with db.write() as transaction:
        transaction.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (META, found))
    return found
