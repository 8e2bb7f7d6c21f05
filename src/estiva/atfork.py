"""What a fork of this process waits for, so that its child finds nothing locked for ever by a thread that it
does not have.

A wait that is added while a fork waits already counts for that fork too: os.register_at_fork alone would run
those only that were there when it began. Ctrl-C waits too: between a lock that a fork has just got and the
word that it is to be let go, it would stay locked. Of several threads that fork at once one comes after the
other: what is locked for a fork is let go by that one.
"""

from __future__ import annotations

import os
from _thread import allocate_lock, get_ident

from estiva import held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Wait = tuple[Callable[[], object], Callable[[], object], Callable[[], object]]

_waits: list[Wait] = []
_done: list[Wait] = []
_signals: dict[int, held.Signals] = {}  # by thread
_turn = allocate_lock()  # held by the thread that forks


def wait(before: Callable[[], object], parent: Callable[[], object], child: Callable[[], object]) -> None:
    """Call `before` before each fork, then `parent` in the parent and `child` in the child; the latest
    first."""
    _waits.append((before, parent, child))
    if len(_waits) == 1:
        os.register_at_fork(before=_before, after_in_parent=_parent, after_in_child=_child)


def _before() -> None:
    signals = _signals[get_ident()] = held.Signals()
    signals.hold()
    _turn.acquire()
    while left := [each for each in _waits if each not in _done]:
        left[-1][0]()
        _done.append(left[-1])


def _parent() -> None:
    try:
        while _done:
            _done.pop()[1]()
    finally:
        _turn.release()
        _let_go()


def _child() -> None:
    global _turn
    _turn = allocate_lock()
    _done.clear()
    for thread in _signals.keys() - {get_ident()}:  # of one that waited for its turn: it is not here
        _signals.pop(thread).forget()
    for _, _, child in _waits:
        child()
    _let_go()


def _let_go() -> None:
    signals = _signals.pop(get_ident(), None)
    if signals is not None:
        signals.__exit__()
