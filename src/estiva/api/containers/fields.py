"""The body of a create, as docker's daemon reads it, made into what the engine takes.

Every field of docker's structs has a fate: the engine does it or refuses it by name (engine/spec/fields.py,
spec/endpoints.py), it is done here by another (MacAddress, NetworkDisabled, Links), or it has no effect on
Linux, and a warning says so. A test walks them all.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from estiva.engine.spec.fields import CONFIG, HOST
from estiva.engine.spec.judge import RUNTIMES
from estiva.errors import EngineError, InvalidInput, brief
from estiva.oci import rules

if TYPE_CHECKING:
    from collections.abc import Iterable

Fields = dict[str, Any]

CONFIG_NAMES = {name.rstrip("!").lower(): name.rstrip("!") for name in CONFIG if name}
HOST_NAMES = {name.rstrip("!").lower(): name.rstrip("!") for name in HOST if name}
LISTS = ("Cmd", "Entrypoint", "OnBuild", "Shell")  # a string is a list of one, in some of them
UNFELT = ("CpuCount", "CpuPercent")  # of HostConfig: what has no effect here
# what is looked at before the engine judges types
EARLY_CONFIG = ("MacAddress", "NetworkDisabled")
EARLY_HOST = (
    "CpuCount", "CpuPercent", "IOMaximumBandwidth", "IOMaximumIOps", "Isolation", "KernelMemory",
    "StorageOpt",
)  # fmt: skip
QOS = {"IOMaximumIOps": "IOPs", "IOMaximumBandwidth": "bandwidth"}
# absent is null with docker; the command line has others for these (engine/state/record.py)
NULLS = (
    "BlkioDeviceReadBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteBps", "BlkioDeviceWriteIOps",
    "BlkioWeightDevice", "Devices", "Dns", "DnsOptions", "DnsSearch", "PortBindings", "Ulimits",
)  # fmt: skip
# what a client says though it means docker's default, and the engine has one of its own for
MEANT: Fields = {
    **dict.fromkeys(("CgroupnsMode", "IpcMode", "Runtime"), ""),
    **dict.fromkeys(("MaskedPaths", "ReadonlyPaths")),
    "MemorySwap": 0,
    "ShmSize": 0,
}
DEFAULTS = ("", "default")  # of a network mode
PLAIN = ("none", "host")


def canonical(given: Fields, names: dict[str, str]) -> Fields:
    """Fields by their own names, as Go's decoder takes them in any case; others as they are."""
    return {names.get(name.lower(), name): value for name, value in given.items()}


def config(given: Fields) -> tuple[Fields, list[str]]:
    """(Config, warnings) of a body without HostConfig and NetworkingConfig. Raises InvalidInput."""
    found, warnings = known(canonical(given, CONFIG_NAMES), CONFIG_NAMES, "")
    for name in LISTS:
        if isinstance(found.get(name), str):
            found[name] = [found[name]]
    return found, warnings


def known(found: Fields, names: dict[str, str], where: str) -> tuple[Fields, list[str]]:
    """What docker has no field for has no effect there either; here it is told."""
    every = set(names.values())
    warnings = [
        f"{where}{brief(name, 60)} is not known and has no effect"
        for name, value in found.items()
        if name not in every and value
    ]
    return {name: value for name, value in found.items() if name in every}, warnings


class Create:
    """A judged body: `config`, `host`, `endpoints` (NetworkingConfig.EndpointsConfig) and `warnings`."""

    def __init__(self, given: Fields, version: tuple[int, int], asked: Iterable[str] = ()) -> None:
        """`asked`: names of the query, which some clients repeat in the body. Raises InvalidInput."""
        if not given:
            raise InvalidInput("config cannot be empty in order to create a container")
        body = canonical(given, {"hostconfig": "HostConfig", "networkingconfig": "NetworkingConfig"})
        host = _object(body.pop("HostConfig", None), "HostConfig")
        networking = _object(body.pop("NetworkingConfig", None), "NetworkingConfig")
        for name in asked:
            if name.lower() not in CONFIG_NAMES:
                body.pop(name, None)
        runtime = next((body.pop(name) for name in list(body) if name.lower() == "runtime"), None)
        self.config, self.warnings = config(body)
        self.host, more = known(canonical(host, HOST_NAMES), HOST_NAMES, "HostConfig.")
        if runtime:  # where docker-py says it, and docker's daemon does not look: nothing but what it has
            if runtime in RUNTIMES:
                self.host["Runtime"] = self.host.get("Runtime") or runtime
            else:
                self.warnings.append("Runtime is not known outside of HostConfig and has no effect")
        self.warnings += more
        named = canonical(networking, {"endpointsconfig": "EndpointsConfig"})
        self.endpoints = _object(named.pop("EndpointsConfig", None), "NetworkingConfig.EndpointsConfig")
        if any(named.values()):
            self.warnings.append("NetworkingConfig has fields that are not known and have no effect")
        self.version = version
        _check_types(self.config, EARLY_CONFIG, CONFIG, "Config")
        _check_types(self.host, EARLY_HOST, HOST, "HostConfig")
        self._settle_host()
        self._settle_network()
        if version < (1, 44):
            self._before_144()

    def _settle_host(self) -> None:
        host, config = self.host, self.config
        for name, value in QOS.items():
            if host.get(name):
                raise EngineError(
                    f"Invalid QoS settings: linux does not support configuration of maximum {value}"
                )
        for name in UNFELT:
            if host.pop(name, None):
                self.warnings.append(f"HostConfig.{name} is of Windows alone and has no effect")
        if host.get("StorageOpt"):
            raise EngineError(
                "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"
            )
        policy = host.get("RestartPolicy")
        if host.get("AutoRemove") and isinstance(policy, dict) and policy.get("Name") not in (None, "", "no"):
            raise InvalidInput("can't create 'AutoRemove' container with restart policy")
        if isinstance(policy, dict) and policy.get("Name") == "":
            policy["Name"] = "no"
        for mount in _list(host.get("Mounts"), "HostConfig.Mounts"):
            _check_source(mount)
        if host.get("Isolation") not in (None, "", "default"):
            word = brief(str(host["Isolation"]), 60)
            raise EngineError(f"Invalid isolation: \"{word}\" - linux only supports 'default'")
        if self.version >= (1, 42) and host.pop("KernelMemory", None):
            self.warnings.append("HostConfig.KernelMemory is ignored since API 1.42")
        log = host.get("LogConfig")
        if isinstance(log, dict):
            host["LogConfig"] = {"Type": log.get("Type") or "json-file", "Config": log.get("Config") or {}}
        limit = host.get("PidsLimit")
        if isinstance(limit, int) and limit <= 0:
            host["PidsLimit"] = None
        for name, value in MEANT.items():
            if name in host and host[name] in (value, None) and not isinstance(host[name], bool):
                del host[name]
        if host.get("MemorySwappiness") == -1:
            host["MemorySwappiness"] = None
        for name in NULLS:
            host.setdefault(name, None)
        for name in ("AttachStdin", "AttachStdout", "AttachStderr"):
            config.setdefault(name, False)
        if self.version < (1, 25):
            host["AutoRemove"] = False
        if self.version < (1, 43):
            host.pop("Annotations", None)
        if self.version < (1, 42):
            host.pop("ConsoleSize", None)

    def _settle_network(self) -> None:
        """What old fields ask of the network, asked of its endpoint."""
        host, config = self.host, self.config
        if host.get("NetworkMode") in (None, *DEFAULTS):
            host["NetworkMode"] = "bridge"
            if "default" in self.endpoints:
                self.endpoints["bridge"] = self.endpoints.pop("default")
        mode = host["NetworkMode"]
        if config.pop("NetworkDisabled", False):
            host["NetworkMode"] = mode = "none"
            self.endpoints = {}
        mac = config.pop("MacAddress", "") or ""
        if self.version < (1, 44):
            for endpoint in self.endpoints.values():
                if isinstance(endpoint, dict):
                    endpoint.pop("MacAddress", None)
        if mac:
            self._settle_mac(str(mode), mac)
        links = _list(host.pop("Links", None), "HostConfig.Links")
        if links:
            if mode in PLAIN:
                raise InvalidInput(f"conflicting options: {mode} type networking can't be used with links")
            endpoint = self._endpoint(str(mode))
            endpoint["Links"] = [*_list(endpoint.get("Links"), "Links"), *links]

    def _settle_mac(self, mode: str, mac: str) -> None:
        if mode in PLAIN or ":" in mode:
            raise InvalidInput("conflicting options: mac-address and the network mode")
        if self.version < (1, 44) and self.endpoints:
            mode = next(iter(self.endpoints))
        elif self.endpoints and mode not in self.endpoints:
            raise InvalidInput(
                "if a container-wide MAC address is supplied, HostConfig.NetworkMode must match the identity"
                " of a network in NetworkSettings.Networks"
            )
        endpoint = self._endpoint(mode)
        if endpoint.get("MacAddress") not in (None, "", mac):
            raise InvalidInput(
                "the container-wide MAC address must match the endpoint-specific MAC address for the main"
                " network, or be left empty"
            )
        endpoint["MacAddress"] = mac
        if self.version >= (1, 44):
            self.warnings.append(
                "The container-wide MacAddress field is now deprecated. It should be specified in"
                " EndpointsConfig instead."
            )

    def _endpoint(self, name: str) -> Fields:
        endpoint = _object(self.endpoints.get(name), f"EndpointsConfig[{brief(name, 60)}]")
        self.endpoints[name] = endpoint
        return endpoint

    def _before_144(self) -> None:
        if len(self.endpoints) > 1:
            raise InvalidInput(
                "Container cannot be created with multiple network endpoints: " + ", ".join(self.endpoints)
            )
        check = self.config.get("Healthcheck")
        if isinstance(check, dict):
            check.pop("StartInterval", None)


def _check_types(given: Fields, names: Iterable[str], known: Fields, where: str) -> None:
    """Raises InvalidInput."""
    for name in names:
        if given.get(name) is not None:
            rule = known[name]
            rule = rule.rule if isinstance(rule, rules.Later) else rule
            rules.check(given[name], rule, f"{where}.{name}")


def _check_source(mount: Any) -> None:
    """A bind mount's source has to be there, unlike that of Binds. Raises InvalidInput."""
    if not isinstance(mount, dict) or mount.get("Type") != "bind" or not isinstance(mount.get("Source"), str):
        return
    options = mount.get("BindOptions")
    made = isinstance(options, dict) and options.get("CreateMountpoint")
    source: str = mount["Source"]
    if source.startswith("/") and "\0" not in source and not made and not os.path.exists(source):
        raise InvalidInput(
            f'invalid mount config for type "bind": bind source path does not exist: {brief(source, 200)}'
        )


def _list(value: Any, what: str) -> list[Any]:
    """Raises InvalidInput."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidInput(f"invalid JSON: {what} is not a list")
    return value


def _object(value: Any, what: str) -> Fields:
    """Raises InvalidInput."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInput(f"invalid JSON: {what} is not an object")
    return dict(value)
