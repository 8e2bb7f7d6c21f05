"""A bundle's hooks: runtime-spec config.md, "POSIX-platform Hooks".

    kind              runs in                    when
    prestart          the runtime's namespaces   create, the mounts stand, before pivot_root
    createRuntime     the runtime's namespaces   right after those
    createContainer   the container's, host root right after those, by init
    startContainer    the container's            start, right before the command, by init
    poststart         the runtime's namespaces   start, the command runs
    poststop          the runtime's namespaces   delete, nothing is left

Each gets the container's state on stdin and exactly the environment that the config gives it. Without `env`
it gets that of the runtime, and for startContainer the command's, as with runc and crun. The working
directory is the bundle, and for createContainer the container's root. The runtime is held up until a hook
ends: one that outlives its timeout is killed.
"""

from __future__ import annotations

import _signal
import os
import select
import time
from errno import EAGAIN

from estiva import fastjson
from estiva.errors import EngineError, EstivaError, InvalidInput, oneline
from estiva.linux import process
from estiva.runtime.process import command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_CREATE = ("prestart", "createRuntime", "createContainer")

_OUTPUT_LIMIT = 4096  # bytes of a hook's output that an error shows


class Hooks:
    """The hooks of a config and the state that they are given. Raises InvalidInput with the field's path.

    `state` lacks pid and status until they are known: `run` puts them in.
    """

    def __init__(self, hooks: dict[str, Any] | None, state: dict[str, Any]) -> None:
        if hooks is not None and not isinstance(hooks, dict):
            raise InvalidInput("hooks is not an object")
        self.state = state
        self.place = ""  # where they find the root filesystem, if not at the path of a bundle's
        self.lists: dict[str, list[dict[str, Any]]] = {}
        for kind in KINDS:
            entries = (hooks or {}).get(kind)
            if entries:
                self.lists[kind] = _checked(entries, f"hooks.{kind}")

    def __bool__(self) -> bool:
        return bool(self.lists)

    def has(self, *kinds: str) -> bool:
        return any(kind in self.lists for kind in kinds)

    @property
    def while_created(self) -> bool:
        """Whether init must stop before pivot_root for some."""
        return self.has(*_CREATE)

    def run(
        self,
        kind: str,
        pid: int,
        status: str,
        *,
        directory: str = "",
        env: dict[bytes, bytes] | None = None,
        confine: Callable[[], None] | None = None,
    ) -> None:
        """Run those of one kind in order, in `directory` or the bundle, with `env` where the config has none.

        `confine` is called in the hook's process before it executes a file of the container. Raises
        EngineError at the first that fails.
        """
        where = directory or self.state.get("bundle", "/")
        for index, entry in enumerate(self.lists.get(kind, [])):
            run(entry, self._input(pid, status), _name(kind, index), where, env, confine)

    def run_all(self, kind: str, pid: int, status: str) -> list[str]:
        """Run all of one kind whatever becomes of them: what went wrong, as the spec has it logged."""
        warnings = []
        for index, entry in enumerate(self.lists.get(kind, [])):
            try:
                run(entry, self._input(pid, status), _name(kind, index), self.state.get("bundle", "/"))
            except EngineError as error:
                warnings.append(error.message)
        return warnings

    def _input(self, pid: int, status: str) -> bytes:
        state = dict(self.state)
        state["status"] = status
        if pid:
            state["pid"] = pid
        return fastjson.dumps(state).encode("utf-8", "surrogateescape")


def _name(kind: str, index: int) -> str:
    """How an error begins, in runc's words."""
    return f"error running {kind} hook #{index}"


def _checked(entries: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(entries, list):
        raise InvalidInput(f"{where} is not a list")
    for index, entry in enumerate(entries):
        here = f"{where}[{index}]"
        if not isinstance(entry, dict):
            raise InvalidInput(f"{here} is not an object")
        path = entry.get("path")
        if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
            raise InvalidInput(f"{here}.path is not an absolute path")
        for field in ("args", "env"):
            words = entry.get(field)
            if words is not None and not (
                isinstance(words, list) and all(isinstance(w, str) and "\0" not in w for w in words)
            ):
                raise InvalidInput(f"{here}.{field} is not a list of strings")
        timeout = entry.get("timeout")
        if timeout is not None and (
            isinstance(timeout, bool) or not isinstance(timeout, int) or timeout <= 0
        ):
            raise InvalidInput(f"{here}.timeout is not a whole number of seconds above zero")
    return entries


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
    pidfd = process.pidfd_open(pid)
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
                process.pidfd_send_signal(pidfd, _signal.SIGKILL)
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
