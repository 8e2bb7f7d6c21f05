"""The command lines: what each program begins and ends with."""

from __future__ import annotations

import _signal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

INTERRUPTED = 130  # the status of one that SIGINT has ended, as a shell tells it


def program(run: Callable[[list[str]], int]) -> NoReturn:
    """`run` the words of the command line and end with its status.

    The interpreter is not torn down, which would take milliseconds.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    words = sys.argv[1:]
    if secret(words):
        from estiva.cmdline import hidden

        hidden.hide()
    try:
        if _signal.getsignal(_signal.SIGINT) == _signal.SIG_DFL:  # as the launcher left it
            _signal.signal(_signal.SIGINT, _signal.default_int_handler)
            sys.unraisablehook = unraisable
        status = run(words)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, AttributeError, ValueError):
                status = status or 1
        os._exit(status)
    except KeyboardInterrupt:  # before `run` could hear it, or after its end
        os._exit(INTERRUPTED)


def unraisable(told: sys.UnraisableHookArgs) -> None:
    """A Ctrl-C that came in a callback, where nothing can be raised (importlib has one), comes once more."""
    if told.exc_type is KeyboardInterrupt:
        from _thread import get_ident, start_new_thread

        start_new_thread(_signal.pthread_kill, (get_ident(), _signal.SIGINT))
    else:
        sys.__unraisablehook__(told)


def secret(words: list[str]) -> bool:
    """Whether there may be something to hide: a quick look that may be wrong in this direction alone."""
    for word in words:
        if word[:2] == "--":
            found = word.startswith(("--env", "--build-arg"))
        else:
            found = word[:1] == "-" and "e" in word
        if found:
            return True
    return "login" in words
