"""A bundle on disk: runtime-spec bundle.md. config.json is read, checked, and made ready to run."""

from __future__ import annotations

import os

from estiva import fastjson, files
from estiva.errors import InvalidInput, NotFound
from estiva.runtime.rootfs.rootfs import Rootfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONFIG = "config.json"
_LIMIT = 16 << 20  # bytes

# What every container may use, whatever linux.resources.devices says: config-linux.md, "Default Devices",
# with the terminals, and the making of nodes (not their use). runc and crun allow the same.
_ALWAYS = (
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    ("c", 1, 3, "rwm"),  # null
    ("c", 1, 8, "rwm"),  # random
    ("c", 1, 7, "rwm"),  # full
    ("c", 5, 0, "rwm"),  # tty
    ("c", 1, 5, "rwm"),  # zero
    ("c", 1, 9, "rwm"),  # urandom
    ("c", 136, None, "rwm"),  # pts/*
    ("c", 5, 2, "rwm"),  # ptmx
)


class Bundle:
    """`directory` (absolute), `config` as parsed, `raw` as read, `rootfs` (None without root)."""

    def __init__(self, directory: str, raw: bytes) -> None:
        self.directory = directory
        self.raw = raw
        config = fastjson.loads(raw, what=f"{directory}/{CONFIG}")
        if not isinstance(config, dict):
            raise InvalidInput(f"{directory}/{CONFIG} is not a json object")
        self.config: dict[str, Any] = config
        self.warnings: list[str] = []
        check(config)
        root = config.get("root") or {}
        path = os.path.realpath(os.path.join(directory, root.get("path", "")))
        self.rootfs = Rootfs(path=path, readonly=bool(root.get("readonly")))

    @property
    def annotations(self) -> dict[str, str]:
        return self.config.get("annotations") or {}

    def resources(self) -> dict[str, Any]:
        """linux.resources with the device rules that are always added."""
        resources = dict((self.config.get("linux") or {}).get("resources") or {})
        rules = resources.get("devices")
        if rules is not None and not isinstance(rules, list):
            raise InvalidInput("linux.resources.devices is not a list")
        resources["devices"] = (rules or [{"allow": False, "access": "rwm"}]) + [
            _rule(*entry) for entry in _ALWAYS
        ]
        return resources


def _rule(kind: str, major: int | None, minor: int | None, access: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"allow": True, "type": kind, "access": access}
    if major is not None:
        rule["major"] = major
    if minor is not None:
        rule["minor"] = minor
    return rule


def load(directory: str) -> Bundle:
    """Read a bundle. Raises NotFound, InvalidInput with the path of the wrong field."""
    directory = os.path.abspath(directory)
    path = f"{directory}/{CONFIG}"
    try:
        raw = files.read_bounded(path, _LIMIT)
    except FileNotFoundError:
        raise NotFound(f"{path}: no such file or directory", hint="`estiva oci spec` writes one") from None
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {os.strerror(error.errno or 0).lower()}") from None
    bundle = Bundle(directory, raw)
    from estiva.runtime.bundle import validate  # for those who create only: a millisecond

    bundle.warnings = validate.config(bundle.config)
    assert bundle.rootfs.path is not None
    if not os.path.isdir(bundle.rootfs.path):
        raise NotFound(f"root.path: {bundle.rootfs.path} is not a directory")
    return bundle


def check(config: dict[str, Any]) -> None:
    """The parts of a config that are the runtime's and not the launcher's. Raises InvalidInput."""
    version = config.get("ociVersion")
    if not isinstance(version, str) or not _is_version(version):
        raise InvalidInput(f"ociVersion: {version!r} is not a version of the runtime-spec")
    if version.split(".")[0] != "1":
        raise InvalidInput(f"ociVersion: {version} is not supported", hint="this is a runtime for 1.x")
    for field in ("root", "process", "linux", "hooks", "annotations"):
        value = config.get(field)
        if value is not None and not isinstance(value, dict):
            raise InvalidInput(f"{field} is not an object")
    path = (config.get("root") or {}).get("path")
    if not isinstance(path, str) or not path or "\0" in path:
        raise InvalidInput("root.path is missing")
    for name, value in (config.get("annotations") or {}).items():
        if not name or not isinstance(value, str):
            raise InvalidInput(f"annotations[{name!r}] is not a name and a string")
    process = config.get("process")
    if process is not None:
        check_process(process, "process")


def check_process(process: dict[str, Any], where: str) -> None:
    """process.args and process.cwd, which are required where there is a process at all."""
    args = process.get("args")
    if not isinstance(args, list) or not args or not all(isinstance(word, str) for word in args):
        raise InvalidInput(f"{where}.args is not a list of at least one string")
    cwd = process.get("cwd")
    if not isinstance(cwd, str) or not cwd.startswith("/"):
        raise InvalidInput(f"{where}.cwd is not an absolute path")


def _is_version(text: str) -> bool:
    """MAJOR.MINOR.PATCH with an optional -tail (semver.org)."""
    numbers = text.split("-", 1)[0].split("+", 1)[0].split(".")
    return len(numbers) == 3 and all(number.isascii() and number.isdigit() for number in numbers)
