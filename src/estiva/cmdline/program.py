"""The command lines: what each program begins and ends with."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


def program(run: Callable[[list[str]], int]) -> NoReturn:
    """`run` the words of the command line and end with its status.

    The interpreter is not torn down, which would take milliseconds.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    status = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, AttributeError, ValueError):
            status = status or 1
    os._exit(status)
