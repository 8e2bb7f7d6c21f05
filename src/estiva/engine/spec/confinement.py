"""The rarer words of --security-opt: systempaths, mask and unmask; apparmor and label.

systempaths=unconfined is Docker's, mask=PATH[:PATH...] and unmask=ALL|PATH[:PATH...] are Podman's. They
become HostConfig.MaskedPaths and ReadonlyPaths, as Docker's API has them.
"""

from __future__ import annotations

from estiva.engine.spec.security_opt import split_option
from estiva.errors import InvalidInput, Unsupported, brief, oneline
from estiva.runtime.security import kernel_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine.state.types import OCI

PATHS = ("systempaths", "mask", "unmask")
NOTHING = ("apparmor=unconfined", "label=disable")
PARTS = ("user", "role", "type", "level")


def paths(options: list[str]) -> dict[str, Any]:
    """MaskedPaths and ReadonlyPaths, where `options` change them, and SecurityOpt without those words.

    Raises InvalidInput.
    """
    masked, readonly = list(kernel_paths.masked_paths()), list(kernel_paths.READONLY_PATHS)
    changed = False
    rest = []
    for option in options:
        key, value = split_option(option)
        if key not in PATHS:
            rest.append(option)
            continue
        changed = True
        if key == "systempaths":
            if value != "unconfined":
                raise InvalidInput(
                    f'invalid --security-opt: "{brief(option)}"', hint="systempaths=unconfined"
                )
            masked, readonly = [], []
        elif key == "unmask" and value.lower() == "all":
            masked, readonly = [], []
        else:
            named = value.split(":")
            for path in named:
                if not path.startswith("/") or ".." in path.split("/") or not path.isprintable():
                    raise InvalidInput(f'invalid --security-opt: "{brief(option)}"', hint="absolute paths")
            if key == "mask":
                masked += [path for path in named if path not in masked]
            else:
                from fnmatch import fnmatchcase

                masked, readonly = (
                    [path for path in each if not any(fnmatchcase(path, name) for name in named)]
                    for each in (masked, readonly)
                )
    result: dict[str, Any] = {"SecurityOpt": rest}
    if changed:
        result.update(MaskedPaths=masked, ReadonlyPaths=readonly)
    return result


def label(config: OCI, options: list[str], privileged: bool) -> None:
    """Put what apparmor=PROFILE and label=... ask for into an OCI config. Raises Unsupported where the kernel
    lacks it, InvalidInput."""
    from estiva.runtime.process import labels

    parts: dict[str, str] = {}
    for option in options:
        key, value = split_option(option)
        if f"{key}={value}" in NOTHING:
            parts.clear()
        elif key == "apparmor":
            if not labels.apparmor():
                raise Unsupported(
                    f"--security-opt {oneline(option)}: this kernel has no AppArmor",
                    hint="apparmor=unconfined",
                )
            config["process"]["apparmorProfile"] = value
        elif key == "label":
            if not labels.selinux():
                raise Unsupported(
                    f"--security-opt {oneline(option)}: SELinux is not enabled here", hint="label=disable"
                )
            name, colon, text = value.partition(":")
            if not colon or name not in PARTS or not text.isprintable() or " " in text:
                raise InvalidInput(f'invalid --security-opt: "{oneline(option)}"', hint="label=type:NAME")
            parts[name] = text
    if parts and not privileged:
        user, level = parts.get("user", "system_u"), parts.get("level", "s0")
        config["process"]["selinuxLabel"] = ":".join(
            (user, parts.get("role", "system_r"), parts.get("type", "container_t"), level)
        )
        config["linux"]["mountLabel"] = f"system_u:object_r:container_file_t:{level}"
