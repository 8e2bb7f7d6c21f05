"""What is mounted in a container: proc_pid_mountinfo(5) of its init, told by what each mount is for."""

from __future__ import annotations

from estiva.linux.procinfo import unescape
from estiva.view.seen import TABLE, Seen, clean
from estiva.view.shapes import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.types import Record

MOST = 1000  # mounts
KERNEL = ("proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue")
OWN_FILES = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
GUARDED = ("/proc/", "/sys/")


def gather(record: Record, init: Seen) -> tuple[Mount, ...]:
    """In the order of mounting. Raises OSError."""
    wanted = {point["Destination"]: point for point in record["Mounts"]}
    found: list[Mount] = []
    for line in init.read("mountinfo", TABLE).split("\n"):
        if len(found) >= MOST:
            break
        before, dash, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if not dash or len(fields) < 6 or len(rest) < 3:
            continue  # cut off
        root, place = unescape(fields[3]), unescape(fields[4])
        filesystem, device, options = rest[0], unescape(rest[1]), rest[2].split(",")
        flags = fields[5].split(",")
        point = wanted.get(place)
        kind, source = _kind(place, root, filesystem)
        if point is not None and kind not in ("root", "kernel"):
            kind = point["Type"]
            source = point.get("Name") or point.get("Source") or device
        found.append(
            Mount(
                destination=clean(place),
                kind=clean(kind, 40),
                source=clean(source or device),
                filesystem=clean(filesystem, 40),
                read_only="ro" in flags or "ro" in options,
                flags=tuple(clean(flag, 40) for flag in (*flags, *fields[6:]) if flag not in ("rw", "ro"))[
                    :20
                ],
            )
        )
    return tuple(found)


def planned(record: Record) -> tuple[Mount, ...]:
    """Of one that does not run: what was asked for."""
    found = []
    for point in record["Mounts"][:MOST]:
        flags = tuple(word for word in (point.get("Mode") or "").split(",") if word not in ("", "rw", "ro"))
        source = point.get("Name") or point.get("Source") or ""
        read_only = not point.get("RW", True)
        found.append(Mount(clean(point["Destination"]), point["Type"], clean(source), "", read_only, flags))
    return tuple(found)


def _kind(place: str, root: str, filesystem: str) -> tuple[str, str]:
    """(kind, source or "") by what is mounted there."""
    if place == "/":
        return "root", ""
    if place in OWN_FILES and root.endswith(place.rpartition("/")[2]):
        return "file", root
    if place.startswith(GUARDED):
        if root == "/null" or filesystem == "tmpfs" and not place.startswith("/sys/fs/cgroup"):
            return "mask", ""
        if filesystem == "proc" and root == place.removeprefix("/proc"):
            return "guard", ""
    if filesystem in KERNEL or place.startswith("/sys/"):
        return "kernel", ""
    if filesystem == "tmpfs":
        return "tmpfs", ""
    return ("bind", root) if root != "/" else (filesystem, "")
