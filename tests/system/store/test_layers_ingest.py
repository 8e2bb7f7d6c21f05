"""Layers coming in from a registry: in pieces, broken off, damaged, twice at once, killed."""

from __future__ import annotations

import gzip
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from enginekit import eventually
from estiva.errors import IntegrityError, InvalidInput, LayerError, NotFound
from estiva.store import Store
from estiva.store.layers.ingest import LayerIngest
from killkit import at_work
from layerkit import digest, layer_tree, member, pull, store_at, tar_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")

GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
NOISE = random.Random(7)
TAR = tar_of(*(member(f"d/f{i}", data=NOISE.randbytes(9000)) for i in range(200)))
BLOB = gzip.compress(TAR, mtime=0)
DIFF_ID = digest(TAR)


@pytest.fixture(params=["erofs", "erofs-lz4", "dir"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with store_at(tmp_path, request.param) as store:
        yield store


def begin(store: Store, blob: bytes = BLOB, size: int | None = None, diff_id: str = DIFF_ID) -> LayerIngest:
    return store.layers.ingest(digest(blob), len(blob) if size is None else size, GZIP, diff_id)


def leftovers(store: Store) -> list[str]:
    return os.listdir(store.paths.ingest)


def check(store: Store) -> None:
    assert len(layer_tree(store, DIFF_ID)) == 202
    assert leftovers(store) == []


@pytest.mark.parametrize("step", [999, 65536, 1 << 30])
def test_in_pieces(store: Store, step: int) -> None:
    pull(store, TAR, blob=BLOB, step=step)
    check(store)


@pytest.mark.parametrize(
    "blob",
    [
        zstandard.ZstdCompressor().compress(TAR),
        gzip.compress(TAR[:100_000]) + gzip.compress(TAR[100_000:]) + bytes(600),
        TAR,
    ],
    ids=["zstd", "members", "plain"],
)
def test_other_forms(store: Store, blob: bytes) -> None:
    pull(store, TAR, blob=blob)
    check(store)
    with store.layers.tar(DIFF_ID) as file:
        assert file.read() == TAR
    assert store.layers.blobs(DIFF_ID)[0][0] == digest(blob)


def test_a_broken_download_goes_on_where_it_ended(store: Store) -> None:
    half = len(BLOB) // 2
    with begin(store) as ingest:
        assert ingest.offset == 0
        ingest.feed(BLOB[:half])
        assert ingest.offset == half
    assert not store.layers.has(DIFF_ID)
    with begin(store) as ingest:
        assert ingest.offset == half
        ingest.feed(BLOB[half : half + 1000])
    with begin(store) as ingest:
        assert ingest.offset == half + 1000
        ingest.feed(BLOB[half + 1000 :])
        assert ingest.commit().diff_id == DIFF_ID
    check(store)


def test_all_fed_but_not_committed(store: Store) -> None:
    with begin(store) as ingest:
        ingest.feed(BLOB)
    with begin(store) as ingest:
        assert ingest.offset == len(BLOB)
        ingest.commit()
    check(store)


def test_a_commit_of_half_a_blob_fails_and_keeps_it(store: Store) -> None:
    with begin(store) as ingest:
        ingest.feed(BLOB[:5000])
        with pytest.raises(IntegrityError, match=f"ended after 5000 of {len(BLOB)}"):
            ingest.commit()
    with begin(store) as ingest:
        assert ingest.offset == 5000


def test_damaged_bytes_are_thrown_away(store: Store) -> None:
    bad = bytearray(BLOB)
    bad[len(bad) // 2] ^= 1
    with begin(store) as ingest, pytest.raises(IntegrityError):
        ingest.feed(bad)
        ingest.commit()
    assert leftovers(store) == [] and not store.layers.has(DIFF_ID)
    with begin(store) as ingest:
        assert ingest.offset == 0
        with pytest.raises(IntegrityError):
            ingest.feed(bad)
            ingest.commit()
        ingest.rewind()
        assert ingest.offset == 0
        ingest.feed(BLOB)
        ingest.commit()
    check(store)


def test_another_blob_of_the_right_size(store: Store) -> None:
    other = gzip.compress(tar_of(member("other")))
    with begin(store, other, diff_id=digest(tar_of(member("other")))) as ingest:
        assert not ingest.complete
    with store.layers.ingest(DIFF_ID, len(other), GZIP, digest(b"x")) as ingest:
        ingest.feed(other)
        with pytest.raises(IntegrityError, match="has the digest"):
            ingest.commit()
    assert leftovers(store) == []


def test_a_wrong_diff_id(store: Store) -> None:
    wrong = digest(b"something else")
    with begin(store, diff_id=wrong) as ingest:
        ingest.feed(BLOB)
        with pytest.raises(IntegrityError, match=f"has the diffID {DIFF_ID} instead of {wrong}"):
            ingest.commit()
    assert leftovers(store) == []
    assert not store.layers.has(DIFF_ID) and not store.layers.has(wrong)
    assert os.listdir(store.paths.layers) == []


def test_more_bytes_than_declared(store: Store) -> None:
    with begin(store, size=1000) as ingest, pytest.raises(IntegrityError, match="larger than the 1000 bytes"):
        ingest.feed(BLOB)


def test_names_that_are_no_digests(store: Store) -> None:
    for blob, diff_id in ((DIFF_ID, "sha256:../../etc"), ("sha256:..", DIFF_ID), (DIFF_ID, "../x")):
        with pytest.raises(InvalidInput):
            store.layers.ingest(blob, 1, GZIP, diff_id)
    with pytest.raises(InvalidInput):
        store.layers.mount(["sha256:../../../etc"])
    with pytest.raises(NotFound):
        store.layers.mount([DIFF_ID])


def test_a_hostile_tar_is_told_while_it_comes(store: Store) -> None:
    data = tar_of(member("../out"), *(member(f"f{i}", data=NOISE.randbytes(100_000)) for i in range(40)))
    blob = gzip.compress(data)
    with (
        begin(store, blob, diff_id=digest(data)) as ingest,
        pytest.raises(LayerError, match="leaves the root"),
    ):
        for at in range(0, len(blob) - 100_000, 100_000):
            ingest.feed(blob[at : at + 100_000])
        for _ in range(6000):  # before its end has come
            ingest.feed(b"")
            time.sleep(0.02)
        raise AssertionError("told too late")
    assert leftovers(store) == []


def test_a_layer_that_is_there_is_complete_at_once(store: Store) -> None:
    pull(store, TAR, blob=BLOB)
    with begin(store) as ingest:
        assert ingest.complete and ingest.offset == len(BLOB)
        ingest.feed(b"ignored")
        assert ingest.commit().diff_id == DIFF_ID


def test_a_second_process_waits_and_finds_it(store: Store) -> None:
    first = begin(store)
    first.feed(BLOB[:1000])
    found: list[bool] = []

    def second() -> None:
        with begin(store) as ingest:
            found.append(ingest.complete)
            ingest.commit()

    thread = threading.Thread(target=second)
    thread.start()
    time.sleep(0.1)
    assert not found
    first.feed(BLOB[1000:])
    first.commit()
    first.close()
    thread.join(300)
    assert found == [True]
    check(store)


def test_two_forms_of_one_layer_at_once(store: Store) -> None:
    other = zstandard.ZstdCompressor().compress(TAR)
    errors: list[BaseException] = []

    def run(blob: bytes) -> None:
        try:
            pull(store, TAR, blob=blob)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(blob,)) for blob in (BLOB, other, BLOB, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert errors == []
    check(store)
    assert {form[0] for form in store.layers.blobs(DIFF_ID)} >= {digest(BLOB)}


PULL = """
import sys
from estiva.paths import Paths
from estiva.store import Store
root, run, blob, digest, diff_id = sys.argv[1:]
data = open(blob, "rb").read()
store = Store(Paths(root, run))
store.layers.driver
print("ready", flush=True)
with store.layers.ingest(digest, len(data), "gzip", diff_id) as ingest:
    for at in range(ingest.offset, len(data), 50_000):
        ingest.feed(data[at : at + 50_000])
    ingest.commit()
"""


@pytest.mark.parametrize("moment", [0.0, 0.01, 0.02, 0.04, 0.08])
def test_killed_at_any_moment(store: Store, tmp_path: Path, moment: float) -> None:
    (tmp_path / "blob").write_bytes(BLOB)
    names = [store.paths.root, store.paths.run_root, str(tmp_path / "blob"), digest(BLOB), DIFF_ID]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "ESTIVA_STORAGE_DRIVER": store.layers.driver,
    }
    child = subprocess.Popen(
        [sys.executable, "-c", PULL, *names], stdout=subprocess.PIPE, env=environment, text=True
    )
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    time.sleep(moment)
    child.kill()
    child.communicate()
    eventually(lambda: not at_work(store.paths.ingest))  # mkfs.erofs, for one
    with begin(store) as ingest:
        if not ingest.complete:
            ingest.feed(BLOB[ingest.offset :])
        assert ingest.commit().diff_id == DIFF_ID
    assert len(layer_tree(store, DIFF_ID)) == 202
    assert store.content.has(digest(BLOB)) or store.content.has(DIFF_ID)


def test_no_thread_is_left(store: Store) -> None:
    before = threading.active_count()
    with begin(store) as ingest:
        ingest.feed(BLOB[:1000])
    pull(store, TAR, blob=BLOB)
    assert threading.active_count() == before


KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[1].split(":")
from estiva.store.database import Transaction
from layerkit import pull
import test_layers_ingest as here
left = int(sys.argv[4])
first = Transaction.__exit__
def commit(self, *error):
    global left
    done = first(self, *error)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return done
Transaction.__exit__ = commit
from estiva.paths import Paths
from estiva.store import Store
pull(Store(Paths(sys.argv[2], sys.argv[3])), here.TAR, blob=here.BLOB)
"""


def test_killed_after_any_transaction_a_layer_that_is_here_has_its_content(store: Store) -> None:
    """The row of a layer comes with what says which blob it can be made of again, never before."""
    here = Path(__file__).parent
    seen = []
    for left in range(1, 20):
        child = subprocess.run(
            [sys.executable, "-c", KILLED, f"{here.parents[2]}/src:{here.parents[1]}/support:{here}",
             store.paths.root, store.paths.run_root, str(left)],
            env={**os.environ, "ESTIVA_STORAGE_DRIVER": store.layers.driver},
        )  # fmt: skip
        if store.layers.has(DIFF_ID):
            assert b"".join(store.layers.chunks(DIFF_ID)) == TAR
        pull(store, TAR, blob=BLOB)  # goes on, or finds it here
        assert b"".join(store.layers.chunks(DIFF_ID)) == TAR
        seen.append(child.returncode)
        store.layers.delete(DIFF_ID)
        if child.returncode == 0:
            break
    assert seen[-1] == 0 and len(seen) > 2 and set(seen[:-1]) == {-9}
