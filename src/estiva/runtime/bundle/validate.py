"""A whole config.json checked against the runtime-spec before anything is made of it.

The tables of schema.py follow config.md, config-linux.md and the JSON schema of runtime-spec 1.2 (with what
1.3 adds), field by field; oci/rules.py says what is wrong with one.

Fields that no table knows are passed over, and null counts as absent, both as the specification wants it.
Only for bundles, whose author is somebody else: the engine's own configs go past this.
"""

from __future__ import annotations

from estiva.errors import InvalidInput, oneline
from estiva.oci.rules import check, shown
from estiva.runtime.bundle.schema import CAPABILITY_SETS, CONFIG, PROCESS
from estiva.runtime.security.capabilities import ALL_CAPABILITIES, bounding_has

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def config(document: dict[str, Any]) -> list[str]:
    """Check a config.json. Returns warnings: what is wrong and yet, by the specification, no error.

    Raises InvalidInput with the path of the field.
    """
    check(document, CONFIG, "")
    warnings: list[str] = []
    if document.get("process") is not None:
        warnings = _process(document["process"], "process")
    linux = document.get("linux") or {}
    if linux.get("netDevices"):
        from estiva.runtime import netdevices

        netdevices.plan(linux["netDevices"])
        if not any(entry["type"] == "network" for entry in linux.get("namespaces") or ()):
            raise InvalidInput("linux.netDevices: the container has no network namespace of its own")
    _namespaces(linux)
    _names(document, linux.get("sysctl") or {})
    _resources(linux.get("resources") or {})
    _seccomp(linux.get("seccomp") or {})
    _devices(linux.get("devices") or ())
    if linux.get("mountLabel"):
        from estiva.runtime.process import labels

        if not labels.selinux():
            warnings.append("linux.mountLabel has no effect: SELinux is not enabled here")
    return warnings


def process(document: dict[str, Any], where: str = "process") -> list[str]:
    """The same for a process alone, as `exec --process` takes it."""
    check(document, PROCESS, where)
    return _process(document, where)


def _process(document: dict[str, Any], where: str) -> list[str]:
    """What a table can't say of a process. Returns warnings."""
    if not document["args"]:
        raise InvalidInput(f"{where}.args is empty: at least one word is needed")
    seen: set[str] = set()
    for index, limit in enumerate(document.get("rlimits") or ()):
        kind = limit["type"]
        here = f"{where}.rlimits[{index}]"
        if kind in seen:
            raise InvalidInput(f"{here}.type: {kind} is given twice")
        seen.add(kind)
        if limit["soft"] > limit["hard"]:
            raise InvalidInput(f"{here}.soft: {limit['soft']} is above the hard limit {limit['hard']}")
    console = document.get("consoleSize")
    if document.get("terminal") and console is not None:
        check(console, {"height!": "uint16", "width!": "uint16"}, f"{where}.consoleSize")
    return _capabilities(document.get("capabilities") or {}, f"{where}.capabilities")


def _capabilities(sets: dict[str, list[str]], where: str) -> list[str]:
    """config.md: what is unknown or can't be granted is logged as a warning, and no error."""
    warnings: dict[str, str] = {}
    for name in CAPABILITY_SETS:
        for capability in sets.get(name) or ():
            if capability not in ALL_CAPABILITIES:
                warnings.setdefault(capability, f"{where}.{name}: {shown(capability)} is not a capability")
            elif not bounding_has(ALL_CAPABILITIES[capability]):
                warnings.setdefault(capability, f"{where}.{name}: {capability} is not ours to give")
    return list(warnings.values())


def passed_over(process: dict[str, Any], where: str = "process") -> list[str]:
    """What of a checked process has no effect and is common all the same: for the log, where that is wanted.

    The ambient set of what `crun spec` writes is not inheritable, so nothing of it can be raised.
    """
    sets = process.get("capabilities") or {}
    both = set(sets.get("inheritable") or ()) & set(sets.get("permitted") or ())
    lost = [name for name in sets.get("ambient") or () if name not in both and name in ALL_CAPABILITIES]
    if not lost:
        return []
    names = ", ".join(lost)
    return [f"{where}.capabilities: not ambient, since not inheritable and permitted: {names}"]


def _names(document: dict[str, Any], sysctls: dict[str, str]) -> None:
    """The names of a container have fields, and are not to be given by a sysctl in another way. As runc."""
    for key, field in (("kernel.hostname", "hostname"), ("kernel.domainname", "domainname")):
        value = sysctls.get(key, sysctls.get(key.replace(".", "/")))
        if value is not None and (field == "hostname" or document.get(field, value) != value):
            raise InvalidInput(f"linux.sysctl: {key} is not allowed as it conflicts with the field {field}")


def _namespaces(linux: dict[str, Any]) -> None:
    seen: dict[str, str] = {}
    for index, entry in enumerate(linux.get("namespaces") or ()):
        where = f"linux.namespaces[{index}]"
        kind, path = entry["type"], entry.get("path") or ""
        if kind in seen:
            raise InvalidInput(f"{where}.type: the {kind} namespace is given twice")
        if path and not path.startswith("/"):
            raise InvalidInput(f"{where}.path: {shown(path)} is not an absolute path")
        seen[kind] = path
    if "user" in seen and not seen["user"]:
        for field in ("uidMappings", "gidMappings"):
            if not linux.get(field):
                raise InvalidInput(f"linux.{field} is missing: a new user namespace needs it")
    elif "user" not in seen and (linux.get("uidMappings") or linux.get("gidMappings")):
        field = "uidMappings" if linux.get("uidMappings") else "gidMappings"
        raise InvalidInput(f"linux.{field}: there is no user namespace that it could be for")
    if linux.get("timeOffsets") and seen.get("time") != "":
        raise InvalidInput("linux.timeOffsets: there is no new time namespace that it could be for")
    for clock in linux.get("timeOffsets") or ():
        if clock not in ("monotonic", "boottime"):
            raise InvalidInput(
                f"linux.timeOffsets: {shown(clock)} is not a clock", hint="monotonic or boottime"
            )


def _resources(resources: dict[str, Any]) -> None:
    for name, limits in (resources.get("rdma") or {}).items():
        if limits.get("hcaHandles") is None and limits.get("hcaObjects") is None:
            raise InvalidInput(f'linux.resources.rdma["{oneline(name)}"]: neither hcaHandles nor hcaObjects')
    for index, entry in enumerate((resources.get("blockIO") or {}).get("weightDevice") or ()):
        if entry.get("weight") is None and entry.get("leafWeight") is None:
            raise InvalidInput(
                f"linux.resources.blockIO.weightDevice[{index}]: neither weight nor leafWeight"
            )
    cpu = resources.get("cpu") or {}
    quota, burst = cpu.get("quota") or 0, cpu.get("burst") or 0
    if 0 < quota < burst:
        raise InvalidInput(f"linux.resources.cpu.burst: {burst} is above the quota {quota}")


def _seccomp(profile: dict[str, Any]) -> None:
    if profile.get("listenerMetadata") and not profile.get("listenerPath"):
        raise InvalidInput("linux.seccomp.listenerMetadata: there is no listenerPath that it could go to")
    rules = profile.get("syscalls") or ()
    actions = [profile.get("defaultAction"), *[rule.get("action") for rule in rules]]
    if "SCMP_ACT_NOTIFY" in actions and not profile.get("listenerPath"):
        raise InvalidInput("linux.seccomp.listenerPath is missing: SCMP_ACT_NOTIFY needs it")
    for index, rule in enumerate(rules):
        if not rule["names"]:
            raise InvalidInput(f"linux.seccomp.syscalls[{index}].names is empty")
    numbered = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
    if profile.get("defaultErrnoRet") is not None and profile["defaultAction"] not in numbered:
        raise InvalidInput(f"linux.seccomp.defaultErrnoRet: {profile['defaultAction']} takes no errno")
    for index, rule in enumerate(rules):
        if rule.get("errnoRet") is not None and rule["action"] not in numbered:
            raise InvalidInput(f"linux.seccomp.syscalls[{index}].errnoRet: {rule['action']} takes no errno")


def _devices(devices: list[dict[str, Any]] | tuple[()]) -> None:
    for index, device in enumerate(devices):
        for field in ("major", "minor") if device["type"] != "p" else ():
            if device.get(field) is None:
                raise InvalidInput(f"linux.devices[{index}].{field} is missing")
