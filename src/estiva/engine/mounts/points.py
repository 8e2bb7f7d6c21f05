"""A user's mounts: -v, --mount, --tmpfs and the image's VOLUMEs become mount points, then OCI mounts.

HostConfig.Binds, .Mounts, .Tmpfs, Config.Volumes
    -> wanted()  one list, judged (engine/spec/mounts.py)
    -> plan()    mount points in Docker's shape (record["Mounts"]); volumes made, bind folders made
    -> oci()     what the launcher mounts
    -> copy_up() fills a new volume from what the image has at its place (engine/mounts/volume_copy.py)
"""

from __future__ import annotations

import errno
import os

from estiva.errors import InvalidInput, NotFound, reason
from estiva.files import make_directory
from estiva.runtime.security.kernel_paths import PROC_FILES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine.state.config_types import Config, HostConfig, Mount
    from estiva.engine.state.types import OCI, MountPoint
    from estiva.store.volumes import Volumes


def plan(
    config: Config, host_config: HostConfig, volumes: Volumes, container_id: str = ""
) -> list[MountPoint]:
    """Mount points in Docker's shape, for the record. Makes volumes that don't exist, and -v's host
    folders, once nothing is wrong with any of them. The container has its volumes from then on: `forget`
    (engine/state/teardown.py) removes the anonymous ones, should it not come to be.
    """
    if not config.get("Volumes") and not any(host_config.get(key) for key in ("Binds", "Mounts", "Tmpfs")):
        return []
    from estiva.engine.spec import mounts

    asked = mounts.wanted(config, host_config)
    for mount in asked:
        check(mount)
        if mount.get("Chown") and mount["Type"] == "bind":
            from estiva.engine.mounts import chown

            chown.check(mount["Source"], volumes.paths.root, volumes.paths.run_root)
    return [point(mount, volumes, container_id) for mount in asked]


def check(mount: Mount) -> None:
    """Raise what is wrong on this machine with a mount, before anything is made for it."""
    kind, source, target = mount["Type"], mount.get("Source") or "", mount["Target"]
    made = (mount.get("BindOptions") or {}).get("CreateMountpoint")
    if kind == "bind" and not made and not os.path.exists(source):
        raise InvalidInput(f"bind source path does not exist: {source}")
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


def point(mount: Mount, volumes: Volumes, container_id: str) -> MountPoint:
    """The mount point of a checked mount; its volume or folder is made where it is not there."""
    kind, source, target = mount["Type"], mount.get("Source") or "", mount["Target"]
    result: MountPoint = {
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
        options = mount.get("BindOptions") or {}
        result["Propagation"] = options.get("Propagation") or "rprivate"
        if options.get("NonRecursive"):
            result["NonRecursive"] = True
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
            options = mount.get("VolumeOptions") or {}
            volumes.create(name, options.get("Labels"), anonymous=anonymous, user=container_id)
            result["New"] = not options.get("NoCopy")
        result["Name"], result["Source"], result["Driver"] = name, volumes.path(name), "local"
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


def oci(points: list[MountPoint]) -> list[OCI]:
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
        alone = mount.get("NonRecursive", False)
        options = ["bind" if alone else "rbind", mount["Propagation"] or "rprivate"]
        options += ["ro" if alone else "rro"] if access else []
        one: OCI = {
            "destination": mount["Destination"],
            "type": "bind",
            "source": mount["Source"],
            "options": options,
        }
        if "IDMap" in mount:
            from estiva.engine.spec import mounts

            options.append("idmap")
            one.update(mounts.id_mapping(mount["IDMap"]))
        result.append(one)
    return result
