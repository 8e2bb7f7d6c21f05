"""What comes from inside of a container is hostile: it is bounded, and escaped before anybody sees it."""

import dataclasses
import os
import subprocess
import sys

import pytest

from estiva.view import layers, mounts, words
from estiva.view.limits import _pressure
from estiva.view.network import reach
from estiva.view.seen import Seen, clean, number, whole
from estiva.view.shapes import Anatomy, Cgroup, Config, Limit, Listener, Process, Rights, Writable

ESCAPE = "\x1b]0;owned\x07\n\u202e"


def texts(value):
    """Every text in a value."""
    if isinstance(value, str):
        yield value
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from texts(getattr(value, field.name))
    elif isinstance(value, tuple):
        for each in value:
            yield from texts(each)


def record(**more):
    return {"Mounts": [], "HostConfig": {}, **more}


class Fake:
    """A process whose files say what a test wants."""

    pid = 1

    def __init__(self, **files):
        self.files = files

    def read(self, name, limit=0):
        return self.files[name]


def test_mounts_are_escaped_and_counted():
    lines = [f"{n} 1 0:1 / /evil\x1b[2J\\012{n} rw,x\x07 - tmp\x1bfs so\x1brce rw" for n in range(3000)]
    found = mounts.gather(record(), Fake(mountinfo="\n".join(lines)))
    assert len(found) == mounts.MOST
    assert all(text.isprintable() for text in texts(found))


def test_a_table_of_mounts_that_is_cut_off_or_nonsense():
    text = "1 2 0:1 / / rw - overlay overlay rw\ngarbage\n- - -\n5 1 0:5 / /x rw\n7 1 0:1 / /y r"
    assert [each.destination for each in mounts.gather(record(), Fake(mountinfo=text))] == ["/"]


def test_what_each_mount_is_for():
    table = {
        "/": ("/", "overlay", "root"),
        "/proc": ("/", "proc", "kernel"),
        "/proc/keys": ("/null", "devtmpfs", "mask"),
        "/proc/sys": ("/sys", "proc", "guard"),
        "/sys/firmware": ("/", "tmpfs", "mask"),
        "/sys/fs/cgroup": ("/", "tmpfs", "kernel"),
        "/etc/hosts": ("/x/hosts", "ext4", "file"),
        "/data": ("/srv", "ext4", "volume"),
        "/other": ("/srv/other", "ext4", "bind"),
        "/tmp": ("/", "tmpfs", "tmpfs"),
    }
    text = "\n".join(
        f"1 1 0:1 {root} {place} rw,nosuid - {kind} dev ro" for place, (root, kind, _) in table.items()
    )
    point = {"Destination": "/data", "Type": "volume", "Name": "data"}
    found = mounts.gather(record(Mounts=[point]), Fake(mountinfo=text))
    assert {each.destination: each.kind for each in found} == {place: row[2] for place, row in table.items()}
    assert all(each.read_only and each.flags == ("nosuid",) for each in found)
    assert next(each.source for each in found if each.destination == "/data") == "data"


def test_a_giant_command_line_and_environment_are_not_read_whole(tmp_path):
    many = {f"V{n}": "x" * 100_000 for n in range(10)}
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import time; print(1, flush=True); time.sleep(60)",
            "a" * 100_000,
            "b" * 100_000,
        ],
        env=many,
        stdout=subprocess.PIPE,
    )
    try:
        child.stdout.readline()
        with Seen(child.pid) as seen:
            assert len(seen.read("cmdline")) == 4096
            assert len(clean(seen.read("cmdline"))) < 700
            assert seen.namespace("pid") == number(os.readlink("/proc/self/ns/pid"))
            assert seen.namespace("no-such-kind") == 0
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_process_that_has_gone():
    child = subprocess.Popen(["sleep", "60"])
    with Seen(child.pid) as seen:
        child.kill()
        child.wait()
        with pytest.raises(OSError):
            seen.status()
    with pytest.raises(ProcessLookupError):
        Seen(child.pid)


def test_numbers_of_the_kernel():
    assert (number("pid:[4026531836]"), number("pid:[]"), number("x")) == (4026531836, 0, 0)
    assert (whole("1336 kB"), whole(""), whole("-1"), whole("\u0663 kB")) == (1336, 0, 0, 0)


def body(**parts):
    nothing = {
        "kind": "container", "id": "1" * 64, "name": "web", "status": "running", "image": "box", "created": "", "told": (),
        "pid": 0, "processes": (), "process_count": 0, "users": (), "groups": (), "namespaces": (), "network": None,
        "cgroup": None, "rights": None, "mounts": (), "layers": (), "writable": None,
        "config": Config((), "", "/", (), (), ()), "containers": (), "unseen": (),
    }  # fmt: skip
    return Anatomy(**{**nothing, **parts})


def process(pid, parent, command="x"):
    return Process(pid, pid, parent, "child", command, "sleeping", 0, "root", 0, "root", 1 << 20, 1)


def test_a_deep_tree_of_processes_is_drawn_without_recursion():
    chain = tuple(process(pid, pid - 1) for pid in range(1, 5001))
    text = words.plain(body(processes=chain, process_count=10_000))
    assert "10000 processes" in text and "... and " in text
    assert max(map(len, text.splitlines())) < 400


def test_children_stand_below_their_parents():
    tree = (process(10, 0, "init"), process(12, 10, "a"), process(13, 10, "b"), process(14, 12, "c"))
    rows = next(
        section
        for section in words.sections(body(processes=tree, process_count=4))
        if section.rows[0].cells[-1] == "init"
    ).rows
    assert [row.cells[-1] for row in rows] == ["init", "  `- a", "    `- c", "  `- b"]


def test_what_there_is_nothing_of_has_no_section():
    assert [section.title for section in words.sections(body())] == ["container web (running)"]


def test_limits_in_words():
    limits = (
        Limit("memory", "bytes", 64 << 20, 32 << 20, 48 << 20, 3, "50 %"),
        Limit("cpu", "cpus", 0.5, 12.0, None, 0, "12.0 s"),
        Limit("processes", "processes", None, 4, 9, 0, "no limit"),
    )
    told = words.sections(body(cgroup=Cgroup("v2", "/a", limits, (), True)))[-1]
    assert told.title.endswith("(frozen)")
    assert [row.cells[1:4] for row in told.rows] == [
        ("64.0 MiB", "32.0 MiB", "48.0 MiB"),
        ("0.5", "", ""),
        ("none", "4", "9"),
    ]
    assert [row.tone for row in told.rows] == [words.BAD, "", ""]


def test_pressure():
    text = "some avg10=1.50 avg60=0.20 avg300=0.00 total=1\nfull avg10=0.50 avg60=x avg300=0.00 total=1"
    told = _pressure("io", text)
    assert (told.some10, told.some60, told.full10, told.full60) == (1.5, 0.2, 0.5, 0.0)
    assert _pressure("io", "") is None and _pressure("io", "nonsense") is None


def test_who_reaches_a_listener():
    assert reach(Listener("tcp", "127.0.0.1", 80)) and not reach(Listener("tcp", "::", 80))


def test_the_read_write_layer(tmp_path):
    upper = tmp_path / "upper"
    (upper / "a/b").mkdir(parents=True)
    (upper / "a/b/big").write_bytes(b"x" * 5000)
    (upper / "a/small\x1b[2J").write_bytes(b"x")
    os.link(upper / "a/b/big", upper / "again")
    (upper / "out").symlink_to("/etc")
    found = layers.writable(str(tmp_path))
    assert (found.size, found.files, found.folders, found.removed, found.complete) == (5001, 4, 2, 0, True)
    assert {each.size for each in found.largest} == {5000, 1}
    assert all(each.path.isprintable() for each in found.largest)
    assert layers.writable(str(tmp_path / "none")) is None


def test_a_read_write_layer_with_too_much_in_it(tmp_path, monkeypatch):
    (tmp_path / "upper").mkdir()
    for n in range(50):
        (tmp_path / f"upper/{n}").touch()
    monkeypatch.setattr(layers, "MOST", 20)
    found = layers.writable(str(tmp_path))
    assert found.files == 20 and not found.complete


def test_a_read_write_layer_that_is_very_deep(tmp_path, monkeypatch):
    monkeypatch.setattr(layers, "TIME", 60)
    at = os.open(tmp_path, os.O_RDONLY)
    for name in ["upper"] + ["d"] * 1500:
        os.mkdir(name, dir_fd=at)
        inner = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
    before = len(os.listdir("/proc/self/fd"))
    found = layers.writable(str(tmp_path))
    assert found.folders == 1500 and found.complete
    assert len(os.listdir("/proc/self/fd")) == before
    subprocess.run(["rm", "-rf", tmp_path / "upper"], check=True)


def test_everything_that_is_drawn_is_printable():
    hostile = process(1, 0, clean(ESCAPE))
    rights = Rights((), (), "filter", 1, False, clean(ESCAPE), (clean(ESCAPE),))
    held = Writable(1, 1, 1, 1, (), False)
    text = words.plain(
        body(processes=(hostile,), process_count=1, rights=rights, writable=held, unseen=("x",))
    )
    assert all(line.isprintable() for line in text.splitlines())
