"""`features` of estiva-oci: what it can do, as runtime-spec features.md and features-linux.md have it."""

from __future__ import annotations

from estiva.cmdline.parser import Options, Verb
from estiva.linux import namespace, scheduler, seccomp
from estiva.ocicli import output
from estiva.ocicli.main import SPEC_VERSION
from estiva.runtime.launch import hooks
from estiva.runtime.rootfs import mount_plan
from estiva.runtime.security import capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.ocicli.main import Context

_ARCHITECTURES = (
    "AARCH64", "ARM", "LOONGARCH64", "MIPS", "MIPS64", "MIPS64N32", "MIPSEL", "MIPSEL64", "MIPSEL64N32",
    "PARISC", "PARISC64", "PPC", "PPC64", "PPC64LE", "RISCV64", "S390", "S390X", "X32", "X86", "X86_64",
)  # fmt: skip


def described() -> dict[str, Any]:
    """Of the runtime, not of this machine."""
    from estiva.version import __version__

    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": list(hooks.KINDS),
        "mountOptions": mount_plan.names(),
        "linux": {
            "namespaces": sorted(namespace.NAMESPACES),
            "capabilities": list(capabilities.ALL_CAPABILITIES),
            "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
            "seccomp": {
                "enabled": True,
                "actions": sorted([*seccomp.ACTIONS, *seccomp.ACTIONS_WITH_NUMBER]),
                "operators": sorted(seccomp.COMPARISONS),
                "archs": [f"SCMP_ARCH_{name}" for name in _ARCHITECTURES],
                "knownFlags": sorted(seccomp.FLAGS),
                "supportedFlags": sorted(seccomp.FLAGS),
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "memoryPolicy": {
                "modes": sorted(scheduler.MEMORY_MODES),
                "flags": sorted(scheduler.MEMORY_FLAGS),
            },
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": {"io.github.estiva.version": __version__},
        "potentiallyUnsafeConfigAnnotations": [],
    }


def features(context: Context, options: Options) -> int:
    print(output.pretty(described()))
    return 0


FEATURES = Verb(features, "", "Print what this runtime can do", (), most=0)
