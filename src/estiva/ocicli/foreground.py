"""`estiva-oci run` in the foreground: signals are passed on, a terminal is copied, the end awaited."""

from __future__ import annotations

import _signal
import os

from estiva.linux import process
from estiva.runtime.process import reaper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.runtime.launch.clone import Init

# Not passed on: the kernel raises them at a process for what it did itself, or they can't be caught.
_OWN = frozenset((4, 5, 6, 7, 8, 9, 11, 13, 17, 19, 21, 22, 23, 28, 31))
_CHUNK = 1 << 16


def take_signals(*, subreaper: bool) -> None:
    """From here on no signal is lost: all are blocked and taken in `attend`."""
    _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    if subreaper:
        process.set_child_subreaper()


def attend(init: Init, *, terminal: bool) -> int:
    """Wait for init's end, doing what there is to do meanwhile. The exit status: 128+n for signal n."""
    status = _with_terminal(init) if terminal else _without(init)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _without(init: Init) -> int:
    every = set(_signal.valid_signals()) - {_signal.SIGKILL, _signal.SIGSTOP}
    while True:
        number = _signal.sigwaitinfo(every).si_signo
        if number == _signal.SIGCHLD:
            status = reaper.reap(init.pid)
            if status is not None:
                return status
        else:
            _pass_on(init, number)


def _pass_on(init: Init, number: int) -> None:
    if number not in _OWN:
        try:
            init.signal(number)
        except ProcessLookupError:
            pass


class _Copy:
    """Bytes from one fd to another that may be slow to take them: not read while some wait."""

    def __init__(self, source: int, target: int) -> None:
        self.source = source
        self.target = target
        self.waiting = b""

    def read(self) -> bool:
        try:
            data = os.read(self.source, _CHUNK)
        except BlockingIOError:
            return True
        except OSError:  # EIO: the terminal's last user has gone
            return False
        self.waiting += data
        self.flush()
        return bool(data)

    def flush(self) -> None:
        try:
            self.waiting = self.waiting[os.write(self.target, self.waiting) :]
        except BlockingIOError:
            pass
        except OSError:
            self.waiting = b""


def _with_terminal(init: Init) -> int:
    """Copy between our own stdin and stdout and the container's terminal until init ends and all is read."""
    import select

    from estiva.linux import tty

    ours = os.isatty(0)
    saved = tty.raw(0, keep_output=True) if ours else None
    wake, woken = os.pipe()
    for fd in (wake, woken, init.console):
        os.set_blocking(fd, False)
    for number in set(_signal.valid_signals()) - {_signal.SIGKILL, _signal.SIGSTOP}:
        if number not in _OWN or number in (_signal.SIGCHLD, _signal.SIGWINCH):
            try:
                _signal.signal(number, lambda *_: None)
            except (OSError, ValueError):
                pass
    _signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    typed, shown = _Copy(0, init.console), _Copy(init.console, 1)
    typing = showing = True
    typed.waiting = tty.typed_ahead(0)
    typed.flush()
    status: int | None = None
    try:
        status = reaper.reap(init.pid)
        while status is None or showing:
            poll = select.poll()
            poll.register(wake, select.POLLIN)
            if showing:
                wanted = select.POLLIN | (select.POLLOUT if typed.waiting else 0)
                poll.register(init.console, wanted)
            if typing and not typed.waiting:
                poll.register(0, select.POLLIN)
            events = dict(poll.poll(100 if status is not None else None))
            if not events and status is not None:
                break  # somebody outlives init and holds the terminal
            if wake in events:
                for number in os.read(wake, 512):
                    if number == _signal.SIGWINCH:
                        resize(init.console)
                    elif number == _signal.SIGCHLD:
                        status = reaper.reap(init.pid) if status is None else status
                    else:
                        _pass_on(init, number)
            if typed.waiting and events.get(init.console, 0) & select.POLLOUT:
                typed.flush()
            if events.get(init.console, 0) & (select.POLLIN | select.POLLHUP):
                showing = shown.read()
                while shown.waiting:
                    shown.flush()
            if 0 in events:
                typing = typed.read()
                if not typing and showing:
                    # Who reads the terminal has no other way to hear that nothing more will come.
                    typed.waiting += tty.end_of_file(init.console)
                    typed.flush()
        assert status is not None
        return status
    finally:
        if saved is not None:
            tty.restore(0, saved)


def prepare(console: int) -> None:
    """Make the container's terminal one that we copy from: before the command looks at it.

    Newlines come as they are written, as with runc: our own terminal returns the carriage, and a pipe or a
    file gets no carriage returns at all.
    """
    from estiva.linux import tty

    tty.plain_newlines(console)
    resize(console)


def resize(console: int) -> None:
    """Give the container's terminal the size of ours, where we have one."""
    from estiva.linux import tty

    try:
        tty.set_window_size(console, *tty.window_size(0))
    except OSError:
        pass
