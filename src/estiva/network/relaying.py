"""The process of a relay (network/relay.py): started, looked for, ended.

It holds the flock(2) of a file in its container's run folder, which has its pid: so who finds the lock taken
knows that it lives, and whom to kill should it be stopped. The kernel drops the lock with the process.
"""

from __future__ import annotations

import fcntl
import os

from estiva.linux import procinfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as _socket
    from collections.abc import Callable

WAIT = 10.0  # seconds for one that was killed to be gone


def start(
    pidfd: int,
    address: Callable[[], str],
    closed: Callable[[int], bool],
    ports: list[dict[str, str]],
    sockets: list[_socket],
    note: str,
) -> list[_socket]:
    """Leave the ports of IPv6 addresses to a process of their own, which ends with that of `pidfd`; the
    sockets that are still the caller's. It has one thread. `address` and `closed` are asked there: see Relay.
    `note` is its file. Raises OSError.
    """
    pairs = list(zip(ports, sockets, strict=True))
    ours = [held for port, held in pairs if ":" not in port["HostIp"]]
    theirs = [(held, int(port["ContainerPort"])) for port, held in pairs if ":" in port["HostIp"]]
    if not theirs:
        return ours
    from estiva.network.relay import Relay

    noted = _note(note)
    reader, writer = os.pipe()
    try:
        child = os.fork()
        if child == 0:
            try:
                if os.fork() == 0:  # a grandchild: its end is no SIGCHLD for who waits for a container
                    _become(noted, [pidfd, *(held.fileno() for held, _ in theirs)])
                    Relay(pidfd, theirs, address, closed).run()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.close(writer)
        writer = -1
        os.read(reader, 1)  # until it holds no other port of the container's any more, which may end at once
    finally:
        for fd in (noted, reader, writer):
            if fd >= 0:
                os.close(fd)
    for held, _ in theirs:
        held.close()  # so that the port is free when the relay ends
    return ours


def _become(noted: int, kept: list[int]) -> None:
    """Turn this process into one that has these fds alone."""
    import gc
    import resource

    from estiva.linux import process

    gc.disable()
    os.setsid()
    os.chdir("/")
    os.pwrite(noted, b"%d" % os.getpid(), 0)
    process.close_all_but([noted, *kept])
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)  # it starts nothing that would have them too
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    process.set_title("estiva-ports")


def _note(path: str) -> int:
    """A new file, and its lock, which is taken before anybody can look for it."""
    try:
        os.unlink(path)  # of one that has ended
    except FileNotFoundError:
        pass
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def trouble(path: str) -> str:
    """Why the relay whose file this is serves nobody, in words; "" when it does. Raises OSError."""
    from estiva import waiting

    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return "has ended"
    try:
        text = os.pread(fd, 20, 0)
        stopped = text.isdigit() and waiting.is_stopped(int(text))
        if not _locked(fd):  # after the look at it: it was no other's
            return "has ended"
        return f"(process {text.decode()}) is stopped" if stopped else ""
    finally:
        os.close(fd)


def end(path: str) -> None:
    """Kill it, be it stopped, and wait until it has gone; none is fine. Raises OSError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    pidfd = -1
    try:
        text = os.pread(fd, 20, 0)
        if not text.isdigit():
            return  # it has not come to life yet, and will find its container ended
        try:
            pidfd = procinfo.pidfd_open(int(text))
        except OSError:
            return  # it has ended
        if _locked(fd):  # after it was opened: it is no other's
            procinfo.kill(pidfd, WAIT)
    finally:
        os.close(fd)
        if pidfd >= 0:
            os.close(pidfd)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
