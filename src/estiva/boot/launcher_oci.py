"""The start of `estiva-oci`: see launcher.py."""

import _signal
import gc
import sys

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # nobody could tell it until the program runs

gc.disable()  # a start makes much and throws away nothing
sys.path.insert(0, __file__.rpartition("/estiva/boot/")[0])

from estiva.boot import quickload  # noqa: E402

if not quickload.install("estiva-oci"):
    from estiva.boot import writer

    if writer.try_to_write("estiva-oci"):
        quickload.install("estiva-oci")

from estiva.boot import packages  # noqa: E402

packages.install()

from estiva.ocicli.main import main  # noqa: E402

main()
