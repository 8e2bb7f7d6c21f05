"""Staying with a container: signals passed on, the terminal raw and its size followed, the exit status at
the end.
"""

from __future__ import annotations

import _signal
import os

from estiva.errors import EngineError, oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.engine.launch.launch import Launched

PASSED_ON = (
    _signal.SIGINT,
    _signal.SIGTERM,
    _signal.SIGHUP,
    _signal.SIGQUIT,
    _signal.SIGUSR1,
    _signal.SIGUSR2,
)


def attend(begin: Callable[[], Launched], config: dict[str, Any], sig_proxy: bool) -> int:
    """Start by `begin` and stay until the container ends or the user detaches; its exit status."""
    from estiva.linux import tty

    terminal = bool(config.get("Tty")) and os.isatty(1)
    launched: Launched | None = None
    early: list[int] = []  # signals that come before there is anything to pass them to

    def pass_on(number: int, _frame: object) -> None:
        if launched is None:
            early.append(number)
        else:
            launched.signal(number)

    before = {n: _signal.signal(n, pass_on) for n in PASSED_ON} if sig_proxy else {}
    saved: list[Any] | None = None
    try:
        # before the command can write: a terminal that is not raw yet would echo, and add its own returns;
        # also when the output goes elsewhere: the end of input is a byte to the command
        if config.get("Tty") and config.get("OpenStdin") and os.isatty(0):
            saved = tty.raw(0)
        launched = begin()
        launched.started()
        for number in early:
            launched.signal(number)
        if terminal:
            both = launched
            before[_signal.SIGWINCH] = _signal.signal(
                _signal.SIGWINCH, lambda _n, _frame: both.resize(*tty.window_size(1))
            )
            launched.resize(*tty.window_size(1))  # it may have changed since the plan was made
        outcome = launched.wait()
    finally:
        if saved is not None:
            tty.restore(0, saved)
        for number, handler in before.items():
            _signal.signal(number, handler)
        if launched is not None:
            launched.close()
    if outcome["event"] == "detached":
        return 0
    if outcome["event"] == "lost":
        raise EngineError(
            "the container's monitor was killed", hint="`estiva system check` cleans up after it"
        )
    if outcome["event"] == "error":  # of a monitor that failed after the command had started
        from estiva.engine.monitor.protocol import decode_error

        raise decode_error(outcome)
    if outcome.get("problem"):
        text = f"estiva: the container ended but cleaning up failed: {oneline(outcome['problem'])}\n"
        os.write(2, text.encode())
    status: int = outcome["status"]
    return status
