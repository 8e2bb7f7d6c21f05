"""What `docker info` tells of its daemon, for scripts that read it: what is true of an engine without one."""

from __future__ import annotations

from estiva.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine import Engine

NO_COMMIT = {"ID": "", "Expected": ""}
REGISTRIES = {
    **dict.fromkeys(
        ("AllowNondistributableArtifactsCIDRs", "AllowNondistributableArtifactsHostnames", "Mirrors")
    ),
    "InsecureRegistryCIDRs": ["127.0.0.0/8"],
    "IndexConfigs": {"docker.io": {"Name": "docker.io", "Mirrors": [], "Secure": True, "Official": True}},
}


def daemon_fields(engine: Engine, known: dict[str, Any]) -> dict[str, Any]:
    """The fields of `GET /info` (Docker Engine API 1.45) that `info` of engine/system.py has not;
    `known` are the settings."""
    from estiva import timestamps
    from estiva.engine.spec.cdi.devices import spec_directories

    return {
        **dict.fromkeys(("Debug", "ExperimentalBuild"), False),
        **dict.fromkeys(("HttpProxy", "HttpsProxy", "InitBinary", "Isolation", "NoProxy"), ""),
        **dict.fromkeys(("NEventsListener", "NFd", "NGoroutines"), 0),
        **dict.fromkeys(("ContainerdCommit", "InitCommit", "RuncCommit"), NO_COMMIT),
        **dict.fromkeys(("DriverStatus", "GenericResources")),
        "RegistryConfig": REGISTRIES,
        "Warnings": _warnings(engine, known),
        **limits(),
        "BridgeNfIptables": _switch("net/bridge/bridge-nf-call-iptables"),
        "BridgeNfIp6tables": _switch("net/bridge/bridge-nf-call-ip6tables"),
        "CDISpecDirs": list(spec_directories()),
        "DefaultAddressPools": _pools(known),
        "DefaultRuntime": "estiva",
        "DockerRootDir": engine.paths.root,
        "IPv4Forwarding": _switch("net/ipv4/ip_forward"),
        "IndexServerAddress": "https://index.docker.io/v1/",
        "Labels": [],
        "LiveRestoreEnabled": True,  # no container needs the engine's processes to live on
        "LoggingDriver": known.get("log-driver", "json-file"),
        "OSVersion": "",
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "ipvlan", "macvlan", "null"],
            "Authorization": None,
            "Log": ["json-file", "none"],
        },
        "Runtimes": {"estiva": {"path": "estiva-oci"}},
        "Swarm": {"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": False,
                  "Error": "", "RemoteManagers": None},
        "SystemTime": timestamps.rfc3339(),
    }  # fmt: skip


def _warnings(engine: Engine, known: dict[str, Any]) -> list[str] | None:
    """What the settings want and is not done, in words; None when all is."""
    from estiva.network.default import dual

    return dual.unheeded(engine.db, known) or None if known else None


def _pools(known: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that networks get their subnets of: the settings' or Docker's."""
    from estiva.network import pools

    return [{"Base": f"{base}/{prefix}", "Size": size} for base, prefix, size in pools.of(known)]


def limits() -> dict[str, bool]:
    """Which limits this machine's cgroups can hold."""
    from estiva.files import read_bounded
    from estiva.runtime.cgroup.layout import layout

    try:
        found = layout()
        if found.version == "v1":
            known = set(found.where)
        else:
            text = read_bounded(f"{found.mounts[0]}/cgroup.controllers", 4096)
            known = set(text.decode("ascii", "replace").split())
    except (OSError, Unsupported):
        return _table(set(), False)
    return _table(known, found.version == "v1")


def _table(controllers: set[str], first: bool) -> dict[str, bool]:
    cpu, memory = "cpu" in controllers, "memory" in controllers
    return {
        "CPUSet": "cpuset" in controllers,
        "CPUShares": cpu,
        "CpuCfsPeriod": cpu,
        "CpuCfsQuota": cpu,
        "MemoryLimit": memory,
        "OomKillDisable": memory and first,
        "PidsLimit": "pids" in controllers,
        "SwapLimit": memory,
    }


def _switch(name: str) -> bool:
    """A switch below /proc/sys; off where there is none."""
    try:
        with open(f"/proc/sys/{name}", encoding="ascii") as file:
            return file.read(16).strip() == "1"
    except OSError:
        return False
