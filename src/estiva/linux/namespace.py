"""Namespaces: clone3(2), unshare(2), setns(2)."""

from __future__ import annotations

import _socket
import _thread
import fcntl
import os
from _struct import pack

from estiva.linux import ffi as ctypes
from estiva.linux.libc import SYS_clone3, check, libc, libpython

CLONE_NEWTIME = 0x00000080
CLONE_VFORK = 0x00004000
CLONE_PARENT = 0x00008000
CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_CHILD_CLEARTID = 0x00200000
CLONE_CHILD_SETTID = 0x01000000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_PIDFD = 0x00001000
CLONE_INTO_CGROUP = 0x200000000

# The OCI runtime-spec's name of a namespace -> (clone flag, name under /proc/PID/ns).
NAMESPACES = {
    "user": (CLONE_NEWUSER, "user"),
    "mount": (CLONE_NEWNS, "mnt"),
    "pid": (CLONE_NEWPID, "pid"),
    "network": (CLONE_NEWNET, "net"),
    "ipc": (CLONE_NEWIPC, "ipc"),
    "uts": (CLONE_NEWUTS, "uts"),
    "cgroup": (CLONE_NEWCGROUP, "cgroup"),
    "time": (CLONE_NEWTIME, "time"),
}

_SIGCHLD = 17
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_PR_GET_TID_ADDRESS = 40

_clone3 = libpython["syscall"]
_clone3.argtypes = (ctypes.c_long, ctypes.c_char_p, ctypes.c_size_t)
_clone3.restype = ctypes.c_long
_prctl = libpython["prctl"]
_prctl.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)
_before_fork = libpython.PyOS_BeforeFork
_before_fork.argtypes = ()
_before_fork.restype = None
_after_fork_parent = libpython.PyOS_AfterFork_Parent
_after_fork_parent.argtypes = ()
_after_fork_parent.restype = None
_after_fork_child = libpython.PyOS_AfterFork_Child
_after_fork_child.argtypes = ()
_after_fork_child.restype = None
_unshare = libc.unshare
_unshare.argtypes = (ctypes.c_int,)
_setns = libc.setns
_setns.argtypes = (ctypes.c_int, ctypes.c_int)


def _tid_address() -> int:
    """Where the C library keeps the thread's id (PR_GET_TID_ADDRESS), or 0.

    The library's fork() has the kernel write the child's id there. A raw clone must ask for the same, or the
    child's mutexes would carry the parent's id.
    """
    address = ctypes.c_void_p()
    if _prctl(_PR_GET_TID_ADDRESS, ctypes.addressof(address), 0, 0, 0) < 0:
        return 0
    return address.value or 0


def clone3(flags: int, *, cgroup_fd: int = -1, pidfd: bool = True) -> tuple[int, int]:
    """clone3(2) as a fork: (pid, pidfd) in the parent, (0, -1) in the child. pidfd is -1 when not asked for.

    The caller must have one thread, as with os.fork. `cgroup_fd` places the child in a cgroup v2 directory
    (CLONE_INTO_CGROUP). The GIL is held throughout and the interpreter's fork hooks run on both sides.
    """
    out = ctypes.c_int(-1)
    tid = _tid_address()
    if pidfd:
        flags |= CLONE_PIDFD
    if tid:
        flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID
    if cgroup_fd >= 0:
        flags |= CLONE_INTO_CGROUP
    # struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
    # set_tid_size, cgroup
    args = pack(
        "@11Q",
        flags,
        ctypes.addressof(out),
        tid,
        0,
        0 if flags & CLONE_PARENT else _SIGCHLD,
        0,
        0,
        0,
        0,
        0,
        max(cgroup_fd, 0),
    )
    _before_fork()
    pid: int = _clone3(SYS_clone3, args, len(args))
    if pid == 0:
        _after_fork_child()
        return 0, -1
    number = ctypes.get_errno()
    _after_fork_parent()
    if pid < 0:
        ctypes.set_errno(number)
        check(pid)
    return pid, out.value


def fork(flags: int = 0) -> tuple[int, int]:
    """A fork into new namespaces of `flags`, without CLONE_NEWPID: (pid, pidfd) in the parent, (0, -1) in the
    child.

    Other threads may be there, unlike with `clone3`: after that the child would wait for ever for a thread
    that wants the GIL or has a lock of malloc's; fork(3) sees to both. Raises OSError.
    """
    if _thread._count() == 0:
        return clone3(flags)
    done, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(done)
        try:
            unshare(flags)
        except OSError as error:
            os.write(tell, b"%d" % (error.errno or 0))
            os._exit(1)
        os.close(tell)
        return 0, -1
    os.close(tell)
    failed = os.read(done, 16)
    os.close(done)
    if failed:
        os.waitpid(pid, 0)
        raise OSError(int(failed), os.strerror(int(failed)))
    return pid, os.pidfd_open(pid)


def unshare(flags: int) -> None:
    """unshare(2)."""
    check(_unshare(flags))


def setns(fd: int, flags: int = 0, name: str = "") -> None:
    """setns(2): join the namespace of `fd`, or those in `flags` of the process that a pidfd names."""
    check(_setns(fd, flags), name or fd)


def loopback_up() -> None:
    """Set `lo` up in the caller's network namespace: SIOCSIFFLAGS of netdevice(7)."""
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        fcntl.ioctl(sock.fileno(), _SIOCSIFFLAGS, pack("16sH14x", b"lo", _IFF_UP))
    finally:
        sock.close()
