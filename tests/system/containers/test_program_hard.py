"""The Python API where the program, its memory, its disk or its use of it is out of the ordinary."""

import pytest

from enginekit import CHECKOUT, host


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


@pytest.mark.parametrize(
    ("name", "frozen", "runs"),
    [("app", True, 1), ("python-app", True, 1), ("app", False, 1), ("python-app", False, 3)],
)
def test_a_program_that_is_its_own_executable(box, name, frozen, runs):
    """It is never run without end. (One that is named python and says nothing is tried: twice, then no more.)"""
    out = box.python(f"""
import os, subprocess, sys
open("runs", "w").close()
with open({name!r}, "w") as file:
    file.write('''#!{CHECKOUT}/.venv/bin/python3
import os, sys
with open("{box.folder}/runs", "a") as file: file.write("run\\\\n")
sys.executable = sys._base_executable = "{box.folder}/{name}"
if {frozen}: sys.frozen = True
import estiva
try:
    print(estiva.run("box:1", ["sh", "-c", "echo x$ESTIVA_SPAWNER"], network="none").output, end="")
except estiva.EstivaError as error:
    print(type(error).__name__)
''')
os.chmod({name!r}, 0o755)
print(subprocess.run(["./" + {name!r}], capture_output=True, text=True, timeout=60).stdout, end="")
print(open("runs").read().count("run"))
""")
    first, count = out.split()
    assert first == ("x" if runs == 1 else "EngineError") and int(count) <= runs
