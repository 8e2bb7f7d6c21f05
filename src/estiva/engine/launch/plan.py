"""The plan of a run: all that a monitor must know, as JSON-able data that can go to another process."""

from __future__ import annotations

from estiva.engine.mounts import initlayer, points
from estiva.engine.mounts.hostfiles import generated_files, name_server
from estiva.engine.spec import oci_config, security_opt
from estiva.engine.state import eventlog, record
from estiva.engine.state.net import addresses
from estiva.store.layers.mounts import OVERLAY_OPTIONS

# What is removed with its container need not get to the disk first: else the kernel waits at the end of each
# until all that was written to that disk is there (overlayfs.rst, "Volatile mount"). Before it is
# mounted again: Snapshot.settle.
VOLATILE = ("volatile", "")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.engine.state.config_types import HostConfig
    from estiva.engine.state.net.addresses import Taken
    from estiva.engine.state.types import OCI, MountPoint, Plan, Record


def make(engine: Engine, made: Record, lowerdirs: list[str], address: Taken) -> Plan:
    """All that the monitor of a container needs to know."""
    directory = engine.paths.container(made["Id"])
    extra = points.oci(made["Mounts"])
    result = make_in(
        engine, made, lowerdirs, address, directory, directory + "/upper", directory + "/work", extra
    )
    result["about"] = eventlog.about(made)
    if "Memory" in made and not record.has_run(made):
        from estiva.store import states

        result["memory"] = states.memory(engine.paths, made["Memory"])
    return result


def mounted(point: MountPoint) -> dict[str, str]:
    """What an event says of how a volume is mounted."""
    return {
        "destination": point["Destination"],
        "propagation": point.get("Propagation") or "",
        "read/write": "true" if point.get("RW") else "false",
    }


def _bounds(result: Plan, host_config: HostConfig, volumes: list[tuple[str, dict[str, str]]]) -> None:
    """Its volumes, its profile, and its limits of time and output, where there are any."""
    if volumes:
        result["volumes"] = volumes
    time, output = host_config.get("TimeLimit") or 0, host_config.get("OutputLimit") or 0
    if time or output:
        result["limits"] = {"time": time, "output": output}
    if host_config.get("Profile"):
        result["profile"] = host_config["Profile"]
        result["seccomp"] = {"strict": True}


def make_in(
    engine: Engine,
    made: Record,
    lowerdirs: list[str],
    address: Taken,
    directory: str,
    upper: str,
    work: str,
    extra: list[OCI],
) -> Plan:
    """A monitor's plan, as JSON-able data. Generated files go to `directory`; `extra` are OCI mounts."""
    config, host_config = made["Config"], made["HostConfig"]
    container_id = made["Id"]
    joining = None
    if oci_config.special(host_config):
        from estiva.engine.spec import namespaces

        joining = namespaces.Joining(engine, made)
    files = generated_files(engine, made, directory, address, joining.network if joining else "")
    oci = oci_config.make(made, [*files, *extra], joining.shared if joining else {})
    if joining is not None:
        joining.adapt(oci, engine.paths)
    if not isinstance(address, str):
        from estiva.engine.mounts import linked

        oci["process"]["env"] = linked.add(oci["process"]["env"], linked.environment(engine, made))
    seccomp, _ = security_opt.security_options(host_config)
    mode = host_config["NetworkMode"]
    ports = []
    if mode == "bridge" or not isinstance(address, str):
        from estiva.engine.spec.ports import wanted

        ports = wanted(config, host_config)
    volumes = [(point["Name"], mounted(point)) for point in made["Mounts"] if point["Type"] == "volume"]
    result: Plan = {
        "id": container_id,
        "name": made["Name"].removeprefix("/"),
        "root": engine.paths.root,
        "run_root": engine.paths.run_root,
        "cache": engine.paths.cache,
        "config": oci,
        "lowerdirs": [*lowerdirs, initlayer.provide(engine.paths)],
        "overlay": (*OVERLAY_OPTIONS, VOLATILE) if host_config.get("AutoRemove") else OVERLAY_OPTIONS,
        "upper": upper,
        "work": work,
        "seccomp": security_opt.profile(seccomp),
        "network": {"mode": mode, "address": address if isinstance(address, str) else "", "ports": ports},
        "stdin": bool(config.get("OpenStdin")),
        "log": directory + "/log.json",
        "init": bool(host_config.get("Init")),
        "auto_remove": bool(host_config.get("AutoRemove")),
        "ephemeral": False,
        "detach": False,
        "stop_signal": config.get("StopSignal") or "",
        "cgroup_parent": host_config.get("CgroupParent") or "",
    }
    _bounds(result, host_config, volumes)
    if config.get("Healthcheck"):
        from estiva.engine.state.life import health

        check = health.plan(config)
        if check is not None:
            result["health"] = check
    settings = host_config.get("LogConfig") or {}
    if settings.get("Config") or settings.get("Type") not in (None, "", "json-file"):
        from estiva.engine.spec.logs import options as logs

        kept, options, outlet = logs.plan(made)
        result["log"] = result["log"] if kept else ""
        result["log_options"] = options
        if outlet is not None:
            result["outlet"] = outlet
    if joining is not None:
        result["sharing"] = joining.wanted
    if not isinstance(address, str):
        result["network"]["places"] = address
    if addresses.embedded(address) or host_config.get("AllowHosts"):
        result["names"] = name_server(host_config)
    return result
