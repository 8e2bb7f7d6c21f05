"""Our standard streams where an archive is read from "-" or written to it. The engine is handed them."""

from __future__ import annotations

import os
import sys

from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO


class Standard:
    """The streams of this process, as engine/images/outfile.py wants them."""

    def input(self) -> IO[bytes]:
        """Our stdin, to be closed by the caller."""
        return os.fdopen(os.dup(0), "rb")

    def output(self) -> IO[bytes]:
        """Our stdout. Raises InvalidInput when that is a terminal."""
        if os.isatty(1):
            raise InvalidInput("an archive is not written to a terminal", hint="use -o FILE, or redirect")
        return sys.stdout.buffer
