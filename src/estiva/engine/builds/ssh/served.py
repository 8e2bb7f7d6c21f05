"""An agent for one RUN: its socket, and the process behind it, until `close`."""

from __future__ import annotations

import os
import socket

from estiva import fastjson
from estiva.engine.launch import forks, interpreter
from estiva.engine.monitor.protocol import decode_error
from estiva.errors import EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from subprocess import Popen

    from estiva.builder.request import Agent

PATIENCE = 60.0  # seconds for the process to have read its keys


class Served:
    """Answers at the socket `agent.path`, which is made here. Raises NotFound, InvalidInput, Unsupported."""

    def __init__(self, agent: Agent) -> None:
        self._child: Popen[bytes] | None = None
        self._ours: socket.socket | None = None
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as listener:
            _bind(listener, agent)
            try:
                self._start(listener, agent.places)
            except BaseException:
                self.close()
                raise

    def _start(self, listener: socket.socket, places: list[str]) -> None:
        import subprocess

        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self._ours = ours
        forks.channels.add(ours)  # a fork of the program would keep the agent alive
        with theirs:
            self._child = subprocess.Popen(
                [interpreter.find(), "-I", "-S", "-c", _code(), *_paths(), str(listener.fileno())],
                pass_fds=[listener.fileno()],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C is its caller's
                cwd="/",
                env=interpreter.environment(),
            )
        ours.settimeout(PATIENCE)
        try:
            ours.send(fastjson.dumps(places).encode())
            told = ours.recv(1 << 16)
        except OSError:
            told = b""
        if not told:
            raise EngineError("the process of the ssh agent for RUN did not start")
        answer = fastjson.loads(told, what="the ssh agent's message")
        if answer:
            raise decode_error(answer)

    def close(self) -> None:
        """End the process, and with it all connections."""
        ours, self._ours = self._ours, None
        if ours is not None:
            forks.channels.discard(ours)
            ours.close()
        child, self._child = self._child, None
        if child is not None:
            child.kill()  # by its own handle: it has not been waited for
            child.wait()


def _bind(listener: socket.socket, agent: Agent) -> None:
    """The name has at most 108 bytes, so it is taken from the folder's fd (unix(7))."""
    folder, _, name = agent.path.rpartition("/")
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{fd}/{name}")
        os.chown(name, agent.uid, agent.gid, dir_fd=fd, follow_symlinks=False)
        os.chmod(f"/proc/self/fd/{fd}/{name}", agent.mode)
    finally:
        os.close(fd)
    listener.listen(16)


def _code() -> str:
    return (
        f"import os, sys; os.environ.pop('{interpreter.SECOND}', None); sys.path += sys.argv[1:-1]; "
        "from estiva.engine.builds.ssh import helper; helper.serve(int(sys.argv[-1]))"
    )


def _paths() -> list[str]:
    """Where this package is, and the one that reads keys, if it is there."""
    from importlib.util import find_spec

    found = [os.path.abspath(__file__).rpartition("/estiva/engine/")[0]]
    spec = find_spec("cryptography")
    if spec is not None and spec.origin:
        found.append(os.path.dirname(os.path.dirname(spec.origin)))
    return found
