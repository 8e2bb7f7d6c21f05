"""The pipes between a program and a command in a container, with subprocess's words for them."""

from __future__ import annotations

import codecs
import os
from typing import IO, Any

from estiva.engine.launch import forks
from estiva.errors import InvalidInput
from estiva.sdk import values

PIPE, STDOUT, DEVNULL = -1, -2, -3  # as subprocess has them


class Modes:
    """How a pipe is opened: as bytes, or as text."""

    def __init__(self, text: bool, encoding: Any, errors: Any, bufsize: int) -> None:
        self.text = text or encoding is not None or errors is not None
        self.encoding = values.text("encoding", encoding) or "utf-8"
        self.errors = values.text("errors", errors) or "strict"
        try:
            codecs.lookup(self.encoding)
            codecs.lookup_error(self.errors)
        except (LookupError, ValueError) as error:
            raise InvalidInput(f"no such encoding, or way to handle its errors: {error}") from None
        self.bufsize = bufsize

    def open(self, fd: int, mode: str) -> IO[Any]:
        if not self.text:
            return open(fd, mode + "b", self.bufsize)
        return open(fd, mode, self.bufsize or -1, encoding=self.encoding, errors=self.errors)


class Ends:
    """The ends of the pipes to a command, until they have their owners."""

    def __init__(self) -> None:
        self.ours = [-1, -1, -1]
        self.mine: list[int] = []  # to be closed here

    def make(self, stdio: tuple[Any, Any, Any], tty: bool) -> tuple[int, int, int]:
        """The command's ends. Raises InvalidInput for what is no stream."""
        found = []
        for number, (name, given) in enumerate(zip(("stdin", "stdout", "stderr"), stdio, strict=True)):
            if given == PIPE and type(given) is int:
                found.append(-1 if tty and number == 2 else self._pipe(number))
            elif given == DEVNULL and type(given) is int:
                found.append(-1)
            elif given == STDOUT and type(given) is int and number == 2:
                found.append(found[1])
            elif given is None:
                found.append(number)
            else:
                found.append(_fd(name, given))
        return found[0], found[1], found[2]

    def _pipe(self, number: int) -> int:
        read, write = os.pipe()
        ours, theirs = (write, read) if number == 0 else (read, write)
        self.ours[number] = ours
        if number:
            os.set_blocking(theirs, False)  # so that who copies into it hears of a kill while it is full
        self.mine += [ours, theirs]
        forks.fds.update((ours, theirs))
        return theirs

    def take(self, how: Modes) -> tuple[IO[Any] | None, IO[Any] | None, IO[Any] | None]:
        """Our ends, opened: those are their files' to close."""
        files: list[IO[Any] | None] = []
        for number, fd in enumerate(self.ours):
            files.append(how.open(fd, "r" if number else "w") if fd >= 0 else None)
            if fd >= 0:
                self.mine.remove(fd)
                forks.fds.discard(fd)
        return files[0], files[1], files[2]

    def close(self) -> None:
        while self.mine:
            fd = self.mine.pop()
            forks.fds.discard(fd)
            os.close(fd)


def _fd(name: str, given: Any) -> int:
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < 1 << 20:
        number = int(given)
    else:
        try:
            number = given.fileno()
        except (AttributeError, OSError, ValueError, TypeError):
            raise values.wrong(
                name, "PIPE, DEVNULL, a file, an fd, or None for the program's own", given
            ) from None
    try:
        os.fstat(number)
    except (OSError, TypeError, OverflowError):
        raise values.wrong(name, "an open file", given) from None
    return number
