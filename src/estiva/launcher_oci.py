"""The start of `./estiva-oci`: see launcher.py. No third-party package is needed."""

import gc
import sys

gc.disable()  # a start makes much and throws away nothing
SOURCE = __file__.rpartition("/")[0].rpartition("/")[0]
sys.path.insert(0, SOURCE)

from estiva import quickload  # noqa: E402

quickload.install("estiva-oci")

from estiva.cli.oci.main import main  # noqa: E402

main()
