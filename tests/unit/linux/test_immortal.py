"""Objects whose counts are written no more; in processes of their own, for it can't be undone."""

import os
import pathlib
import subprocess
import sys

import pytest

from estiva.linux import immortal

SOURCE = str(pathlib.Path(__file__).parents[3] / "src")

WORK = """
import gc, json, os, re, sys
import estiva.engine.launch.workers as workers
from estiva.linux import immortal
workers.load()
held = [object(), "a string that is long" * 3, 12345678901, (1.5, "x" * 9), {"key": ["value" * 5]}, bytearray(9)]
mortal = object
before = len(gc.get_objects())
count = immortal.immortalize()
print(count > before // 2, immortal.immortalize() >= count)
print(len({sys.getrefcount(thing) for thing in (None, workers, workers.serve, workers.serve.__code__, held, *held)}))
held.append(4)
held.clear()
for _ in range(3):
    text = json.dumps({"a": [1, 2.5, {"b": re.sub("a+", "b", "caat")}], "c": sys.path})
    assert json.loads(text)["a"][2] == {"b": "cbt"}
    class New(dict):
        def __del__(self): freed.append(1)
    freed = []
    made = New(a=New()); made["self"] = made
    del made
    gc.collect()
    assert len(freed) == 2
    if (child := os.fork()) == 0:
        gc.collect()
        os._exit(0 if workers.protocol.pair() else 1)
    assert os.waitpid(child, 0)[1] == 0
print("fine", sys.getrefcount(object()))
"""


@pytest.mark.skipif(not immortal.can(), reason="this Python counts otherwise")
def test_everything_goes_on_working():
    done = subprocess.run(
        [sys.executable, "-c", WORK],
        env={**os.environ, "PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "True True\n1\nfine 1\n", (done.stdout, done.stderr)


def test_where_it_can_not_be_nothing_is_touched(monkeypatch):
    monkeypatch.setattr(immortal, "can", lambda: False)
    thing = object()
    assert immortal.immortalize() == 0
    assert sys.getrefcount(thing) < 10
