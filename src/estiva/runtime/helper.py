"""A process that goes somewhere for an fd: into a mount namespace of its own, or another's."""

from __future__ import annotations

import _signal
import os

from estiva.errors import EngineError
from estiva.linux import namespace as ns
from estiva.runtime import child, sync

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def fetch(flags: int, body: Callable[[sync.Channel], None], silence: str) -> int:
    """Fork a process with the namespaces of `flags` that runs `body`, which sends one fd: that fd.

    Raises the error of `body`, or EngineError with the words `silence` when nothing came.
    """
    mine, theirs = sync.pair(3)
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, child.ALL_SIGNALS)
    try:
        pid, pidfd = ns.fork(flags)
        if pid == 0:
            child.run(theirs, lambda: body(theirs))
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
        theirs.close()
    try:
        kind, payload, fd = mine.receive()
    finally:
        mine.close()
        os.waitpid(pid, 0)
        os.close(pidfd)
    if fd >= 0:
        return fd
    raise sync.decode(payload) if kind == sync.ERROR else EngineError(silence)
