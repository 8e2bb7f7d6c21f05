"""K10, K13: nothing enters the store under a digest or size that it has not."""

import os

import pytest

from estiva.errors import IntegrityError
from estiva.oci.digest import sha256
from storekit import make_store

DATA = b"good" * 1000
DIGEST = sha256(DATA)


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path)


def test_more_bytes_than_declared_are_never_written(store):
    with store.content.ingest(DIGEST, len(DATA)) as ingest:
        ingest.write(DATA[:-1])
        with pytest.raises(IntegrityError, match="larger than"):
            ingest.write(b"xx")
        assert os.path.getsize(ingest.path) == len(DATA) - 1


def test_an_undeclared_size_has_a_limit(store):
    with store.content.ingest(DIGEST, None, limit=10) as ingest, pytest.raises(IntegrityError):
        ingest.write(DATA)


def test_fewer_bytes_than_declared_are_refused(store):
    with store.content.ingest(DIGEST, len(DATA)) as ingest:
        ingest.write(DATA[:-1])
        with pytest.raises(IntegrityError, match="ended after"):
            ingest.commit()
    assert not store.content.has(DIGEST)


def test_other_bytes_are_thrown_away(store):
    with store.content.ingest(DIGEST, len(DATA)) as ingest:
        ingest.write(DATA[:-1] + b"x")
        with pytest.raises(IntegrityError, match="has the digest"):
            ingest.commit()
    assert not store.content.has(DIGEST)
    assert os.listdir(store.paths.ingest) == []
    assert os.listdir(store.paths.blobs + "/sha256") == []


def test_a_tampered_part_is_found_at_commit(store):
    with store.content.ingest(DIGEST, len(DATA)) as ingest:
        ingest.write(DATA[:2000])
    with open(ingest.path, "r+b") as file:
        file.write(b"evil")
    with store.content.ingest(DIGEST, len(DATA)) as ingest:
        ingest.write(DATA[2000:])
        with pytest.raises(IntegrityError):
            ingest.commit()
    assert not store.content.has(DIGEST)


def test_a_part_larger_than_declared_is_dropped(store):
    with store.content.ingest(DIGEST, None) as ingest:
        ingest.write(b"x" * 10_000)
    with store.content.ingest(DIGEST, len(DATA)) as ingest:
        assert ingest.offset == 0


def test_a_symlink_in_place_of_a_part_is_not_followed(store, tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    os.symlink(victim, f"{store.paths.ingest}/{DIGEST}.part")
    with pytest.raises(OSError):
        store.content.ingest(DIGEST, len(DATA))
    assert victim.read_bytes() == b"precious"


def test_what_is_read_is_proven(store):
    store.content.put(DATA)
    with open(store.content.path(DIGEST), "r+b") as file:
        file.write(b"evil")
    with pytest.raises(IntegrityError, match="damaged"):
        store.content.read(DIGEST)


def test_state_is_private(store):
    store.content.put(DATA)
    for directory, _, names in os.walk(store.paths.root):
        assert os.stat(directory).st_mode & 0o077 == 0, directory
        for name in names:
            assert os.stat(f"{directory}/{name}").st_mode & 0o077 == 0, name
