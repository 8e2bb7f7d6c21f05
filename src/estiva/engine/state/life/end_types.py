"""The shape of `State.Exit`: see certificate.py. For type checkers alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict


class Sender(TypedDict):
    """Who has sent a signal: a verb of ours, or one of the words of life/certificate.py."""

    By: str
    Signal: str


class Victim(TypedDict):
    """A process, by its pid on the host, its name, and its memory in bytes: cgroup/victims.py."""

    Pid: int
    Name: str
    Memory: int


class Killed(TypedDict, total=False):
    """Processes that the out-of-memory killer has ended: how many, and by whose limit (cgroup/blame.py)."""

    Count: int
    Scope: str
    Cgroup: str
    Limit: int  # bytes
    Processes: Sequence[Victim]  # the largest when it happened last


class Exit(TypedDict, total=False):
    """How the last run ended: life/certificate.py. What is not known is not there."""

    Status: int
    Meaning: str  # all that follows, in a phrase
    Signal: str  # that it was killed by
    Sender: Sender
    OOM: Killed
    PeakMemory: int  # bytes
    Seccomp: bool  # killed for a system call
    Alive: float  # seconds
    Failed: bool  # its command was not executed
    Hint: str  # what can be done about that
    LastLog: list[str]  # read when it is asked for
