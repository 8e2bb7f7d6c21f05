"""TODO docstring."""

from __future__ import annotations

import os
import sys

from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO


class Output:
    """A with-block that gives the stream to write an archive to: a file, or stdout unless that is a terminal.

    A file takes its place when it is whole: after an error what was there before is there still. Devices and
    pipes are written to as they are.
    """

    def __init__(self, path: str) -> None:
        self.path = "" if path == "-" else path
        self.aside = ""

    def __enter__(self) -> BinaryIO:
        if not self.path:
            if os.isatty(1):
                raise InvalidInput("an archive is not written to a terminal", hint="use -o FILE, or redirect")
            self.stream: BinaryIO = sys.stdout.buffer
            return self.stream
        target = os.path.realpath(self.path)
        try:
            if os.path.exists(target) and not os.path.isfile(target):
                self.stream = open(target, "wb")
                return self.stream
            self.aside = f"{target}.{os.getpid()}.tmp"
            self.stream = open(self.aside, "xb")
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.path) from None
        return self.stream

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if kind is None:
                self.stream.flush()
                if self.aside:
                    os.rename(self.aside, os.path.realpath(self.path))
                    self.aside = ""
            elif isinstance(error, OSError) and error.filename is None:
                raise error  # a write to the stream, which knows no name
        except BrokenPipeError:
            raise
        except OSError as failed:
            raise OSError(failed.errno, failed.strerror, self.path or "stdout") from None
        finally:
            if self.aside:
                os.unlink(self.aside)
            if self.path:
                try:
                    self.stream.close()
                except OSError:
                    pass  # what could not be flushed is told already
