"""What the tests of programs with asyncio share."""

from enginekit import eventually
from killkit import assert_nothing_left

BEGIN = """
import asyncio, contextlib, estiva, gc, os, random, signal, sys, threading, time
from estiva import aio
def fds(): return len(os.listdir("/proc/self/fd"))
def threads(): return len(os.listdir("/proc/self/task"))
"""


def gone(box):
    """Nothing at all is left: no command is run meanwhile that would sweep."""
    assert_nothing_left(box)
    eventually(lambda: box.db("SELECT count(*) FROM containers") == [(0,)])
