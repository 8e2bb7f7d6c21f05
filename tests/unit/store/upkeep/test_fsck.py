import os

import pytest

from estiva.oci.digest import sha256
from estiva.store.upkeep import fsck
from storekit import make_image, make_store


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path)


def test_check_finds_each_kind_of_damage(store):
    image_id = make_image(store, b"base", b"top", name="app")
    paths = store.paths
    assert fsck.check(store, deep=True) == []
    lost, damaged, short = (store.content.put(data) for data in (b"lost", b"damaged", b"short"))
    os.unlink(store.content.path(lost))
    with open(store.content.path(damaged), "r+b") as file:
        file.write(b"x")
    with open(store.content.path(short), "wb") as file:
        file.write(b"s")
    open(f"{paths.blobs}/sha256/{'12' * 32}", "w").close()
    open(f"{paths.ingest}/stray", "w").close()
    os.rmdir(f"{paths.layers}/{sha256(b'top')[7:]}/fs")
    with store.db.write() as transaction:
        transaction.execute("DELETE FROM layers WHERE diff_id = ?", (sha256(b"base"),))
        transaction.execute("INSERT INTO names VALUES ('docker.io/library/gone:1', 'sha256:00', NULL, 0)")
    os.makedirs(paths.containers + "/nobody")
    store.volumes.create("data")
    os.rmdir(store.volumes.path("data"))
    found = fsck.check(store)
    expected = [
        f"blob {lost} has no file",
        f"blob {short} is 1 bytes long instead of 5",
        f"file blobs/sha256/{'12' * 32} has no row",
        f"layer {sha256(b'top')} is damaged: its files are missing; app:latest needs it: pull, load or build"
        " that again, or remove it with `estiva rmi -f`",
        f"directory layers/{sha256(b'base')[7:]} has no row",
        f"image {image_id} lacks layer {sha256(b'base')}",
        "names docker.io/library/gone:1 points to image sha256:00, which is not here",
        "file ingest/stray is left from an unfinished write",
        "directory containers/nobody has no row",
        "volume data has no directory",
    ]
    assert sorted(found) == sorted(expected)
    assert sorted(fsck.check(store, deep=True)) == sorted([*expected, f"blob {damaged} is damaged"])


def test_several_images_need_what_is_damaged(store):
    make_image(store, b"base", b"one", name="one")
    make_image(store, b"base", b"two", name="two")
    os.rmdir(f"{store.paths.layers}/{sha256(b'base')[7:]}/fs")
    (found,) = fsck.check(store)
    assert "latest need it: pull, load or build that again, or remove them with `estiva rmi -f`" in found
