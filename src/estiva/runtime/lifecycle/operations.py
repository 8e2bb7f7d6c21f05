"""start and delete: runtime-spec runtime.md, "Lifecycle" and "Operations"; create.py has the first of them.

No process of ours stays. What is here loads little: callers of a runtime wait for it as a process of its own.
"""

from __future__ import annotations

import _signal
import os
import time

from estiva import files
from estiva.errors import Conflict, EngineError, EstivaError
from estiva.runtime.lifecycle import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.runtime.lifecycle.containers import Container

_DEATH = 10.0  # seconds that a killed process may take to go


def undo(made: Container) -> list[str]:
    """Take away what a container was made of, and run its poststop hooks: what they had to complain of."""
    group = made.cgroup
    if group is not None:
        group.kill()
        group.remove()
    if made.record.get("rdt"):
        from estiva.runtime import rdt

        rdt.remove(made.record["rdt"])
    warnings = []
    try:
        hooks = made.hooks()
    except (EstivaError, OSError):
        pass
    else:
        if hooks is not None:
            warnings = hooks.run_all("poststop", 0, "stopped")
    files.remove_tree(made.directory)
    return warnings


def start(made: Container) -> None:
    """The `start` operation: returns once the command runs.

    Raises Conflict when it was started before or is stopped, init's error when it can't go on, and that of a
    poststart hook.
    """
    from estiva.runtime import sync  # nothing of this for `delete`
    from estiva.runtime.launch import start_socket

    held = made.lock()
    try:
        status = made.status()
        if status != "created":
            raise Conflict(f"cannot start a container that is {status}: {made.id}")
        channel = start_socket.connect(made.directory)
    finally:
        os.close(held)
    try:
        channel.send(sync.GO)
        kind, payload, root = channel.receive()
        if root >= 0:
            from estiva.runtime.launch import whynot

            raise whynot.error(payload, root, made.pid)
    except (BrokenPipeError, ConnectionResetError):
        raise containers.not_running(made.id) from None
    finally:
        channel.close()
    if kind == sync.ERROR:
        raise sync.decode(payload)
    started(made)


def started(made: Container) -> None:
    """The poststart hooks. When one fails its error is raised and nothing is left of the container:
    runtime-spec 1.3, "Lifecycle", step 9."""
    hooks = made.hooks()
    if hooks is None:
        return
    try:
        hooks.run("poststart", made.pid, "running")
    except EngineError:
        delete(made, force=True)
        raise


def delete(made: Container, *, force: bool = False) -> list[str]:
    """The `delete` operation; what poststop hooks had to complain of.

    Raises Conflict for one that is not stopped, unless forced: then it is killed.
    """
    held = made.lock()
    try:
        status = made.status()
        if status != "stopped":
            if not force:
                raise Conflict(
                    f"cannot delete container {made.id} that is not stopped: {status}",
                    hint="kill it first, or use --force",
                )
            _kill(made)
        return undo(made)
    finally:
        os.close(held)


def _kill(made: Container) -> None:
    """SIGKILL init and wait for its end: with a pid namespace of its own all others end with it."""
    group = made.cgroup
    try:
        made.signal(_signal.SIGKILL)
    except Conflict:
        pass
    if group is not None and group.frozen():
        group.thaw()  # a frozen process of cgroup v1 does not die
    deadline = time.monotonic() + _DEATH
    while made.alive:
        if time.monotonic() > deadline:
            raise EngineError(f"container {made.id} does not die")
        time.sleep(0.001)
