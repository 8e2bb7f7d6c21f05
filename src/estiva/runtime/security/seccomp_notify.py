"""linux.seccomp.listenerPath: the fd of SCMP_ACT_NOTIFY goes to the one who answers for the container.

runtime-spec config-linux.md, "The Container Process State"; seccomp_unotify(2). From the moment that the
filter stands any system call of the container's process may have to wait for an answer, so the process can't
send the fd itself, and the runtime may be gone by then (`create` ends before `start`). So a process of the
runtime's waits beside the container, in the host's namespaces, from the clone until the filter stands:

    process                                  helper
      | writes to a pipe: it comes -----------> |  (end of file: the process is gone, and so are we)
      | seccomp(2) gives fd N                   |
      | stores N in memory shared by both ----> |  sees it, takes the fd by pidfd_getfd(2)
      |                                         |  connects to listenerPath, sends state and fd
      | spins without any system call   <------ |  stores done, or failed

"""

from __future__ import annotations

import _signal
import _socket
import mmap
import os
import select
import time
from _struct import pack

from estiva import fastjson
from estiva.errors import EngineError, InvalidInput
from estiva.linux import process as proc
from estiva.runtime import sync

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SIZE = 4096
_DONE, _FAILED = 1, 2
_STATUS, _FD, _TEXT = 0, 4, 8  # offsets in the shared memory: a byte, an int, a text of _TEXT_LIMIT bytes
_TEXT_LIMIT = 512
_PAUSE = 0.0005  # seconds between two looks at it
_SPIN = 300_000_000  # loops that the process waits, minutes


class Notifier:
    """What both sides share. `fd` is the process's end of the pipe."""

    def __init__(self, seccomp: dict[str, Any], state: dict[str, Any], least: int) -> None:
        self.path: str = seccomp["listenerPath"]
        self.metadata: str = seccomp.get("listenerMetadata") or ""
        self.state = state
        self.memory = mmap.mmap(-1, _SIZE)
        told, tell = os.pipe()
        self.told, self.fd = sync.at_least(told, least), sync.at_least(tell, least)

    # --- the process ---

    def announce(self) -> None:
        """Right before the filter is installed. Raises OSError."""
        os.write(self.fd, b"n")

    def hand_over(self, listener: int) -> None:
        """Right after: give the fd away and wait until it has arrived. Makes no system call. Raises
        EngineError when it could not be delivered."""
        memory = self.memory
        memory[_FD : _FD + 4] = listener.to_bytes(4, "little")
        for _ in range(_SPIN):
            if memory[_STATUS]:
                break
        if memory[_STATUS] != _DONE:
            text = bytes(memory[_TEXT : _TEXT + _TEXT_LIMIT]).rstrip(b"\0").decode("utf-8", "replace")
            raise EngineError(f"linux.seccomp.listenerPath: {text or 'nobody took the fd'}")

    # --- the helper ---

    def watch(self, pid: int, pidfd: int) -> None:
        """Fork the helper for the cloned process, as nobody's child. The caller has one thread."""
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            for fd in (self.fd, self.told):
                os.close(fd)
            return
        try:
            if os.fork():
                os._exit(0)
            _signal.pthread_sigmask(_signal.SIG_BLOCK, range(1, 32))
            os.setsid()
            # Callers wait for the end of their pipes, so none of their fds may be kept.
            null = os.open("/dev/null", os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            proc.close_all_but([self.told, pidfd], 3)
            proc.set_title("estiva-seccomp")
            proc.set_dumpable(False)
            self._serve(pid, pidfd)
        finally:
            os._exit(0)

    def _serve(self, pid: int, pidfd: int) -> None:
        if not os.read(self.told, 1):
            return
        memory = self.memory
        gone = select.poll()
        gone.register(pidfd, select.POLLIN)
        while not any(memory[_FD : _FD + 4]):
            if gone.poll(0):
                return
            time.sleep(_PAUSE)
        try:
            fd = proc.pidfd_getfd(pidfd, int.from_bytes(memory[_FD : _FD + 4], "little"))
            self._send(pid, fd)
            memory[_STATUS] = _DONE
        except OSError as error:
            text = f"{self.path}: {(error.strerror or str(error)).lower()}".encode()[:_TEXT_LIMIT]
            memory[_TEXT : _TEXT + len(text)] = text
            memory[_STATUS] = _FAILED

    def _send(self, pid: int, fd: int) -> None:
        state = {**self.state, "pid": pid, "status": "created"}
        message: dict[str, Any] = {
            "ociVersion": state["ociVersion"],
            "fds": ["seccompFd"],
            "pid": pid,
            "metadata": self.metadata,
            "state": state,
        }
        data = fastjson.dumps(message).encode("utf-8", "surrogateescape")
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            sock.connect(self.path)
            ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pack("@i", fd))]
            sent = sock.sendmsg([data], ancillary)
            sock.sendall(data[sent:])
        finally:
            sock.close()


def plan(seccomp: dict[str, Any], state: dict[str, Any], least: int) -> Notifier | None:
    """A Notifier if the filter has SCMP_ACT_NOTIFY; its fds are at least `least`. Raises InvalidInput when
    nobody listens for it."""
    actions = [rule.get("action") for rule in seccomp.get("syscalls") or ()]
    if "SCMP_ACT_NOTIFY" not in (seccomp.get("defaultAction"), *actions):
        return None
    path = seccomp.get("listenerPath")
    if not path:
        raise InvalidInput("linux.seccomp.listenerPath is missing: SCMP_ACT_NOTIFY needs it")
    if not os.path.exists(path):
        raise InvalidInput(f"linux.seccomp.listenerPath: {path} is not there")
    return Notifier(seccomp, state, least)
