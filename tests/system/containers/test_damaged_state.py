"""State that somebody damaged, a disk that can't be written, a machine without cgroups: one line that says so."""

import glob
import os
import sqlite3
import subprocess

import pytest

from enginekit import ESTIVA, IMAGE, host
from statekit import one_line

RUN = ("run", "--rm", "--network", "none", IMAGE, "true")


@pytest.fixture
def box():
    with host() as made:
        yield made


@pytest.fixture(scope="module")
def kept():
    """One that the tests leave as it is."""
    with host() as made:
        yield made


def told(box, *words, status=1):
    """The one line of an error."""
    return one_line(box.estiva(*words, status=status).stderr)


def edited(box):
    return sqlite3.connect(f"{box.folder}/root/estiva.db", isolation_level=None)


class Database:
    """The database file, put back in the end."""

    def __init__(self, box):
        self.path = f"{box.folder}/root/estiva.db"
        connection = sqlite3.connect(self.path)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.close()
        with open(self.path, "rb") as file:
            self.content = file.read()

    def put(self, content):
        for name in (self.path, self.path + "-wal", self.path + "-shm"):
            if os.path.exists(name):
                os.unlink(name)
        with open(self.path, "wb") as file:
            file.write(content)


DAMAGES = {
    "garbage": lambda content: b"\xa5" * len(content),
    "text": lambda content: b"hello\n",
    "cut": lambda content: content[: len(content) // 2],
    "header": lambda content: content[:100],
    "zeros": lambda content: content[:4096] + bytes(len(content) - 4096),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_database_is_a_state_error(kept, damage):
    database = Database(kept)
    database.put(DAMAGES[damage](database.content))
    try:
        for words in (("images",), ("ps", "-a"), ("system", "check"), ("rm", "x"), ("import", "/dev/null")):
            assert "root/estiva.db is damaged: " in told(kept, *words)
        assert "root/estiva.db is damaged: " in told(kept, *RUN, status=125)
    finally:
        database.put(database.content)
    kept.estiva(*RUN)


def test_a_newer_database(kept):
    database = Database(kept)
    connection = edited(kept)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "is of version 99, this Estiva knows" in told(kept, "images")
    database.put(database.content)


def test_damaged_rows(box):
    container, sound = box.out("create", IMAGE, "true"), box.out("create", IMAGE, "true")
    connection = edited(box)
    connection.execute("UPDATE containers SET record = '{nonsense' WHERE id = ?", (container,))
    connection.close()
    said = f"the record of container {container[:12]} is not valid json"
    for words in (("inspect", container), ("rm", container), ("start", container)):
        assert said in told(box, *words)
    done = box.estiva("ps", "-aq")  # the others are there
    assert done.stdout == sound[:12] + "\n"
    assert done.stderr.startswith(f"WARNING: {said}") and done.stderr.count("\n") == 1
    assert f"problem: {said}" in box.estiva("system", "check", status=1).stdout
    assert box.out("rm", "-f", container) == container
    assert not os.path.exists(f"{box.folder}/root/containers/{container}")
    assert box.out("system", "check") == "all is well"
    box.estiva("rm", sound)
    connection = edited(box)
    connection.execute("UPDATE images SET config = config || '}'")
    connection.close()
    assert "the config of image sha256:" in told(box, "images")
    assert "the config of image sha256:" in told(box, *RUN, status=125)
    assert "has a config of another digest" in box.estiva("system", "check", status=1).stdout
    connection = edited(box)
    connection.execute("UPDATE images SET config = substr(config, 1, length(config) - 1)")
    connection.close()


def test_damaged_content_is_named_and_never_leaves(box):
    """`check --deep` names it, `save` refuses to give it away under its digest."""
    blob = max(glob.glob(f"{box.folder}/root/blobs/sha256/*"), key=os.path.getsize)
    digest = f"sha256:{os.path.basename(blob)}"
    with open(blob, "rb") as file:
        whole = file.read()
    for content, finding, deep in (
        (whole[:5000] + b"\xa5" + whole[5001:], f"blob {digest} is damaged", ["--deep"]),
        (whole[:5000], f"blob {digest} is 5000 bytes long instead of {len(whole)}", []),
        (None, f"blob {digest} has no file", []),
    ):
        os.unlink(blob)
        if content is not None:
            with open(blob, "wb") as file:
                file.write(content)
        assert f"problem: {finding}" in box.estiva("system", "check", *deep, status=1).stdout
        assert digest in told(box, "save", "-o", f"{box.folder}/saved.tar", IMAGE)
        assert not glob.glob(f"{box.folder}/saved.tar*")
        if content is None:
            with open(blob, "wb") as file:
                file.write(whole)
        os.chmod(blob, 0o600)
    box.estiva("save", "-o", f"{box.folder}/saved.tar", IMAGE)


def test_a_log_with_a_garbled_line(box):
    box.estiva("run", "--name", "said", "--network", "none", IMAGE, "sh", "-c", "echo one; echo two")
    path = glob.glob(f"{box.folder}/root/containers/*/log.json")[0]
    with open(path, "rb") as file:
        first, second = file.read().splitlines(keepends=True)
    with open(path, "wb") as file:
        file.write(first + b'{"log":"half\n' + b"[]\n" + second + b'{"log":"cut')
    assert box.out("logs", "said") == "one\ntwo"
    box.estiva("rm", "said")


def in_mounts(box, script, *words):
    """The command line after `script` has changed a mount namespace of its own."""
    command = [*box.prefix, "unshare", "-m", "sh", "-c", f'{script}; exec "$@"', "-", ESTIVA, *words]
    return subprocess.run(
        command, env=box.env, cwd=box.folder, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def read_only(path):
    return f"mount --bind {path} {path} && mount -o remount,bind,ro {path}"


def test_a_read_only_state_root(kept):
    root = f"{kept.folder}/root"
    kept.estiva("images")
    for words in (("images",), ("ps", "-a"), ("inspect", IMAGE), ("info",)):
        done = in_mounts(kept, read_only(root), *words)  # SQLite can read only where its log is still there
        assert done.returncode == 0 or "estiva.db: unable to open database file" in one_line(done.stderr)
    for words, status, message in (
        (RUN, 125, "read-only file system"),
        (("create", IMAGE, "true"), 125, "read-only file system"),
        (("tag", IMAGE, "x:1"), 1, "root/estiva.db can't be written"),
        (("rmi", IMAGE), 1, "root/estiva.db can't be written"),
        (("volume", "create", "vol"), 1, "read-only file system"),
    ):
        done = in_mounts(kept, read_only(root), *words)
        assert done.returncode == status and message in one_line(done.stderr), (words, done.stderr)
    assert kept.out("ps", "-aq") == "" and not os.listdir(f"{kept.folder}/run/containers")
    kept.estiva(*RUN)


def test_a_read_only_run_root(kept):
    done = in_mounts(kept, read_only(f"{kept.folder}/run"), *RUN)
    assert done.returncode == 125 and "read-only file system" in one_line(done.stderr)
    assert kept.out("ps", "-aq") == ""


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("umount -R /sys/fs/cgroup && mount -t tmpfs none /sys/fs/cgroup", "no cgroup hierarchy is mounted"),
        ("umount -R /sys/fs/cgroup", "no cgroup hierarchy is mounted"),
        ("for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mount -o remount,bind,ro $d 2>&-; done; true",
         "read-only file system"),
    ],
    ids=["none", "nothing", "read-only"],
)  # fmt: skip
def test_a_machine_without_usable_cgroups(kept, script, message):
    done = in_mounts(kept, script, *RUN)
    assert done.returncode == 125 and message in one_line(done.stderr)
    assert in_mounts(kept, script, "ps").returncode == 0
    assert kept.out("ps", "-aq") == ""


def test_without_the_right_to_mount(kept):
    done = subprocess.run(
        [*kept.prefix, "setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-all", ESTIVA, *RUN],
        env=kept.env, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 125 and "operation not permitted" in one_line(done.stderr)
    assert kept.out("ps", "-aq") == ""
