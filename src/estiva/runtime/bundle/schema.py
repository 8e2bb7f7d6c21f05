"""config.json of the runtime-spec as tables, for validate.py.

The rules are those of oci/rules.py, in the order and with the names of config.md and config-linux.md.
"""

from __future__ import annotations

from estiva.linux import namespace, scheduler
from estiva.linux import seccomp_names as seccomp
from estiva.linux.process import RLIMITS
from estiva.oci.rules import EACH, Choice, Text
from estiva.runtime.launch.hooks import KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _is_list(text: str) -> bool:
    """A cpuset's list: 0-3,7."""
    parts = [end for part in text.split(",") for end in part.strip().split("-", 1)]
    return not text or all(part.isascii() and part.isdigit() for part in parts)


def _is_page_size(text: str) -> bool:
    return text[-2:] in ("KB", "MB", "GB") and text[:-2].isdigit() and text[0] != "0"


CAPABILITY_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")

_CPUS = Text("a list such as 0-3,7", _is_list)
_LINES = Text("one line", lambda text: "\n" not in text)
_STRINGS = ["string"]
_MAP = {EACH: "string"}

_ID_MAPPING = {"containerID!": "uint32", "hostID!": "uint32", "size!": "uint32"}

PROCESS: dict[str, Any] = {
    "terminal": "bool",
    "user": {"uid": "id", "gid": "id", "umask": "umask", "additionalGids": ["id"]},
    "args!": _STRINGS,
    "env": _STRINGS,
    "cwd!": "absolute",
    "capabilities": dict.fromkeys(CAPABILITY_SETS, _STRINGS),
    "rlimits": [
        {
            "type!": Choice("a resource limit", [f"RLIMIT_{name}" for name in sorted(RLIMITS)]),
            "soft!": "uint64",
            "hard!": "uint64",
        }
    ],
    "noNewPrivileges": "bool",
    "apparmorProfile": "string",
    "oomScoreAdj": "oom",
    "selinuxLabel": "string",
    "scheduler": {
        "policy!": Choice("a scheduling policy", scheduler.POLICIES),
        "nice": "int32",
        "priority": "int32",
        "flags": [Choice("a scheduling flag", scheduler.FLAGS)],
        "runtime": "uint64",
        "deadline": "uint64",
        "period": "uint64",
    },
    "ioPriority": {"class!": Choice("a class of io priority", scheduler.IO_CLASSES), "priority": "level"},
    "execCPUAffinity": {"initial": _CPUS, "final": _CPUS},
}

_MOUNT = {
    "destination!": "string",
    "type": "string",
    "source": "string",
    "options": _STRINGS,
    "uidMappings": [_ID_MAPPING],
    "gidMappings": [_ID_MAPPING],
}

_HOOKS = [{"path!": "absolute", "args": _STRINGS, "env": _STRINGS, "timeout": "seconds"}]

_RATES = [{"major!": "int64", "minor!": "int64", "rate!": "uint64"}]

RESOURCES: dict[str, Any] = {
    "devices": [
        {
            "allow!": "bool",
            "type": Choice("a kind of device", ("a", "b", "c", "")),
            "major": "int64",
            "minor": "int64",
            "access": Text("made of r, w and m", lambda text: not set(text) - set("rwm")),
        }
    ],
    "memory": {
        "limit": "int64",
        "reservation": "int64",
        "swap": "int64",
        "kernel": "int64",
        "kernelTCP": "int64",
        # Docker and old podman write -1, which is 2^64-1 there, for "leave it".
        "swappiness": "uint64",
        "disableOOMKiller": "bool",
        "useHierarchy": "bool",
        "checkBeforeUpdate": "bool",
    },
    "cpu": {
        "shares": "uint64",
        "quota": "int64",
        "burst": "uint64",
        "period": "uint64",
        "realtimeRuntime": "int64",
        "realtimePeriod": "uint64",
        "cpus": _CPUS,
        "mems": _CPUS,
        "idle": "int64",
    },
    "pids": {"limit": "int64"},
    "blockIO": {
        "weight": "uint16",
        "leafWeight": "uint16",
        "weightDevice": [
            {"major!": "int64", "minor!": "int64", "weight": "uint16", "leafWeight": "uint16"},
        ],
        "throttleReadBpsDevice": _RATES,
        "throttleWriteBpsDevice": _RATES,
        "throttleReadIOPSDevice": _RATES,
        "throttleWriteIOPSDevice": _RATES,
    },
    "hugepageLimits": [
        {"pageSize!": Text("a page size such as 2MB", _is_page_size), "limit!": "uint64"},
    ],
    "network": {"classID": "uint32", "priorities": [{"name!": "string", "priority!": "uint32"}]},
    "rdma": {EACH: {"hcaHandles": "uint32", "hcaObjects": "uint32"}},
    "unified": _MAP,
}

_ACTIONS = (*seccomp.ACTIONS, *seccomp.ACTIONS_WITH_NUMBER)

_SECCOMP = {
    "defaultAction!": Choice("a seccomp action", _ACTIONS),
    "defaultErrnoRet": "uint32",
    "architectures": [Text("an architecture", lambda text: text.startswith("SCMP_ARCH_"))],
    "flags": [Choice("a seccomp flag", seccomp.FLAGS)],
    "listenerPath": "string",
    "listenerMetadata": "string",
    "syscalls": [
        {
            "names!": _STRINGS,
            "action!": Choice("a seccomp action", _ACTIONS),
            "errnoRet": "uint32",
            "args": [
                {
                    "index!": "argument",
                    "value!": "uint64",
                    "valueTwo": "uint64",
                    "op!": Choice("a comparison", seccomp.COMPARISONS),
                }
            ],
        }
    ],
}

_PROPAGATION = ("private", "shared", "slave", "unbindable")

LINUX: dict[str, Any] = {
    "namespaces": [{"type!": Choice("a kind of namespace", namespace.NAMESPACES), "path": "string"}],
    "uidMappings": [_ID_MAPPING],
    "gidMappings": [_ID_MAPPING],
    "timeOffsets": {EACH: {"secs": "int64", "nanosecs": "uint32"}},
    "devices": [
        {
            "type!": Choice("a kind of device", ("b", "c", "u", "p")),
            "path!": "absolute",
            "major": "int64",
            "minor": "int64",
            "fileMode": "uint32",
            "uid": "id",
            "gid": "id",
        }
    ],
    "netDevices": {EACH: {"name": "string"}},
    "cgroupsPath": "string",
    "resources": RESOURCES,
    "intelRdt": {
        "closID": Text("the name of a class", lambda text: text not in (".", "..") and "/" not in text[1:]),
        "schemata": [_LINES],
        "l3CacheSchema": _LINES,
        "memBwSchema": Text("one line that starts with MB:", lambda t: "\n" not in t and t.startswith("MB:")),
        "enableMonitoring": "bool",
    },
    "memoryPolicy": {
        "mode!": Choice("a memory policy", scheduler.MEMORY_MODES),
        "nodes": _CPUS,
        "flags": [Choice("a flag of a memory policy", scheduler.MEMORY_FLAGS)],
    },
    "sysctl": _MAP,
    "seccomp": _SECCOMP,
    "rootfsPropagation": Choice("a propagation", (*_PROPAGATION, *[f"r{name}" for name in _PROPAGATION], "")),
    "maskedPaths": ["absolute"],
    "readonlyPaths": ["absolute"],
    "mountLabel": "string",
    "personality": {
        "domain!": Choice("a personality", ("LINUX", "LINUX32")),
        "flags": [Choice("a flag of a personality", ())],
    },
}

CONFIG: dict[str, Any] = {
    "ociVersion!": "string",
    "root!": {"path!": "string", "readonly": "bool"},
    "mounts": [_MOUNT],
    "process": PROCESS,
    "hostname": "string",
    "domainname": "string",
    "hooks": dict.fromkeys(KINDS, _HOOKS),
    "annotations": _MAP,
    "linux": LINUX,
}
