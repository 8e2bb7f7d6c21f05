"""What is typed before a command can read it: the ends of file and the detach keys among it."""

import os
import pty
import select
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from estiva.engine.monitor.streams import Conversation
from estiva.linux import tty

FIRST_BYTES = "import os, sys; sys.stdout.write(os.read(0, 9).hex())"


@pytest.fixture
def terminals():
    """The caller's terminal and the command's, each (master, slave)."""
    made = pty.openpty(), pty.openpty()
    yield made
    for fd in (*made[0], *made[1]):
        os.close(fd)


def typed(terminal, keys):
    """Type before the terminal is raw; then it is, as cli/container/foreground.py makes it."""
    master, slave = terminal
    os.write(master, keys)
    assert select.select([slave], [], [], 120)[0]
    tty.raw(slave)


def converse(conversation, slave, *command):
    bounded = ("timeout", "--foreground", "120", *command)
    child = subprocess.Popen(bounded, stdin=slave, stdout=subprocess.PIPE, text=True)
    pidfd = os.pidfd_open(child.pid)
    try:
        conversation.run(SimpleNamespace(pidfd=pidfd), 0)
    finally:
        os.close(pidfd)
        child.terminate()  # `timeout` passes it on: nobody stays who holds the pipe
        out = child.communicate()[0]
    return out


def test_an_end_of_file_is_held_until_a_line_editor_reads(terminals):
    """A terminal that turns raw with it unread has a NUL byte instead, which the shell would not end of."""
    caller, (master, slave) = terminals
    typed(caller, b"hi\x04")
    conversation = Conversation((caller[1], -1, -1))
    conversation.console(master, True)
    tty.raw(slave)
    assert select.select([slave], [], [], 120)[0] and os.read(slave, 9) == b"hi"
    assert converse(conversation, slave, sys.executable, "-c", FIRST_BYTES) == "04"


def test_what_is_typed_later_comes_after_what_is_held(terminals):
    caller, (master, slave) = terminals
    typed(caller, b"\x04")
    conversation = Conversation((caller[1], -1, -1))
    conversation.console(master, True)
    tty.raw(slave)
    os.write(caller[0], b"x")
    assert select.select([caller[1]], [], [], 120)[0]
    read = "import os; print((os.read(0, 1) + os.read(0, 1)).hex())"
    assert converse(conversation, slave, sys.executable, "-c", read) == "0478\n"


def test_detach_keys_typed_before_the_start_detach(terminals):
    caller, (master, slave) = terminals
    tty.raw(caller[1])
    os.write(caller[0], b"\x10\x11")
    assert select.select([caller[1]], [], [], 120)[0]
    conversation = Conversation((caller[1], -1, -1))
    conversation.console(master, True)
    converse(conversation, slave, "sleep", "60")
    assert conversation.detached


@pytest.mark.parametrize(
    ("keys", "reads", "passed", "detached"),
    [
        (b"\x10\x11", [b"ab\x10\x11cd"], b"ab", True),
        (b"\x10\x11", [b"ab\x10", b"\x11cd"], b"ab\x10", True),
        (b"\x10\x11", [b"\x10", b"x\x11"], b"\x10x\x11", False),
        (b"\x01", [b"ab\x01c"], b"ab", True),
        (b"\x01", [b"\x10", b"\x11"], b"\x10\x11", False),
        (b"abc", [b"xa", b"b", b"cd"], b"xab", True),
        (b"abc", [b"aab", b"c"], b"aab", True),
        (b"abc", [b"ab", b"ab", b"c"], b"abab", True),
        (b"aab", [b"a", b"a", b"a", b"b"], b"aaa", True),
        (b"abc", [b"ab", b"xc"], b"abxc", False),
    ],
)
def test_detach_keys_in_one_read_or_several(terminals, keys, reads, passed, detached):
    _, (master, slave) = terminals
    tty.raw(slave)
    conversation = Conversation((-1, -1, -1))
    conversation.console(master, True, keys=keys.decode())
    for data in reads:
        assert conversation.input.take(data)
    assert conversation.input.detached is detached
    got = b""
    while len(got) < len(passed):
        got += os.read(slave, 100)
    assert got == passed


def test_what_is_killed_is_struck_until_it_has_ended():
    """Another may freeze it between the look whether it is frozen and its end, and on cgroup v1 it stays then."""
    child = subprocess.Popen(["sleep", "5"])
    pidfd = os.pidfd_open(child.pid)
    struck = []

    def strike():
        struck.append(1)
        if len(struck) == 3:
            child.kill()

    conversation = Conversation((-1, -1, -1))
    conversation.kill = strike
    conversation.init = SimpleNamespace(pidfd=pidfd, signal=lambda number: None)
    try:
        conversation.signal(signal.SIGKILL)
        conversation.run(conversation.init, 0)
    finally:
        os.close(pidfd)
        child.kill()
        child.wait()
    assert len(struck) == 3
