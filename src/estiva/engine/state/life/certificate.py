"""How a run ended, and why: `State.Exit` of a container, made by its monitor (monitor/life/death.py).

It says what is known and nothing else. A signal's sender is known where it was one of ours, and where the
kernel allows one only: init of a pid namespace can't be killed from inside, nor by a fault that it did not
make itself (pid_namespaces(7), "The namespace init process").
"""

from __future__ import annotations

from estiva.linux import signals
from estiva.runtime.cgroup.control import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.life.end_types import Exit, Killed

FAULTS = (4, 5, 7, 8, 11, 31)  # SIGILL SIGTRAP SIGBUS SIGFPE SIGSEGV SIGSYS: the kernel's, for what it did
KILL, SYS = 9, 31
# By of a Sender beside the verbs of ours
ATTACHED, HEALTH, PROGRAM, KERNEL, HOST, OTHER = "attached", "health", "program", "kernel", "host", "other"
TIME, OUTPUT = "time limit", "output limit"
_WORDS = {
    ATTACHED: "whoever was attached to it",
    HEALTH: "its health check",
    TIME: "its limit of time",
    OUTPUT: "its limit of output",
    PROGRAM: "the program that started it",
    KERNEL: "the kernel",
    HOST: "another process on the host",
    OTHER: "another process",
}
_STATUSES = {
    125: "its start failed",
    126: "a command could not be executed",
    127: "a command was not found",
}


def sender(by: str) -> str:
    """In words, the `By` of a Sender."""
    return _WORDS.get(by) or f"estiva {by}"


def memory(killed: Killed) -> str:
    """Whose limit has killed: "its memory limit of 64 MiB"."""
    scope = killed.get("Scope")
    if scope == "own":
        return f"its memory limit of {size(killed['Limit'])}"
    if scope == "ancestor":
        return f"the memory limit of {size(killed['Limit'])} of the cgroup {killed['Cgroup']}"
    if scope == "inside":
        return "the memory limit of a cgroup inside of it"
    if scope == "machine":
        return "the machine, which was out of memory"
    return "a memory limit: its own, or one of a cgroup above"


def meaning(end: Exit) -> str:
    """A short phrase: "killed by its memory limit of 64 MiB", "SIGTERM from estiva stop"."""
    status, signal, sent = end["Status"], end.get("Signal", ""), end.get("Sender")
    killed = end.get("OOM")
    if end.get("Failed"):
        return {126: "its command could not be executed", 127: "its command was not found"}.get(
            status, "could not be started"
        )
    if signal:
        if end.get("Seccomp"):
            return "killed by its seccomp filter: a system call that is not allowed (SIGSYS)"
        if killed and sent is None:
            return f"killed by {memory(killed)}"
        if sent and sent["By"] == KERNEL:
            return f"{signal}, from the kernel: a fault of its own"
        return f"{signal} from {sender(sent['By'])}" if sent else f"{signal}, it is not known from whom"
    words = f"ended by itself with status {status}" if status else "ended by itself"
    if sent:
        said = f"{sent['Signal']} from {sender(sent['By'])}"
        told = status == 128 + signals.number(sent["Signal"])
        words = said if told else f"ended with status {status} after {said}"
    elif status in _STATUSES:
        words = f"{words}: {_STATUSES[status]}, as shells say it"
    elif 128 < status <= 128 + signals.RTMAX:
        words = f"{words}, as after {signals.name(status - 128)}"
    if killed:
        return f"{words}; of its processes {killed['Count']} were killed by {memory(killed)}"
    return words
