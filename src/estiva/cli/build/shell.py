"""--shell-on-failure: the terminal goes to a shell in the step that failed, and comes back."""

from __future__ import annotations

import os
import signal
import sys
import threading

from estiva.errors import InvalidInput, oneline
from estiva.linux import tty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from estiva.engine.launch.start import Start

LOOK = 0.2  # seconds between two looks at the terminal's size


class FailureShell:
    """Lets progress through, but while the shell has the terminal: who tells something then waits.

    To be made in the main thread; the shell may be attended in another one. Raises InvalidInput without a
    terminal.
    """

    def __init__(self, progress: Callable[[dict[str, Any]], None]) -> None:
        if not (os.isatty(0) and os.isatty(1) and os.isatty(2)):
            raise InvalidInput(
                "build --shell-on-failure needs a terminal", hint="leave it out where nobody could type"
            )
        self.progress = progress
        self.ours = threading.RLock()
        self.saved: list[Any] | None = None
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, self._die)

    def __call__(self, event: dict[str, Any]) -> None:
        with self.ours:
            self.progress(event)

    def attend(self, start: Start, why: str, missing: list[str]) -> None:
        """Stay with the shell until it ends. Raises EstivaError if it can't start."""
        with self.ours:
            print(f"\n{oneline(why)}", file=sys.stderr)
            print("a shell in this step, as it was left; what is changed is thrown away", file=sys.stderr)
            if missing:
                places = oneline(", ".join(missing))
                print(f"not mounted again (that takes Linux 6.15): {places}", file=sys.stderr)
            sys.stderr.flush()
            self.saved = tty.raw(0)
            try:
                size = tty.window_size(0)
                start.go((0, 1, 2), stdin=True, size=size)
                start.started()
                while not start.heard(LOOK):
                    now = tty.window_size(0)
                    if now != size:
                        size = now
                        start.resize(*size)
                start.wait()
            finally:
                self._give_back()

    def _give_back(self) -> None:
        saved, self.saved = self.saved, None
        if saved is not None:
            tty.restore(0, saved)

    def _die(self, number: int, _frame: FrameType | None) -> None:
        """As without us, but for the terminal."""
        self._give_back()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
