"""A user's mounts: -v, --mount, --tmpfs and the image's VOLUMEs become mount points, then OCI mounts.

HostConfig.Binds, .Mounts, .Tmpfs, .VolumesFrom, Config.Volumes
    -> wanted()  one list, judged (engine/spec/mounts.py)
    -> plan()    mount points in Docker's shape (record["Mounts"]); volumes made, bind folders made
    -> oci()     what the launcher mounts; what is mounted for it before, detached.py does
    -> copy_up() fills an empty volume from what the image has at its place (engine/mounts/volume_copy.py)
"""

from __future__ import annotations

import errno
import os

from estiva.errors import InvalidInput, NotFound, Unsupported, reason
from estiva.files import make_directory
from estiva.runtime.security.kernel_paths import PROC_FILES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from estiva.engine.state.config_types import Config, HostConfig, Mount
    from estiva.engine.state.types import OCI, MountPoint
    from estiva.store.volumes import Volumes

    class Known(Protocol):
        """What is known of other things by the name that a mount gives."""

        def mounts_of(self, container: str) -> list[MountPoint]: ...

        def image_id(self, reference: str) -> str: ...


ASKED = ("Binds", "Mounts", "Tmpfs", "VolumesFrom")


def plan(
    config: Config,
    host_config: HostConfig,
    volumes: Volumes,
    container_id: str = "",
    known: Known | None = None,
) -> list[MountPoint]:
    """Mount points in Docker's shape, for the record. Makes volumes that don't exist, and -v's host
    folders, once nothing is wrong with any of them. The container has its volumes from then on: `forget`
    (engine/state/teardown.py) removes the anonymous ones, should it not come to be.

    What another container lends (VolumesFrom) gives way to a mount of one's own at the same place, and an
    image's volume to both.
    """
    if not config.get("Volumes") and not any(host_config.get(key) for key in ASKED):
        return []
    from estiva.engine.spec import mounts

    asked = mounts.wanted(config, host_config)
    lent = lending(host_config.get("VolumesFrom") or (), known)
    own = {mount["Target"] for mount in asked if not _of_image(mount, config)}
    for place in own:
        lent.pop(place, None)
    asked = [mount for mount in asked if mount["Target"] not in lent]
    if (host_config.get("VolumeDriver") or "local") != "local":
        _refuse_driver(config, host_config, asked)
    images: dict[str, str] = {}
    for mount in asked:
        check(mount)
        if mount["Type"] == "image":
            assert known is not None
            images[mount["Source"]] = known.image_id(mount["Source"])
        if mount.get("Chown") and mount["Type"] == "bind":
            from estiva.engine.mounts import chown

            chown.check(mount["Source"], volumes.paths.root, volumes.paths.run_root)
    for there in lent.values():
        if there["Type"] == "volume":  # from now on it is ours too
            volumes.create(there["Name"], anonymous=there.get("Anonymous", False), user=container_id)
    return [*lent.values(), *(point(mount, volumes, container_id, images) for mount in asked)]


def _refuse_driver(config: Config, host_config: HostConfig, asked: list[Mount]) -> None:
    """Another driver than local is that of what -v names and of anonymous volumes: without any, as with
    docker's, it means nothing. Raises Unsupported."""
    from estiva.engine.spec import mounts

    named = {mounts.from_bind(bind)["Target"] for bind in host_config.get("Binds") or ()}
    for mount in asked:
        if mount["Type"] == "volume" and (mount["Target"] in named or _of_image(mount, config)):
            raise Unsupported(f"the volume driver {host_config['VolumeDriver']} is not supported")


def _of_image(mount: Mount, config: Config) -> bool:
    """Whether only Config.Volumes asks for it."""
    return mount["Type"] == "volume" and not mount.get("Source") and mount["Target"] in _places(config)


def _places(config: Config) -> set[str]:
    return {os.path.normpath("/" + target.lstrip("/")) for target in config.get("Volumes") or ()}


def lending(wanted: Sequence[str], known: Known | None) -> dict[str, MountPoint]:
    """What other containers have mounted, by place; the last of several at one place has its way."""
    from estiva.engine.spec import mounts

    result: dict[str, MountPoint] = {}
    for text in wanted:
        name, writable = mounts.volumes_from(text)
        assert known is not None
        for there in known.mounts_of(name):
            if there["Type"] in ("tmpfs", "devpts"):
                continue  # each container's is a new one: there is nothing to lend
            taken: MountPoint = {**there, "RW": there["RW"] and writable, "Mode": ""}
            taken.pop("New", None)
            result[there["Destination"]] = taken
    return result


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


def point(mount: Mount, volumes: Volumes, container_id: str, images: dict[str, str]) -> MountPoint:
    """The mount point of a checked mount; its volume or folder is made where it is not there."""
    kind, source, target = mount["Type"], mount.get("Source") or "", mount["Target"]
    result: MountPoint = {
        "Type": kind,
        "Source": source,
        "Destination": target,
        "Mode": mount.get("Mode") or "",
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
        for key in ("NonRecursive", "ReadOnlyNonRecursive"):
            if options.get(key):
                result[key] = True
        if not os.path.exists(source):
            try:
                make_folder(source)
            except OSError as error:
                raise InvalidInput(
                    f"the folder {source} is not there and can't be made: {reason(error)}"
                ) from None
    elif kind == "volume":
        _volume(result, mount, volumes, container_id)
    elif kind == "image":
        options = mount.get("ImageOptions") or {}
        result["ImageId"], result["Detached"] = images[source], True
        result["RW"] = result["ReadWrite"] = bool(options.get("ReadWrite"))
        if options.get("Subpath"):
            result["Subpath"] = options["Subpath"]
    elif kind == "devpts":
        options = mount.get("DevptsOptions") or {}
        words = [f"mode={options['Mode']:o}"] if "Mode" in options else []
        words += [f"{key.lower()}={options[key]}" for key in ("Uid", "Gid", "Max") if key in options]
        result["Mode"] = ",".join(words)
    elif kind == "tmpfs":
        options = mount.get("TmpfsOptions") or {}
        flags = [flag for flag in str(mount.get("TmpfsFlags") or "").split(",") if flag]
        if options.get("SizeBytes"):
            flags.append(f"size={options['SizeBytes']}")
        if options.get("Mode"):
            flags.append(f"mode={options['Mode']:o}")
        result["Mode"] = ",".join(flags)
    if mount.get("Flags"):
        result["Flags"] = mount["Flags"]
    if "Overlay" in mount:
        result["Overlay"], result["Detached"] = mount["Overlay"], True
    return result


def _volume(result: MountPoint, mount: Mount, volumes: Volumes, container_id: str) -> None:
    """A volume, made if it isn't there, and the container's from now on."""
    source, options = mount.get("Source") or "", mount.get("VolumeOptions") or {}
    name = source or os.urandom(32).hex()
    given = (options.get("DriverConfig") or {}).get("Options") or {}
    there = volumes.create(
        name, options.get("Labels"), anonymous=not source, user=container_id, options=given
    )
    result["New"] = not options.get("NoCopy") and "Overlay" not in mount and not options.get("Subpath")
    if there.new:
        result["Made"] = True
    if there.options:
        result["Detached"] = True
    result["Name"], result["Source"], result["Driver"] = name, volumes.path(name), "local"
    if options.get("Subpath"):
        result["Subpath"] = options["Subpath"]
    if not source:
        result["Anonymous"] = True


def oci(points: list[MountPoint]) -> list[OCI]:
    """OCI mounts of mount points."""
    result = []
    for mount in points:
        access = [] if mount["RW"] else ["ro"]
        if mount.get("Detached"):
            what = mount.get("Name") or mount["Source"]
            result.append(
                {"destination": mount["Destination"], "type": "bind", "source": what, "options": ["bind"]}
            )
            continue
        if mount["Type"] == "devpts":
            words = mount["Mode"].split(",") if mount["Mode"] else []
            options = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", *words, *access]
            if not any(word.startswith("mode=") for word in words):
                options.append("mode=0620")
            result.append(
                {
                    "destination": mount["Destination"],
                    "type": "devpts",
                    "source": "devpts",
                    "options": options,
                }
            )
            continue
        if mount["Type"] == "tmpfs":
            flags = mount["Mode"].split(",") if mount["Mode"] else []
            options = ["nosuid", "nodev", *([] if "exec" in flags else ["noexec"]), *flags, *access]
            if not any(flag.startswith("mode=") or flag == "tmpcopyup" for flag in flags):
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
        options += ["ro" if alone or mount.get("ReadOnlyNonRecursive") else "rro"] if access else []
        options += mount.get("Flags") or ()
        if mount.get("Subpath"):
            from estiva.runtime.rootfs.mount_plan import SUBPATH

            options.append(SUBPATH + mount["Subpath"])
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


def look_for_subpath(mount: MountPoint) -> None:
    """Raises NotFound, which names the volume: the init, which mounts it, knows it by its path alone."""
    from estiva.linux import fs

    try:
        top = os.open(mount["Source"], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.close(fs.open_in_root(top, mount["Subpath"], os.O_PATH))
        finally:
            os.close(top)
    except OSError as error:
        what = f"{mount['Type']} {mount.get('Name') or mount['Source']}"
        raise NotFound(f"no {mount['Subpath']} is in the {what}: {reason(error)}") from None
