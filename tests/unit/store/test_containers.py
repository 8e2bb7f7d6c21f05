"""Which containers need an image, by the rows of a real database."""

import json

import pytest

from estiva.store import containers
from estiva.store.database import Database


@pytest.fixture
def db(tmp_path):
    made = Database(str(tmp_path / "estiva.db"))
    yield made
    made.close()


def add(db, name, image, *mounted, status="exited", text=None):
    mounts = [{"Type": "bind", "Source": "/x"}, *({"Type": "image", "ImageId": one} for one in mounted)]
    with db.write() as transaction:
        text = text or json.dumps({"Mounts": mounts}, separators=(",", ":"))
        containers.add(transaction, name, name, image, status, text, ())


def test_an_image_is_had_by_who_is_made_from_it_or_has_it_mounted(db):
    add(db, "a", "one", "two", "two", "one")
    add(db, "b", "two")
    add(db, "c", None, text='{"Mounts":[{"ImageId":"two"')  # damaged: says nothing, and is in nobody's way
    add(db, "d", "one", text='{"Mounts":[{"ImageId":null}]}')
    assert [name for _, name, _ in containers.having(db, "two")] == ["a", "b"]
    assert [name for _, name, _ in containers.having(db, "one")] == ["a", "d"]
    assert containers.having(db, "three") == []
    assert containers.images(db) == {"one": 2, "two": 2}
    assert {image for (image,) in db.read(containers.IMAGES_IN_USE)} == {"one", "two"}


def test_layers_of_mounted_images_are_needed_while_a_container_runs(db):
    with db.write() as transaction:
        for name in ("one", "two", "three"):
            transaction.execute(
                "INSERT INTO images VALUES (?, ?, NULL, 0, 0, 0, 0)", (name, f"config {name}")
            )
    add(db, "a", "one", "two", status="running")
    add(db, "b", "three", "three")
    assert sorted(containers.configs_in_use(db)) == ["config one", "config two"]
