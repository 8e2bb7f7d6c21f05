"""A container's run state, DIR/state.json (runtime-spec runtime.md), and whether its pid still lives."""

from __future__ import annotations

import os
import time

from estiva import fastjson, files
from estiva.errors import StateError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from estiva.runtime.bundle.bundle import Bundle

_LIMIT = 4 << 20


def new(id: str, bundle: Bundle) -> dict[str, Any]:
    """What state.json says of a container that is about to be made."""
    return {
        "id": id,
        "pid": 0,
        "start_time": 0,
        "ociVersion": bundle.config["ociVersion"],
        "bundle": bundle.directory,
        "rootfs": bundle.rootfs.path,
        "annotations": bundle.annotations,
        "created": time.time(),
        "owner": os.geteuid(),
        "cgroup": "",
        "hooks": bundle.config.get("hooks"),
        "stdio": [] if (bundle.config.get("process") or {}).get("terminal") else _stdio(),
    }


def _stdio() -> list[str]:
    """What our fds 0 to 2, which the container gets, are: checkpoints know pipes by it."""
    names = []
    for fd in range(3):
        try:
            names.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            names.append("")
    return names


def write(run_dir: str, state: Mapping[str, object]) -> None:
    """Replace DIR/state.json, making the directory (0700) where missing. Not synced: a reboot ends it."""
    data = fastjson.dumps(state).encode("utf-8", "surrogateescape")
    path = f"{run_dir}/state.json"
    try:
        files.atomic_write(path, data, sync=False)
    except FileNotFoundError:
        os.makedirs(run_dir, mode=0o700, exist_ok=True)
        files.atomic_write(path, data, sync=False)


def read(run_dir: str) -> dict[str, Any] | None:
    """DIR/state.json, or None when there is none. Raises StateError when it can't be understood."""
    path = f"{run_dir}/state.json"
    try:
        data = files.read_bounded(path, _LIMIT)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:  # a folder, a loop of links
        raise StateError(f"{path} can't be read: {reason(error)}") from error
    try:
        state = fastjson.loads(data, what=path)
    except Exception as error:
        raise StateError(str(error)) from error
    if not isinstance(state, dict):
        raise StateError(f"{path} is not a json object")
    return state


def same_run(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether two states are of the same run: of the same init."""
    return one["pid"] == other["pid"] and one["start_time"] == other["start_time"]


def alive(pid: int, start_time: int) -> bool:
    """Whether `pid` is still the process that started at `start_time` (procinfo.start_time); no zombie is."""
    if pid <= 0:
        return False
    from estiva.linux import procinfo

    try:
        letter, started = procinfo.stat(pid)
        return started == start_time and letter not in "ZXx"
    except (OSError, ValueError, IndexError):
        return False
