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


THREADS = """
import _thread, os, signal, sys, threading, time
sys.path[:0] = sys.argv[1:2]
from estiva import atfork
lock, meeting = _thread.RLock(), threading.Barrier(4)
def again():
    global lock
    lock = _thread.RLock()
atfork.wait(lambda: lock.acquire(), lambda: lock.release(), again)
atfork.wait(lambda: time.sleep(0.001), lambda: None, lambda: None)  # others come meanwhile
ended = []
def work():
    meeting.wait()
    for _ in range(30):
        child = os.fork()
        if child == 0:
            os._exit(3 if signal.getsignal(signal.SIGINT) is signal.default_int_handler else 4)
        ended.append(os.waitpid(child, 0)[1] >> 8)
threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
for thread in threads:
    thread.start()
work()
for thread in threads:
    thread.join()
print(len(ended), set(ended))
"""


def test_several_threads_that_fork_at_once():
    """Each lets go of what it has locked itself, and its child has no handler of another thread's wait."""
    source = os.path.join(os.path.dirname(__file__), "../../src")
    words = [sys.executable, "-W", "ignore", "-c", THREADS, source]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("120 {3}\n", "", 0), done.stderr
