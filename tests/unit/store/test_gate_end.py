"""A connection that is there until the interpreter ends."""

import os
import pathlib
import subprocess
import sys

from estiva.store import gate

CODE = """
import sys
from estiva.store import database, gate
kept = database.Database(sys.argv[1])
kept.read("SELECT 1")
for name in list(vars(gate)):  # as the interpreter does at its end, in an order of its own
    if not name.startswith("__"):
        setattr(gate, name, None)
"""


def test_it_goes_without_a_word(tmp_path):
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", CODE, str(tmp_path / "db")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(pathlib.Path(gate.__file__).parents[2])},
    )
    assert done.stderr == ""
