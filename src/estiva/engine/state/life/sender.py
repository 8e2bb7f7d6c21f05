"""Who has signalled a container: what the verbs that do it leave for its monitor to read at its end.

`sent` in the run folder of a container, a line for each signal: its number and the verb's name. It is written
before the signal goes, and goes with the run.
"""

from __future__ import annotations

import os

from estiva.engine.state import runstate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.types import RunState
    from estiva.paths import Paths

NAME = "sent"
LIMIT = 4096  # bytes: who is signalled all the time is not written down for ever


def note(where: Paths, live: RunState, number: int, verb: str) -> None:
    """The run `live` is about to be signalled. Nothing of a later run's; where that can't be written, it is
    not known."""
    try:
        folder = os.open(where.run_container(live["id"]), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        here = f"/proc/self/fd/{folder}"
        now = runstate.read_in(here)
        if now is None or not runstate.same(now, live):
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(f"{here}/{NAME}", flags, 0o600)
        try:
            if os.fstat(fd).st_size < LIMIT:
                os.write(fd, b"%d %s\n" % (number, verb.encode()))
        finally:
            os.close(fd)
    except OSError:
        pass
    finally:
        os.close(folder)


def read(where: Paths, container_id: str) -> list[tuple[int, str]]:
    """(number, verb) of each signal of the run that is over, the last one last."""
    try:
        fd = os.open(f"{where.run_container(container_id)}/{NAME}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        text = os.read(fd, 2 * LIMIT).decode(errors="replace")
    except OSError:
        return []
    finally:
        os.close(fd)
    found = []
    for line in text.splitlines():
        number, _, verb = line.partition(" ")
        if number.isdigit() and verb:
            found.append((int(number), verb))
    return found
