"""Keyword options of the Python API as Docker's Config and HostConfig."""

from __future__ import annotations

import os
from typing import Any

from estiva.errors import InvalidInput

UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def size(value: int | str, option: str) -> int:
    """Bytes of 1024 or "256m". Raises InvalidInput."""
    if isinstance(value, int):
        return value
    number = value.strip().lower().removesuffix("b").removesuffix("i")
    unit = number[-1:] if number[-1:].isalpha() else ""
    try:
        return int(float(number.removesuffix(unit)) * UNITS[unit])
    except (ValueError, KeyError):
        raise InvalidInput(f"invalid {option}: {value}", hint="bytes, or a number with k, m or g") from None


def host_config_of(options: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """The HostConfig of keyword options; what belongs to the Config goes into `config`."""
    host: dict[str, Any] = {}
    simple = {
        "cpu_shares": "CpuShares",
        "cpuset_cpus": "CpusetCpus",
        "pids_limit": "PidsLimit",
        "network": "NetworkMode",
        "read_only": "ReadonlyRootfs",
        "privileged": "Privileged",
        "cap_add": "CapAdd",
        "cap_drop": "CapDrop",
        "security_opt": "SecurityOpt",
        "init": "Init",
    }
    own = {"user": "User", "workdir": "WorkingDir", "hostname": "Hostname", "entrypoint": "Entrypoint"}
    for key, value in options.items():
        if key in simple:
            host[simple[key]] = value
        elif key in own:
            config[own[key]] = [value] if key == "entrypoint" and isinstance(value, str) else value
        elif key in ("memory", "memory_swap", "memory_reservation"):
            name = "".join(part.capitalize() for part in key.split("_"))
            host[name] = size(value, key)
        elif key == "cpus":
            host["NanoCpus"] = int(float(value) * 1_000_000_000)
        elif key == "env":
            config["Env"] = [f"{name}={text}" for name, text in dict(value).items()]
        elif key == "labels":
            config["Labels"] = dict(value)
        elif key == "volumes":
            host["Binds"] = [f"{os.fspath(source)}:{place}" for source, place in dict(value).items()]
        elif key == "tmpfs":
            host["Tmpfs"] = dict.fromkeys(value, "") if not isinstance(value, dict) else value
        elif key == "ports":
            host["PortBindings"] = {
                port if "/" in str(port) else f"{port}/tcp": [{"HostPort": str(published or "")}]
                for port, published in dict(value).items()
            }
        else:
            raise InvalidInput(f"unknown option: {key}", hint="the options are in estiva.container's help")
    return host
