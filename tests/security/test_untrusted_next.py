"""A box whose code harms the process that waits for the next command, as root of the box may: the next command runs,
or an error tells why not; nobody waits."""

import pytest

from enginekit import host
from killkit import assert_nothing_left

BEGIN = """import estiva, os, time
engine = estiva.Engine()
def said(call):
    try: return call()
    except estiva.EstivaError as error: return type(error).__name__ + ": " + str(error)
def background(box, script, seconds=1.5):
    box.exec(["sh", "-c", f"({script}) >/out 2>&1 &"]).check()
    time.sleep(seconds)
def on(box): return said(lambda: box.exec(["sh", "-c", "echo on"], timeout=30).output.strip())
def waits(box): return len([row for row in box.top().rows if row[-1] == "estiva-init"]) - 1
"""


@pytest.fixture(scope="module")
def box():
    with host() as made:
        made.import_python("sleep", "sh", "kill", "head", "grep", "ls", "readlink", "cat", "setsid")
        yield made
        assert_nothing_left(made)


def test_signals(box):
    out = box.python(
        BEGIN
        + """
with estiva.pool("box:1", size=1, network="none") as pool, pool.box() as box:
    for signal in ("KILL", "TERM", "HUP", "INT", "USR1", "CHLD", "IO", "PIPE", "STOP"):
        background(box, f"sleep 0.5; kill -{signal} -1; sleep 0.5; kill -CONT -1", 1)
        print(signal, on(box))
        time.sleep(0.1)
        print(waits(box), end=" ")
    init = box.inspect()["State"]["Pid"]
    for number in range(12):  # it is stopped, and asked before its parent has seen that, or after
        until = time.monotonic() + 1  # after one that went the ordinary way there need be none
        while not (waiting := open(f"/proc/{init}/task/{init}/children").read()) and time.monotonic() < until: time.sleep(0.01)
        if waiting: os.kill(int(waiting), 19 if number % 2 else 9)
        time.sleep(0.001 * (number % 3))
        print(on(box), end=" ")
    print()
    print(box.exec(["sh", "-c", "(sleep 1; kill -CONT $$) & kill -STOP $$; echo by itself"]).output.strip())
    print(said(lambda: box.exec(["sh", "-c", "kill -STOP $$"], timeout=1)), on(box))
"""
    )
    lines = out.splitlines()
    assert [line.split()[-1] for line in lines[:9]] == ["on"] * 9 and len(lines) == 12, out
    assert lines[9].split() == ["1"] + ["on"] * 12, out
    assert lines[10:] == ["by itself", "CommandTimeout: the command was killed after 1.0 s on"], out


STORM = """
import os, random, resource, signal, sys, time
what, until = sys.argv[1], time.monotonic() + 60
def others():
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in (1, os.getpid()):
            try:
                with open(f"/proc/{name}/comm") as file:
                    if file.read() == "estiva-init\\n": yield int(name)
            except OSError: pass
open("/begun", "w").close()
while time.monotonic() < until and not os.path.exists("/enough"):
    for pid in others():
        try:
            if what == "stop": os.kill(pid, 19)
            if what == "kill": os.kill(pid, 9)
            if what == "fds": resource.prlimit(pid, resource.RLIMIT_NOFILE, (random.randrange(9), 512))
            if what == "memory": resource.prlimit(pid, resource.RLIMIT_AS, (1 << 12, 1 << 12))
            if what == "time": resource.prlimit(pid, resource.RLIMIT_CPU, (0, 1))
            if what == "slow": os.setpriority(0, pid, 19); os.sched_setscheduler(pid, 5, os.sched_param(0))
        except OSError: pass
    if what == "signals": os.kill(1, 10)
"""


@pytest.mark.parametrize("what", ["stop", "kill", "fds", "memory", "time", "slow", "signals"])
def test_a_storm(box, what):
    """At every moment, from its fork to its execve."""
    out = box.python(
        BEGIN
        + f"STORM, what = {STORM!r}, {what!r}"
        + """
with estiva.pool("py:1", size=1, network="none") as pool, pool.box() as box:
    box.exec_detached(["python3", "-c", STORM, what])
    while not box.files.exists("/begun"): time.sleep(0.01)
    begin, ended = time.monotonic(), []
    while time.monotonic() < begin + 1 or "on" not in ended and time.monotonic() < begin + 30:
        ended.append(said(lambda: box.exec(["sh", "-c", "echo on"], timeout=3).output.strip()))
        time.sleep(0.002 * (len(ended) % 7))
    print(sorted(set(ended)))
    print(time.monotonic() - begin < 60)
    box.put(b"", "/enough")
    while any("python3" in " ".join(row) for row in box.top().rows): time.sleep(0.01)
    print(on(box), box.running)
"""
    )
    lines = out.splitlines()
    assert lines[1:] == ["True", "on True"], out
    # who stops a command itself, from its execve on, is only held up by its timeout
    assert "'on'" in lines[0] and ("Timeout" not in lines[0] or what == "stop"), out


def test_it_is_out_of_reach(box):
    out = box.python(
        BEGIN
        + """
look = '''for pid in $(ls /proc | grep -E "^[0-9]+$"); do grep -q estiva /proc/$pid/comm || continue
for name in exe fd/3 environ mem maps cwd/ root/; do readlink /proc/$pid/$name; head -c 1 /proc/$pid/$name; (: >/proc/$pid/$name); done
echo seen; done'''
with estiva.pool("box:1", size=1, network="none", env={"SHOWN": "1"}) as pool, pool.box() as box:
    background(box, "sleep 0.5; " + look, 3)
    found = box.exec(["cat", "/out"]).output.splitlines()
    print(found.count("seen"), sum("denied" in line or "rectory" in line for line in found), [line for line in found if "denied" not in line and "rectory" not in line])
"""
    )
    seen, denied, rest = out.split(" ", 2)
    assert seen == "2" and int(denied) >= 28 and rest.strip() == "['seen', 'seen']", out


def test_no_room(box):
    """For processes, and for memory."""
    out = box.python(
        BEGIN
        + """
with estiva.pool("box:1", size=1, network="none", pids_limit=2) as pool, pool.box() as box:
    for _ in range(3):
        print(box.exec("true").status, end=" ")
        time.sleep(0.1)
    box.exec_detached(["sleep", "5"])
    print(on(box), end=" ")
    time.sleep(6)
    print(on(box))
with estiva.pool("box:1", size=1, network="none", memory="24m", memory_swap="24m") as pool, pool.box() as box:
    for _ in range(3):
        done = said(lambda: box.exec(["sh", "-c", "tail /dev/zero"], timeout=60))
        print(done if isinstance(done, str) else (done.status, done.oom), on(box))
        time.sleep(0.1)
"""
    )
    lines = out.splitlines()
    assert lines[0].startswith("0 0 0 ") and lines[0].endswith(" on"), out
    assert lines[1:] == ["(137, True) on"] * 3, out
