"""Processes that load and remove the same images at once, and that are killed: the store stays sound."""

import io
import os
import random
import signal
import subprocess
import sys
import tarfile
import time

import pytest

from estiva.oci import config as configs
from estiva.oci import image as documents
from estiva.paths import Paths
from estiva.store import Store
from estiva.store.archive import load, save
from estiva.store.upkeep import fsck, gc, image_removal

WORK = """
import io, sys
sys.path.insert(0, sys.argv[1])
from estiva.errors import EstivaError, NotFound, Unavailable
from estiva.paths import Paths
from estiva.store import Store
from estiva.store.archive import load
from estiva.store.upkeep import gc, image_removal, leftovers
store = Store(Paths(sys.argv[2] + "/root", sys.argv[2] + "/run"))
data = open(sys.argv[3], "rb").read()
for turn in range(int(sys.argv[4])):
    load.load(store, io.BytesIO(data))
    for name in ("one", "two"):
        try:
            image_removal.delete(store, name)
        except NotFound:
            pass
    gc.reclaim(store, grace=0)
    leftovers.sweep(store)
"""


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("ESTIVA_STORAGE_DRIVER", "dir")
    store = Store(Paths(f"{tmp_path}/root", f"{tmp_path}/run"))
    yield store
    store.layers.unmount_all()
    store.close()


@pytest.fixture
def saved(store, tmp_path):
    base = None
    for name in ("one", "two"):
        document = base or configs.new("amd64")
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for number in range(20):
                member = tarfile.TarInfo(f"{name}/{number}")
                member.size = 3000
                tar.addfile(member, io.BytesIO(os.urandom(3000)))
        image = save.import_tar(store, io.BytesIO(out.getvalue()))
        document = configs.derive(document, image.diff_ids[0])
        base = base or document
        store.images.tag(store.images.add(documents.encode(document)).id, name)
        image_removal.delete(store, image.id)
    path = f"{tmp_path}/saved.tar"
    with open(path, "wb") as file:
        save.save(store, ["one", "two"], file)
    return path


def command(tmp_path, saved, turns):
    import estiva

    source = os.path.dirname(os.path.dirname(estiva.__file__))
    return [sys.executable, "-c", WORK, source, str(tmp_path), saved, str(turns)]


def settle(store):
    """What is left must be sound once the last process has tidied up."""
    gc.reclaim(store, grace=0)
    return [finding for finding in fsck.check(store, deep=True) if "unfinished write" not in finding]


def test_loading_and_removing_at_once(store, saved, tmp_path):
    children = [
        subprocess.Popen(command(tmp_path, saved, 6), stderr=subprocess.PIPE, text=True) for _ in range(5)
    ]
    errors = [child.communicate(timeout=600)[1] for child in children]
    assert errors == [""] * 5
    assert settle(store) == []


def test_killed_at_any_moment(store, saved, tmp_path):
    rng = random.Random(7)
    for _ in range(15):
        child = subprocess.Popen(command(tmp_path, saved, 50), stderr=subprocess.DEVNULL)
        time.sleep(0.12 + rng.random() * 0.15)
        child.send_signal(signal.SIGKILL)
        child.wait()
    with open(saved, "rb") as stream:
        assert load.load(store, stream) == ["one:latest", "two:latest"]
    for name in ("one", "two"):
        image = store.images.resolve(name)
        assert all(len(store.layers.tar(d).read()) > 60_000 for d in image.diff_ids)
    damage = [f for f in settle(store) if "has no row" not in f]  # those a sweep takes after its grace
    assert damage == []
