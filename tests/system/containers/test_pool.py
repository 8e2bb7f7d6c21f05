"""Boxes made ahead, and whose init executes their commands."""

import os
import signal
import subprocess

import pytest

import killkit
from enginekit import CHECKOUT, eventually, host
from killkit import assert_nothing_left

BEGIN = "import estiva, os, threading, time\nengine = estiva.Engine()\n"


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made
        assert_nothing_left(made)


def test_a_command_by_the_init_is_as_any_other(box):
    """Each is given both ways: by the init of a box of a pool, and joined."""
    out = box.python(
        BEGIN
        + """
commands = [
    (["sh", "-c", "cat; echo err >&2; exit 3"], dict(input="in")),
    (["sh", "-c", "id; pwd; echo $A $HOME $HOSTNAME"], dict(user="user", workdir="/tmp", env={"A": "b", "HOSTNAME": None})),
    (["sh", "-c", "cd /proc/self; ls fd; grep -E '^(Cap|Seccomp:|NoNew|Sig[BIC]|Groups|Umask)' /proc/self/status; cat cgroup | wc -l; ls -l /proc/self/ns/pid"], {}),
    (["sh", "-c", "kill -9 $$"], {}),
    (["no-such"], {}), (["/etc/passwd"], {}), (["true"], dict(user="nobody-here")), (["true"], dict(workdir="/etc/passwd")),
    (["sh", "-c", "yes | head -c 200000"], dict(max_output=1000)),
    (["sh", "-c", "ulimit -n; cat /proc/self/oom_score_adj; env | sort"], {}),
    (["sh", "-c", "echo out; sleep 100 & sleep 100"], dict(timeout=1)),
    (["echo", "after"], {}),
]
def said(box, command, options):
    try: result = box.exec(command, **options)
    except estiva.CommandTimeout as error: return "timeout", error.output
    except estiva.EstivaError as error: return type(error).__name__, str(error)
    return result.status, result.output, result.stderr, result.truncated
with estiva.pool("box:1", size=1, network="none", ulimits={"nofile": (512, 512)}) as pool, pool.box() as first:
    agent = first._agent
    served = []
    real = agent.start
    agent.start = lambda *given: served.append(1) or real(*given)
    for command, options in commands:
        one = said(first, command, options)
        first._agent = None
        other = said(first, command, options)
        first._agent = agent
        print(one == other or (one, other))
    agent.rest()  # without the process that waits for the next one
    print(len(served), len(first.top().rows))
    for one in engine.containers.list():
        if one != first: one.remove(force=True)
with estiva.pool("box:1", size=2, network="none") as pool, pool.box() as first:
    pid = os.fork()
    if pid == 0:
        try: pool.box().__enter__()
        except estiva.EstivaError as error: print(error, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
    print(first.exec("echo on").output.strip(), first.running)
    while pool.ready < 2: time.sleep(0.01)
    for one in engine.containers.list():
        if one != first: one.remove(force=True)
    with pool.box() as other: print(other.exec("echo other").output.strip())
"""
    )
    assert out.splitlines() == [
        *["True"] * 12,
        "12 1",
        "this pool is of the program that has forked",
        "on True",
        "other",
    ]


def test_what_the_init_holds_is_out_of_reach(box):
    """K3, K4: not its program, memory, descriptors or environment; nor does a command get any of its own."""
    out = box.python(
        BEGIN
        + """
with estiva.pool("box:1", size=1, network="none", env={"SHOWN": "1"}) as pool, pool.box() as box:
    for name in ("exe", "fd/", "environ", "mem", "maps", "cwd/", "root/", "map_files/"):
        found = box.exec(["sh", "-c", f"for one in /proc/1/{name}*; do readlink $one; head -c 1 $one; (: >$one); done"])
        print(name, found.stdout == b"" and ("denied" in found.stderr.decode() or "rectory" in found.stderr.decode()) or found)
    print(box.exec(["sh", "-c", "tr '\\\\0' ' ' </proc/1/cmdline; ls /proc/self/fd | wc -l; kill -9 1; kill -IO 1; echo on"]).output.split())
    print(box.exec(["sh", "-c", "cat /proc/self/environ | grep -c ESTIVA"]).output.strip(), box.exec("true").status)
for options in (dict(cap_add="SYS_PTRACE"), dict(privileged=True), dict(userns="auto"), dict(pid="host")):
    with estiva.pool("box:1", size=1, network="none", **options) as pool, pool.box() as box:
        served = []
        real = box._agent.start
        def start(*given):
            command = real(*given)
            served.append(1)
            return command
        box._agent.start = start
        print(options, box.exec("echo on").output.strip(), served)
"""
    )
    lines = out.splitlines()
    assert [line.split()[1] for line in lines[:8]] == ["True"] * 8, lines
    assert lines[8].endswith("'on']") and lines[9] == "0 0"
    assert all(line.endswith("on []") for line in lines[10:]) and len(lines) == 14, lines


def test_many_boxes_in_many_threads(box):
    out = box.python(
        BEGIN
        + """
from concurrent.futures import ThreadPoolExecutor
def one(number):
    with pool.box() as box:
        return box.exec(["sh", "-c", f"test ! -e /mine && echo {number} | tee /mine"]).output
def descriptors(): return len(os.listdir("/proc/self/fd"))
with estiva.pool("box:1", size=4, network="none") as pool:
    with ThreadPoolExecutor(16) as threads:
        print(list(threads.map(one, range(60))) == [f"{number}\\n" for number in range(60)])
print(engine.containers.list(all=True), threading.active_count(), descriptors() < 30)
"""
    )
    assert out.splitlines() == ["True", "[] 1 True"]


def test_what_can_not_be(box):
    out = box.python(
        BEGIN
        + """
for call in (lambda: estiva.pool("no-such:1", pull="never"), lambda: estiva.pool("box:1", size=0), lambda: estiva.pool("box:1", name="x"),
             lambda: estiva.pool("box:1", memory="x"), lambda: estiva.pool("box:1", warm="1", network="none")):
    try: call()
    except estiva.EstivaError as error: print(type(error).__name__, error)
pool = estiva.pool("box:1", size=2, network="none")
print(pool.size, [one.status for one in engine.containers.list()] and "there")
pool.close(); pool.close()
try:
    with pool.box(): pass
except estiva.EstivaError as error: print(type(error).__name__, error)
print(engine.containers.list(all=True))
"""
    )
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:5]] == [
        "NotFound",
        "InvalidInput",
        "InvalidInput",
        "InvalidInput",
        "Unsupported",
    ]
    assert "there is no python3 in the image" in lines[4]
    assert lines[5:] == ["2 there", "Conflict this pool is closed", "[]"]


def test_it_ends_with_its_program(box):
    """Killed, and in the middle of all that it does."""
    code = (
        BEGIN
        + """
pool = estiva.pool("box:1", size=3, network="none")
taken = pool.box(); box = taken.__enter__()
box.exec("true")
print("ready", flush=True)
box.exec("sleep 1000")
"""
    )
    program = subprocess.Popen(
        [*box.prefix, str(CHECKOUT / ".venv/bin/python3"), "-c", code],
        env={**box.env, "PYTHONPATH": str(CHECKOUT / "src")},
        stdout=subprocess.PIPE,
        cwd=box.folder,
    )
    assert program.stdout.readline() == b"ready\n"
    os.kill(program.pid, signal.SIGKILL)
    program.wait()
    program.stdout.close()
    eventually(lambda: not box.out("ps", "-aq"))
    eventually(lambda: not box.cgroups())
    assert "nothing" in box.out("system", "check") or "well" in box.out("system", "check")


def test_a_snapshot_in_a_pool(box):
    out = box.python(
        BEGIN
        + """
with estiva.container("box:1", network="none") as first:
    first.exec(["sh", "-c", "echo 1 >/1"]).check()
    state = first.snapshot()
with estiva.pool(state, size=2, network="none") as pool:
    for _ in range(3):
        with pool.box() as box:
            print(box.exec(["sh", "-c", "cat /1; echo 2 >/1"]).output.strip(), end=" ")
            with box.fork() as other: print(other.exec("cat /1").output.strip())
"""
    )
    assert out.splitlines() == ["1 2"] * 3


def test_ctrl_c_at_any_instruction_loses_no_box_and_no_lock(box):
    """A Condition that stays locked keeps the fillers waiting, and `close` for them."""
    out = box.python(
        f"import sys; sys.path.insert(0, {os.path.dirname(killkit.__file__)!r})\nimport interrupts\n"
        + BEGIN
        + """
with estiva.pool("box:1", size=1, network="none") as pool:
    def work():
        with pool.box(): pass
    work()
    interrupts.attempt(-1, work)
    hits = [interrupts.attempt(number, work) for number in range(1, interrupts.count, 41)]
    fillers = pool._fillers
    for _ in range(3): work()
    while pool.ready < 1 or pool._used: time.sleep(0.01)
    until = time.monotonic() + 30
    while len(engine.containers.list()) > 1 and time.monotonic() < until: time.sleep(0.05)
    print(len(engine.containers.list()), hits.count(True) > 10)
print([each.is_alive() for each in fillers], engine.containers.list(all=True))
""",
        timeout=120,
    )
    assert out.splitlines() == ["1 True", "[False, False] []"]


def test_fillers_that_fail_or_can_not_be_had(box):
    out = box.python(
        BEGIN
        + """
from estiva.sdk.sandbox import ready as pools
start = threading.Thread.start
def none(thread): raise RuntimeError("can't start new thread")
threading.Thread.start = none
try: estiva.pool("box:1", network="none")
except estiva.EstivaError as error: print(type(error).__name__, engine.containers.list(all=True))
threading.Thread.start = start
with estiva.pool("box:1", size=1, network="none") as pool:
    make, pools.Ready.make = pools.Ready.make, lambda ready: 1 / 0
    with pool.box(): pass
    try: pool.box().__enter__()
    except ZeroDivisionError: print("told")
    pools.Ready.make = make
    for _ in range(3):
        try:
            with pool.box() as one: print(one.exec("echo on").output.strip())
            break
        except ZeroDivisionError: pass
""",
        timeout=120,
    )
    assert out.splitlines() == ["Unavailable []", "told", "on"]
