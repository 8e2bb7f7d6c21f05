"""`attach` and `start -ai` of a running container: a terminal that was left is come back to."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import pty
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from enginekit import IMAGE, can_hibernate, catches, eventually, host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
HANGS = 240  # seconds; for what would wait for ever, not for a slow machine
LEAVE = b"\x10\x11"
HIBERNATING = pytest.param(
    True,
    id="hibernating",
    marks=pytest.mark.skipif(not can_hibernate(), reason="needs dash and Linux 6.15"),
)
DETACHED = pytest.mark.parametrize("sleeps", [pytest.param(False, id="awake"), HIBERNATING])


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


@pytest.fixture
def name(box, request):
    yield "box"
    box.estiva("rm", "-f", "box", status=None)


class Session:
    """A command line on a terminal of its own."""

    def __init__(self, box, *words, rows=24, columns=80):
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.child = box.start(*words, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self.shown = b""

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def type(self, data):
        os.write(self.master, data)

    def until(self, text):
        """Read until the terminal shows `text`; what was shown before it is forgotten."""
        end = time.monotonic() + HANGS
        while text not in self.shown:
            assert time.monotonic() < end, self.shown
            assert select.select([self.master], [], [], HANGS)[0], self.shown
            try:
                self.shown += os.read(self.master, 65536)
            except OSError:
                raise AssertionError(self.shown) from None
        self.shown = self.shown.partition(text)[2]

    def wait(self):
        status = self.child.wait(HANGS)
        os.close(self.master)
        return status


def asleep(box, name):
    """Whether the container's monitor has become a shell."""
    pid = monitor(box, name)
    with open(f"/proc/{pid}/comm") as file:
        return "python" not in file.read()


def monitor(box, name):
    import json

    container = box.out("inspect", "-f", "{{.Id}}", name)
    with open(f"{box.folder}/run/containers/{container}/state.json") as file:
        return json.load(file)["monitor"]


def prompt(session):
    """A question that only a shell that reads answers: what is typed is echoed, but not this."""
    session.type(b"echo re$((40+2))dy\r")
    session.until(b"re42dy")


@pytest.mark.parametrize("verb", [("start", "-ai"), ("attach",)], ids=["start", "attach"])
def test_a_terminal_that_was_left_is_come_back_to_again_and_again(box, name, verb):
    first = Session(box, "run", "-it", "--name", name, "--network", "none", IMAGE, "sh")
    prompt(first)
    first.type(b"kept=all\r")
    first.type(LEAVE)
    assert first.wait() == 0
    for size in (33, 44):
        again = Session(box, *verb, name, rows=size, columns=100)
        prompt(again)
        again.type(b"echo $kept-$(stty size)-\r")
        again.until(b"all-%d 100-" % size)
        again.resize(size + 1, 90)
        again.child.send_signal(signal.SIGWINCH)  # which the kernel does for who is in its session
        eventually(lambda again=again, size=size: shows_size(again, b"%d 90" % (size + 1)))
        again.type(LEAVE)
        assert again.wait() == (1 if verb == ("attach",) else 0)
        assert box.out("inspect", "-f", "{{.State.Running}}", name) == "true"
    last = Session(box, *verb, name)
    prompt(last)
    last.type(b"exit 7\r")
    assert last.wait() == 7


def shows_size(session, text):
    session.type(b"echo =$(stty size)=\r")
    session.until(b"=")
    session.until(b"\n")
    end = session.shown
    while b"\n" not in end:
        end += os.read(session.master, 4096)
    session.shown = b""
    return text in end


@DETACHED
def test_a_detached_terminal(box, name, sleeps):
    box.estiva("run", "-dit", "--name", name, "--network", "none", IMAGE, "sh")
    if sleeps:
        eventually(lambda: asleep(box, name))
    session = Session(box, "attach", "--detach-keys=ctrl-a,d", name)
    prompt(session)
    session.type(b"echo \x10\x11 a\x01b | cat -v; x=1\r")  # not the keys
    prompt(session)
    session.type(b"\x01d")
    assert session.wait() == 1
    if sleeps:
        eventually(lambda: asleep(box, name))
    box.estiva("stop", "-t", "0", name)


@DETACHED
def test_without_a_terminal_streams_stay_apart_and_the_status_is_told(box, name, sleeps):
    command = "while read a; do [ $a = 9 ] && exit 9; echo out-$a; echo err-$a >&2; done"
    box.estiva("run", "-di", "--name", name, "--network", "none", IMAGE, "sh", "-c", command)
    if sleeps:
        eventually(lambda: asleep(box, name))
    watcher = box.start("attach", "--no-stdin", name, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    done = box.start("attach", name, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def watcher_is_there():
        done.stdin.write(b"x\n")
        done.stdin.flush()
        assert done.stdout.readline() == b"out-x\n"
        assert done.stderr.readline() == b"err-x\n"
        return select.select([watcher.stdout], [], [], 0.1)[0]

    eventually(watcher_is_there, HANGS)
    done.stdin.write(b"9\n")
    done.stdin.close()  # which does not end the container's: others may come
    assert done.wait(HANGS) == 9
    assert watcher.wait(HANGS) == 9
    assert {*watcher.stdout} == {b"out-x\n"}


def test_two_see_the_same_and_a_killed_one_harms_nothing(box, name):
    one = Session(box, "run", "-it", "--name", name, "--network", "none", IMAGE, "sh")
    prompt(one)
    two = Session(box, "attach", name)
    three = Session(box, "attach", name)
    for session in (two, three):
        prompt(session)
    two.type(b"echo se$((2+2))n\r")
    for session in (one, two, three):
        session.until(b"se4n")
    two.child.send_signal(signal.SIGKILL)
    two.child.wait(HANGS)
    one.child.send_signal(signal.SIGKILL)
    one.child.wait(HANGS)
    prompt(three)
    three.type(b"exit 5\r")
    assert three.wait() == 5
    os.close(one.master)
    os.close(two.master)


def test_nothing_is_lost_of_much_output_nor_of_much_input(box, name):
    box.estiva(
        "run", "-di", "--name", name, "--network", "none", IMAGE,
        "sh", "-c", "read go; seq 300000; head -c 3000000 | wc -c; exit 3",
    )  # fmt: skip
    done = box.start("attach", name, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    sent = os.fork()
    if sent == 0:
        os.write(done.stdin.fileno(), b"go\n")
        rest = b"x" * 3_000_000
        while rest:
            rest = rest[os.write(done.stdin.fileno(), rest) :]
        os._exit(0)
    done.stdin.close()
    said = done.stdout.read().decode().split()
    os.waitpid(sent, 0)
    assert done.wait(HANGS) == 3
    assert said == [*map(str, range(1, 300001)), "3000000"]


def test_one_that_does_not_read_is_let_go_of(box, name):
    box.estiva(
        "run", "-di", "--name", name, "--network", "none", IMAGE,
        "sh", "-c", "read go; seq 400000; exit 4",
    )  # fmt: skip
    stopped = box.start("attach", "--no-stdin", name, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    other = box.start("attach", name, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    time.sleep(0.5)  # so that both have come, most likely: else less is tested
    stopped.send_signal(signal.SIGSTOP)
    other.stdin.write(b"go\n")
    other.stdin.flush()
    assert other.stdout.read().decode().split() == [*map(str, range(1, 400001))]
    assert other.wait(HANGS) == 4
    stopped.kill()


def test_stdin_ends_with_the_only_one_who_has_it(box, name):
    box.estiva("create", "-i", "--name", name, "--network", "none", IMAGE, "cat")
    box.estiva("start", name)
    done = box.estiva("start", "-ai", name, input="to the end\n")
    assert done.stdout == "to the end\n"


def test_signals_are_passed_on(box, name):
    command = "trap 'echo got; exit 6' TERM; echo up; while :; do sleep 0.1; done"
    box.estiva("run", "-d", "--name", name, "--network", "none", IMAGE, "sh", "-c", command)
    eventually(lambda: box.out("logs", name) == "up")
    child = box.start("attach", name, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    eventually(lambda: catches(child.pid, signal.SIGTERM))
    child.terminate()
    assert child.wait(HANGS) == 6
    assert child.stdout.read() == b"got\n"


def test_what_can_not_be_attached_to(box, name):
    box.estiva("create", "-it", "--name", name, "--network", "none", IMAGE, "sleep", "1000")
    assert (
        "you cannot attach to a stopped container, start it first"
        in box.estiva("attach", name, status=1).stderr
    )
    box.estiva("start", name)
    assert "the input device is not a TTY" in box.estiva("attach", name, status=1).stderr
    box.estiva("pause", name)
    told = box.estiva("attach", "--no-stdin", name, status=1).stderr
    assert "you cannot attach to a paused container, unpause it first" in told
    assert "no such container: nosuch" in box.estiva("attach", "nosuch", status=1).stderr
    assert "unknown flag" in box.estiva("attach", "--nosuch", name, status=125).stderr


def test_a_monitor_that_is_stopped_is_told_not_waited_for(box, name):
    box.estiva("run", "-d", "--name", name, "--network", "none", IMAGE, "sleep", "1000")
    container = box.out("inspect", "-f", "{{.Id}}", name)
    state = json.loads(pathlib.Path(box.folder, "run/containers", container, "state.json").read_text())
    os.kill(state["monitor"], signal.SIGSTOP)
    try:
        told = box.estiva("attach", "--no-stdin", name, status=1, timeout=HANGS).stderr
        assert f"process {state['monitor']}, is stopped" in told
    finally:
        os.kill(state["monitor"], signal.SIGCONT)
