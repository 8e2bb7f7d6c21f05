"""Devices by name, as the Container Device Interface describes them: `--device vendor.com/class=name`.

CDI specification, versions 0.3.0 to 1.1.0 (cncf-tags/container-device-interface, SPEC.md). A vendor's
program writes files of JSON or YAML below /etc/cdi and /var/run/cdi; each says what a container gets with a
device: variables, device nodes, mounts, hooks, groups. They are the machine's own configuration, which root
writes, and are trusted as such; what is malformed is refused with the path of the field, within bounds.
"""

from __future__ import annotations

import os
import stat

from estiva import fastjson, files
from estiva.engine.spec.cdi import edits as cdi_edits
from estiva.errors import (
    EngineError,
    EstivaError,
    InvalidInput,
    NotFound,
    Unsupported,
    brief,
    oneline,
    reason,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine.state.config_types import DeviceRequest
    from estiva.engine.state.types import OCI

# the later one wins: what a running system has written over what stands
DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
VERSIONS = ("0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0")
MAX_FILE = 4 << 20  # bytes
MAX_FILES = 256  # in one directory
MAX_DEVICES = 4096  # in one file
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
ALPHANUMERIC = LETTERS | frozenset("0123456789")


def spec_directories() -> tuple[str, ...]:
    """Where specs are looked for, the most important last."""
    asked = os.environ.get("ESTIVA_CDI_SPEC_DIRS", "")
    return tuple(filter(None, asked.split(":"))) or DIRECTORIES


def _is_name(text: str, inner: str, first: frozenset[str] = LETTERS) -> bool:
    return (
        bool(text)
        and len(text) <= 256
        and text[0] in first
        and text[-1] in ALPHANUMERIC
        and all(c in ALPHANUMERIC or c in inner for c in text)
    )


def qualified(text: str) -> tuple[str, str]:
    """("vendor.com/class", "name") of a device's full name. Raises InvalidInput."""
    kind, equals, name = text.partition("=")
    if not equals or not is_kind(kind) or not _is_name(name, "_-.:", ALPHANUMERIC):
        raise InvalidInput(f"{brief(text, 100)} is not the name of a device", hint="vendor.com/class=name")
    return kind, name


def request(devices: list[str]) -> dict[str, Any]:
    """The DeviceRequest for devices by their full names. Raises InvalidInput."""
    for device in devices:
        qualified(device)
    return {"Driver": "cdi", "Count": 0, "DeviceIDs": devices, "Capabilities": None, "Options": None}


def is_kind(text: str) -> bool:
    """Whether `text` is vendor.com/class."""
    vendor, slash, kind = text.partition("/")
    return bool(slash) and _is_name(vendor, "_-.") and _is_name(kind, "_-.")


class Spec:
    """One file. `kind` is vendor/class; `devices` maps a name to its edits, `common` go with each of them."""

    def __init__(self, path: str, document: Any) -> None:
        self.path = path
        where = cdi_edits.Reader(path, document)
        version = where.text("cdiVersion")
        if version.removeprefix("v") not in VERSIONS:
            raise InvalidInput(
                f"{path}: cdiVersion: {oneline(version)} is not known here", hint=f"up to {VERSIONS[-1]}"
            )
        self.kind = where.text("kind")
        if not is_kind(self.kind):
            raise InvalidInput(f"{path}: kind: {oneline(self.kind)} is not vendor/class")
        annotations = where.strings("annotations")
        self.annotations: dict[str, dict[str, str]] = {}
        self.common = cdi_edits.edits(where.part("containerEdits"))
        self.devices: dict[str, dict[str, Any]] = {}
        for entry in where.parts("devices", MAX_DEVICES):
            name = entry.text("name")
            if not _is_name(name, "_-.:", ALPHANUMERIC):
                raise InvalidInput(f"{entry.where}.name: {oneline(name)} is not the name of a device")
            if name in self.devices:
                raise InvalidInput(f"{entry.where}.name: {name} is there twice")
            self.annotations[name] = {**annotations, **entry.strings("annotations")}
            self.devices[name] = cdi_edits.edits(entry.part("containerEdits"))
            entry.done()
        if not self.devices:
            raise InvalidInput(f"{path}: devices is empty")
        where.done()


class Registry:
    """What the machine's spec files describe. Files that can't be used are kept with the reason: it is told
    when a device isn't found."""

    def __init__(self, directories: tuple[str, ...] = ()) -> None:
        if not directories:
            directories = spec_directories()
        # kind -> name -> the specs of the most important directory that has it: more than one is a conflict
        self.found: dict[str, dict[str, list[Spec]]] = {}
        self.problems: list[EstivaError] = []
        for directory in directories:
            for name, specs in self._read(directory).items():
                kind, _, device = name.partition("=")
                self.found.setdefault(kind, {})[device] = specs

    def _read(self, directory: str) -> dict[str, list[Spec]]:
        result: dict[str, list[Spec]] = {}
        try:
            names = sorted(os.listdir(directory))
        except (FileNotFoundError, NotADirectoryError):
            return result
        except OSError as error:
            self.problems.append(EngineError(f"{directory} can't be read: {reason(error)}"))
            return result
        for name in names[:MAX_FILES]:
            path = f"{directory}/{name}"
            if not name.endswith(cdi_edits.SUFFIXES):
                continue
            try:
                spec = load(path)
            except EstivaError as error:
                self.problems.append(error)
                continue
            for device in spec.devices:
                result.setdefault(f"{spec.kind}={device}", []).append(spec)
        if len(names) > MAX_FILES:
            self.problems.append(InvalidInput(f"{directory} has more than {MAX_FILES} files"))
        return result

    def edits(self, names: list[str]) -> dict[str, Any]:
        """All that devices bring, in order; what belongs to a whole file once, before its first device.

        Raises NotFound, Conflict.
        """
        total = cdi_edits.empty()
        seen: set[str] = set()
        for full in names:
            kind, name = qualified(full)
            specs = self.found.get(kind, {}).get(name, [])
            if not specs:
                raise self.missing(f"no such CDI device: {full}")
            if len(specs) > 1:
                where = " and ".join(sorted({spec.path for spec in specs}))
                raise InvalidInput(f"CDI device {full} is described twice: in {where}")
            if specs[0].path not in seen:
                seen.add(specs[0].path)
                cdi_edits.join(total, specs[0].common)
            cdi_edits.join(total, specs[0].devices[name])
        return total

    def names(self) -> list[str]:
        """The full names of all devices, sorted."""
        return sorted(f"{kind}={name}" for kind, devices in self.found.items() for name in devices)

    def notes(self, full: str) -> dict[str, str]:
        """The annotations of a device by its full name: its own, before those of its file."""
        kind, _, name = full.partition("=")
        specs = self.found.get(kind, {}).get(name, [])
        return specs[0].annotations[name] if len(specs) == 1 else {}

    def missing(self, message: str) -> NotFound:
        """The error for what isn't found, with what is wrong with the files."""
        if self.problems:
            more = f", and {len(self.problems) - 1} more" if len(self.problems) > 1 else ""
            return NotFound(f"{message} ({self.problems[0]}{more})", hint=self.problems[0].hint)
        return NotFound(message, hint=f"its vendor's program describes it in {DIRECTORIES[0]}")

    def gpus(self, request: DeviceRequest) -> list[str]:
        """The full names of the devices that a gpu request means. Raises NotFound, InvalidInput."""
        kinds = sorted(kind for kind in self.found if kind.endswith("/gpu"))
        driver = request.get("Driver") or ""
        if driver:
            kinds = [kind for kind in kinds if kind.split("/")[0] in (driver, f"{driver}.com")]
        if not kinds:
            raise self.missing(f"no {driver + ' ' if driver else ''}gpu is known here")
        if len(kinds) > 1:
            raise InvalidInput(
                f"gpus of several kinds are here: {', '.join(kinds)}", hint="name them: --device KIND=all"
            )
        kind = kinds[0]
        there = list(self.found[kind])
        if named := request.get("DeviceIDs"):
            return [f"{kind}={name}" for name in named]
        count = request.get("Count") or 0
        if count < 0 and "all" in there:
            return [f"{kind}=all"]
        single = [name for name in there if name != "all"]
        # numbered ones, where there are: the others are further names of the same gpus, and parts of them
        single = sorted((name for name in single if name.isdigit()), key=int) or sorted(single)
        if count > len(single):
            raise NotFound(f"{count} gpus were asked for, and {len(single)} are here")
        return [f"{kind}={name}" for name in (single if count < 0 else single[:count])]


def load(path: str) -> Spec:
    """A spec file. Raises InvalidInput, IntegrityError, Unsupported."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidInput(f"{path} is not a file")
        if status.st_mode & stat.S_IWOTH:
            raise InvalidInput(
                f"{path} may be written by anyone", hint="a spec gives a container the host's devices"
            )
        data = files.read_bounded(path, MAX_FILE)
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {reason(error)}") from None
    if path.endswith(".json"):
        return Spec(path, fastjson.loads(data, what=path, strict=True))
    try:
        from estiva.engine.spec.cdi import yaml
    except ImportError:
        raise Unsupported(
            f"{path} can't be read: PyYAML is missing", hint="`pip install pyyaml`, or have the spec in json"
        ) from None
    return Spec(path, yaml.loads(data, what=path))


def names(requests: list[DeviceRequest], registry: Registry) -> list[str]:
    """The full names of all devices that HostConfig.DeviceRequests mean. Raises EstivaError."""
    wanted: list[str] = []
    for request in requests:
        if request.get("Driver") == "cdi":
            wanted += request.get("DeviceIDs") or []
        elif any("gpu" in group for group in request.get("Capabilities") or ()):
            wanted += registry.gpus(request)
        else:
            capabilities = request.get("Capabilities") or []
            told = f'"{request.get("Driver") or ""}" with capabilities: {capabilities}'
            raise Unsupported(f"could not select device driver {brief(told)}")
    return list(dict.fromkeys(wanted))


def apply(config: OCI, requests: list[DeviceRequest]) -> None:
    """Put what the devices bring into an OCI config. Raises EstivaError."""
    registry = Registry()
    cdi_edits.apply(config, registry.edits(names(requests, registry)))
