"""An idle init that executes commands: its caller need not join anything, as it is in the container already.

    caller -> agent    {"args", "env", "cwd", "user"} with five fds: the command's stdin, stdout and stderr,
                       the channel of this command, and the cgroup that it is to be in
    command's channel  ERROR and why it could not be executed; or EXITED and its wait status

The agent is a fork of the container's monitor that stays what it was: our interpreter. So it is guarded as an
init that waits is, and no agent is made for a container that may trace others (`may_serve`): it is not
dumpable, its memory, fds and executable are out of reach of the container; it has no capabilities but those
that it needs to give commands their credentials; it imports nothing and opens nothing by a name of the
container's. What comes over its socket is the caller's, and nobody in the container has an end of that.

A command is a fork of it, which goes the way of a command of `--init` (init.py): look_up, settle, launch.
"""

from __future__ import annotations

import _socket
import fcntl
import os
from _struct import unpack

from estiva import fastjson
from estiva.linux import namespace as ns
from estiva.linux import process
from estiva.runtime import child, sync
from estiva.runtime.launch import init
from estiva.runtime.process import command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.runtime.launch.plan import Process

EXITED = b"x"
LARGEST = 1 << 17  # bytes of a request; what is larger goes another way
FDS = 5
_SOCKETS = (_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0)
# chown of its pipes, kill, the ids, the bounding set, a filter without no_new_privs, limits: capabilities(7)
_NEEDED = 1 << 0 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 21 | 1 << 24
_TRACE = "CAP_SYS_PTRACE"


def may_serve(config: dict[str, Any]) -> bool:
    """Whether a container of this OCI config can have an agent: nobody in it may look into another's memory,
    its processes are its own, and its root is ours."""
    wanted = config["process"]
    sets = wanted.get("capabilities") or {}
    kinds = [entry["type"] for entry in config["linux"]["namespaces"] if not entry.get("path")]
    traces = any(_TRACE in (sets.get(name) or ()) for name in sets)
    return not (traces or wanted.get("terminal") or "user" in kinds) and {"pid", "mount", "cgroup"} <= {
        *kinds
    }


class Agent:
    """Made by the monitor, before it clones init; `fd` is its end of the socket."""

    def __init__(self, fd: int, what: Process) -> None:
        self.fd = fd
        self.what = what
        what.contested = True
        what.handlers = os.path.exists(command.HANDLERS)
        wanted = what.capabilities
        every = wanted.permitted | wanted.effective | wanted.inheritable | wanted.ambient | _NEEDED
        self.capabilities = every
        self.running: dict[int, int] = {}  # by pid, the channel of a command

    def begin(self) -> None:
        """In init: SIGIO tells of what there is to read. Nothing that comes is to be fd 0, 1 or 2."""
        while os.dup(self.fd) < 2:
            pass
        fcntl.fcntl(self.fd, fcntl.F_SETOWN, os.getpid())
        flags = fcntl.fcntl(self.fd, fcntl.F_GETFL)
        fcntl.fcntl(self.fd, fcntl.F_SETFL, flags | os.O_ASYNC | os.O_NONBLOCK)
        self.heard()

    def heard(self) -> None:
        """Serve all requests that are there."""
        requests = _socket.socket(*_SOCKETS, self.fd)
        try:
            while True:
                try:
                    data, rights, _, _ = requests.recvmsg(
                        LARGEST, _socket.CMSG_SPACE(4 * FDS), _socket.MSG_CMSG_CLOEXEC
                    )
                except OSError:
                    return
                if not data:
                    return  # the caller has gone: the container ends
                fds = [fd for _, _, each in rights for fd in unpack(f"@{len(each) // 4}i", each)]
                if len(fds) == FDS:
                    self._serve(data, fds)
                    continue
                for fd in fds:  # somebody in the container has given us a lower RLIMIT_NOFILE: prlimit(2)
                    os.close(fd)
        finally:
            requests.detach()

    def _serve(self, data: bytes, fds: list[int]) -> None:
        channel = fds[3]
        try:
            pid, pidfd = ns.clone3(0, cgroup_fd=fds[4])
        except OSError as error:
            sync.Channel(channel).report(error)
            pid = pidfd = -1
        if pid == 0:
            self.running.clear()
            told = sync.Channel(channel)
            child.run(told, lambda: self._become(fastjson.loads(data, what="the request"), fds, told))
        for fd in (*fds[:3], fds[4], pidfd):
            if fd >= 0:
                os.close(fd)
        if pid < 0:
            os.close(channel)
        else:
            self.running[pid] = channel

    def ended(self, pid: int, status: int) -> None:
        """A child of init, ours or an orphan, has ended."""
        channel = self.running.pop(pid, -1)
        if channel >= 0:
            try:
                os.write(channel, EXITED + b"%d" % status)
            except OSError:
                pass  # nobody asks any more
            os.close(channel)

    def _become(self, wanted: dict[str, Any], fds: list[int], channel: sync.Channel) -> None:
        """In the fork: the command."""
        what = self.what
        what.args = wanted["args"]
        what.env = command.environment(wanted["env"])
        what.cwd = wanted["cwd"]
        what.user = wanted["user"]
        channel.step = "arrange the file descriptors"
        for number, fd in enumerate(fds[:3]):
            os.dup2(fd, number)
        channel.fd = sync.at_least(channel.fd, 3)
        process.close_all_but([channel.fd])
        os.setsid()
        os.umask(0)
        channel.step = "look up the user"
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        identity = init.look_up(root, what)
        os.close(root)
        init.settle(what, identity, channel)
        init.launch(what, channel)
