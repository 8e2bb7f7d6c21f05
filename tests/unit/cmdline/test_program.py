"""What every program begins and ends with."""

import os
import subprocess
import sys

from estiva.cmdline import program

SCRIPT = """
import signal, sys, time, weakref
from estiva.cmdline import program

class Thing:
    pass

def interrupted(_):
    signal.raise_signal(signal.SIGINT)
    [None for _ in range(100)]

def run(words):
    thing = Thing()
    kept = weakref.ref(thing, interrupted)
    del thing
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        return 130
    return 0

signal.signal(signal.SIGINT, signal.SIG_DFL)
program.program(run)
"""


def test_a_ctrl_c_in_a_callback_is_not_lost():
    source = os.path.dirname(os.path.dirname(os.path.dirname(program.__file__)))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": source},
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
