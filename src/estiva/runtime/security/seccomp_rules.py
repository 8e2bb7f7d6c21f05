"""A seccomp profile in Docker's form, resolved for one container: runtime-spec linux.seccomp comes out.

Docker's JSON adds to the specification's: `archMap`, and `includes`/`excludes` of a rule by capabilities,
architectures and kernel version. A profile that is already in the specification's form passes unchanged.
Not on the hot path: a compiled filter is cached (runtime/security/seccomp.py).
"""

from __future__ import annotations

from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

# uname's machine -> (the specification's name, Docker's name in includes.arches)
MACHINES = {
    "x86_64": ("SCMP_ARCH_X86_64", "amd64"),
    "i686": ("SCMP_ARCH_X86", "x86"),
    "aarch64": ("SCMP_ARCH_AARCH64", "arm64"),
    "armv7l": ("SCMP_ARCH_ARM", "arm"),
    "ppc64le": ("SCMP_ARCH_PPC64LE", "ppc64le"),
    "s390x": ("SCMP_ARCH_S390X", "s390x"),
    "riscv64": ("SCMP_ARCH_RISCV64", "riscv64"),
    "loongarch64": ("SCMP_ARCH_LOONGARCH64", "loong64"),
}


def kernel_version(release: str, where: str = "kernel") -> tuple[int, int]:
    """(major, minor) of "6.18.44-generic" or "4.8". Raises InvalidInput naming `where`."""
    numbers = []
    for word in release.split(".")[:2]:
        digits = ""
        for char in word:
            if not char.isdigit():
                break
            digits += char
        numbers.append(digits)
    if len(numbers) != 2 or not all(numbers):
        raise InvalidInput(f"{where}: {release!r} is not a kernel version such as 4.8")
    return int(numbers[0]), int(numbers[1])


def _words(holder: dict[str, Any], field: str, where: str) -> list[str]:
    value = holder.get(field)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise InvalidInput(f"{where}.{field} is not a list of strings")
    return value


def _condition(
    rule: dict[str, Any], field: str, where: str
) -> tuple[list[str], list[str], tuple[int, int] | None]:
    """(capabilities, architectures, kernel) of a rule's includes or excludes."""
    value = rule.get(field)
    if value is None:
        return [], [], None
    spot = f"{where}.{field}"
    if not isinstance(value, dict):
        raise InvalidInput(f"{spot} is not an object")
    least = value.get("minKernel")
    if least in (None, ""):
        kernel = None
    elif isinstance(least, str):
        kernel = kernel_version(least, f"{spot}.minKernel")
    else:
        raise InvalidInput(f"{spot}.minKernel is not a string")
    return _words(value, "caps", spot), _words(value, "arches", spot), kernel


def _applies(
    rule: dict[str, Any], where: str, capabilities: set[str], machine: str, kernel: tuple[int, int]
) -> bool:
    """Docker's meaning: every capability of includes, and none of excludes; one of the architectures."""
    architecture = MACHINES.get(machine, ("", machine))[1]
    caps, arches, least = _condition(rule, "includes", where)
    if not capabilities.issuperset(caps) or (arches and architecture not in arches):
        return False
    if least is not None and kernel < least:
        return False
    caps, arches, least = _condition(rule, "excludes", where)
    if capabilities.intersection(caps) or architecture in arches:
        return False
    return least is None or kernel < least


def _architectures(profile: dict[str, Any], machine: str) -> list[str]:
    mapped = profile.get("archMap")
    given = _words(profile, "architectures", "seccomp")
    if not mapped:
        return given
    if given:
        raise InvalidInput("seccomp has both architectures and archMap")
    if not isinstance(mapped, list):
        raise InvalidInput("seccomp.archMap is not a list")
    native = MACHINES.get(machine, ("", ""))[0]
    for index, entry in enumerate(mapped):
        where = f"seccomp.archMap[{index}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("architecture"), str):
            raise InvalidInput(f"{where}.architecture is not a string")
        others = _words(entry, "subArchitectures", where)
        if entry["architecture"] == native:
            return [native, *others]
    return []


def resolve(
    profile: dict[str, Any], capabilities: Iterable[str], machine: str, release: str
) -> dict[str, Any]:
    """The linux.seccomp object for a container with `capabilities` (CAP_ names) on a `machine` (as uname
    says) with kernel `release`. Raises InvalidInput with the path of the field that is wrong."""
    if not isinstance(profile, dict):
        raise InvalidInput("seccomp: the profile is not an object")
    kernel = kernel_version(release)
    held = set(capabilities)
    rules = profile.get("syscalls")
    if rules is not None and not isinstance(rules, list):
        raise InvalidInput("seccomp.syscalls is not a list")
    result: list[dict[str, Any]] = []
    for index, rule in enumerate(rules or []):
        where = f"seccomp.syscalls[{index}]"
        if not isinstance(rule, dict):
            raise InvalidInput(f"{where} is not an object")
        if not _applies(rule, where, held, machine, kernel):
            continue
        names = _words(rule, "names", where)
        if isinstance(rule.get("name"), str) and rule["name"]:  # Docker's form before 1.12
            if names:
                raise InvalidInput(f"{where} has both name and names")
            names = [rule["name"]]
        if not names:
            raise InvalidInput(f"{where}.names is empty")
        kept: dict[str, Any] = {"names": names, "action": rule.get("action")}
        for field in ("errnoRet", "args"):
            if rule.get(field) is not None:
                kept[field] = rule[field]
        result.append(kept)
    resolved: dict[str, Any] = {
        "defaultAction": profile.get("defaultAction"),
        "architectures": _architectures(profile, machine),
        "syscalls": result,
    }
    for field in ("defaultErrnoRet", "flags", "listenerPath", "listenerMetadata"):
        if profile.get(field) is not None:
            resolved[field] = profile[field]
    return resolved
