"""Snapshots with processes: any number of containers go on where one was, and what can't be is refused by name."""

import json
import os
import pathlib
import stat

import pytest

import criukit
from enginekit import eventually, host
from killkit import assert_nothing_left

BEGIN = """
import estiva, os, time
engine = estiva.Engine()
def until(true):
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)
def counted(box):
    return [int(word) for word in box.exec("cat /count").output.split()]
def goes_on(box, beyond):
    until(lambda: len(counted(box)) > beyond + 3)
    found = counted(box)
    return found == list(range(1, len(found) + 1))
def differ(one, other):
    return sorted(set(one.split("\\n")) ^ set(other.split("\\n")))
def begin(box):
    box.exec(["sh", "-c", "(echo 0 >/dev/shm/kept; cd /tmp; i=0; while usleep 30000; do i=$((i+1)); echo $i >>/count; done) >/dev/null 2>&1 </dev/null &"]).check()
    until(lambda: len(counted(box)) > 3)
"""


@pytest.fixture(scope="module")
def box():
    if reason := criukit.why_not():
        pytest.skip(reason)
    with host() as made:
        yield made
        assert_nothing_left(made)


def states(box):
    try:
        return sorted(os.listdir(f"{box.folder}/root/states"))
    except FileNotFoundError:
        return []


LOOK = """for p in /proc/[0-9]*; do [ $p = /proc/$$ ] && continue; case $(cat $p/comm 2>/dev/null) in estiva-init|sh)
    echo ${p#/proc/}; sed 's/.0*$//' $p/cmdline | wc -c; readlink $p/cwd; grep -E '^(Name|Pid|PPid|Uid|Cap|Seccomp:|NoNew|Sig[BIC])' $p/status; sed 's/.*://' $p/cgroup | sort -u
    esac; done; readlink /proc/1/exe; cat /proc/1/maps | wc -l; cat /dev/shm/kept; mount | sed 's/overlay.*//' | sort | wc -l"""


def test_any_number_go_on_where_a_box_was(box):
    """Its init is our own, which is of the host's files; it is guarded in the others as it was."""
    out = box.python(
        BEGIN
        + f"""
LOOK = '''{LOOK}'''
look = lambda box: box.exec(["sh", "-c", LOOK]).output.replace(box.id[:12], "")
with estiva.container("box:1", network="none", memory="64m") as made:
    begin(made)
    before = look(made)
    state = made.snapshot(memory=True)
    kept = state.inspect()
    print(kept["Memory"], kept["Copied"], kept["Size"] > 1 << 20, made.exec("true").status)
    print(goes_on(made, len(counted(made))))
    with estiva.container(state, network="none", memory="96m") as one, estiva.container(state, network="none") as two:
        for other in (one, two):
            at = len(counted(other))
            print(goes_on(other, at), differ(look(other), before), other.exec("head -c 1 /proc/1/exe").status)
        one.exec(["sh", "-c", "kill -9 $(grep -l '^i=' /dev/null; for p in /proc/[0-9]*; do [ $(cat $p/comm) = sh ] && [ ${{p#/proc/}} != $$ ] && echo ${{p#/proc/}}; done)"])
        print(goes_on(two, len(counted(two))))
        with two.fork(memory=True) as third:
            print(goes_on(third, len(counted(third))))
            with two.fork() as fourth:
                print(fourth.inspect()["State"]["Running"], "usleep" in fourth.exec("ps").output)
        print(one.restart(0), "usleep" in one.exec("ps").output, one.exec("true").status)
    with estiva.container(state, ["sh", "-c", "ps; exec sleep 1000"], network="none") as files:
        print("usleep" in files.exec("ps").output, files.exec("test -s /count").status)
"""
    )
    assert out.splitlines() == [
        "True True True 0", "True", *["True [] 1"] * 2, "True", "True", "True False", "None False 0", "False 0"
    ]  # fmt: skip
    assert not states(box)


def test_a_container_with_a_command_and_a_network(box):
    """Its output goes to the log of each, which has an address of its own."""
    script = 'trap "exit 7" TERM; i=0; while usleep 50000; do i=$((i+1)); echo $i; done'
    box.estiva("run", "-d", "--name", "web", "-v", "/etc:/host:ro", "box:1", "sh", "-c", script)
    eventually(lambda: len(box.out("logs", "web").split()) > 3)
    box.estiva("snapshot", "create", "--memory", "web", "warm")
    [folder] = states(box)
    kept = pathlib.Path(box.folder, "root/states", folder)
    assert (
        stat.S_IMODE(kept.stat().st_mode) == 0o700
        and (kept / "memory/memory.json").stat().st_mode & 0o77 == 0
    )
    last = int(box.out("logs", "web").split()[-1])
    options = ("--network", "bridge", "-v", "/etc:/host:ro")
    box.estiva("run", "-d", "--name", "one", *options, "warm")
    box.estiva("create", "--name", "two", *options, "warm")
    box.estiva("start", "two")
    addresses = set()
    for name in ("web", "one", "two"):
        eventually(lambda name=name: len(box.out("logs", name).split()) > 3)
        numbers = [int(word) for word in box.out("logs", name).split()]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) and numbers[0] <= last + 1
        address = box.out("inspect", "-f", "{{.NetworkSettings.IPAddress}}", name)
        addresses.add(address)
        assert f" {address}/" in box.out("exec", name, "ip", "-o", "addr")
        assert box.out("exec", name, "readlink", "/proc/1/fd/1").startswith("pipe:")
        assert address in box.out("exec", name, "cat", "/etc/hosts")
    assert len(addresses) == 3
    box.estiva("stop", "one")
    assert box.out("inspect", "-f", "{{.State.ExitCode}}", "one") == "7"
    box.estiva("start", "one")  # from its beginning
    eventually(lambda: "\n1\n" in "\n" + box.out("logs", "one") + "\n")
    refused = box.estiva("run", "-d", "--rm", "warm", status=125).stderr
    assert "can't go on from its snapshot's memory: its processes had something mounted at /host" in refused
    refused = box.estiva("run", "-d", "--rm", *options, "-v", "/usr:/more", "warm", status=125).stderr
    assert "nothing can be mounted at /more" in refused
    refused = box.estiva("run", "-dt", "--rm", *options, "warm", status=125).stderr
    assert "snapshot warm: it has a terminal" in refused
    assert box.out("run", "--rm", "warm", "echo", "files") == "files"

    names = json.loads((kept / "memory/memory.json").read_text())
    for change, words in (
        ({"host": {"file[1:2]": ["/etc/passwd", 1, 2, 3, 4]}}, "/etc/passwd has been replaced"),
        ({"host": {"file[1:2]": ["/no/such", 1, 2, 3, 4]}}, "/no/such has gone"),
        ({"null": 7}, "is damaged"),
    ):
        (kept / "memory/memory.json").write_text(json.dumps({**names, **change}))
        refused = box.estiva("run", "-d", "--rm", *options, "warm", status=125).stderr
        assert words in refused and refused.count("\n") <= 2
    (kept / "memory/memory.json").write_text(json.dumps(names))
    (kept / "memory/inventory.img").write_bytes(b"x")
    refused = box.estiva("run", "-d", "--name", "three", *options, "warm", status=125).stderr
    assert "criu can't restore them here: " in refused and refused.count("\n") <= 2
    box.estiva("rm", "-f", "one", "two", "three", "web")
    box.estiva("snapshot", "rm", "warm")
    assert not states(box)


def test_one_that_listens(box):
    """As criu can: 4.1 asks each socket for SO_PASSCRED, which since Linux 6.16 is refused for those of TCP."""
    out = box.python(
        BEGIN
        + """
with estiva.container("box:1", network="none") as made:
    made.exec(["sh", "-c", "nc -ll -p 80 -e echo hello >/dev/null 2>&1 </dev/null &"])
    until(lambda: " 0A " in made.exec("cat /proc/net/tcp /proc/net/tcp6").output)
    try:
        with made.fork(memory=True) as other:
            print(other.exec(["sh", "-c", "nc 127.0.0.1 80 </dev/null"]).output)
    except estiva.EstivaError as error:
        print(error)
    print(made.exec(["sh", "-c", "nc 127.0.0.1 80 </dev/null"]).output)
"""
    ).split("\n")
    out = [line for line in out if line]
    assert out[-1] == "hello" and (out[0] == "hello" or "1:16 opt: Operation not supported" in out[0]), out


def test_what_is_in_the_way_is_named(box):
    out = box.python(
        BEGIN
        + """
def refused(made, **options):
    try:
        made.snapshot(memory=True)
        print("kept")
    except estiva.EstivaError as error:
        print(type(error).__name__, str(error).partition(" can't be made: ")[2] or str(error))
    print(made.exec("true").status if made.inspect()["State"]["Running"] else "ended")

with estiva.container("box:1", network="none") as made:
    made.stop(0)
    refused(made)
for options in ({"tty": True}, {"profile": "untrusted"}, {"userns": "auto"}, {"network": "host"}, {"pid": "host"}):
    with estiva.container("box:1", **{"network": "none", **options}) as made:
        refused(made)
with estiva.pool("box:1", size=1, network="none") as pool, pool.box() as made:
    refused(made)
with estiva.container("box:1", network="none") as made:
    with made.popen(["sleep", "1000"]) as child:
        refused(made)
        child.kill()
with estiva.container("box:1", network="none") as made:
    made.exec(["sh", "-c", "nc -ll -p 80 -e sleep 1000 >/dev/null 2>&1 </dev/null &"])
    until(lambda: " 0A " in made.exec("cat /proc/net/tcp /proc/net/tcp6").output)
    made.exec(["sh", "-c", "nc 127.0.0.1 80 >/dev/null 2>&1 </dev/zero &"])
    until(lambda: " 01 " in made.exec("cat /proc/net/tcp /proc/net/tcp6").output)
    refused(made)
print(len(os.listdir(os.environ["ESTIVA_ROOT"] + "/states")))
"""
    )
    lines = out.splitlines()
    for line, words in zip(lines[0:-1:2], (
        "does not run: it has no processes to keep", "it has a terminal", "a user namespace of its own", "a user namespace of its own",
        "the host's network", "namespaces of others", "it is of a pool", "begun by exec", "network connections open",
    ), strict=True):  # fmt: skip
        assert words in line, out
    assert lines[1:-1:2] == ["ended", *["0"] * 8] and lines[-1] == "0"


def test_killed_while_its_processes_are_written(box):
    """Whoever takes it, and criu: the container goes on, or ends with its program; nothing is left."""
    for victim in ("dumper", "criu", "program"):
        out = box.python(
            BEGIN
            + f"""
import subprocess, signal, threading
from estiva.engine.containers.snapshots import memory
real = subprocess.Popen
def popen(*words, **options):
    child = real(*words, **options)
    def shoot():
        if {victim!r} == "program": os.kill(os.getpid(), 9)
        if {victim!r} == "dumper": child.kill()
        while {victim!r} == "criu" and child.poll() is None:
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    if f"\\nPPid:\\t{{child.pid}}\\n" in open(f"/proc/{{pid}}/status").read() and open(f"/proc/{{pid}}/comm").read() == "criu\\n":
                        os.kill(int(pid), 9)
                except OSError: pass
    threading.Timer(0.0 if {victim!r} == "criu" else 0.05, shoot).start()
    return child
with estiva.container("box:1", network="none") as made:
    begin(made)
    subprocess.Popen = popen
    try: print(made.snapshot(memory=True))
    except estiva.EstivaError as error: print(error)
    subprocess.Popen = real
    print(goes_on(made, len(counted(made))))
""",
            status=None,
        )
        if victim != "program":
            assert out.count("\n") == 2 and "can't be made: " in out and out.endswith("True\n"), (victim, out)
        eventually(lambda: not box.cgroups(), 60)
        box.estiva("system", "prune", "-f")
        assert not states(box), victim
