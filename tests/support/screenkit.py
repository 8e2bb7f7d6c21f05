"""A terminal of the tests' own: a pty whose other side a program has, and what would be seen on it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from typing import Any

SEQUENCE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


class Seen:
    """The lines that a terminal of `width` columns shows of what is written to it; it has any number of lines."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.lines: list[str] = [""]
        self.row = self.column = 0
        self.cursor = True

    def write(self, text: str) -> None:
        place = 0
        while place < len(text):
            match = SEQUENCE.match(text, place)
            if match:
                self.sequence(match[1], match[2])
                place = match.end()
                continue
            self.character(text[place])
            place += 1

    def narrow(self, width: int) -> None:
        """Become narrower: lines that are too long are broken."""
        broken: list[str] = []
        for number, line in enumerate(self.lines):
            if number == self.row:
                self.row = len(broken)
            broken += [line[place : place + width] for place in range(0, max(len(line), 1), width)]
        self.lines, self.width = broken, width

    def character(self, char: str) -> None:
        if char == "\r":
            self.column = 0
        elif char == "\n":
            self.row += 1
            self.lines += [""] * (self.row + 1 - len(self.lines))
        else:
            assert char.isprintable(), ascii(char)
            if self.column == self.width:
                self.character("\n")
                self.column = 0
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + char + line[self.column + 1 :]
            self.column += 1

    def sequence(self, numbers: str, letter: str) -> None:
        if letter == "A":
            self.row -= int(numbers or 1)
            assert self.row >= 0, "above the first line"
        elif letter == "K":
            self.lines[self.row] = self.lines[self.row][: self.column]
        elif letter == "J":
            self.lines[self.row] = self.lines[self.row][: self.column]
            del self.lines[self.row + 1 :]
        elif letter in "hl" and numbers == "?25":
            self.cursor = letter == "h"
        else:
            assert letter == "m", f"what is {numbers}{letter}?"

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines).rstrip()


class Terminal:
    """A program with stdin, stdout and stderr on a terminal that is its own, in a session of its own."""

    def __init__(self, words: list[str], columns: int = 80, rows: int = 24, **options: Any) -> None:
        self.master, slave = pty.openpty()
        self.resize(columns, rows)
        self.seen = Seen(columns)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.child = subprocess.Popen(
            words,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            **options,
        )
        self.raw = b""

    def resize(self, columns: int, rows: int) -> None:
        if hasattr(self, "seen"):
            self.seen.narrow(columns)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, wanted: str = "", seconds: float = 60) -> str:
        """What is seen, once `wanted` is among it; without, at the program's end."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if select.select([self.master], [], [], 0.05)[0]:
                data = os.read(self.master, 1 << 16)
                self.raw += data
                self.seen.write(data.decode())
            elif not wanted and self.child.poll() is not None:
                return self.seen.text
            if wanted and wanted in self.seen.text:
                return self.seen.text
        raise AssertionError(f"no {wanted!r} within {seconds} s:\n{self.seen.text}")

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def close(self) -> None:
        """The program has left the terminal as it was."""
        try:
            assert termios.tcgetattr(self.slave) == self.before
            assert self.seen.cursor
        finally:
            if self.child.poll() is None:
                os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()
            os.close(self.master)
            os.close(self.slave)
