import os
import signal
import subprocess
import sys
import threading

import pytest

from estiva.errors import Conflict, StateError, Unavailable
from estiva.store import database, schema
from estiva.store.database import LOG_LIMIT, Database

INSERT = "INSERT OR REPLACE INTO meta VALUES (?, ?)"


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "estiva.db")


def put(db, key, value="v"):
    with db.write() as transaction:
        transaction.execute(INSERT, (key, value))


def keys(db):
    return [key for (key,) in db.read("SELECT key FROM meta ORDER BY key")]


def test_makes_its_tables_with_private_files(path):
    db = Database(path)
    assert db.read("SELECT * FROM images") == []
    assert db.read("PRAGMA user_version") == [(schema.VERSION,)]
    assert db.read("PRAGMA journal_mode") == [("wal",)]
    put(db, "a")
    for name in os.listdir(os.path.dirname(path)):
        assert os.stat(f"{os.path.dirname(path)}/{name}").st_mode & 0o077 == 0


def test_commit_and_rollback(path):
    db = Database(path)
    put(db, "a")
    with pytest.raises(ZeroDivisionError), db.write() as transaction:
        transaction.execute(INSERT, ("b", "v"))
        assert keys(db) == ["a", "b"]
        raise ZeroDivisionError
    assert keys(db) == ["a"]
    put(db, "c")
    assert keys(Database(path)) == ["a", "c"]


def test_nested_blocks_are_savepoints(path):
    db = Database(path)
    with db.write() as outer:
        outer.execute(INSERT, ("a", "v"))
        with pytest.raises(ZeroDivisionError), db.write() as inner:
            inner.execute(INSERT, ("b", "v"))
            raise ZeroDivisionError
        put(db, "c")
    assert keys(db) == ["a", "c"]
    with pytest.raises(ZeroDivisionError), db.write():
        put(db, "d")
        raise ZeroDivisionError
    assert keys(db) == ["a", "c"]


def test_a_broken_constraint_is_a_conflict_and_rolls_back(path):
    db = Database(path)
    row = "INSERT INTO containers VALUES (?, 'same', NULL, 'x', 0, '{}')"
    with db.write() as transaction:
        transaction.execute(row, ("1",))
    with pytest.raises(Conflict), db.write() as transaction:
        transaction.execute(INSERT, ("a", "v"))
        transaction.execute(row, ("2",))
    assert keys(db) == []
    put(db, "b")


def test_each_thread_has_its_connection(path):
    db = Database(path)
    put(db, "main")
    failures = []

    def work(number):
        try:
            for turn in range(5):
                put(db, f"{number}-{turn}")
                db.read("SELECT count(*) FROM meta")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(keys(db)) == 41


def test_a_forked_child_opens_its_own(path):
    db = Database(path)
    put(db, "parent")
    inherited = db._local.gate.connection
    child = os.fork()
    if child == 0:
        status = 1
        try:
            put(db, "child")
            if db._local.gate.connection is not inherited and keys(db) == ["child", "parent"]:
                status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    put(db, "after")
    assert keys(db) == ["after", "child", "parent"]


def test_a_newer_database_is_refused_with_a_hint(path):
    db = Database(path)
    db.read(f"PRAGMA user_version = {schema.VERSION + 1}")
    with pytest.raises(StateError, match="is of version") as caught:
        Database(path).read("SELECT 1")
    assert "newer" in caught.value.hint


def test_an_interrupted_creation_is_done_again(path):
    open(path, "w").close()
    assert Database(path).read("SELECT * FROM names") == []


@pytest.mark.parametrize("damage", [b"garbage " * 600, b"SQLite format 3\0" + b"\xff" * 4080])
def test_a_damaged_file_is_named(path, damage):
    with open(path, "wb") as file:
        file.write(damage)
    with pytest.raises(StateError, match="estiva.db is damaged"):
        Database(path).read("SELECT 1 FROM images")


def test_a_missing_directory_is_a_state_error(tmp_path):
    with pytest.raises(StateError, match="estiva.db"):
        Database(f"{tmp_path}/no/estiva.db").read("SELECT 1")


def test_a_full_disk_is_unavailable(path):
    db = Database(path)
    put(db, "a")
    db.read("PRAGMA max_page_count = 1")  # clamped to the pages in use
    with pytest.raises(Unavailable, match="no space left"):
        put(db, "b", "x" * 100_000)
    assert keys(db) == ["a"]


def log_size(path):
    """Bytes of the log; before Python 3.12 nothing keeps SQLite from removing it with the last connection."""
    return os.path.getsize(path + "-wal") if os.path.exists(path + "-wal") else 0


def test_the_log_stays_bounded(path):
    db = Database(path)
    for number in range(60):
        put(db, f"{number}", "x" * 40_000)
        db.close()
        assert log_size(path) <= LOG_LIMIT
    db.checkpoint()
    assert log_size(path) == 0
    assert len(keys(db)) == 60


def test_a_killed_writer_leaves_nothing_behind(path):
    db = Database(path)
    put(db, "a")
    child = os.fork()
    if child == 0:
        with db.write() as transaction:
            transaction.execute(INSERT, ("half", "v"))
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert keys(Database(path)) == ["a"]
    put(db, "b")


WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from estiva.store.database import Database
db = Database(sys.argv[2])
for turn in range(10):
    with db.write() as transaction:
        count = int(transaction.read("SELECT value FROM meta WHERE key = 'count'")[0][0])
        transaction.execute("UPDATE meta SET value = ? WHERE key = 'count'", (str(count + 1),))
    db.read("SELECT * FROM meta")
    if turn % 3 == 0:
        db.close()
"""


def source():
    import estiva

    return os.path.dirname(os.path.dirname(estiva.__file__))


def test_forty_processes_write_at_once(path):
    db = Database(path)
    put(db, "count", "0")
    db.close()
    command = [sys.executable, "-I", "-S", "-c", WRITER, source(), path]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(40)]
    errors = [child.communicate()[1] for child in children]
    assert [child.returncode for child in children] == [0] * 40, errors
    assert db.read("SELECT value FROM meta WHERE key = 'count'") == [("400",)]


def test_twenty_processes_create_it_at_once(path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from estiva.store.database import Database;"
        " Database(sys.argv[2]).read('SELECT * FROM names')"
    )
    command = [sys.executable, "-I", "-S", "-c", code, source(), path]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(20)]
    assert [child.communicate()[1] for child in children] == [b""] * 20


def test_the_cold_path_imports_little(path):
    Database(path).read("SELECT 1")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import estiva.store.images;"
        " from estiva.store.database import Database; db = Database(sys.argv[2]);"
        " db.read('SELECT * FROM names');\n"
        "with db.write(): pass\n"
        "print(*sorted(sys.modules))"
    )
    command = [sys.executable, "-I", "-S", "-c", code, source(), path]
    loaded = set(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.split())
    dear = {"functools", "collections", "re", "json", "datetime", "sqlite3", "enum", "typing", "hashlib"}
    assert loaded & dear == set()


HOLD = """
import os, signal, sys
sys.path.insert(0, {source!r})
from estiva.store.database import Database
with Database({path!r}).write() as transaction:
    transaction.execute("INSERT OR REPLACE INTO meta VALUES ('held', 'v')")
    print("in", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(database, "PATIENCE", 0.5)


def test_a_stopped_writer_is_named(path, impatient):
    """Ctrl-Z inside a transaction: others don't wait for ever, and are told who to wake."""
    db = Database(path)
    put(db, "a")
    held = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(source=source(), path=path)], stdout=subprocess.PIPE
    )
    try:
        assert held.stdout.readline() == b"in\n"
        while subprocess.run(["ps", "-o", "stat=", str(held.pid)], capture_output=True).stdout[:1] != b"T":
            pass
        for other in (db, Database(path)):
            with pytest.raises(
                StateError, match=f"is locked by process {held.pid} \\(.*python3? -c "
            ) as caught:
                put(other, "b")
            assert caught.value.hint == f"it is stopped: `kill -CONT {held.pid}` lets it go on"
        assert keys(db) == ["a"]  # who only reads does not wait
    finally:
        os.kill(held.pid, signal.SIGCONT)
        held.communicate()
    put(db, "b")
    assert keys(db) == ["a", "b", "held"]


def test_who_writes_without_the_queue_is_named_too(path, impatient):
    """Another SQLite program, such as a person's sqlite3: the lock itself tells."""
    put(Database(path), "a")
    code = f"import sqlite3; c = sqlite3.connect({path!r}); c.execute('BEGIN IMMEDIATE'); print('in', flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(StateError, match=f"is locked by process {other.pid} ") as caught:
            put(Database(path), "b")
        assert not caught.value.hint
    finally:
        other.communicate("\n")
    put(Database(path), "b")


def test_another_thread_is_named(path, impatient):
    db = Database(path)
    put(db, "a")
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with db.write():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait()
    try:
        with pytest.raises(StateError, match="another thread of this process"):
            put(db, "b")
    finally:
        leave.set()
        thread.join()
    put(db, "b")


def test_writers_in_turn_are_waited_for(path, monkeypatch):
    """The bound is for one that does not go on, not for a crowd."""
    monkeypatch.setattr(database, "PATIENCE", 2.0)
    db = Database(path)
    put(db, "a")
    code = (
        f"import sys, time; sys.path.insert(0, {source()!r})\n"
        f"from estiva.store.database import Database\n"
        f"db = Database({path!r})\n"
        "print('in', flush=True)\n"
        "with db.write(): time.sleep(1)\n"
    )
    children = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(4)]
    for child in children:
        child.stdout.readline()
    put(db, "b")
    for child in children:
        assert child.wait() == 0
        child.stdout.close()
