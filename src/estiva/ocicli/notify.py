"""NOTIFY_SOCKET of sd_notify(3): a container's command tells the caller of its runtime that it is ready."""

from __future__ import annotations

import _socket
import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from select import poll as Poll
    from typing import Any

_DIRECTORY = "/run/notify"  # in the container, where runc has it
_NAME = "notify.sock"


def of(directory: str) -> Notify | None:
    """That of a container that was created with one, listening: before the command can speak."""
    target = os.environ.get("NOTIFY_SOCKET")
    if not target or not os.path.isdir(f"{directory}/notify"):
        return None
    notify = Notify(directory, target)
    notify.listen()
    return notify


class Notify:
    """The container gets a socket of ours, and what it says of being ready is passed on to the caller's with
    init's pid, which the container doesn't know."""

    def __init__(self, directory: str, target: str) -> None:
        self.directory = f"{directory}/notify"
        self.target = target
        self.fd = -1

    def add_to(self, config: dict[str, Any]) -> None:
        """Bind-mount the socket's directory, which create.create makes, and name it in the env."""
        process = config["process"]
        env = [word for word in process.get("env") or () if not word.startswith("NOTIFY_SOCKET=")]
        process["env"] = [*env, f"NOTIFY_SOCKET={_DIRECTORY}/{_NAME}"]
        config["mounts"] = [
            *(config.get("mounts") or ()),
            {
                "destination": _DIRECTORY,
                "type": "bind",
                "source": self.directory,
                "options": ["bind", "nosuid", "noexec", "nodev", "ro"],
            },
        ]

    def listen(self) -> None:
        path = f"{self.directory}/{_NAME}"
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        place = os.open(self.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sock.bind(f"/proc/self/fd/{place}/{_NAME}")
            os.chmod(path, 0o666)  # any user of the container may speak; the directory's parent is 0700
            self.fd = sock.detach()
        finally:
            os.close(place)
            sock.close()

    def forward(self, pid: int, *, aside: bool = False) -> None:
        """Wait until it says READY=1, or ends, and pass that on; `aside` has a child do it."""
        import select

        if aside and os.fork():
            os.close(self.fd)
            return
        try:
            self._forward(pid, select.poll())
        finally:
            if aside:
                os._exit(0)

    def _forward(self, pid: int, poll: Poll) -> None:
        pidfd = os.pidfd_open(pid, 0)
        try:
            poll.register(self.fd, 1)  # POLLIN
            poll.register(pidfd, 1)
            while True:
                ready = dict(poll.poll())
                if self.fd in ready:
                    lines = os.read(self.fd, 4096).split(b"\n")
                    if b"READY=1" in lines:
                        self._tell(b"READY=1\nMAINPID=%d\n" % pid)
                        return
                elif pidfd in ready:
                    return
        finally:
            os.close(pidfd)
            os.close(self.fd)
            self.fd = -1

    def _tell(self, message: bytes) -> None:
        address = "\0" + self.target[1:] if self.target.startswith("@") else self.target
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        try:
            sock.connect(address)
            sock.send(message)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ECONNREFUSED):
                raise
        finally:
            sock.close()
