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

PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
IGNORED = ("rw", "z", "Z", "cached", "delegated", "consistent")  # of -v: is so anyway, or means nothing


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
    for option in parts[2].split(",") if len(parts) == 3 else ():
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
            raise Unsupported(f"the volume option {option} of {text} is not supported yet")
        elif option not in IGNORED:
            raise InvalidInput(f"invalid mode: {option} in the volume {text}")
    _idmap(mount)
    return mount


def from_mount(given: Mount) -> Mount:
    """One of HostConfig.Mounts with a clean Target. Raises InvalidInput, Unsupported."""
    kind, source, target = given["Type"], given.get("Source") or "", given["Target"]
    if kind in ("npipe", "cluster", "image"):
        raise Unsupported(f"mount type {kind} is not supported", hint="bind, volume or tmpfs")
    if kind not in ("bind", "volume", "tmpfs"):
        raise InvalidInput(f"mount type unknown: '{kind}'", hint="bind, volume or tmpfs")
    said: Any = {key: value for key, value in given.items() if value is not None}
    mount: Mount = said
    mount["Target"] = destination(target, f"mount path: '{target}'")
    for name in ("bind", "volume", "tmpfs"):
        if name != kind and any((said.get(f"{name.capitalize()}Options") or {}).values()):
            raise InvalidInput(f"cannot mix '{name}-*' options with mount type '{kind}'")
    if kind == "bind":
        if not source.startswith("/"):
            raise InvalidInput(f"invalid mount path: '{source}' mount path must be absolute")
        propagation = (given.get("BindOptions") or {}).get("Propagation") or ""
        if propagation and propagation not in PROPAGATIONS:
            raise InvalidInput(
                f"invalid value for bind-propagation: {propagation}", hint=f"one of {', '.join(PROPAGATIONS)}"
            )
    elif kind == "volume":
        if source:
            volume_name(source)
        options = given.get("VolumeOptions") or {}
        driver = options.get("DriverConfig") or {}
        if driver.get("Options") or driver.get("Name") not in (None, "", "local"):
            what = "volume-opt" if driver.get("Options") else "volume-driver"
            raise Unsupported(f"{what} is not supported: volumes are plain local directories")
        if options.get("Subpath"):
            raise Unsupported("volume-subpath is not supported yet")
    elif source:
        raise InvalidInput("a tmpfs mount has no source")
    elif "IDMap" in mount:
        raise InvalidInput("a tmpfs mount can't be id-mapped")
    elif given.get("Chown"):
        raise InvalidInput("a tmpfs mount has no source to chown")
    _idmap(mount)
    return mount


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
