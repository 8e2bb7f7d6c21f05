"""A container that is being made: until its init has its own root, that is the host's for whoever enters it."""

from __future__ import annotations

import json
from pathlib import Path

from enginekit import ESTIVA, IMAGE, host

# The command line, whose monitor tries to enter it before it knows that init is ready.
START = """
import json, subprocess, sys
from estiva.cli.main import main
from estiva.runtime.launch.clone import Init

ready = Init.ready

def tries(self):
    done = subprocess.run([{estiva!r}, "exec", "it", "touch", {place!r}], capture_output=True, text=True)
    with open({told!r}, "w") as file:
        json.dump([done.returncode, done.stderr], file)
    ready(self)

Init.ready = tries
sys.argv = ["estiva", "start", "it"]
main()
"""


def test_nothing_enters_it_before(tmp_path: Path) -> None:
    with host() as box:
        place, told = tmp_path / "made", tmp_path / "told"
        box.estiva("create", "--name", "it", "--network", "none", IMAGE, "sleep", "1000")
        box.python(START.format(place=str(place), told=str(told), estiva=str(ESTIVA)), timeout=120)
        status, error = json.loads(told.read_text())
        assert status == 1 and "container it is not running" in error, error
        assert not place.exists()
        box.estiva("exec", "it", "true")
        box.estiva("rm", "-f", "it")
