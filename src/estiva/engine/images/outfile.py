"""Where an archive is written to, for `save`, `export` and `image copy`: a file, or stdout."""

from __future__ import annotations

import os
import sys

from estiva.errors import InvalidInput, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO


class Output:
    """A with-block that gives the stream to write an archive to: a file, or stdout ("" or "-") unless that is
    a terminal.

    A file takes its place when it is whole: after an error what was there before is there still. Devices and
    pipes are written to as they are. Raises InvalidInput, NotFound, and OSError with the path: also for what
    can't be written in the block, where the stream itself knows no name.
    """

    def __init__(self, path: str) -> None:
        self.path = "" if path == "-" else path
        self.aside = ""

    def __enter__(self) -> IO[bytes]:
        if not self.path:
            if os.isatty(1):
                raise InvalidInput("an archive is not written to a terminal", hint="use -o FILE, or redirect")
            self.stream: IO[bytes] = sys.stdout.buffer
            return self.stream
        self.target = os.path.realpath(self.path)
        if os.path.isdir(self.target):
            raise InvalidInput(f"{self.path} is a folder", hint="name a file in it")
        try:
            if os.path.exists(self.target) and not os.path.isfile(self.target):
                self.stream = open(self.target, "wb")
                return self.stream
            self.aside = f"{self.target}.{os.getpid()}.tmp"
            self.stream = open(self.aside, "xb")
        except FileNotFoundError:
            raise NotFound(
                f"{self.path}: no such file or directory", hint=f"no folder {os.path.dirname(self.target)}"
            ) from None
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.path) from None
        return self.stream

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if kind is None:
                self.stream.flush()
                if self.aside:
                    os.rename(self.aside, self.target)
                    self.aside = ""
            elif isinstance(error, OSError) and error.filename is None:
                raise error
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
