"""Every error that Estiva raises on purpose.

    EstivaError
    |-- InvalidInput        the caller's words are wrong: option, reference, Dockerfile, JSON
    |-- NotFound            no such image, container, volume, file
    |   |-- Missing             of the name that the caller gave
    |   `-- CommandNotFound     the container's command is not in its filesystem (exit 127)
    |-- Conflict            a name or port in use, a thing in the wrong state
    |   |-- NameTaken           the container's name that the caller gave; `holder`: whose it is
    |   `-- PortTaken           a port of this machine that is to be published
    |-- Denied              credentials are missing or not enough
    |   |-- NoAccess            a registry wants a login, or does not let who has logged in
    |   `-- CommandNotExecutable the container's command can't be executed (exit 126)
    |-- LimitRefused        the kernel refuses a resource limit
    |-- IntegrityError      bytes are not what their digest or size says
    |   `-- LayerError          a layer's tar is malformed or hostile
    |-- Unavailable         a registry or a disk can't be used now: refused, timed out, full
    |-- Unsupported         this machine, or this version of Estiva, can't do it
    `-- EngineError         a step that should have worked did not: names step, object and errno
        |-- StateError          the database or a state file is damaged or locked
        `-- Stopped             what is done together with this has failed: nobody needs it now

One table maps a kind to the CLI's exit status and to an HTTP status (as the Docker Engine API uses them).
Messages are lower case, name the object and end without a full stop; `hint` says what the user can do.
"""

from __future__ import annotations

import errno
import os


class EstivaError(Exception):
    """The root of the tree. `str(error)` is one line; `hint` may be empty, and so may `excerpt`: lines of the
    file that is wrong, for people."""

    excerpt = ""
    exit_status = 0  # what the command line ends with, where the verb knows better than STATUS

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class InvalidInput(EstivaError):
    pass


class NotFound(EstivaError):
    pass


class Missing(NotFound):
    def __init__(self, kind: str, name: str, *, hint: str = "") -> None:
        super().__init__(f"no such {kind}: {oneline(name)}", hint=hint)
        self.kind = kind
        self.name = name


class CommandNotFound(NotFound):
    pass


class Conflict(EstivaError):
    pass


class NameTaken(Conflict):
    def __init__(self, message: str, name: str, holder: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.name = name
        self.holder = holder


ABOUT = ("kind", "name", "holder")  # what errors have besides their words, for who sends one on


class PortTaken(Conflict):
    pass


class Denied(EstivaError):
    pass


class NoAccess(Denied):
    pass


class CommandNotExecutable(Denied):
    pass


class LimitRefused(EstivaError):
    pass


class IntegrityError(EstivaError):
    pass


class LayerError(IntegrityError):
    pass


class Unavailable(EstivaError):
    pass


class Unsupported(EstivaError):
    pass


class EngineError(EstivaError):
    pass


class StateError(EngineError):
    pass


class Stopped(EngineError):
    pass


# kind -> (exit status of `estiva run`-like verbs, HTTP status). Other verbs end with 1, as docker's do.
STATUS: dict[type[EstivaError], tuple[int, int]] = {
    InvalidInput: (125, 400),
    CommandNotFound: (127, 400),
    NotFound: (125, 404),
    Conflict: (125, 409),
    CommandNotExecutable: (126, 400),
    Denied: (125, 401),
    LimitRefused: (125, 400),
    IntegrityError: (125, 500),
    Unavailable: (125, 503),
    Unsupported: (125, 501),
    EstivaError: (125, 500),
}


def status(error: EstivaError) -> tuple[int, int]:
    """The (exit status, HTTP status) of an error, by the nearest class in STATUS."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return STATUS[EstivaError]


FULL = (errno.ENOSPC, errno.EDQUOT)
FREE_SPACE = "free some disk space, with `estiva system prune` or otherwise"


def oneline(text: str) -> str:
    """`text` fit for one line of a terminal: what can't be printed is shown escaped (K9)."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escape(c: str) -> str:
    # By hand: the codec would be imported, and a child that is in a container already must import nothing.
    number = ord(c)
    width = "x02" if number < 256 else "u04" if number < 1 << 16 else "U08"
    return _NAMED.get(c) or f"\\{width[0]}{number:{width[1:]}x}"


def brief(text: str, limit: int = 600) -> str:
    """`text` as `oneline` shows it, its middle left out where it is longer than `limit` characters."""
    shown = oneline(text if len(text) <= 2 * limit else text[:limit] + text[-limit:])
    if len(text) <= limit and len(shown) <= 2 * limit:
        return shown
    return f"{shown[: limit * 2 // 3]}[...]{shown[-limit // 3 :]}"


def reason(error: OSError) -> str:
    """What the kernel says of an error, for the end of a message: "no such file or directory"."""
    return (error.strerror or str(error)).lower()


LIMITS = (
    "a limit of this shell (ulimit -a), of its cgroup (memory.max, pids.max) or of the machine is reached"
)


def exhausted(error: Exception) -> Unavailable | None:
    """The error for people where a limit of memory, processes or files is reached, as Python tells that of
    mmap(2), clone(2) and open(2); None for all else."""
    number = error.errno if isinstance(error, OSError) else None
    # a C module that finds no memory for its own exception has none to raise
    words = ("without exception set", "without setting an exception")
    bare = isinstance(error, SystemError) and any(word in str(error) for word in words)
    if isinstance(error, MemoryError) or number == errno.ENOMEM or bare:
        return Unavailable("no more memory can be had here", hint=LIMITS)
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return Unavailable("no more threads can be started here", hint=LIMITS)
    if number in (errno.EMFILE, errno.ENFILE):
        return Unavailable("no more files can be opened here", hint=LIMITS)
    if isinstance(error, BlockingIOError) and error.filename is None:  # of fork(2)
        return Unavailable("no more processes can be started here", hint=LIMITS)
    return None


def from_os(error: OSError) -> EstivaError:
    """The error for people of an OSError that nobody foresaw: Unavailable where the disk is full."""
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    gone = _removed_folder() if error.errno == errno.ENOENT and not names else ""
    if gone:
        hint = "change to one that is there, or give whole paths"
        return NotFound(f"the working directory {gone} has been removed", hint=hint)
    message = ": ".join(part for part in (" -> ".join(names), reason(error)) if part)
    if error.errno in FULL:
        return Unavailable(message, hint=FREE_SPACE)
    return EngineError(message)


def _removed_folder() -> str:
    """The working directory of this process if it has been removed, else "": getcwd(2) names no file in its
    error."""
    try:
        gone = not os.stat(".").st_nlink
        return oneline(os.readlink("/proc/self/cwd").removesuffix(" (deleted)")) if gone else ""
    except OSError:
        return ""


def half_loaded(error: Exception) -> Unavailable | None:
    """For an ImportError or AttributeError of who came, by a signal, between the lines of our own imports."""
    if "partially initialized module 'estiva" not in str(error):
        return None
    return Unavailable(
        "estiva is being loaded by what a signal's handler has interrupted",
        hint="import it, or use it once, before the handler is set; or call it later",
    )
