"""Staying with a command: signals passed on, the terminal raw and its size followed, the exit status at the
end (cold path). Everything about terminals and the standard streams is here; the engine takes fds.
"""

from __future__ import annotations

import _signal
import os

from estiva.errors import EngineError, oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.cmdline.parser import Options
    from estiva.engine.launch.start import Start
    from estiva.engine.monitor.exec_session import Session
    from estiva.engine.state.types import Outcome

PASSED_ON = (
    _signal.SIGINT,
    _signal.SIGTERM,
    _signal.SIGHUP,
    _signal.SIGQUIT,
    _signal.SIGUSR1,
    _signal.SIGUSR2,
)


class Left(Exception):
    """A signal to us while we have a container's terminal: as with docker, whose client is ended by it, the
    container goes on. The hang-up of a terminal that was closed is the usual one."""

    def __init__(self, number: int) -> None:
        self.status = 128 + number


def leave(number: int, _frame: object) -> None:
    """The handler that raises it, once."""
    for each in PASSED_ON:
        _signal.signal(each, _signal.SIG_IGN)
    raise Left(number)


def attend(
    start: Start,
    *,
    stdin: bool,
    stdout: bool = True,
    stderr: bool = True,
    sig_proxy: bool = True,
    detach_keys: str = "",
) -> int:
    """Launch `start` on our standard streams, those that are wanted, and stay until the container ends or the
    user detaches, or closes the terminal; its exit status.

    Signals are passed on where the container has no terminal.
    """
    from estiva.linux import tty

    config = start.record["Config"]
    terminal = bool(config.get("Tty")) and os.isatty(1)
    stdio = (0 if stdin else -1, 1 if stdout else -1, 2 if stderr else -1)
    begun = False
    early: list[int] = []  # signals that come before there is anything to pass them to

    def pass_on(number: int, _frame: object) -> None:
        if not begun:
            early.append(number)
        elif config.get("Tty"):
            leave(number, _frame)
        else:
            start.signal(number)

    wanted = sig_proxy or config.get("Tty")
    before = {n: _signal.signal(n, pass_on) for n in PASSED_ON} if wanted else {}
    saved: list[Any] | None = None
    try:
        # before the command can write: a terminal that is not raw yet would echo, and add its own returns;
        # also when the output goes elsewhere: the end of input is a byte to the command
        if config.get("Tty") and stdin and os.isatty(0):
            saved = tty.raw(0)
        size = tty.window_size(1) if terminal else None
        start.go(stdio, stdin=stdin, size=size, detach_keys=detach_keys)
        begun = True
        start.started()
        for number in early:
            pass_on(number, None)
        if terminal:
            before[_signal.SIGWINCH] = _signal.signal(
                _signal.SIGWINCH, lambda _n, _frame: start.resize(*tty.window_size(1))
            )
            start.resize(*tty.window_size(1))  # it may have changed since the plan was made
        outcome = start.wait()
    except Left as left:
        return left.status
    finally:
        if saved is not None:
            tty.restore(0, saved)
        for number, handler in before.items():
            _signal.signal(number, handler)
        start.close()
    return exit_status(outcome)


def detach_keys(options: Options) -> str:
    """The keys of --detach-keys, in Docker's words: "ctrl-a", "ctrl-p,q", "DEL"; "" for the usual ones."""
    text = options.text("detach-keys")
    if not text:
        return ""
    from estiva.engine.containers import attach

    return attach.keys(text)


def exit_status(outcome: Outcome) -> int:
    """What the command line ends with after `outcome`. Raises EngineError when the monitor did not tell
    one.
    """
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


def attend_exec(session: Session, *, tty: bool, stdin: bool) -> int:
    """Start an exec of which this process is the parent, and stay until it ends; its exit status. 1 where the
    user leaves by the detach keys, as with Docker: the command goes on."""
    from estiva.linux import tty as terminals

    terminal = tty and os.isatty(1)
    if terminal:
        session.size(*terminals.window_size(1))
    saved = terminals.raw(0) if tty and stdin else None  # before the command can write, as above
    try:
        session.start()
        if terminal:
            _signal.signal(
                _signal.SIGWINCH,
                lambda _n, _frame: session.resize(*terminals.window_size(1)),
            )
        status = session.run()
        if session.streams.detached:
            session.go_on()
    finally:
        if saved is not None:
            terminals.restore(0, saved)
    if session.streams.detached:
        os.write(2, b"read escape sequence\n")
        return 1
    return status
