"""Ctrl-C while a program forks: nothing stays locked that a fork waits for."""

import os
import subprocess
import sys

import interrupts

PROGRAM = """
import _thread, os, signal, sys
sys.path[:0] = sys.argv[1:3]
import interrupts
from estiva import atfork
locks = [_thread.allocate_lock() for _ in range(3)]
for lock in locks:
    atfork.wait(lock.acquire, lock.release, lambda: None)
def work():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
interrupts.attempt(-1, work)
total = interrupts.count
for number in range(1, total):
    interrupts.attempt(number, work)
    assert not [lock for lock in locks if lock.locked()], number
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, number
print(total > 50)
"""


def test_a_fork_at_any_instruction():
    folders = [os.path.dirname(interrupts.__file__), os.path.join(os.path.dirname(__file__), "../../src")]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *folders], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr
