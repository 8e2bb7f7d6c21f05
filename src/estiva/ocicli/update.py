"""`update` of estiva-oci: change the limits of a container while it runs."""

from __future__ import annotations

import os

from estiva import fastjson, files
from estiva.cmdline.parser import TEXT, Options, UsageError, Verb
from estiva.errors import Conflict, InvalidInput, Unsupported, brief
from estiva.oci import units
from estiva.runtime.lifecycle import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.ocicli.main import Context
    from estiva.runtime.lifecycle.containers import Container

# flag -> (section, field, whether it is a number)
_FIELDS: dict[str, tuple[str, str, bool]] = {
    "blkio-weight": ("blockIO", "weight", True),
    "cpu-period": ("cpu", "period", True),
    "cpu-quota": ("cpu", "quota", True),
    "cpu-burst": ("cpu", "burst", True),
    "cpu-share": ("cpu", "shares", True),
    "cpu-rt-period": ("cpu", "realtimePeriod", True),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime", True),
    "cpu-idle": ("cpu", "idle", True),
    "cpuset-cpus": ("cpu", "cpus", False),
    "cpuset-mems": ("cpu", "mems", False),
    "memory": ("memory", "limit", True),
    "memory-reservation": ("memory", "reservation", True),
    "memory-swap": ("memory", "swap", True),
    "kernel-memory": ("memory", "kernel", True),
    "kernel-memory-tcp": ("memory", "kernelTCP", True),
    "pids-limit": ("pids", "limit", True),
}
_SCHEMATA = {"l3-cache-schema": "l3CacheSchema", "mem-bw-schema": "memBwSchema"}


def update(context: Context, options: Options) -> int:
    made = containers.load(context.root, options.arguments[0])
    resources = _from_file(options.text("resources")) if options.given("resources") else _from_flags(options)
    if made.status() == "stopped":
        raise Conflict(f"container not running: {made.id}")
    if resources:
        group = made.cgroup
        if group is None:
            raise Unsupported(f"container {made.id} has no cgroup")
        group.update(resources)
    if any(options.text(flag) for flag in _SCHEMATA):
        _reallocate(made, {field: options.text(flag) for flag, field in _SCHEMATA.items()})
    return 0


def _reallocate(made: Container, wanted: dict[str, str]) -> None:
    """The flags of Intel RDT. A container that was created without gets a class of service of its own now."""
    from estiva.runtime import rdt, state

    held = made.lock()
    try:
        settings = (made.config().get("linux") or {}).get("intelRdt") or {}
        record = state.read(made.directory) or made.record
        if settings or record.get("rdt"):
            rdt.change(settings, made.id, [line for line in wanted.values() if line])
        else:
            record["rdt"] = rdt.apply(wanted, made.id, made.pid)
            state.write(made.directory, record)
    finally:
        os.close(held)


def _from_file(path: str) -> dict[str, Any]:
    """--resources: an OCI linux.resources; "-" is stdin."""
    if path == "-":
        import sys

        data = sys.stdin.buffer.read(1 << 20)
    else:
        data = files.read_bounded(path, 1 << 20, wait=True)
    resources = fastjson.loads(data, what=path)
    if not isinstance(resources, dict):
        raise InvalidInput(f"{path} is not a json object")
    resources.pop("devices", None)  # given whole by some callers, and not to be changed here
    return {key: value for key, value in resources.items() if value is not None}


def _from_flags(options: Options) -> dict[str, Any]:
    resources: dict[str, Any] = {}
    for flag, (section, field, is_number) in _FIELDS.items():
        if options.given(flag):
            text = options.text(flag)
            resources.setdefault(section, {})[field] = _number(text, flag) if is_number else text
    return resources


def _number(text: str, flag: str) -> int:
    """A whole number; memory also with a unit, such as 512m. -1 is unlimited."""
    try:
        if "memory" in flag and text != "-1":
            return units.size(text)
        number = int(text, 10)
        if abs(number) > units.MAX:
            raise ValueError
    except ValueError:
        raise UsageError(f"invalid value for {flag}: '{brief(text, 60)}'") from None
    return number


UPDATE = Verb(
    update,
    "ID",
    "Change the limits of a container",
    (
        ("r", "resources", TEXT, "FILE", "take them from this JSON (linux.resources); - is stdin"),
        *(
            ("", name, TEXT, "N" if entry[2] else "LIST", f"{entry[0]}.{entry[1]}")
            for name, entry in _FIELDS.items()
        ),
        ("", "l3-cache-schema", TEXT, "SCHEMA", "Intel RDT: linux.intelRdt.l3CacheSchema"),
        ("", "mem-bw-schema", TEXT, "SCHEMA", "Intel RDT: linux.intelRdt.memBwSchema"),
    ),
    least=1,
    most=1,
)
