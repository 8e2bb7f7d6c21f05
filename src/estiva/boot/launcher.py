"""The start of `estiva`, run with -I -S: sets sys.path without `site` (5 ms) and hands over.

A script has no cached bytecode, so it stays tiny. Its own directory is not on sys.path (-I).
"""

import _signal
import gc
import sys

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # nobody could tell it until the program runs

gc.disable()  # modules make much and throw away nothing; verbs that last enable it (cli/main.py)
sys.path.insert(0, __file__.rpartition("/estiva/boot/")[0])

from estiva.boot import quickload  # noqa: E402

program = "estiva build" if sys.argv[1:2] == ["build"] else "estiva"
if not quickload.install(program):
    from estiva.boot import writer

    if writer.try_to_write(program):
        quickload.install(program)

from estiva.boot import packages  # noqa: E402

packages.install()

from estiva.cli.main import main  # noqa: E402

main()
