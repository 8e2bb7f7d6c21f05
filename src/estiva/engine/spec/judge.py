"""A container's Config and HostConfig judged: once, and alike for the command line, the Python API and the
HTTP API (cold path).

    shape    each field that is known has a value of its type (fields.py); another may be empty only
    words    ranges, combinations and words that there are not, in Docker's words where it has some

Before an image is looked for and before anything is made. What this machine lacks, such as a device, comes
out when oci_config.make makes the OCI config, and who lends a namespace, in namespaces.settle.
"""

from __future__ import annotations

from estiva.engine.spec import fields
from estiva.engine.spec.defaults import HOSTNAME_LIMIT, MODES, RESOURCES, ULIMITS
from estiva.errors import Conflict, EstivaError, InvalidInput, brief
from estiva.oci import rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from estiva.engine.state.config_types import Config, HostConfig, LogConfig, RestartPolicy, Ulimit


RUNTIMES = (None, "", "estiva", "runc")  # the last by who names docker's own, which is no other here
POLICIES = ("no", "always", "unless-stopped", "on-failure")


def check(config: dict[str, Any], host_config: dict[str, Any]) -> tuple[Config, HostConfig]:
    """The same two objects, from here on with types. Raises InvalidInput that names the field, Unsupported
    for what isn't there yet, Conflict."""
    try:
        rules.check(config, fields.CONFIG, "Config")
        rules.check(host_config, fields.HOST, "HostConfig")
        asked: Any = config
        host: Any = host_config
        if host.get("Profile"):
            from estiva.engine.spec import profile

            profile.settle(asked, host)
        elif host.get("AllowHosts"):
            raise InvalidInput("hosts are allowed in a profile only", hint="--profile untrusted")
        _check_config(asked)
        _check_host(asked, host)
    except EstivaError as error:
        error.message = brief(error.message)  # whatever the words hold (K9)
        raise
    return asked, host


def check_config(config: dict[str, Any]) -> None:
    """The types alone of the fields of a Config that an image is to have. Raises InvalidInput that names the
    field."""
    rules.check({"Image": "", **config}, fields.CONFIG, "Config")


def check_update(changes: dict[str, Any]) -> HostConfig:
    """The same for what an update changes of a HostConfig."""
    rules.check(changes, fields.HOST, "HostConfig")
    if changes.get("RestartPolicy"):
        _check_restart(changes["RestartPolicy"], False)
    host: Any = changes
    wanted: HostConfig = host
    return wanted


def warn(host_config: HostConfig, tell: Callable[[dict[str, Any]], object]) -> None:
    """Tell, as events of status "warning", what of a judged HostConfig has no effect, on this machine or at
    all.
    """
    if not RESOURCES.isdisjoint(host_config):
        from estiva.engine.spec import resources

        for line in resources.warnings(host_config):
            tell({"id": "", "status": "warning", "message": line})
    mode = host_config.get("NetworkMode")
    if mode in ("host", "none") and (host_config.get("PortBindings") or host_config.get("PublishAllPorts")):
        line = f"Published ports are discarded when using {mode} network mode"
        tell({"id": "", "status": "warning", "message": line})


def _check_config(config: Config) -> None:
    uts_name("hostname", config.get("Hostname") or "")
    uts_name("domain name", config.get("Domainname") or "")
    folder = config.get("WorkingDir") or ""
    if folder and not folder.startswith("/"):
        raise InvalidInput(f"the working directory '{folder}' is invalid, it must be absolute")
    timeout = config.get("StopTimeout")
    if timeout is not None and timeout < -1:
        raise InvalidInput(f"invalid stop timeout: {timeout}", hint="seconds, or -1 to wait without an end")
    if config.get("StopSignal"):
        from estiva.linux import signals

        signals.number(config["StopSignal"])
    for word in config.get("Env") or ():
        if not word or word[0] == "=":
            raise InvalidInput(f"invalid environment variable: {word}", hint="NAME=VALUE or NAME")
    labels = config.get("Labels") or {}
    if "" in labels:
        raise InvalidInput(f"invalid label '={labels['']}': empty name")
    if config.get("ExposedPorts"):
        from estiva.engine.spec import ports

        for port in config["ExposedPorts"]:
            ports.split(port)
    if config.get("Healthcheck") or config.get("HealthcheckOnFailureAction"):
        from estiva.engine.state.life import health

        health.check(config)


def uts_name(kind: str, name: str) -> None:
    """Raises InvalidInput unless the kernel takes `name` and no file of the container is garbled by it."""
    if name and (
        not name.isprintable() or " " in name or name[0] in "#;" or len(name.encode()) > HOSTNAME_LIMIT
    ):
        raise InvalidInput(
            f'invalid {kind} "{brief(name, 60)}"',
            hint=f"at most {HOSTNAME_LIMIT} bytes, without spaces and control characters",
        )


def _check_host(config: Config, host: HostConfig) -> None:
    """Value by value; what is rare is loaded when it is asked for."""
    if not RESOURCES.isdisjoint(host):
        from estiva.engine.spec import resources

        resources.check(host)
    _check_restart(host.get("RestartPolicy") or {}, bool(host.get("AutoRemove")))
    _check_log(host.get("LogConfig") or {})
    _check_ulimits(host.get("Ulimits") or ())
    if ":" in (host.get("NetworkMode") or "") or not MODES.isdisjoint(host):
        from estiva.engine.spec import namespaces

        namespaces.check(host)
    if host.get("CapAdd") or host.get("CapDrop"):
        from estiva.runtime.security import capabilities

        capabilities.capabilities(
            host.get("CapAdd") or (),
            host.get("CapDrop") or (),
            bool(host.get("Privileged")),
        )
    if host.get("SecurityOpt"):
        from estiva.engine.spec import security_opt

        security_opt.check(host)
    if host.get("Sysctls"):
        _check_sysctls(host["Sysctls"])
    for device in host.get("Devices") or ():
        target, access = device.get("PathInContainer") or "/", device.get("CgroupPermissions") or "rwm"
        if not target.startswith("/"):
            raise InvalidInput(f"{target} is not an absolute path")
        if set(access) - set("rwm"):
            raise InvalidInput(f"bad mode specified: {access}", hint="made of r, w and m")
    if host.get("PortBindings"):
        from estiva.engine.spec import ports

        ports.wanted(config, host)
    if any(host.get(key) for key in ("Dns", "DnsSearch", "DnsOptions", "ExtraHosts")):
        from estiva.engine.spec import dns

        dns.check(host)
    if config.get("Volumes") or host.get("Binds") or host.get("Mounts") or host.get("Tmpfs"):
        from estiva.engine.spec import mounts

        mounts.wanted(config, host)
    if host.get("VolumesFrom"):
        from estiva.engine.spec import mounts

        for text in host["VolumesFrom"]:
            mounts.volumes_from(text)
    if min(host.get("OutputLimit") or 0, host.get("TimeLimit") or 0) < 0:
        raise InvalidInput("a limit of output or of time can not be less than 0")
    if len(host.get("ConsoleSize") or ()) not in (0, 2):
        raise InvalidInput("HostConfig.ConsoleSize is not [height, width]")
    if host.get("Runtime") not in RUNTIMES:
        raise InvalidInput(f"the runtime {brief(host['Runtime'], 100)} is not known here")


def _check_restart(policy: RestartPolicy, remove: bool) -> None:
    name, count = policy.get("Name") or "no", policy.get("MaximumRetryCount") or 0
    counted = count >= 0 if name == "on-failure" else count == 0
    if name not in POLICIES or not counted:
        text = f"{name}:{count}" if count else name
        raise InvalidInput(
            f"invalid restart policy: '{text}'", hint="no, always, unless-stopped or on-failure[:N]"
        )
    if name != "no" and remove:
        raise Conflict("conflicting options: --restart and --rm")


def _check_log(settings: LogConfig) -> None:
    if settings.get("Config") or settings.get("Type") not in (None, "", "json-file", "none"):
        from estiva.engine.spec.logs import options as logs

        logs.check(settings)


def _check_ulimits(limits: Iterable[Ulimit]) -> None:
    """setrlimit(2): soft and hard limits, -1 is unlimited."""
    for limit in limits:
        name, soft, hard = limit["Name"], limit.get("Soft") or 0, limit.get("Hard") or 0
        if name not in ULIMITS:
            raise InvalidInput(f"invalid ulimit type: {name}", hint=f"one of {', '.join(ULIMITS)}")
        if min(soft, hard) < -1:
            raise InvalidInput(f"invalid ulimit {name}: {soft}:{hard}", hint="-1 is unlimited")
        if hard != -1 and (soft > hard or soft == -1):
            raise InvalidInput(
                f"invalid ulimit {name}: ulimit soft limit must be less than or equal to hard limit:"
                f" {soft} > {hard}"
            )


def _check_sysctls(sysctls: dict[str, str]) -> None:
    """Those of the kernel's that belong to a namespace; whose that is, oci_config.make knows."""
    from estiva.runtime.rootfs import protect

    for key, value in sysctls.items():
        hint = ""
        if key.replace("/", ".") in ("kernel.hostname", "kernel.domainname"):
            hint = f"use --{key[7:]}"
        else:
            try:
                protect.plan_sysctls({key: value}, {"ipc", "network", "uts"})
            except InvalidInput as error:
                hint = error.hint or error.message
        if hint:
            raise InvalidInput(f"sysctl '{key}={value}' is not allowed", hint=hint)
