"""The mounts that are asked for: HostConfig.Binds, .Mounts and .Tmpfs and Config.Volumes as one list of the
API's Mounts, judged. What they are on this machine, engine/mounts/points.py finds out.
"""

from __future__ import annotations

import os

from estiva.errors import InvalidInput, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine.state.config_types import Config, HostConfig, Mount

PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable")
# of -v: is so anyway, or means nothing here
IGNORED = ("rw", "z", "Z", "cached", "delegated", "consistent", "rbind", "copy", "rro")
FLAGS = ("nosuid", "suid", "nodev", "dev", "noexec", "exec")
KINDS = ("bind", "volume", "tmpfs", "image", "devpts")
# of -v: one of each at most
ONE_OF = (
    ("ro", "readonly", "rw"), ("z", "Z"), PROPAGATIONS, ("nocopy", "copy"), ("bind", "rbind"),
    ("cached", "delegated", "consistent"), ("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec"),
)  # fmt: skip
FROM_MODES = ("ro", "rw", "z", "Z")  # of --volumes-from


def absolute(source: str) -> str:
    """A source as the caller's words name it: one that begins with a dot is below the working directory."""
    return os.path.abspath(source) if source in (".", "..") or source.startswith(("./", "../")) else source


def wanted(config: Config, host_config: HostConfig) -> list[Mount]:
    """Every mount asked for, one for each destination. Raises InvalidInput, also when two want the same
    place, and Unsupported."""
    table: dict[str, Mount] = {}
    asked = [from_bind(bind) for bind in host_config.get("Binds") or ()]
    asked += [from_mount(mount) for mount in host_config.get("Mounts") or ()]
    for target, flags in (host_config.get("Tmpfs") or {}).items():
        place = destination(target, f"tmpfs mount '{target}'")
        if flags:
            from estiva.engine.spec.storage import tmpfs_options

        flags = ",".join(tmpfs_options.check(target, flags)) if flags else ""
        asked.append({"Type": "tmpfs", "Source": "", "Target": place, "TmpfsFlags": flags})
    for mount in asked:
        if mount["Target"] in table:
            raise InvalidInput(f"duplicate mount point: {mount['Target']}")
        table[mount["Target"]] = mount
    for target in config.get("Volumes") or ():
        place = destination(target, f"volume specification: '{target}'")
        table.setdefault(place, {"Type": "volume", "Source": "", "Target": place})
    return list(table.values())


def destination(target: str, where: str) -> str:
    """An absolute path inside the container, normalised. Raises InvalidInput for a relative one or /."""
    if not target.startswith("/"):
        raise InvalidInput(f"invalid {where}: mount path '{target}' must be absolute")
    path = os.path.normpath("/" + target.lstrip("/"))
    if path == "/":
        raise InvalidInput(f"invalid {where}: destination can't be '/'")
    return path


def volumes_from(text: str) -> tuple[str, bool]:
    """(container, whether what it may write may be written) of --volumes-from NAME[:MODE]. Raises
    InvalidInput."""
    name, colon, mode = text.partition(":")
    modes = mode.split(",") if colon else []
    if not name:
        raise InvalidInput(f"invalid volumes-from: '{text}': no container is named")
    if set(modes) - set(FROM_MODES) or len(set(modes) & {"ro", "rw"}) == 2:
        raise InvalidInput(f"invalid mode: {mode} of volumes-from {name}", hint="ro, rw or z")
    return name, "ro" not in modes


def from_bind(text: str) -> Mount:
    """The Mounts entry that -v SOURCE:DESTINATION[:OPTIONS] stands for. Raises InvalidInput, Unsupported."""
    parts = text.split(":")
    if "" in parts:
        raise InvalidInput(f"invalid spec: {text}: empty section between colons")
    if not 2 <= len(parts) <= 3:
        raise InvalidInput(f"invalid volume specification: '{text}'", hint="SOURCE:DESTINATION[:ro]")
    mount: Mount = {
        "Source": parts[0],
        "Target": destination(parts[1], f"volume specification: '{text}'"),
    }
    if parts[0].startswith("/"):
        mount["Type"], mount["Source"] = "bind", os.path.normpath(parts[0])
        mount["BindOptions"] = {"CreateMountpoint": True}
    else:
        mount["Type"] = "volume"
        volume_name(parts[0])
    # a volume without a mode is said to be shared ("z"), as Docker says it; no label is changed
    if len(parts) == 3 or mount["Type"] == "volume":
        mount["Mode"] = parts[2] if len(parts) == 3 else "z"
    options = parts[2].split(",") if len(parts) == 3 else []
    _one_of_each(options, text)
    for option in options:
        if option in ("upperdir", "workdir") or option.startswith(("upperdir=", "workdir=")):
            key, _, path = option.partition("=")
            if "Overlay" not in mount or not path.startswith("/"):
                raise InvalidInput(f"{option} of {text}", hint="O,upperdir=/PATH,workdir=/PATH")
            mount["Overlay"][key] = os.path.normpath(path)
            continue
        if option in ("ro", "readonly"):
            mount["ReadOnly"] = True
        elif option in PROPAGATIONS and mount["Type"] == "bind":
            mount["BindOptions"]["Propagation"] = option
        elif option == "nocopy" and mount["Type"] == "volume":
            mount["VolumeOptions"] = {"NoCopy": True}
        elif option.partition("=")[0] == "idmap":
            mount["IDMap"] = option.partition("=")[2]
        elif option == "U":
            mount["Chown"] = True
        elif option == "O":
            mount["Overlay"] = {}
        elif option in FLAGS:
            mount.setdefault("Flags", []).append(option)
        elif option == "bind" and mount["Type"] == "bind":
            mount["BindOptions"]["NonRecursive"] = True
        elif option not in IGNORED:
            raise InvalidInput(f"invalid mode: {option} in the volume {text}")
    _idmap(mount)
    _overlay(mount, text)
    return mount


def _one_of_each(options: list[str], text: str) -> None:
    for group in ONE_OF:
        said = [option for option in options if option in group]
        if len(said) > 1:
            hint = f"{said[0]} is there twice" if said[0] == said[1] else f"either {said[0]} or {said[1]}"
            raise InvalidInput(f"invalid mode: {','.join(options)} in the volume {text}", hint=hint)


def _overlay(mount: Mount, text: str) -> None:
    if "Overlay" not in mount:
        return
    if len(mount["Overlay"]) == 1:
        raise InvalidInput(f"{text}: upperdir and workdir go together")
    bind = mount.get("BindOptions") or {}
    if mount.get("IDMap") is not None or mount.get("Chown") or bind.get("Propagation"):
        raise InvalidInput(f"{text}: the volume option O can't be used with U, idmap or a propagation")


def from_mount(given: Mount) -> Mount:
    """One of HostConfig.Mounts with a clean Target. Raises InvalidInput, Unsupported."""
    kind, source, target = given["Type"], given.get("Source") or "", given["Target"]
    if kind in ("npipe", "cluster", "glob", "ramfs"):
        raise Unsupported(f"mount type {kind} is not supported", hint=f"one of {', '.join(KINDS)}")
    if kind not in KINDS:
        raise InvalidInput(f"mount type unknown: '{kind}'", hint=f"one of {', '.join(KINDS)}")
    said: Any = {key: value for key, value in given.items() if value is not None}
    mount: Mount = said
    mount["Target"] = destination(target, f"mount path: '{target}'")
    for name in KINDS:
        if name != kind and any((said.get(f"{name.capitalize()}Options") or {}).values()):
            raise InvalidInput(f"cannot mix '{name}-*' options with mount type '{kind}'")
    if kind == "bind":
        if not source:
            raise InvalidInput(
                'invalid mount config for type "bind": field Source must not be empty',
                hint="src=PATH is the file or folder of the host",
            )
        if not source.startswith("/"):
            raise InvalidInput(f"invalid mount path: '{source}' mount path must be absolute")
        propagation = (given.get("BindOptions") or {}).get("Propagation") or ""
        if propagation and propagation not in PROPAGATIONS:
            raise InvalidInput(
                f"invalid value for bind-propagation: {propagation}", hint=f"one of {', '.join(PROPAGATIONS)}"
            )
        _recursive(given, propagation)
    elif kind == "volume":
        mount["Mode"] = "z"
        if source:
            volume_name(source)
        options = given.get("VolumeOptions") or {}
        driver = options.get("DriverConfig") or {}
        if driver.get("Options") or driver.get("Name"):
            from estiva.engine.spec.storage import volume_options

            volume_options.check(source, driver.get("Name") or "", driver.get("Options") or {})
        if options.get("Subpath"):
            subpath(options["Subpath"], "volume", source)
            if not source:
                raise InvalidInput(
                    f"volume-subpath is for a volume with a name, not for the new one at {mount['Target']}"
                )
    elif kind == "image":
        _image(mount, source)
    elif source:
        raise InvalidInput(f"a {kind} mount has no source")
    elif set((given.get("TmpfsFlags") or "").split(",")) - {"", "tmpcopyup", "noswap"}:
        raise InvalidInput(f"Mounts.TmpfsFlags of {target} is made of tmpcopyup and noswap")
    elif "IDMap" in mount:
        raise InvalidInput(f"a {kind} mount can't be id-mapped")
    elif given.get("Chown"):
        raise InvalidInput(f"a {kind} mount has no source to chown")
    _idmap(mount)
    return mount


def _recursive(given: Mount, propagation: str) -> None:
    """bind-recursive=writable and readonly, as Docker has them."""
    options = given.get("BindOptions") or {}
    writable, forced = options.get("ReadOnlyNonRecursive"), options.get("ReadOnlyForceRecursive")
    if not (writable or forced):
        return
    word = "writable" if writable else "readonly"
    if not given.get("ReadOnly"):
        raise InvalidInput(f"option 'bind-recursive={word}' requires 'readonly'")
    if forced and propagation not in ("", "rprivate"):
        raise InvalidInput("option 'bind-recursive=readonly' requires 'bind-propagation=rprivate'")
    if forced and (writable or options.get("NonRecursive")):
        raise InvalidInput("option 'bind-recursive=readonly' contradicts the others of this mount")


def _image(mount: Mount, source: str) -> None:
    if not source:
        raise InvalidInput("an image mount has a source: the image")
    if mount.get("Chown") or "IDMap" in mount:
        raise Unsupported(f"the image mount at {mount['Target']} can't be chowned or id-mapped")
    options = mount.get("ImageOptions") or {}
    if options.get("Subpath"):
        subpath(options["Subpath"], "image", source)
    if options.get("ReadWrite") and mount.get("ReadOnly"):
        raise InvalidInput(f"the image mount at {mount['Target']} is readonly or rw, not both")


def subpath(path: str, kind: str, source: str) -> None:
    """Raises InvalidInput for what can't be a path below the top of a volume or image."""
    if path.startswith("/") or ".." in path.split("/") or "\0" in path:
        what = f"{kind} {source}".rstrip()
        raise InvalidInput(f"{kind}-subpath {path} must be a relative path that stays inside of the {what}")


def volume_name(text: str) -> None:
    """Raises InvalidInput if `text` can't be a volume's name."""
    from estiva.store import volumes

    try:
        volumes.check_name(text)
    except InvalidInput:
        if len(text) > volumes.NAME_LIMIT:
            raise
        raise InvalidInput(
            f'"{text}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed; for a host directory use an absolute path'
        ) from None
    volumes.check_new_name(text)


def _idmap(mount: Mount) -> None:
    if mount.get("IDMap"):
        id_mapping(mount["IDMap"])
        if mount.get("Chown"):
            raise InvalidInput(
                f"the volume option U of {mount['Target']} can't be used with id mappings of its own"
            )


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
