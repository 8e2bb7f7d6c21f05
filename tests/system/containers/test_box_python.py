"""box.python: what runs give, and what they must not do."""

import pytest

from enginekit import host
from killkit import assert_nothing_left

BEGIN = """import estiva, json
engine = estiva.Engine()
def said(call):
    try: return call()
    except estiva.EstivaError as error: return type(error).__name__ + ": " + str(error)
"""


@pytest.fixture(scope="module")
def box():
    with host() as made:
        made.import_python("sleep", "sh")
        yield made
        assert_nothing_left(made)


def test_what_a_run_gives(box):
    out = box.python(
        BEGIN
        + r"""
with estiva.container("py:1", network="none", memory="256m") as box:
    for code in ("1 + 1", "x = [1, (2.5, True), {'a': None}]\nx", "", "x = 1", "x", "{1: 2}", "float('inf')", "print('out'); import sys; print('err', file=sys.stderr)",
                 "def f():\n    raise ValueError('no')\nf()", "def", "import sys; sys.exit(4)", "import os; os._exit(3)", "import os; os.kill(os.getpid(), 9)",
                 "class A:\n    def __repr__(self): raise SystemExit\nA()", "open('/kept', 'w').write('kept')", "open('/kept').read()", "'\\ud800'", "10 ** 10000"):
        run = box.python.run(code)
        print(json.dumps([run.value, run.repr, run.error and [run.error.type, run.error.message], run.stdout, run.stderr]))
    run = box.python.run("def f():\n    raise ValueError('no')\nf()")
    print('File "<run>", line 2, in f' in run.error.traceback, "<string>" in run.error.traceback)
    run = box.python.run("b = bytearray(60 << 20); import time; time.sleep(0.05); print('x' * 5000)", max_output=1000)
    print(run.memory > 60 << 20, run.seconds >= 0.05, 0 <= run.cpu, len(run.stdout), run.truncated)
    print(len(box.python.run("'x' * 5000", max_output=1000).repr), said(run.check) is run, said(box.python.run("1/0").check))
    print(box.python.run("b = bytearray(900 << 20); len(b)").error.type, box.python.run("5").value)
    print(said(lambda: box.python.run(b"1")), said(lambda: box.python.run("1", timeout="x"))[:13])
"""
    )
    lines = out.splitlines()
    assert lines[:18] == [
        '[2, "", null, "", ""]', '[[1, [2.5, true], {"a": null}], "", null, "", ""]', '[null, "", null, "", ""]', '[null, "", null, "", ""]',
        '[null, "", ["NameError", "name \'x\' is not defined"], "", ""]', '[null, "{1: 2}", null, "", ""]', '[null, "inf", null, "", ""]',
        '[null, "", null, "out\\n", "err\\n"]', '[null, "", ["ValueError", "no"], "", ""]', lines[9], '[null, "", ["SystemExit", "4"], "", ""]',
        '[null, "", ["Exited", "the process ended with status 3"], "", ""]', '[null, "", ["Killed", "killed by signal 9"], "", ""]',
        '[null, "<A that has no repr>", null, "", ""]', '[4, "", null, "", ""]', '["kept", "", null, "", ""]', '["\\ud800", "", null, "", ""]',
        '[null, "<int that has no repr>", null, "", ""]',
    ]  # fmt: skip
    assert '"SyntaxError"' in lines[9]
    assert lines[18:] == [
        "True False", "True True True 1000 True", "1000 True EngineError: the run ended with ZeroDivisionError: division by zero",
        "Killed 5", "InvalidInput: code must be text, not b'1' InvalidInput:",
    ]  # fmt: skip


def test_the_next_run_works_whatever_the_last_one_did(box):
    out = box.python(
        BEGIN
        + r"""
import time
hostile = ["print('begun', flush=True)\nwhile True: pass", "import os, signal; os.kill(os.getppid(), 9); signal.pause()", "import os, signal; os.kill(os.getppid(), 19); signal.pause()",
    "import os, time\nfor fd in range(3, 99):\n    try: os.close(fd)\n    except OSError: pass\ntime.sleep(99)",
    "import subprocess, time; subprocess.Popen(['sleep', '98'], start_new_session=True); time.sleep(97)",
    "import os\nfor fd in range(3, 99):\n    try: os.write(fd, b'{' * 3000000)\n    except OSError: pass",
    "import os\nfor fd in range(3, 99):\n    try: os.write(fd, b'[1]')\n    except OSError: pass\nos._exit(0)",
    "import os\nfor fd in range(3, 99):\n    try: os.write(fd, b'{\"seconds\": \"x\", \"stdout\": 7, \"error\": 5, \"late\": 3, \"memory\": -1, \"ended\": []}')\n    except OSError: pass\nos._exit(0)"]
with estiva.container("py:1", network="none", pids_limit=64) as box:
    for code in hostile:
        found = said(lambda: box.python.run(code, timeout=1))
        print(found if isinstance(found, str) else (found.stdout, found.stderr, found.memory >= 0, found.seconds >= 0, found.error), box.python.run("6 * 7", timeout=60).value)
    def left(): return sorted(row[-1].split()[0] for row in box.top("-eo pid,args").rows)
    deadline = time.monotonic() + 60
    while len(left()) > 2 and time.monotonic() < deadline: time.sleep(0.05)  # what was killed is dying
    print(left())
    try: box.python.run(hostile[0], timeout=1)
    except estiva.CommandTimeout as error: print(error.output.strip())
"""
    )
    lines = out.splitlines()
    assert len(lines) == 10 and all(line.endswith(" 42") for line in lines[:8]), lines
    assert lines[0] == "CommandTimeout: the run was killed after 1 s 42" or lines[0].startswith(
        "CommandTimeout"
    )
    assert lines[8] == "['estiva-init', 'python3']" and lines[9] == "begun"


def test_its_threads_load_nothing(box):
    """A child that is forked meanwhile would find that module locked for ever."""
    out = box.python(
        """
import estiva, sys
estiva.pool
before = set(sys.modules)
with estiva.pool("py:1", size=1, warm="import json", network="none") as pool, pool.box() as box:
    box.exec(["sh", "-c", ":"])
    box.python.run("1")
    print([name for name in set(sys.modules) - before if name.startswith("estiva.")])
"""
    )
    assert out == "[]\n"


def test_warm(box):
    out = box.python(
        BEGIN
        + r"""
with estiva.pool("py:1", size=2, warm="import decimal\nkept = []", network="none") as pool:
    for _ in range(3):
        with pool.box() as box:
            print(box.python.run("kept.append(1); len(kept), decimal.Decimal(1).is_nan()").value, box.python.run("len(kept)").value, box.exec("true").status if False else "")
print(said(lambda: estiva.pool("py:1", warm="1/0", network="none")))
with estiva.container("box:1", network="none") as box: print(said(lambda: box.python.run("1")), said(lambda: box.python.run("1"))[:11])
print(engine.containers.list(all=True))
"""
    )
    lines = out.splitlines()
    assert [line.strip() for line in lines[:3]] == ["[1, False] 0"] * 3
    assert lines[3] == "EngineError: the warm code failed with ZeroDivisionError: division by zero"
    assert lines[4].startswith("Unsupported: there is no python3 in the image of box ") and lines[4].endswith(
        "Unsupported"
    )
    assert lines[5] == "[]"
