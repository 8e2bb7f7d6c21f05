"""A user's mounts: -v, --mount, --tmpfs and the image's VOLUMEs become mount points, then OCI mounts.

HostConfig.Binds, .Mounts, .Tmpfs, Config.Volumes
    -> plan()    mount points in Docker's shape (record["Mounts"]); volumes made, bind folders made
    -> oci()     what the launcher mounts
    -> copy_up() fills a new volume from what the image has at its place
"""

from __future__ import annotations

import errno
import os

from estiva.errors import Conflict, InvalidInput, NotFound, Unsupported, reason
from estiva.files import make_directory
from estiva.runtime.security.kernel_paths import PROC_FILES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.store.volumes import Volumes

PROPAGATION = ("private", "rprivate", "shared", "rshared", "slave", "rslave")


def clean(destination: str) -> str:
    """An absolute path inside the container, normalised. Raises InvalidInput for a relative one or /."""
    if not destination.startswith("/"):
        raise InvalidInput(f"invalid mount path: {destination} must be absolute")
    path = os.path.normpath("/" + destination.lstrip("/"))
    if path == "/":
        raise InvalidInput("invalid mount: the destination can't be /")
    return path


def from_bind(text: str) -> dict[str, Any]:
    """The Mounts entry that -v SOURCE:DESTINATION[:OPTIONS] stands for."""
    parts = text.split(":")
    if len(parts) == 1:
        return {"Type": "volume", "Source": "", "Target": clean(parts[0])}
    if len(parts) > 3 or not parts[0] or not parts[1]:
        raise InvalidInput(f"invalid volume: {text}", hint="SOURCE:DESTINATION[:ro]")
    mount: dict[str, Any] = {"Source": parts[0], "Target": clean(parts[1])}
    if parts[0].startswith(("/", "./", "../")) or parts[0] in (".", ".."):
        mount.update(Type="bind", Source=os.path.abspath(parts[0]), CreateMountpoint=True)
    else:
        mount["Type"] = "volume"
    for option in parts[2].split(",") if len(parts) == 3 else ():
        if option in ("ro", "readonly"):
            mount["ReadOnly"] = True
        elif option in PROPAGATION and mount["Type"] == "bind":
            mount["BindOptions"] = {"Propagation": option}
        elif option == "nocopy" and mount["Type"] == "volume":
            mount["VolumeOptions"] = {"NoCopy": True}
        elif option.partition("=")[0] == "idmap":
            mount["IDMap"] = option.partition("=")[2]
        elif option == "U":
            mount["Chown"] = True
        elif option == "O":
            raise Unsupported(f"the volume option {option} of {text} is not supported yet")
        elif option not in ("rw", "z", "Z", "cached", "delegated", "consistent", ""):
            raise InvalidInput(f"invalid volume option {option} in {text}")
    return mount


def wanted(config: dict[str, Any], host_config: dict[str, Any]) -> list[dict[str, Any]]:
    """Every mount asked for, one for each destination. Raises InvalidInput when two want the same place."""
    table: dict[str, dict[str, Any]] = {}
    asked = [from_bind(bind) for bind in host_config.get("Binds") or ()]
    asked += [{**mount, "Target": clean(mount["Target"])} for mount in host_config.get("Mounts") or ()]
    asked += [
        {"Type": "tmpfs", "Source": "", "Target": clean(target), "TmpfsFlags": flags}
        for target, flags in (host_config.get("Tmpfs") or {}).items()
    ]
    for mount in asked:
        if mount["Target"] in table:
            raise InvalidInput(f"duplicate mount point: {mount['Target']}")
        table[mount["Target"]] = mount
    for target in config.get("Volumes") or ():
        table.setdefault(clean(target), {"Type": "volume", "Source": "", "Target": clean(target)})
    return list(table.values())


def plan(config: dict[str, Any], host_config: dict[str, Any], volumes: Volumes) -> list[dict[str, Any]]:
    """Mount points in Docker's shape, for the record. Makes volumes that don't exist, and -v's host
    folders, once nothing is wrong with any of them.
    """
    asked = wanted(config, host_config)
    for mount in asked:
        check(mount)
        if mount.get("Chown") and mount["Type"] == "bind":
            from estiva.engine.mounts import chown

            chown.check(mount["Source"], volumes.paths.root, volumes.paths.run_root)
    points: list[dict[str, Any]] = []
    try:
        for mount in asked:
            points.append(point(mount, volumes))
    except BaseException:
        undo(points, volumes)
        raise
    return points


def undo(points: list[dict[str, Any]], volumes: Volumes) -> None:
    """Remove the anonymous volumes that were made for a container that does not come to be."""
    for made in points:
        if made.get("Anonymous"):
            try:
                volumes.remove(made["Name"], force=True)
            except Conflict:
                pass


def check(mount: dict[str, Any]) -> None:
    """Raise what is wrong with a mount before anything is made for it."""
    kind, source, target = mount["Type"], mount.get("Source") or "", mount["Target"]
    if "IDMap" in mount:
        id_mapping(mount["IDMap"])
    if mount.get("Chown") and mount.get("IDMap"):
        raise InvalidInput(f"the volume option U of {target} can't be used with id mappings of its own")
    if kind not in ("bind", "volume", "tmpfs"):
        raise Unsupported(f"mount type {kind} is not supported", hint="bind, volume or tmpfs")
    if kind == "bind" and not mount.get("CreateMountpoint") and not os.path.exists(source):
        raise InvalidInput(f"bind source path does not exist: {source}")
    if (mount.get("VolumeOptions") or {}).get("Subpath"):
        raise Unsupported("volume-subpath is not supported yet")
    # the masks and the sysctls would fall on what is mounted there (CVE-2019-16884); see also runtime/mounts
    if (target + "/").startswith("/proc/") and target not in PROC_FILES and not _is_proc(kind, source):
        raise InvalidInput(f"{target} can't be mounted on: it is the kernel's", hint="choose another place")


def make_folder(path: str) -> None:
    """A folder of the host's with its parents, 0755 whatever the umask, as Docker makes it."""
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        make_folder(parent)
    try:
        make_directory(path, 0o755, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None


def _is_proc(kind: str, source: str) -> bool:
    return kind == "bind" and os.path.exists(source) and os.stat(source).st_dev == os.stat("/proc").st_dev


def point(mount: dict[str, Any], volumes: Volumes) -> dict[str, Any]:
    kind, source, target = mount["Type"], mount.get("Source") or "", mount["Target"]
    result: dict[str, Any] = {
        "Type": kind,
        "Source": source,
        "Destination": target,
        "Mode": "",
        "RW": not mount.get("ReadOnly"),
        "Propagation": "",
    }
    if "IDMap" in mount:
        result["IDMap"] = mount["IDMap"]
    if mount.get("Chown"):
        result["Chown"] = True
    if kind == "bind":
        result["Propagation"] = (mount.get("BindOptions") or {}).get("Propagation") or "rprivate"
        if not os.path.exists(source):
            try:
                make_folder(source)
            except OSError as error:
                raise InvalidInput(
                    f"the folder {source} is not there and can't be made: {reason(error)}"
                ) from None
    elif kind == "volume":
        anonymous = not source
        name = source or os.urandom(32).hex()
        if anonymous or volumes.find(name) is None:
            volumes.create(name, anonymous=anonymous)
            result["New"] = not (mount.get("VolumeOptions") or {}).get("NoCopy")
        result.update(Name=name, Source=volumes.path(name), Driver="local")
        if anonymous:
            result["Anonymous"] = True
    elif kind == "tmpfs":
        options = mount.get("TmpfsOptions") or {}
        flags = [flag for flag in str(mount.get("TmpfsFlags") or "").split(",") if flag]
        if options.get("SizeBytes"):
            flags.append(f"size={options['SizeBytes']}")
        if options.get("Mode"):
            flags.append(f"mode={options['Mode']:o}")
        result["Mode"] = ",".join(flags)
    return result


def id_mapping(text: str) -> dict[str, list[dict[str, int]]]:
    """uidMappings and gidMappings of Podman's idmap=uids=ON_DISK-SHOWN-SIZE#...;gids=...; none without a
    text: then they are those of the container's user namespace. Raises InvalidInput.
    """
    result = {}
    for part in text.split(";") if text else ():
        kind, _, ranges = part.partition("=")
        rows = [one.split("-") for one in ranges.split("#")]
        fits = all(
            len(row) == 3 and all(w.isascii() and w.isdigit() and len(w) < 11 for w in row) for row in rows
        )
        if kind not in ("uids", "gids") or not fits:
            raise InvalidInput(f"invalid idmap: {text}", hint="idmap=uids=0-100000-65536;gids=0-100000-65536")
        keys = ("containerID", "hostID", "size")
        result[f"{kind[0]}idMappings"] = [dict(zip(keys, map(int, row), strict=True)) for row in rows]
    if len(result) == 1:
        only = next(iter(result.values()))
        result = {"uidMappings": only, "gidMappings": only}
    return result


def oci(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """OCI mounts of mount points."""
    result = []
    for mount in points:
        access = [] if mount["RW"] else ["ro"]
        if mount["Type"] == "tmpfs":
            flags = mount["Mode"].split(",") if mount["Mode"] else []
            options = ["nosuid", "nodev", *([] if "exec" in flags else ["noexec"]), *flags, *access]
            if not any(flag.startswith("mode=") for flag in flags):
                options.append("mode=1777")
            if "exec" in flags:
                options.remove("exec")
            result.append(
                {"destination": mount["Destination"], "type": "tmpfs", "source": "tmpfs", "options": options}
            )
            continue
        if not os.path.lexists(mount["Source"]):
            raise NotFound(
                f"mount source {mount['Source']} is gone", hint="it was there when the container was made"
            )
        options = ["rbind", mount["Propagation"] or "rprivate", *(["rro"] if access else [])]
        one = {
            "destination": mount["Destination"],
            "type": "bind",
            "source": mount["Source"],
            "options": options,
        }
        if "IDMap" in mount:
            options.append("idmap")
            one.update(id_mapping(mount["IDMap"]))
        result.append(one)
    return result
