"""TODO docstring."""

from __future__ import annotations

import os
import sys

from estiva.errors import InvalidInput, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO


class Output:
    """A with-block with the stream for an archive: a file that appears when it is whole, or stdout."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.aside = ""

    def __enter__(self) -> IO[bytes]:
        if self.path == "-":
            if os.isatty(1):
                raise InvalidInput("an archive is not written to a terminal", hint="redirect stdout")
            self.stream: IO[bytes] = sys.stdout.buffer
            return self.stream
        target = os.path.realpath(self.path)
        if not os.path.isdir(os.path.dirname(target)):
            raise NotFound(f"no such folder: {os.path.dirname(self.path)}")
        if os.path.isdir(target):
            raise InvalidInput(f"{self.path} is a folder")
        if os.path.exists(target) and not os.path.isfile(target):
            self.stream = open(target, "wb")
            return self.stream
        self.aside = f"{target}.{os.getpid()}.tmp"
        self.stream = open(self.aside, "xb")
        return self.stream

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self.stream.flush()
            if self.path != "-":
                self.stream.close()
            if self.aside and error is None:
                os.rename(self.aside, os.path.realpath(self.path))
                self.aside = ""
        finally:
            if self.aside:
                os.unlink(self.aside)
