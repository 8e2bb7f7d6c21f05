"""Archives by path, for `save`, `load`, `export`, `import` and `image copy`: "-" is a stream of the
caller's.
"""

from __future__ import annotations

import fcntl
import os

from estiva.errors import InvalidInput, NotFound
from estiva.files import sweep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Protocol

    class Standard(Protocol):
        """What "-" means to the caller: opened when it is wanted, and not before."""

        def input(self) -> IO[bytes]: ...

        def output(self) -> IO[bytes]: ...


def open_source(path: str, standard: Standard | None = None) -> IO[bytes]:
    """A file to read an archive from. Raises NotFound, InvalidInput."""
    if path == "-":
        return _given(standard).input()
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise NotFound(f"no such file: {path}") from None
    except IsADirectoryError:
        raise InvalidInput(f"{path} is a folder, not an archive") from None


def _given(standard: Standard | None) -> Standard:
    if standard is None:
        raise InvalidInput("- stands for a stream, and there is none", hint="give the path of a file")
    return standard


class Output:
    """A with-block that gives the stream to write an archive to: a file, or the caller's ("" or "-").

    A file takes its place when it is whole: after an error what was there before is there still. It is its
    owner's alone (0600): what it holds may be secret. Devices and pipes are written to as they are.

    Raises InvalidInput, NotFound, and OSError with the path: also for what can't be written in the block,
    where the stream itself knows no name.
    """

    def __init__(self, path: str, standard: Standard | None = None) -> None:
        self.path = "" if path == "-" else path
        self.standard = standard
        self.aside = ""

    def __enter__(self) -> IO[bytes]:
        if not self.path:
            self.stream: IO[bytes] = _given(self.standard).output()
            return self.stream
        self.target = os.path.realpath(self.path)
        if os.path.isdir(self.target):
            raise InvalidInput(f"{self.path} is a folder", hint="name a file in it")
        try:
            if os.path.exists(self.target) and not os.path.isfile(self.target):
                self.stream = open(self.target, "wb")
                return self.stream
            folder, base = os.path.split(self.target)
            sweep(folder, lambda name: _is_aside(name, base))  # of those who were killed
            self.aside = f"{self.target}.{os.getpid()}.tmp"
            self.stream = open(self.aside, "xb", opener=_own)
            while not _held(self.stream.fileno(), self.aside):
                self.stream.close()
                self.stream = open(self.aside, "xb", opener=_own)
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


def _own(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _held(fd: int, path: str) -> bool:
    """Take the flock by which others see that the maker lives. False if one had taken it for dead before."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a filesystem without locks, where nobody sweeps
    return os.path.exists(path)


def _is_aside(name: str, base: str) -> bool:
    """Whether a file is what was to become `base`."""
    return name.startswith(base + ".") and name.endswith(".tmp") and name[len(base) + 1 : -4].isdecimal()
