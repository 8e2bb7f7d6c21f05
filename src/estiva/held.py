"""Signals whose handlers are in Python, kept from the main thread for a moment.

Python calls them between two instructions, wherever that is, and what they raise (KeyboardInterrupt) would
lose what has just been made and has no name yet: an fd, a container's lock, a transaction.
"""

from __future__ import annotations

import _signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

NUMBERS = sorted(set(range(1, _signal.NSIG)) - {_signal.SIGKILL, _signal.SIGSTOP, 32, 33})


class Signals:
    """A with-block, from `hold` on or not at all; at its end what has come is handled."""

    def __init__(self) -> None:
        self._handlers: list[tuple[int, Callable[..., Any]]] = []
        self._came: list[tuple[int, Callable[..., Any]]] = []

    def hold(self) -> None:
        try:
            for number in NUMBERS:
                handler = _signal.getsignal(number)
                if callable(handler):
                    self._handlers.append((number, handler))
                    _signal.signal(number, self._note)
        except ValueError:  # not the main thread: handlers are never called here
            self._handlers.clear()

    def look(self) -> None:
        """Handle what has come, in the middle: where its end is waited for."""
        if self._came:
            number, handler = self._came.pop(0)
            try:
                handler(number, sys._getframe())
            finally:
                self.look()

    def _note(self, number: int, frame: object) -> None:
        for held, handler in self._handlers:
            if held == number and (number, handler) not in self._came:
                self._came.append((number, handler))

    def __enter__(self) -> Signals:
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self._restore()
        finally:
            self._restore()  # another one in the middle of it
            self.look()

    def forget(self) -> None:
        """End it in a fork that another thread has made: what has come is the parent's to handle."""
        self._came.clear()
        self._restore()

    def _restore(self) -> None:
        while self._handlers:
            _signal.signal(*self._handlers[-1])
            self._handlers.pop()
