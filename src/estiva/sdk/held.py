"""Signals whose handlers are in Python, kept from the main thread for a moment.

Python calls them between two instructions, wherever that is, and what they raise (KeyboardInterrupt) would
lose what has just been made and has no name yet: an fd, a container's lock.
"""

from __future__ import annotations

import _signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBERS = sorted(set(range(1, _signal.NSIG)) - {_signal.SIGKILL, _signal.SIGSTOP, 32, 33})


class Signals:
    """A with-block, from `hold` on or not at all; at its end what has come is handled."""

    def __init__(self) -> None:
        self._handlers: list[tuple[int, Callable[..., Any]]] = []
        self._came: list[int] = []

    def hold(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # handlers are never called there
        for number in NUMBERS:
            handler = _signal.getsignal(number)
            if callable(handler):
                self._handlers.append((number, handler))
                _signal.signal(number, self._note)

    def _note(self, number: int, frame: object) -> None:
        self._came.append(number)

    def __enter__(self) -> Signals:
        return self

    def __exit__(self, *exception: object) -> None:
        while self._handlers:
            _signal.signal(*self._handlers[-1])
            self._handlers.pop()
        while self._came:
            _signal.raise_signal(self._came.pop(0))
