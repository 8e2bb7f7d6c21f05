"""Execs that are kept: made first, started later by whoever knows the id (Engine API, ContainerExec).

What is known of them lies in the container's run folder, and goes with the run:

    execs/ID/exec.json    what was asked for
             begun        somebody has started it: made once
             running      "PID START_TIME" of its process
             ended        its exit status
             attach       where its parent listens (engine/monitor/audience.py)

Any of these may vanish at any moment, with the container: nobody minds.
"""

from __future__ import annotations

import os
import time

from estiva import fastjson, files
from estiva.errors import Conflict, InvalidInput
from estiva.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    from estiva.paths import Paths

    class Asked(TypedDict):
        """What an exec is to be. `size`: rows and columns of its terminal, or []."""

        argv: list[str]
        env: list[str]
        user: str
        workdir: str
        tty: bool
        privileged: bool
        stdin: bool
        stdout: bool
        stderr: bool
        detach_keys: str
        size: list[int]

    class Standing(TypedDict):
        """How far one has come. `status`: None before its end."""

        begun: bool
        running: bool
        status: int | None
        pid: int


FOLDER = "execs"
LONGEST = 4 << 20  # bytes of exec.json
KEPT = 1000  # that have ended, of a container; of more the oldest go
STARTING = 30.0  # seconds in which one that has begun must be running, else its parent was killed
NEVER_RAN = 126  # the status of one whose parent was killed before, as Docker's


def folder(paths: Paths, container_id: str, exec_id: str = "") -> str:
    return f"{paths.run_container(container_id)}/{FOLDER}/{exec_id}".rstrip("/")


def names(paths: Paths, container_id: str) -> list[str]:
    """The ids of a container's, in no order."""
    try:
        return os.listdir(folder(paths, container_id))
    except FileNotFoundError:
        return []


def keep(paths: Paths, container_id: str, exec_id: str, asked: Asked) -> None:
    """Write down what was asked for. Raises FileNotFoundError where the container has gone."""
    above = folder(paths, container_id)
    files.make_directory(above, exist_ok=True)
    _forget_old(above)
    made = folder(paths, container_id, exec_id)
    os.mkdir(made, 0o700)
    data = fastjson.dumps(asked).encode("utf-8", "surrogateescape")
    files.atomic_write(made + "/exec.json", data, sync=False)


def _forget_old(above: str) -> None:
    """There is no end to what others execute in a container that runs for a year."""
    there = os.listdir(above)
    if len(there) <= KEPT:
        return
    ended = []
    for name in there:
        try:
            ended.append((os.stat(f"{above}/{name}/ended").st_mtime, name))
        except OSError:
            continue  # it has not, or has gone
    for _, name in sorted(ended)[: len(there) - KEPT]:
        files.remove_tree(f"{above}/{name}")


def asked(where: str) -> Asked:
    """What was asked for. Raises FileNotFoundError."""
    data = files.read_bounded(where + "/exec.json", LONGEST)
    found: Asked = fastjson.loads(data, what="an exec's file")
    return found


def begin(where: str) -> None:
    """Claim it. Raises Conflict for one that somebody has started already, FileNotFoundError."""
    exec_id = os.path.basename(where)
    try:
        os.close(os.open(where + "/begun", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if standing(where)["running"]:
            raise Conflict(f"exec command {exec_id} is already running") from None
        raise Conflict(f"exec command {exec_id} has already run") from None


def running(where: str, pid: int, start_time: int) -> None:
    """Its process runs."""
    _write(where + "/running", f"{pid} {start_time}")


def end(where: str, status: int) -> None:
    """It has ended, or can't be started."""
    _write(where + "/ended", str(status))


def standing(where: str) -> Standing:
    """How far one has come. Raises FileNotFoundError where the container has gone."""
    begun = _age(where + "/begun")
    result: Standing = {"begun": begun is not None, "running": False, "status": None, "pid": 0}
    pid, _, start_time = _read(where + "/running").partition(" ")
    if pid.isdigit() and start_time.isdigit():
        result["pid"] = int(pid)
        result["running"] = state.alive(int(pid), int(start_time))
    elif begun is not None:
        result["running"] = begun < STARTING
    ended = _read(where + "/ended")  # the last look: it may have ended just now
    if ended.isdigit():
        result["status"], result["running"] = int(ended), False
    elif begun is not None and not result["running"]:
        result["status"] = NEVER_RAN if not pid else 137
    return result


def _age(path: str) -> float | None:
    try:
        return time.time() - os.stat(path).st_mtime
    except FileNotFoundError:
        return None


def _write(path: str, text: str) -> None:
    try:
        files.atomic_write(path, text.encode(), sync=False)
    except OSError:
        pass  # the container has gone, or the disk is full: standing() tells by the process


def _read(path: str) -> str:
    try:
        return files.read_bounded(path, 100).decode("ascii", "replace")
    except (OSError, InvalidInput):
        return ""
