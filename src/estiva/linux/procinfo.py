"""What /proc tells of processes, mounts and us, and pidfds: what does without the C library.

The verbs that only look at a container, or signal it, load no ctypes.
"""

from __future__ import annotations

import os
from _signal import pidfd_send_signal as _pidfd_send_signal

_PF_EXITING = 0x4  # of the flags in /proc/PID/stat: linux/sched.h


def pidfd_open(pid: int) -> int:
    """pidfd_open(2); close-on-exec."""
    return os.pidfd_open(pid, 0)


def pidfd_send_signal(pidfd: int, number: int) -> None:
    """pidfd_send_signal(2): never hits a recycled pid. Raises ProcessLookupError when it is gone."""
    _pidfd_send_signal(pidfd, number, None, 0)


def kill(pidfd: int, seconds: float) -> None:
    """SIGKILL, and wait until it is dead, for so long at most. Fine if it has gone."""
    from _signal import SIGKILL
    from select import POLLIN, poll

    try:
        pidfd_send_signal(pidfd, SIGKILL)
    except ProcessLookupError:
        return
    waiting = poll()
    waiting.register(pidfd, POLLIN)
    waiting.poll(int(seconds * 1000))


def stat(pid: int) -> tuple[str, int]:
    """(state letter, start time) of a process: fields 3 and 22 of /proc/PID/stat (proc_pid_stat(5)).

    The start time is in clock ticks since boot; a pid with it names one process for ever. Raises
    ProcessLookupError when there is none.
    """
    fields = _stat(pid)
    return fields[0].decode(), int(fields[19])


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the third on."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.read(fd, 4096)
        finally:
            os.close(fd)
    except FileNotFoundError:
        raise ProcessLookupError(3, "no such process", str(pid)) from None
    # The second field, the name, may hold blanks and brackets: count from the last ")".
    return data[data.rindex(b")") + 2 :].split()


def ending(pid: int, started: int) -> bool:
    """Whether the process that started then is on its way out, or gone: others of its pid namespace, whose
    init it is, have then been killed with it, though it can't be waited for yet (pid_namespaces(7))."""
    try:
        fields = _stat(pid)
    except OSError:
        return True
    return int(fields[19]) != started or fields[0] in (b"Z", b"X") or bool(int(fields[6]) & _PF_EXITING)


def exit_code(pid: int, started: int) -> int | None:
    """How a process has ended for which nobody has waited yet, as a shell tells it (field 52 of
    /proc/PID/stat); None where that is not so."""
    try:
        fields = _stat(pid)
    except OSError:
        return None
    if fields[0] not in (b"Z", b"X") or int(fields[19]) != started:
        return None
    status = os.waitstatus_to_exitcode(int(fields[49]))
    return 128 - status if status < 0 else status


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot. Raises ProcessLookupError when there is none."""
    return stat(pid)[1]


def parent(pid: int) -> int:
    """The pid of its parent. Raises ProcessLookupError when there is no such process."""
    return int(_stat(pid)[1])


def in_user_namespace() -> bool:
    """Whether we are in a user namespace that is not the first: user_namespaces(7)."""
    try:
        with open("/proc/self/uid_map", "rb") as file:
            return file.read().split() != [b"0", b"0", b"4294967295"]
    except FileNotFoundError:  # a kernel without them
        return False


def unescape(text: str) -> str:
    """A name of /proc/PID/mountinfo, where blank, tab, newline and backslash are octal:
    proc_pid_mountinfo(5).
    """
    if "\\" not in text:
        return text
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text


def mount_id(fd: int, pid: int | str = "self") -> int:
    """The id in mountinfo of the mount that an fd is on: proc_pid_fdinfo(5). Raises OSError."""
    with open(f"/proc/{pid}/fdinfo/{fd}") as file:
        return next(int(line[7:]) for line in file if line.startswith("mnt_id:"))
