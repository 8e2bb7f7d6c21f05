import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from estiva.errors import IntegrityError, InvalidInput, NotFound, Unavailable
from estiva.oci.digest import sha256
from storekit import make_store

DATA = bytes(range(256)) * 5000
DIGEST = sha256(DATA)


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path)


def part(store, digest=DIGEST):
    return f"{store.paths.ingest}/{digest}.part"


def test_put_read_open_delete(store):
    content = store.content
    assert not content.has(DIGEST)
    assert content.put(DATA) == DIGEST
    assert content.put(DATA) == DIGEST
    assert content.has(DIGEST)
    assert content.size(DIGEST) == len(DATA)
    assert content.read(DIGEST) == DATA
    fd = content.open(DIGEST)
    assert os.read(fd, 10) == DATA[:10]
    os.close(fd)
    assert os.stat(content.path(DIGEST)).st_mode & 0o777 == 0o600
    assert os.listdir(store.paths.ingest) == []
    assert content.delete(DIGEST) == len(DATA)
    assert content.delete(DIGEST) == 0
    assert not content.has(DIGEST)
    for method in (content.read, content.open, content.size):
        with pytest.raises(NotFound):
            method(DIGEST)


def test_a_row_without_its_file_counts_as_absent(store):
    store.content.put(DATA)
    os.unlink(store.content.path(DIGEST))
    assert not store.content.has(DIGEST)
    store.content.put(DATA)
    assert store.content.read(DIGEST) == DATA


def test_an_ingest_is_resumed_where_it_ended(store):
    with store.content.ingest(DIGEST, len(DATA)) as ingest:
        ingest.write(DATA[:1000])
        ingest.write(DATA[1000:4000])
    with store.content.ingest(DIGEST, len(DATA)) as ingest:
        assert ingest.offset == 4000
        assert b"".join(ingest.chunks()) == DATA[:4000]
        ingest.write(DATA[4000:])
        ingest.commit()
        assert ingest.exists
    assert store.content.read(DIGEST) == DATA
    assert os.listdir(store.paths.ingest) == []
    with store.content.ingest(DIGEST, len(DATA)) as ingest:
        assert ingest.exists and ingest.offset == len(DATA)


def test_a_resume_without_own_hashing_is_proven_at_commit(store):
    with store.content.ingest(DIGEST, len(DATA), hashing=False) as ingest:
        ingest.write(b"x" * 4000)
    with store.content.ingest(DIGEST, len(DATA), hashing=False) as ingest:
        ingest.write(DATA[4000:])
        with pytest.raises(IntegrityError, match="has the digest"):
            ingest.commit()
        assert ingest.offset == 0
        ingest.write(DATA)
        ingest.commit()
    assert store.content.read(DIGEST) == DATA


def test_rewind_begins_again(store):
    with store.content.ingest(DIGEST, None) as ingest:
        ingest.write(b"wrong")
        ingest.rewind()
        ingest.write(DATA)
        ingest.commit()
    assert store.content.size(DIGEST) == len(DATA)


def test_a_killed_ingest_leaves_a_part_and_no_lock(store):
    child = os.fork()
    if child == 0:
        try:
            ingest = store.content.ingest(DIGEST, len(DATA))
            ingest.write(DATA[:5000])
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    with store.content.ingest(DIGEST, len(DATA)) as ingest:
        assert ingest.offset == 5000
        ingest.write(DATA[5000:])
        ingest.commit()
    assert store.content.read(DIGEST) == DATA


def test_killed_between_rename_and_row(store):
    store.content.put(DATA)
    with store.db.write() as transaction:
        transaction.execute("DELETE FROM blobs")
    with store.content.ingest(DIGEST, len(DATA)) as ingest:
        assert ingest.exists
    assert store.content.size(DIGEST) == len(DATA)


def test_a_damaged_file_without_row_is_replaced(store):
    path = store.content.path(DIGEST)
    with open(path, "wb") as file:
        file.write(b"half of it")
    assert store.content.put(DATA) == DIGEST
    assert store.content.read(DIGEST) == DATA


def test_the_second_waits_and_finds_it(store):
    first = store.content.ingest(DIGEST, len(DATA))
    first.write(DATA[:100])
    seen = []

    def second():
        with store.content.ingest(DIGEST, len(DATA)) as ingest:
            seen.append(ingest.exists)

    thread = threading.Thread(target=second)
    thread.start()
    time.sleep(0.05)
    assert seen == []
    first.write(DATA[100:])
    first.commit()
    thread.join(120)
    assert seen == [True]
    assert os.listdir(store.paths.ingest) == []


def test_the_second_goes_on_where_the_first_gave_up(store):
    first = store.content.ingest(DIGEST, len(DATA))
    first.write(DATA[:100])
    seen = []

    def second():
        with store.content.ingest(DIGEST, len(DATA)) as ingest:
            seen.append(ingest.offset)

    thread = threading.Thread(target=second)
    thread.start()
    time.sleep(0.02)
    first.close()
    thread.join(120)
    assert seen == [100]


SAME = """
import sys
sys.path[:0] = sys.argv[1:3]
from storekit import make_store
store = make_store(sys.argv[3])
data = bytes(range(256)) * 5000
for turn in range(20):
    digest = store.content.put(data + bytes([turn]))
    assert store.content.read(digest) == data + bytes([turn])
"""


def test_ten_processes_store_the_same_blobs(store, tmp_path):
    import estiva

    where = [
        os.path.dirname(os.path.dirname(estiva.__file__)),
        os.path.dirname(sys.modules["storekit"].__file__),
    ]
    command = [sys.executable, "-c", SAME, *where, str(tmp_path)]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(10)]
    assert [child.communicate()[1] for child in children] == [b""] * 10
    assert store.db.read("SELECT count(*) FROM blobs") == [(20,)]
    assert os.listdir(store.paths.ingest) == []


def test_adopt(store, tmp_path):
    path = f"{store.paths.ingest}/mine"
    with open(path, "wb") as file:
        file.write(DATA)
    with pytest.raises(IntegrityError):
        store.content.adopt(path, DIGEST, 5)
    store.content.adopt(path, DIGEST, len(DATA))
    assert store.content.read(DIGEST) == DATA
    assert not os.path.exists(path)


def test_read_is_bounded(store):
    store.content.put(DATA)
    with pytest.raises(IntegrityError, match="larger than"):
        store.content.read(DIGEST, limit=len(DATA) - 1)


def test_an_empty_blob(store):
    digest = store.content.put(b"")
    assert store.content.read(digest) == b""
    assert os.listdir(store.paths.ingest) == []


def test_a_full_disk_is_unavailable(store):
    with store.content.ingest(DIGEST, len(DATA)) as ingest:
        full = os.open("/dev/full", os.O_RDWR)
        os.dup2(full, ingest.fd)
        os.close(full)
        with pytest.raises(Unavailable, match="no space left"):
            ingest.write(DATA)


@pytest.mark.parametrize("digest", ["sha256:../../../etc/passwd", "", "sha256:" + "A" * 64, "x" * 71])
def test_a_digest_never_becomes_a_path(store, digest):
    content = store.content
    for call in (content.path, content.has, content.size, content.open, content.read, content.delete):
        with pytest.raises(InvalidInput):
            call(digest)
    with pytest.raises(InvalidInput):
        content.ingest(digest, 5)
