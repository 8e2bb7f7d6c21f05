"""Secrets in the words of a command line are taken from what ps shows of it, before anything forks (K24).

The kernel shows /proc/PID/cmdline to every user of the host, and a fork has its parent's. What the words
meant is in sys.argv, a copy. The place to write to is memory of ours, reached by /proc/self/mem: ctypes would
cost milliseconds here.
"""

from __future__ import annotations

import os

LONG = (b"--env", b"--build-arg")  # their value is NAME=VALUE
PASSWORD = b"--password"
MASK = b"***"


def hide() -> None:
    """Write masked() over this process's command line (proc(5)). Does nothing where that can't be."""
    try:
        stat = os.open("/proc/self/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fields = os.read(stat, 4096).rpartition(b")")[2].split()
        finally:
            os.close(stat)
        start, end = int(fields[45]), int(fields[46])
        memory = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
        try:
            old = os.pread(memory, end - start, start)
            new = b"\0".join(masked(old.split(b"\0")))[: len(old)].ljust(len(old), b"\0")
            if new != old:
                os.pwrite(memory, new, start)
        finally:
            os.close(memory)
    except (OSError, IndexError, ValueError):
        pass


def masked(words: list[bytes]) -> list[bytes]:
    """`words` with *** for the VALUE of -e NAME=VALUE, --env, --build-arg, and for passwords of login."""
    result = []
    login = b"login" in words
    before = b""  # the option whose value is the next word
    for word in words:
        option, value = (before, word) if before else _split(word, login)
        before = b"" if value else option
        secret = value if option == PASSWORD else value.partition(b"=")[2]
        result.append(word[: len(word) - len(secret)] + MASK if secret else word)
    return result


def _split(word: bytes, login: bool) -> tuple[bytes, bytes]:
    """(the option with a secret that a word such as --env, -iteA=x or -pX sets, its value)."""
    if word[:2] == b"--":
        option, _, value = word.partition(b"=")
        return (option, value) if option in LONG or option == PASSWORD else (b"", b"")
    letters = word.partition(b"=")[0]
    letter, option = (b"p", PASSWORD) if login else (b"e", b"--env")
    if word[:1] == b"-" and letter in letters:
        return option, word[letters.index(letter) + 1 :]
    return b"", b""
