"""What the exit status of a RUN's command says, in words."""

from __future__ import annotations

from signal import Signals, strsignal

_MEANINGS = {
    126: "the command can't be executed",
    127: "command not found",
    137: "killed, by SIGKILL",
}
_HINTS = {
    126: "is it executable, and for this platform?",
    127: "the command is not in the image's filesystem, or what its #! line names is not",
    137: "the command was killed (SIGKILL): perhaps it ran out of memory",
    139: "a program read or wrote memory that is not its own: is it for this platform?",
}
_FIRST = 128  # and the number of a signal


def meaning(status: int) -> str:
    """A phrase for it; "" where it is the command's alone to say."""
    if status in _MEANINGS:
        return _MEANINGS[status]
    try:
        number = Signals(status - _FIRST)
    except ValueError:
        return ""
    return f"{(strsignal(number) or 'a signal').lower()}, by {number.name}"


def hint(status: int) -> str:
    return _HINTS.get(status, "")
