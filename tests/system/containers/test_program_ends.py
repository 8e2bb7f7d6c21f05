"""A Python program that ends, however it does: of what it began nothing stays."""

import contextlib
import os
import random
import signal
import subprocess
import time

import pytest

import enginekit
from enginekit import CHECKOUT, eventually, host
from killkit import assert_nothing_left, assert_well, kill, monitors

SUPPORT = os.path.dirname(enginekit.__file__)


@pytest.fixture(scope="module")
def box():
    with host() as made:
        made.estiva("run", "--rm", "box:1", "true")
        yield made


def begin(box, code):
    """A Python program in the background."""
    return subprocess.Popen(
        [*box.prefix, str(CHECKOUT / ".venv/bin/python3"), "-c", code],
        env={**box.env, "PYTHONPATH": str(CHECKOUT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=box.folder,
    )


def gone(box):
    """Nothing at all is left: no command is run meanwhile that would sweep."""
    assert_nothing_left(box)
    assert box.db("SELECT count(*) FROM containers") == [(0,)]
    assert box.db("SELECT count(*) FROM volumes WHERE anonymous = 1") == [(0,)]


BOXES = """
import contextlib, estiva, threading
def forever():
    while True:
        estiva.run("box:1", ["sleep", "0.02"], volumes={}, network="none")
def one():
    estiva.run("box:1", ["sh", "-c", "sleep 1000 & exec sleep 1000"])
with contextlib.ExitStack() as stack:
    print("begun", flush=True)
    for target in (forever, one):
        threading.Thread(target=target, daemon=True).start()
    for number in range(5):
        made = stack.enter_context(estiva.container("box:1", network=("none", "bridge")[number % 2]))
        threading.Thread(target=lambda: made.exec(["sh", "-c", "sleep 1000 & sleep 1000"]), daemon=True).start()
    while True:
        with estiva.container("box:1", ["true"], network="none"):
            pass
"""


@pytest.mark.parametrize("seed", range(2))
def test_sigkill_at_any_moment(box, seed):
    rng = random.Random(seed)
    for _ in range(10):
        program = begin(box, BOXES)
        program.stdout.readline()
        time.sleep(rng.random() ** 2 * 1.5)
        program.kill()
        program.wait()
        program.stdout.close()
        gone(box)
    assert_well(box)


@pytest.mark.parametrize(
    "end",
    [
        "os._exit(3)",
        "raise ValueError",
        "sys.exit(3)",
        "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)",
        "os.kill(os.getpid(), signal.SIGINT); time.sleep(60)",
        "os.kill(os.getpid(), signal.SIGSEGV); time.sleep(60)",
        "os.execv('/bin/true', ['true'])",
        "os.execv('/bin/sleep', ['sleep', '1'])",
    ],
)
def test_other_ends(box, end):
    """With a paused one, one that has ended by itself, and a fork of the program that goes on."""
    box.python(
        f"""
import estiva, os, signal, sys, time
with estiva.container("box:1", network="none") as one, estiva.container("box:1", ["true"], network="none") as two:
    one.pause()
    while two.running: time.sleep(0.01)
    print(two.inspect()["State"]["Status"])
    if os.fork() == 0:
        time.sleep(1)
        os._exit(0)
    {end}
""",
        status=None,
    )
    gone(box)


def test_a_fork_leaves_its_parents_containers_alone(box):
    out = box.python(
        """
import estiva, os, sys
with estiva.container("box:1", network="none") as made:
    child = os.fork()
    if child == 0:
        sys.exit(0)  # through the end of the block
    print(os.waitpid(child, 0)[1], made.exec(["echo", "there"]).output, flush=True)
    if os.fork() == 0:
        with estiva.container("box:1", network="none") as mine:
            print(mine.exec(["echo", "mine"]).output, estiva.run("box:1", ["echo", "run"], network="none").output, flush=True)
        os._exit(0)
    os.wait()
print(made.running)
"""
    )
    assert out.split() == ["0", "there", "mine", "run", "False"]
    gone(box)


INTERRUPTED = """
import sys; sys.path.insert(0, {support!r})
import estiva, gc, interrupts, os
estiva.run("box:1", ["true"], network="none")
def work():
    with estiva.container("box:1", network="none") as made:
        made.exec(["true"])
    estiva.run("box:1", ["true"], network="none")
def fds():
    return len(os.listdir("/proc/self/fd"))
assert not interrupts.attempt(-1, work)
total, before, hit = interrupts.count, fds(), 0
for number in range({first}, total, {step}):
    hit += interrupts.attempt(number, work)
    if fds() > before + 4:
        gc.collect()
        assert fds() <= before + 4, (number, fds(), before)
print(hit > 20, total > 3000)
"""


@pytest.mark.parametrize("first", [1, 107])
def test_ctrl_c_at_any_instruction(box, first):
    out = box.python(INTERRUPTED.format(first=first, step=211, support=SUPPORT))
    assert out.split() == ["True", "True"]
    gone(box)
    assert_well(box)


def test_a_program_whose_spawner_was_killed_too(box):
    """Then nobody is left to undo what no monitor has: the next command does."""
    program = begin(box, BOXES)
    program.stdout.readline()
    time.sleep(0.7)
    try:
        for pid in eventually(lambda: children(program.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    finally:
        program.kill()
        program.wait()
        program.stdout.close()
    box.out("ps", "-a")
    assert_well(box)
    eventually(lambda: box.db("SELECT count(*) FROM containers") == [(0,)])
    assert_nothing_left(box)


LOOKED_AT = """
import estiva, time
with estiva.container("box:1", ["sleep", "1000"], network="none") as made:
    print(made.id, flush=True)
    while made.running: time.sleep(0.01)
    print(made.status, flush=True)
    time.sleep(1000)
"""


def test_one_that_has_ended_and_whose_monitor_was_killed(box):
    """It is there for its program, until that has ended; then nobody but a sweep can tell that it is left."""
    program = begin(box, LOOKED_AT)
    try:
        made = program.stdout.readline().strip()
        (monitor,) = monitors(box)
        box.estiva("kill", made)
        assert program.stdout.readline() == "exited\n"
        assert "swept" not in box.out("system", "check")
        assert box.out("ps", "-aq", "--no-trunc") == made
        kill(monitor)
    finally:
        program.kill()
        program.wait()
        program.stdout.close()
    assert made[:12] in assert_well(box)
    gone(box)


def children(pid):
    """Of all its threads: any may have started the spawner."""
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/task/{task}/children") as file:
            found += [int(word) for word in file.read().split()]
    return found


def test_forks_beside_threads(box):
    """No child hangs, whatever its parent's threads are in, and no parent waits for a child that lives on."""
    out = box.python(
        """
import estiva, os, signal, threading, time
done = []
def work():
    while not done:
        assert estiva.run("box:1", ["echo", "out"], network="none").stdout == b"out\\n"
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
children, waiting = [], []
for number in range(50):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            if number % 3 == 0:
                estiva.Engine().db.read("SELECT count(*) FROM containers")
            elif number % 3 == 1:
                assert estiva.run("box:1", ["echo", "mine"], network="none").stdout == b"mine\\n"
            else:
                time.sleep(50)
            os._exit(0)
        finally:
            os._exit(1)
    (waiting if number % 3 == 2 else children).append(child)
    time.sleep(0.02)
print({os.waitpid(child, 0)[1] for child in children})
done.append(1)
for thread in threads: thread.join(30)
print([thread for thread in threads if thread.is_alive()])
for child in waiting: os.kill(child, signal.SIGKILL)
""",
        timeout=120,
    )
    assert out.splitlines() == ["{0}", "[]"]
    gone(box)


def test_threads_that_have_ended_leave_no_fds(box):
    out = box.python(
        """
import estiva, gc, os, threading
gc.disable()
def work(): estiva.run("box:1", ["true"], network="none")
def fds(): return len(os.listdir("/proc/self/fd"))
work()
before = fds()
for _ in range(10):
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
print(fds() - before <= 8)  # SQLite keeps one for each thread that there was at once, for the next
"""
    )
    assert out == "True\n"
    gone(box)


def test_no_more_files_in_the_middle_of_a_start(box):
    out = box.python(
        """
import estiva, os, resource
def work():
    with estiva.container("box:1", network="none") as made:
        made.exec(["true"])
work()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
kinds = set()
before = len(os.listdir("/proc/self/fd"))
for number in range(40):
    resource.setrlimit(resource.RLIMIT_NOFILE, (before - 4 + number, hard))
    try:
        work()
        kinds.add("well")
    except estiva.EstivaError as error:
        kinds.add(type(error).__name__)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(sorted(kinds), len(os.listdir("/proc/self/fd")) <= before + 1)
"""
    )
    assert out.replace("'StateError', ", "") == "['Unavailable', 'well'] True\n"
    gone(box)


AGAIN = """
import estiva, os, sys
with estiva.container("box:1", {command}, network="none") as made:
    made.put(b"kept", "/file")
    made.stop(timeout=0)
    print(made.status, made.get("/file"), made.exit.signal)
    made.put(b"put while it did not run", "/file")
    made.start()
    print(made.exec("cat /file").output)
    made.restart(timeout=0)
    print(made.running, made.exec("cat /file").status, flush=True)
    {end}
"""


@pytest.mark.parametrize("command", ["None", "'sleep 1000'"])
@pytest.mark.parametrize("end", ["pass", "os.kill(os.getpid(), 9)"])
def test_one_that_is_stopped_and_started_again_in_its_block(box, command, end):
    """Its files can be reached in between, and it still ends with the block, or with the program."""
    program = begin(box, AGAIN.format(command=command, end=end))
    told, _ = program.communicate(timeout=120)
    assert told.splitlines() == ["exited b'kept' 9", "put while it did not run", "True 0"]
    eventually(lambda: box.db("SELECT count(*) FROM containers") == [(0,)])
    gone(box)
