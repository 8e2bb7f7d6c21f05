"""One hook run to its end: hooks.py says which, when and where."""

from __future__ import annotations

import _signal
import os
import select
import time
from errno import EAGAIN

from estiva.errors import EngineError, EstivaError, oneline
from estiva.linux import process, procinfo
from estiva.runtime.process import command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_OUTPUT_LIMIT = 4096  # bytes of a hook's output that an error shows


def run(
    entry: dict[str, Any],
    state: bytes,
    name: str,
    directory: str = "/",
    inherited: dict[bytes, bytes] | None = None,
    confine: Callable[[], None] | None = None,
) -> None:
    """Run one hook to its end, in `directory`. `name` is for messages; with `confine` its path is one of the
    container: see Hooks.run. Raises EngineError.

    The caller has one thread. Only what is loaded already is used: init runs hooks where an import would find
    the container's files.
    """
    path: str = entry["path"]
    env: dict[bytes, bytes] = {}
    if entry.get("env") is None:
        env = dict(os.environb if inherited is None else inherited)
    for word in entry.get("env") or ():
        key, equals, value = os.fsencode(word).partition(b"=")
        if equals and key:
            env[key] = value
    into, feed = os.pipe()
    out, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(path, entry.get("args") or [path], env, into, told, directory, confine)
    os.close(into)
    os.close(told)
    try:
        status, text = _attend(pid, feed, out, state, entry.get("timeout"))
    finally:
        os.close(out)
    if status is None:
        raise EngineError(f"{name}: {oneline(path)} did not end within {entry['timeout']} seconds")
    if status == 0:
        return
    how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"status {os.WEXITSTATUS(status)}"
    said = oneline(text.decode("utf-8", "replace").strip())
    raise EngineError(f"{name}: {oneline(path)} ended with {how}" + (f": {said}" if said else ""))


def _become(
    path: str,
    args: list[str],
    env: dict[bytes, bytes],
    stdin: int,
    output: int,
    directory: str,
    confine: Callable[[], None] | None,
) -> None:
    """The child's side of `run`. Never returns."""
    try:
        os.dup2(stdin, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        process.close_all_but([], 3)
        for number in _signal.valid_signals():
            if _signal.getsignal(number) not in (_signal.SIG_DFL, None):
                _signal.signal(number, _signal.SIG_DFL)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
        try:
            os.chdir(directory)
        except OSError:
            os.chdir("/")
        fd = -1
        if confine is not None:
            fd, args = command.inspect(path, args, True, False)
            confine()
        command.execute(path, args, env, fd)
    except EstivaError as error:
        os.write(2, error.message.encode("utf-8", "surrogateescape"))
    except OSError as error:
        os.write(2, f"it can't be executed: {os.strerror(error.errno or 0).lower()}".encode())
    finally:
        os._exit(127)


def _attend(pid: int, feed: int, out: int, state: bytes, timeout: int | None) -> tuple[int | None, bytes]:
    """Feed it, keep the start of what it says, wait for its end: (wait status or None if killed, output)."""
    pidfd = procinfo.pidfd_open(pid)
    deadline = None if timeout is None else time.monotonic() + timeout
    text = b""
    os.set_blocking(feed, False)
    os.set_blocking(out, False)
    killed = False
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.register(out, select.POLLIN)
        poll.register(feed, select.POLLOUT)
        while True:
            left = None if deadline is None else max(0, int((deadline - time.monotonic()) * 1000) + 1)
            ready = dict(poll.poll(left))
            if feed in ready:
                state = _write(feed, state)
                if not state:
                    poll.unregister(feed)
                    os.close(feed)
                    feed = -1
            if out in ready:
                data = _read(out)
                text = (text + data)[:_OUTPUT_LIMIT]
                if not data:
                    poll.unregister(out)
            if pidfd in ready:
                break
            if deadline is not None and time.monotonic() >= deadline:
                killed = True
                procinfo.pidfd_send_signal(pidfd, _signal.SIGKILL)
                deadline = None
        status = os.waitpid(pid, 0)[1]
        text = (text + _read(out))[:_OUTPUT_LIMIT]
    finally:
        os.close(pidfd)
        if feed >= 0:
            os.close(feed)
    return (None if killed else status), text


def _write(fd: int, data: bytes) -> bytes:
    """What is left of `data` after a write; nothing when nobody reads it."""
    try:
        return data[os.write(fd, data) :]
    except OSError as error:
        return data if error.errno == EAGAIN else b""


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:
        return b""
