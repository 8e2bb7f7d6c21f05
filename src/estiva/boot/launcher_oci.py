"""The start of `./estiva-oci`: see launcher.py. No third-party package is needed."""

import gc
import sys

gc.disable()  # a start makes much and throws away nothing
SOURCE = __file__.rpartition("/estiva/boot/")[0]
sys.path.insert(0, SOURCE)

from estiva.boot import quickload  # noqa: E402

quickload.install("estiva-oci")

from estiva.ocicli.main import main  # noqa: E402

main()
