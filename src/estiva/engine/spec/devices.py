"""The host's device nodes that a container is given: --device, --privileged, block devices of limits."""

from __future__ import annotations

import os
import stat

from estiva.errors import InvalidInput, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from estiva.engine.state.types import OCI

MAX_DEVICES = 4096
MAX_SEEN = 65_536  # files of a folder that is looked through for devices
# what a container has of its own in /dev
OWN = frozenset(f"/dev/{name}" for name in ("pts", "shm", "mqueue", "console", "ptmx", "fd"))


def from_word(text: str) -> dict[str, str]:
    """The entry of HostConfig.Devices that HOST[:CONTAINER][:PERMISSIONS] stands for. Raises ValueError."""
    words = text.split(":")
    permissions = "rwm"
    if len(words) > 3:
        raise ValueError(f"invalid device specification: {text}")
    if len(words) > 1 and _is_mode(words[-1]):
        permissions = words.pop()
    elif len(words) == 3:
        raise ValueError(f"bad mode specified: {words[2]}")
    for path in words:
        if not path.startswith("/"):
            raise ValueError(f"{path} is not an absolute path")
    return {"PathOnHost": words[0], "PathInContainer": words[-1], "CgroupPermissions": permissions}


def _is_mode(text: str) -> bool:
    return bool(text) and len(set(text)) == len(text) and all(c in "rwm" for c in text)


def linux_devices(devices: Any) -> list[OCI]:
    """OCI linux.devices from HostConfig.Devices: the host's node gives type and number.

    A folder stands for every device in it and below, as with Docker. Raises InvalidInput.
    """
    result: list[OCI] = []
    for device in devices or ():
        source = device["PathOnHost"]
        target = device.get("PathInContainer") or source
        access = device.get("CgroupPermissions") or "rwm"
        status = _status(source)
        if stat.S_ISDIR(status.st_mode):
            inside = os.path.realpath(source)
            found = [
                _entry(target.rstrip("/") + path.removeprefix(inside), each, access)
                for path, each in _below(inside, most=MAX_SEEN)
            ]
            if not found:
                raise InvalidInput(f"there is no device in {source}", hint="use -v to share a folder")
            result += found
        elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            result.append(_entry(target, status, access))
        else:
            raise InvalidInput(f"{source} is not a device", hint="use -v to share a file or folder")
        if len(result) > MAX_DEVICES:
            raise InvalidInput(f"more than {MAX_DEVICES} devices are asked for")
    return result


def _status(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise InvalidInput(f"device {path} can't be used: {reason(error)}") from None


def _entry(path: str, status: os.stat_result, access: str) -> OCI:
    return {
        "path": path,
        "type": "c" if stat.S_ISCHR(status.st_mode) else "b",
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
        "access": access,
    }


def _below(directory: str, skip: Iterable[str] = (), most: int = 0) -> Iterator[tuple[str, os.stat_result]]:
    """The device nodes in a directory and below it, symbolic links left out. Raises InvalidInput when there
    are more than `most` files of any kind; 0: no limit."""
    pending, seen = [directory], 0
    while pending:
        try:
            entries = sorted(os.scandir(pending.pop()), key=lambda entry: entry.name)
        except OSError:
            continue  # it went away, or isn't ours to read
        seen += len(entries)
        if seen > most > 0:
            raise InvalidInput(
                f"more than {most} files are in {directory}", hint="--device takes a folder of devices"
            )
        for entry in entries:
            if entry.path in skip or entry.is_symlink():
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
                yield entry.path, status


def host_devices() -> list[OCI]:
    """Every device node of the host's /dev (not pts, shm, mqueue), for --privileged."""
    return [_entry(path, status, "rwm") for path, status in _below("/dev", OWN)]


def block_device(path: str) -> dict[str, int]:
    """{"major", "minor"} of a block device. Raises InvalidInput."""
    status = _status(path)
    if not stat.S_ISBLK(status.st_mode):
        raise InvalidInput(f"{path} is not a block device")
    return {"major": os.major(status.st_rdev), "minor": os.minor(status.st_rdev)}
