"""What a program begins and ends with."""

import os
import subprocess
import sys

from enginekit import CHECKOUT


def test_a_ctrl_c_that_nobody_hears_ends_it_without_a_word() -> None:
    code = "from estiva.cmdline.program import program\ndef run(words): raise KeyboardInterrupt\nprogram(run)"
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")
