"""Stores and images for tests that need no kernel feature: layers are rows and files, nothing is mounted."""

from __future__ import annotations

import io
import os
import time

from estiva import fastjson, files
from estiva.oci import config as configs
from estiva.oci import digest
from estiva.paths import Paths
from estiva.store import Store


class PlainLayers:
    """What images and gc ask of `Layers`, over rows and directories alone."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def put(self, data: bytes) -> str:
        diff_id = self.store.content.put(data)
        os.makedirs(f"{self.store.paths.layers}/{diff_id[7:]}/fs", exist_ok=True)
        with self.store.db.write() as transaction:
            transaction.execute(
                "INSERT OR REPLACE INTO layers (diff_id, driver, size, created) VALUES (?, 'dir', ?, ?)",
                (diff_id, len(data), time.time()),
            )
        return diff_id

    def has(self, diff_id: str) -> bool:
        return bool(self.store.db.read("SELECT 1 FROM layers WHERE diff_id = ?", (diff_id,)))

    def differs(self, diff_id: str) -> str:
        return ""

    def tar(self, diff_id: str) -> io.BufferedReader:
        return open(self.store.content.path(diff_id), "rb")

    def delete(self, diff_id: str) -> None:
        files.remove_tree(f"{self.store.paths.layers}/{diff_id[7:]}")

    def sweep(self) -> None:
        pass


def make_store(path: object) -> Store:
    store = Store(Paths(f"{path}/root", f"{path}/run"))
    store._layers = PlainLayers(store)  # type: ignore[assignment]
    return store


def make_image(store: Store, *layers: bytes, name: str = "", hidden: bool = False, **fields: object) -> str:
    """The id of an image over layers with these bytes."""
    document = configs.new("amd64")
    for number, data in enumerate(layers):
        diff_id = store.layers.put(data)  # type: ignore[attr-defined]
        document = configs.derive(document, diff_id, created_by=f"step {number}", created=1000.0 + number)
    document.update(fields)
    image = store.images.add(fastjson.dumps(document).encode(), hidden=hidden)
    if name:
        store.images.tag(image.id, name)
    return image.id


def add_container(store: Store, image_id: str, name: str, status: str = "exited") -> str:
    container = digest.sha256(name.encode())[7:]
    with store.db.write() as transaction:
        transaction.execute(
            "INSERT INTO containers (id, name, image, status, created, record) VALUES (?, ?, ?, ?, ?, '{}')",
            (container, name, image_id, status, time.time()),
        )
    return container


def drop_container(store: Store, container: str) -> None:
    with store.db.write() as transaction:
        transaction.execute("DELETE FROM containers WHERE id = ?", (container,))


def age(store: Store) -> None:
    """Make everything in the store look ten days old."""
    old = time.time() - 10 * 86400
    with store.db.write() as transaction:
        for table in ("blobs", "layers"):
            transaction.execute(f"UPDATE {table} SET created = ?", (old,))
    for directory, names, others in os.walk(store.paths.root):
        for name in (*names, *others):
            os.utime(f"{directory}/{name}", (old, old), follow_symlinks=False)
