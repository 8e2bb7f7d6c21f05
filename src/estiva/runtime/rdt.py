"""linux.intelRdt: cache and memory bandwidth through the resctrl filesystem.

runtime-spec config-linux.md, "IntelRdt"; the kernel's Documentation/filesystems/resctrl.rst. A class of
service is a directory of it, with the pids in `tasks` and the shares in `schemata`.
"""

from __future__ import annotations

import errno
import os

from estiva.errors import Conflict, LimitRefused, NotFound, Unsupported, oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def mounted() -> str:
    """Where resctrl is mounted. Raises Unsupported where it is not."""
    with open("/proc/self/mounts") as file:
        for line in file:
            fields = line.split()
            if fields[2] == "resctrl":
                return fields[1].encode().decode("unicode_escape")
    raise Unsupported(
        "linux.intelRdt can't be applied: there is no resctrl filesystem",
        hint="on a processor that has it: mount -t resctrl resctrl /sys/fs/resctrl",
    )


def apply(settings: dict[str, Any], id: str, pid: int, place: str = "") -> list[str]:
    """Put `pid` in its class of service, which is made where the specification says so.

    Returns the directories to `remove` when the container is deleted. Raises Unsupported, NotFound, Conflict,
    LimitRefused.
    """
    place = place or mounted()
    name = settings.get("closID") or ""
    lines = [settings[field] for field in ("l3CacheSchema", "memBwSchema") if settings.get(field)]
    lines += settings.get("schemata") or ()
    directory = place if name == "/" else f"{place}/{name or id}"
    made: list[str] = []
    if not os.path.isdir(directory):
        if name and not lines:
            raise NotFound(f"linux.intelRdt.closID: there is no class {oneline(name)} in {place}")
        _make(directory)
        if not name:
            made.append(directory)
        _write_all(directory, lines)
    elif name and lines:
        _compare(directory, lines)
    try:
        _write(f"{directory}/tasks", str(pid))
        if settings.get("enableMonitoring"):
            group = f"{directory}/mon_groups/{id}"
            _make(group)
            made.insert(0, group)
            _write(f"{group}/tasks", str(pid))
    except BaseException:
        remove(made)
        raise
    return made


def planned(settings: dict[str, Any], id: str, place: str = "") -> list[str]:
    """The directories that `apply` will make: on record before it does, for `remove`. Raises Unsupported."""
    place = place or mounted()
    name = settings.get("closID") or ""
    directory = place if name == "/" else f"{place}/{name or id}"
    wanted = [f"{directory}/mon_groups/{id}"] if settings.get("enableMonitoring") else []
    wanted += [] if name else [directory]
    return [path for path in wanted if not os.path.isdir(path)]


def change(settings: dict[str, Any], id: str, lines: list[str], place: str = "") -> None:
    """Write other shares to the class of service that `apply` put a container in.

    Raises Unsupported, NotFound, LimitRefused.
    """
    place = place or mounted()
    name = settings.get("closID") or ""
    directory = place if name == "/" else f"{place}/{name or id}"
    if not os.path.isdir(directory):
        raise NotFound(f"linux.intelRdt: the class {oneline(directory)} is not there")
    for line in lines:
        _write(f"{directory}/schemata", f"{line}\n")


def remove(directories: list[str]) -> None:
    """Take away what `apply` made; what is gone already is fine."""
    for directory in directories:
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            pass


def _make(directory: str) -> None:
    try:
        os.mkdir(directory, 0o755)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise LimitRefused(
                f"linux.intelRdt: the processor has no class or monitor left for {directory}"
            ) from None
        raise


def _write_all(directory: str, lines: list[str]) -> None:
    """The schemata in their order; a class that was made for nothing goes again."""
    try:
        for line in lines:
            _write(f"{directory}/schemata", f"{line}\n")
    except BaseException:
        remove([directory])
        raise


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise LimitRefused(f"linux.intelRdt: {path} does not take {text.strip()!r}: {why}") from None
    finally:
        os.close(fd)


def _compare(directory: str, lines: list[str]) -> None:
    """A class that is there must have these shares. Raises Conflict."""
    with open(f"{directory}/schemata") as file:
        there = {"".join(line.split()) for line in file}
    for line in lines:
        if "".join(line.split()) not in there:
            raise Conflict(f"linux.intelRdt: the class {directory} has not the schema {oneline(line)}")
