"""The options of a volume of the driver local (`volume create -o`): what is mounted for who uses it, as
mount(8) has it: type, device, o. engine/mounts/detached.py mounts it.
"""

from __future__ import annotations

from estiva.errors import InvalidInput, Unsupported

KEYS = ("type", "device", "o", "size")
BINDS = ("bind", "rbind")
# mount(8), "FILESYSTEM-INDEPENDENT MOUNT OPTIONS", that are a mount's own: (MOUNT_ATTR_*, whether it clears)
ATTRIBUTES = {
    "ro": (0x1, False), "rw": (0x1, True), "nosuid": (0x2, False), "suid": (0x2, True), "nodev": (0x4, False),
    "dev": (0x4, True), "noexec": (0x8, False), "exec": (0x8, True), "noatime": (0x10, False),
    "nodiratime": (0x80, False), "relatime": (0x0, False), "strictatime": (0x20, False),
}  # fmt: skip
NOTHING = ("defaults", "auto", "noauto", "nofail", "_netdev", "user", "nouser", "loud", "silent")


def check(name: str, driver: str, options: dict[str, str]) -> None:
    """Raise InvalidInput, or Unsupported by name, for a volume that can't be had. `name` is for messages."""
    what = f"volume {name}" if name else "the volume"
    if driver not in ("", "local"):
        raise Unsupported(f"{what}: the volume driver {driver} is not known here", hint="the driver is local")
    for key in options:
        if key not in KEYS:
            raise InvalidInput(f'{what}: invalid option: "{key}"', hint=f"one of {', '.join(KEYS)}")
    if "size" in options:
        raise Unsupported(
            f"{what}: the option size needs a quota, which is not supported",
            hint="a tmpfs takes one: -o type=tmpfs -o device=tmpfs -o o=size=64m",
        )
    if not options:
        return
    for key in ("device", "type"):
        if not options.get(key) and not (key == "type" and bound(options)):
            raise InvalidInput(f'{what}: missing required option: "{key}"')
    if bound(options) and not options["device"].startswith("/"):
        raise InvalidInput(f"{what}: the device {options['device']} of a bind must be an absolute path")
    if any("\0" in text or "\n" in text for text in options.values()):
        raise InvalidInput(f"{what}: an option holds what no mount option can")


def words(options: dict[str, str]) -> list[str]:
    """The single options of `o`."""
    return [word for word in (options.get("o") or "").split(",") if word and word not in NOTHING]


def bound(options: dict[str, str]) -> bool:
    """Whether it is a folder that is there already."""
    return any(word in BINDS for word in words(options))
