import os

import pytest

from estiva.oci.digest import sha256
from estiva.store.upkeep import usage
from storekit import add_container, make_image, make_store


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path)


def test_usage_counts_shared_layers_once(store):
    one = make_image(store, b"b" * 100, b"1" * 10, name="one")
    two = make_image(store, b"b" * 100, b"2" * 20, name="two")
    make_image(store, b"b" * 100, b"c" * 5, hidden=True)
    with store.db.write() as transaction:
        image = store.images.list(all=True)[0].id
        for item in store.images.list(all=True):
            if item.id not in (one, two):
                image = item.id
        transaction.execute("INSERT INTO build_cache VALUES ('k', ?, 0, 0)", (image,))
    container = add_container(store, one, "c", status="running")
    os.makedirs(store.paths.container(container) + "/upper")
    store.volumes.create("v")
    found = usage.usage(store)
    layer, folder = os.stat(store.content.path(sha256(b"1" * 10))).st_blocks * 512, 0
    for name in os.listdir(store.paths.layers):
        folder = sum(os.stat(f"{store.paths.layers}/{name}{part}").st_blocks * 512 for part in ("", "/fs"))
    each = layer + folder
    assert found["images"] == {"count": 2, "active": 1, "size": 3 * each, "reclaimable": each}
    assert found["per_image"][two] == {"size": 120, "shared": 100, "unique": 20, "containers": 0}
    assert found["containers"] == {"count": 1, "active": 1, "size": 0, "reclaimable": 0}
    assert found["build_cache"] == {"count": 1, "active": 0, "size": each, "reclaimable": each}
    assert found["volumes"]["count"] == 1
    assert found["per_volume"] == {"v": {"size": 0, "links": 0}}
    assert found["per_container"] == {container: 0}
    assert found["per_step"] == [{"key": "k", "created": 0, "used": 0, "size": each, "shared": False}]
