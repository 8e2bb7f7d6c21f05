"""Every error that Estiva raises on purpose.

    EstivaError
    |-- InvalidInput        the caller's words are wrong: option, reference, Dockerfile, JSON
    |-- NotFound            no such image, container, volume, file
    |   `-- CommandNotFound     the container's command is not in its filesystem (exit 127)
    |-- Conflict            a name or port in use, a thing in the wrong state
    |-- Denied              credentials are missing or not enough
    |   `-- CommandNotExecutable the container's command can't be executed (exit 126)
    |-- LimitRefused        the kernel refuses a resource limit
    |-- IntegrityError      bytes are not what their digest or size says
    |   `-- LayerError          a layer's tar is malformed or hostile
    |-- Unavailable         a registry or a disk can't be used now: refused, timed out, full
    |-- Unsupported         this machine, or this version of Estiva, can't do it
    `-- EngineError         a step that should have worked did not: names step, object and errno
        `-- StateError          the database or a state file is damaged or locked

One table maps a kind to the CLI's exit status and to an HTTP status (as the Docker Engine API uses them).
Messages are lower case, name the object and end without a full stop; `hint` says what the user can do.
"""

from __future__ import annotations


class EstivaError(Exception):
    """The root of the tree. `str(error)` is one line; `hint` may be empty."""

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


class CommandNotFound(NotFound):
    pass


class Conflict(EstivaError):
    pass


class Denied(EstivaError):
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


def oneline(text: str) -> str:
    """`text` fit for one line of a terminal: what can't be printed is shown escaped (K9)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
