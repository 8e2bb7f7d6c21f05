"""The start of `./estiva`, run with -I -S: sets sys.path without `site` (5 ms) and hands over.

A script has no cached bytecode, so it stays tiny. Its own directory is not on sys.path (-I).
"""

import gc
import sys

gc.disable()  # modules make much and throw away nothing; verbs that last enable it (cli/main.py)
SOURCE = __file__.rpartition("/estiva/boot/")[0]
CHECKOUT = SOURCE.rpartition("/")[0] or "."
sys.path.insert(0, SOURCE)
sys.path.append(f"{CHECKOUT}/.venv/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages")

from estiva.boot import quickload  # noqa: E402

quickload.install("estiva")

from estiva.cli.main import main  # noqa: E402

main()
