"""Config and HostConfig as an API server hands them on, to the end: refused in one line, or a container that
runs or says why it does not; never a traceback, and nothing left behind.
"""

from pathlib import Path

import pytest

from enginekit import IMAGE, eventually, host

CODE = """
import estiva, sys
from estiva.engine.containers import create
from estiva.engine.spec import fields
from estiva.errors import EstivaError

ANYTHING = ["", "x", "/", "a:b", "\\udcff", "a\\nb", "-1", "9" * 5000, 0, 1, -1, 1 << 62, True, [], ["x"], ["\\udcff"],
            [""], ["/tmp:/y"], [1, 2], {}, {"x": "y"}, {"/x": "exec"}, {"80/tcp": {}}, {"net.x": "1"}, {"Type": "none"}, None]
engine = estiva.Engine()
taken = 0
for part, table in (("config", fields.CONFIG), ("host", fields.HOST)):
    for name in table:
        for value in ANYTHING:
            config, host = {"Image": IMAGE, "Cmd": ["true"]}, {"NetworkMode": "none", "AutoRemove": True}
            (config if part == "config" else host)[name.rstrip("!")] = value
            start = None
            try:
                start = create.prepare(engine, config, host)
                start.go()
                start.started()
                start.wait()
                taken += 1
            except EstivaError as error:
                if not error.message or "internal" in error.message:
                    print("vague", name, repr(value)[:60], error.message)
            except OSError as error:
                print("os", name, repr(value)[:60], repr(error)[:200])
            except Exception as error:
                print("traceback", name, repr(value)[:60], repr(error)[:200])
            finally:
                if start is not None:
                    start.close()
print("taken", taken > 100)
"""


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


def test_any_field_with_anything_in_it(box):
    assert box.python(f"IMAGE = {IMAGE!r}\n{CODE}") == "taken True\n"
    for container in box.out("ps", "-aq").split():  # those that were not to be removed
        box.estiva("rm", "-f", container)
    eventually(lambda: not [path for path in box.cgroups() if len(path.rpartition("/")[2]) == 64])
    for path in box.cgroups():  # what CgroupParent has named stays, as with docker
        for folder in sorted(Path(path).glob("**/"), reverse=True):
            folder.rmdir()
    assert box.out("volume", "ls", "-q") == ""
