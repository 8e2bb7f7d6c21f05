"""The start of `./estiva-oci`: see launcher.py."""

import sys

SOURCE = __file__.rpartition("/")[0].rpartition("/")[0]
sys.path.insert(0, SOURCE)

from estiva.cli.oci.main import main  # noqa: E402

main()
