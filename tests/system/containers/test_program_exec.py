"""What exec and run of the Python API give back: at a timeout, of much output, when memory runs out."""

import pytest

from enginekit import host
from killkit import assert_nothing_left


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


PRELUDE = """
import estiva, os, time
def timed(call):
    try: return call()
    except estiva.CommandTimeout as error: return error.output, error.stderr.decode(), str(error), isinstance(error, TimeoutError)
tree = ["sh", "-c", "echo out; echo err >&2; (setsid sleep 777 &) ; sleep 777 & sleep 777"]
def count(made): return made.exec(["sh", "-c", "ps | grep -c '[s]leep 777'"]).output.strip()
"""


def test_a_timeout_ends_all_that_the_command_started(box):
    out = box.python(
        PRELUDE
        + """
with estiva.container("box:1", network="none") as made:
    print(timed(lambda: made.exec(tree, timeout=0.5)), count(made))
    made.exec(["sh", "-c", "sleep 777 &"])
    print(timed(lambda: made.exec(tree, timeout=0.5)), count(made))
print(timed(lambda: estiva.run("box:1", tree, timeout=0.5, network="none")))
"""
    )
    told = "('out\\n', 'err\\n', 'the command was killed after 0.5 s', True)"
    assert out.splitlines() == [f"{told} 0", f"{told} 1", told]
    assert_nothing_left(box)


def test_a_timeout_in_a_paused_container(box):
    """What is frozen can't die on cgroup v1; the others stay as they are."""
    out = box.python(
        PRELUDE
        + """
import threading
with estiva.container("box:1", network="none") as made:
    def pause_it():
        while not int(count(made)): time.sleep(0.05)
        made.pause()
    threading.Thread(target=pause_it).start()
    print(timed(lambda: made.exec(tree, timeout=3)))
    print(made.inspect()["State"]["Status"])
    made.unpause()
    print(count(made))
def pause():
    from estiva.engine.containers import control
    for name in os.listdir(f"{os.environ['ESTIVA_RUN_ROOT']}/containers"):
        control.pause(estiva.Engine(), name)
threading.Timer(0.5, pause).start()
print(timed(lambda: estiva.run("box:1", tree, timeout=1, network="none")))
with estiva.container("box:1", network="none") as made:
    made.pause()
"""
    )
    told = "('out\\n', 'err\\n', 'the command was killed after 1.0 s', True)"
    assert out.splitlines() == [told.replace("1.0", "3.0"), "paused", "0", told]
    assert_nothing_left(box)


def test_an_exec_leaves_no_cgroup(box):
    """Unless something of it runs on; that goes with the container."""
    out = box.python(
        """
import estiva, glob, time
with estiva.container("box:1", network="none") as made:
    made.exec(["true"])
    for command in (["nosuch"], ["true"], ["sh", "-c", "sleep 100 & exit 3"]):
        try: made.exec(command)
        except estiva.EstivaError: pass
    def leaves(): return glob.glob(f"/sys/fs/cgroup/**/{made.id}/exec-*", recursive=True)
    for _ in range(300):
        if len(leaves()) <= 1: break
        time.sleep(0.1)
    print(len(leaves()))
"""
    )
    assert out == "1\n"
    assert_nothing_left(box)


def test_an_exec_that_was_killed_for_memory(box):
    out = box.python(
        """
import estiva
hungry = ["sh", "-c", "x=$(yes | head -c 60000000)"]
with estiva.container("box:1", memory="16m", network="none") as made:
    for command in (["true"], hungry, ["sh", "-c", "kill -9 $$"], ["false"]):
        done = made.exec(command)
        print(done.status, done.oom)
"""
    )
    assert out.splitlines() == ["0 False", "137 True", "137 False", "1 False"]


def test_output_is_bounded(box):
    out = box.python(
        """
import estiva
loud = ["sh", "-c", "yes | head -c 30000000; echo err >&2"]
for run in (lambda **more: estiva.run("box:1", loud, network="none", **more), None):
    done = run(max_output=1000) if run else made.exec(loud, max_output=1000)
    print(len(done.stdout), done.stderr, done.truncated, done.status)
    if run:
        done = run(max_output=0); print(len(done.stdout), done.truncated)
        break
with estiva.container("box:1", network="none") as made:
    done = made.exec(loud, max_output=1000)
    print(len(done.stdout), done.stderr, done.truncated, done.status)
    print(made.exec(["echo", "a"], max_output=2).truncated, made.exec(["echo", "ab"], max_output=2).stdout)
with open("/proc/self/status") as file:  # not getrusage(2): that counts what the process was before it was executed
    print(int(file.read().partition("VmHWM:")[2].split()[0]) < 150_000)
done = estiva.run("box:1", ["sh", "-c", "yes | head -c 70000000"], network="none")
print(len(done.stdout) >> 20, done.truncated)
"""
    )
    assert out.splitlines() == [
        r"1000 b'err\n' True 0", "0 True", r"1000 b'err\n' True 0", "False b'ab'", "True", "64 True",
    ]  # fmt: skip
