"""What a fork of this process waits for, so that its child finds nothing locked for ever by a thread that it
does not have.

A wait that is added while a fork waits already counts for that fork too: os.register_at_fork alone would run
those only that were there when it began. Ctrl-C waits too: between a lock that a fork has just got and the
word that it is to be let go, it would stay locked.
"""

from __future__ import annotations

import os
from _thread import get_ident

from estiva import held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Wait = tuple[Callable[[], object], Callable[[], object], Callable[[], object]]

_waits: list[Wait] = []
_done: list[Wait] = []
_signals: dict[int, held.Signals] = {}  # by thread


def wait(before: Callable[[], object], parent: Callable[[], object], child: Callable[[], object]) -> None:
    """Call `before` before each fork, then `parent` in the parent and `child` in the child; the latest
    first."""
    _waits.append((before, parent, child))
    if len(_waits) == 1:
        os.register_at_fork(before=_before, after_in_parent=_parent, after_in_child=_child)


def _before() -> None:
    signals = _signals[get_ident()] = held.Signals()
    signals.hold()
    while left := [each for each in _waits if each not in _done]:
        left[-1][0]()
        _done.append(left[-1])


def _parent() -> None:
    while _done:
        _done.pop()[1]()
    _let_go()


def _child() -> None:
    _done.clear()
    for _, _, child in _waits:
        child()
    _let_go()


def _let_go() -> None:
    signals = _signals.pop(get_ident(), None)
    if signals is not None:
        signals.__exit__()
