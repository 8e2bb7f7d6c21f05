"""containerEdits of a CDI spec: read strictly, joined, and put into an OCI config.

CDI specification, "OCI Edits". They are kept as {env, deviceNodes, mounts, hooks, additionalGids}.
"""

from __future__ import annotations

import os
import stat

from estiva.errors import InvalidInput, Unsupported, oneline, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine.state.types import OCI

SUFFIXES = (".json", ".yaml", ".yml")
MAX_ENTRIES = 4096
MAX_TEXT = 65536
MAX_ID = 0xFFFFFFFE
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
NODES = {"b": stat.S_IFBLK, "c": stat.S_IFCHR, "u": stat.S_IFCHR, "p": stat.S_IFIFO}


class Reader:
    """An object of the document. Each field is asked for once, by the method of its type; `done` refuses what
    nobody asked for. All raise InvalidInput with the path of the field.
    """

    def __init__(self, where: str, value: Any) -> None:
        self.where = where
        if not isinstance(value, dict):
            raise InvalidInput(f"{where} is not an object")
        self.left = dict(value)

    def _path(self, field: str) -> str:
        return f"{self.where}: {field}" if self.where.endswith(SUFFIXES) else f"{self.where}.{field}"

    def text(self, field: str, default: str | None = None) -> str:
        value = self.left.pop(field, default)
        if value is None:
            raise InvalidInput(f"{self._path(field)} is missing")
        if not isinstance(value, str) or "\0" in value or len(value) > MAX_TEXT:
            raise InvalidInput(f"{self._path(field)} is not a text")
        return value

    def path(self, field: str, default: str | None = None) -> str:
        value = self.text(field, default)
        if value and (not value.startswith("/") or ".." in value.split("/")):
            raise InvalidInput(f"{self._path(field)} is not an absolute path")
        return value

    def number(self, field: str, most: int = MAX_ID) -> int | None:
        value = self.left.pop(field, None)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise InvalidInput(f"{self._path(field)} is not a whole number from 0 to {most}")
        return value

    def listed(self, field: str, kind: type) -> list[Any]:
        value = self.left.pop(field, None)
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > MAX_ENTRIES:
            raise InvalidInput(f"{self._path(field)} is not a list of at most {MAX_ENTRIES} entries")
        for entry in value:
            if not isinstance(entry, kind) or isinstance(entry, bool):
                raise InvalidInput(f"{self._path(field)} holds what it may not")
            if isinstance(entry, str) and ("\0" in entry or len(entry) > MAX_TEXT):
                raise InvalidInput(f"{self._path(field)} holds what is no text")
        return value

    def environment(self, field: str) -> list[str]:
        value = self.listed(field, str)
        if not all(word.partition("=")[0] and "=" in word for word in value):
            raise InvalidInput(f"{self._path(field)} is not a list of KEY=VALUE")
        return value

    def strings(self, field: str) -> dict[str, str]:
        value = self.left.pop(field, None) or {}
        if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
            raise InvalidInput(f"{self._path(field)} is not an object of texts")
        return value

    def part(self, field: str) -> Reader:
        value = self.left.pop(field, None)
        return Reader(self._path(field), {} if value is None else value)

    def parts(self, field: str, most: int = MAX_ENTRIES) -> list[Reader]:
        value = self.left.pop(field, None)
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > most:
            raise InvalidInput(f"{self._path(field)} is not a list of at most {most} entries")
        return [Reader(f"{self._path(field)}[{index}]", entry) for index, entry in enumerate(value)]

    def done(self) -> None:
        if self.left:
            raise InvalidInput(f"{self._path(oneline(min(self.left)))} is not a field of CDI")


def empty() -> dict[str, Any]:
    """Edits that change nothing, to join others to."""
    return {"env": [], "deviceNodes": [], "mounts": [], "hooks": [], "additionalGids": []}


def join(total: dict[str, Any], more: dict[str, Any]) -> None:
    """Add edits to others, after them."""
    for key, value in more.items():
        total[key] += value


def edits(where: Reader) -> dict[str, Any]:
    """Raises InvalidInput with the path of the field, Unsupported."""
    for field in ("intelRdt", "netDevices"):
        if where.left.get(field):
            raise Unsupported(f"{where.where}.{field} is not supported")
        where.left.pop(field, None)
    result: dict[str, list[Any]] = {
        "env": where.environment("env"),
        "deviceNodes": [_node(entry) for entry in where.parts("deviceNodes")],
        "mounts": [_mount(entry) for entry in where.parts("mounts")],
        "hooks": [_hook(entry) for entry in where.parts("hooks")],
        "additionalGids": where.listed("additionalGids", int),
    }
    if not all(0 <= gid <= MAX_ID for gid in result["additionalGids"]):
        raise InvalidInput(f"{where.where}.additionalGids is out of the range of ids")
    where.done()
    return result


def _node(entry: Reader) -> OCI:
    node: OCI = {"path": entry.path("path")}
    node["hostPath"] = entry.path("hostPath", "") or node["path"]
    node["type"] = entry.text("type", "")
    if node["type"] not in ("", *NODES):
        raise InvalidInput(f"{entry.where}.type is not b, c, u or p")
    for field, most in (
        ("major", 0xFFF),
        ("minor", 0xFFFFF),
        ("fileMode", 0o7777),
        ("uid", MAX_ID),
        ("gid", MAX_ID),
    ):
        node[field] = entry.number(field, most)
    node["permissions"] = entry.text("permissions", "") or "rwm"
    if set(node["permissions"]) - set("rwm"):
        raise InvalidInput(f"{entry.where}.permissions is not made of r, w and m")
    entry.done()
    return node


def _mount(entry: Reader) -> OCI:
    mount: OCI = {
        "source": entry.text("hostPath"),
        "destination": entry.path("containerPath"),
        "type": entry.text("type", "") or "bind",
        "options": entry.listed("options", str),
    }
    if mount["type"] == "bind":
        if not mount["source"].startswith("/"):
            raise InvalidInput(f"{entry.where}.hostPath is not an absolute path")
        if not {"bind", "rbind"} & set(mount["options"]):
            mount["options"] = ["rbind", *mount["options"]]
    entry.done()
    return mount


def _hook(entry: Reader) -> OCI:
    hook: OCI = {"hookName": entry.text("hookName"), "path": entry.path("path")}
    if hook["hookName"] not in HOOKS:
        raise InvalidInput(f"{entry.where}.hookName is none of {', '.join(HOOKS)}")
    hook["args"] = entry.listed("args", str)
    hook["env"] = entry.environment("env")
    timeout = entry.number("timeout", 1 << 31)
    if timeout:
        hook["timeout"] = timeout
    entry.done()
    return hook


def apply(config: OCI, edits: dict[str, Any]) -> None:
    """Change an OCI config. Raises InvalidInput when a device isn't there."""
    from estiva.engine.state.record import merge_env

    process, linux = config["process"], config["linux"]
    process["env"] = merge_env(process["env"], edits["env"])
    nodes = [_device(node, process["user"]) for node in edits["deviceNodes"]]
    if nodes:
        taken = {node["path"] for node in nodes}
        kept = [device for device in linux.get("devices") or () if device["path"] not in taken]
        linux["devices"] = kept + list({node["path"]: node for node in nodes}.values())
        linux["resources"]["devices"] += [
            {"allow": True, "type": "b" if node["type"] == "b" else "c", "major": node["major"],
             "minor": node["minor"], "access": node.pop("permissions")}
            for node in nodes if node["type"] != "p"
        ]  # fmt: skip
    config["mounts"] = sorted(  # stable: parents before what lies in them
        [*config["mounts"], *edits["mounts"]], key=lambda mount: mount["destination"].rstrip("/").count("/")
    )
    for hook in edits["hooks"]:
        entry = {key: value for key, value in hook.items() if key != "hookName" and value}
        config.setdefault("hooks", {}).setdefault(hook["hookName"], []).append(entry)
    groups = list(process["user"].get("additionalGroups") or ())
    groups += [str(gid) for gid in edits["additionalGids"] if gid]
    process["user"]["additionalGroups"] = list(dict.fromkeys(groups))


def _device(node: OCI, user: OCI) -> OCI:
    """An entry of linux.devices; what the spec doesn't say is the host node's."""
    made = {key: node[key] for key in ("path", "type", "major", "minor", "permissions")}
    mode, uid, gid = node["fileMode"], node["uid"], node["gid"]
    if not made["type"] or (made["type"] != "p" and (made["major"] is None or made["minor"] is None)):
        try:
            status = os.stat(node["hostPath"])
        except OSError as error:
            raise InvalidInput(f"CDI device node {node['hostPath']} can't be used: {reason(error)}") from None
        kinds = [kind for kind, bits in NODES.items() if stat.S_IFMT(status.st_mode) == bits and kind != "u"]
        if not kinds or made["type"] not in ("", kinds[0], "u" if kinds[0] == "c" else kinds[0]):
            raise InvalidInput(f"CDI device node {node['hostPath']} is not of the kind that its spec says")
        made["type"] = kinds[0]
        made["major"], made["minor"] = os.major(status.st_rdev), os.minor(status.st_rdev)
        mode = stat.S_IMODE(status.st_mode) if mode is None else mode
    number = str(user.get("username") or "").partition(":")
    made["fileMode"] = 0o666 if mode is None else mode
    # CDI: a node belongs to the container's user, unless the spec says whose it is
    made["uid"] = uid if uid is not None else _id(number[0])
    made["gid"] = gid if gid is not None else _id(number[2])
    return made


def _id(text: str) -> int:
    """The number that a user is given by; root's where it is a name."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else 0
