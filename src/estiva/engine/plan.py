"""The plan of a run: all that a monitor must know, as JSON-able data that can go to another process."""

from __future__ import annotations

import os

from estiva import fastjson
from estiva.engine import mounts, skeleton, spec
from estiva.errors import InvalidInput, reason
from estiva.files import write_all
from estiva.store.mounts import OVERLAY_OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine import Engine


def make(engine: Engine, made: dict[str, Any], lowerdirs: list[str], address: str) -> dict[str, Any]:
    """All that the monitor of a container needs to know."""
    directory = engine.paths.container(made["Id"])
    extra = mounts.oci(made["Mounts"])
    return make_in(
        engine, made, lowerdirs, address, directory, directory + "/upper", directory + "/work", extra
    )


def make_in(
    engine: Engine,
    made: dict[str, Any],
    lowerdirs: list[str],
    address: str,
    directory: str,
    upper: str,
    work: str,
    extra: list[dict[str, Any]],
) -> dict[str, Any]:
    """A monitor's plan, as JSON-able data. Generated files go to `directory`; `extra` are OCI mounts."""
    config, host_config = made["Config"], made["HostConfig"]
    container_id = made["Id"]
    lent = None
    if spec.special(host_config):
        from estiva.engine import sharing

        lent = sharing.Lent(engine, made)
    files = generated_files(engine, made, directory, address, lent.network if lent else "")
    oci = spec.make(made, [*files, *extra], lent.shared if lent else {})
    if lent is not None:
        lent.adapt(oci, engine.paths)
    seccomp, _ = spec.security_options(host_config)
    mode = host_config["NetworkMode"]
    ports = []
    if mode == "bridge":
        from estiva.engine.ports import wanted

        ports = wanted(config, host_config)
    result = {
        "id": container_id,
        "name": made["Name"].removeprefix("/"),
        "root": engine.paths.root,
        "run_root": engine.paths.run_root,
        "cache": engine.paths.cache,
        "config": oci,
        "lowerdirs": [*lowerdirs, skeleton.provide(engine.paths)],
        "overlay": OVERLAY_OPTIONS,
        "upper": upper,
        "work": work,
        "seccomp": load_seccomp(seccomp),
        "network": {"mode": mode, "address": address, "ports": ports},
        "stdin": bool(config.get("OpenStdin")),
        "log": "" if (host_config.get("LogConfig") or {}).get("Type") == "none" else directory + "/log.json",
        "init": bool(host_config.get("Init")),
        "auto_remove": bool(host_config.get("AutoRemove")),
        "ephemeral": False,
        "detach": False,
        "stop_signal": config.get("StopSignal") or "",
        "cgroup_parent": host_config.get("CgroupParent") or "",
    }
    if lent is not None:
        result["sharing"] = lent.wanted
    return result


def load_seccomp(option: str) -> dict[str, Any] | None:
    if option == "unconfined":
        return None
    if option in ("", "builtin"):
        return {}
    from estiva.files import read_bounded

    try:
        data = read_bounded(option, 1 << 20)
    except OSError as error:
        raise InvalidInput(f"seccomp profile {option} can't be read: {reason(error)}") from None
    return {"profile": fastjson.loads(data, what=f"seccomp profile {option}")}


def write_shared(path: str, data: bytes) -> None:
    """A file that every user of the container can read, whatever the umask. Its inode stays."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        write_all(fd, data)
        os.fchmod(fd, 0o644)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(fd)


def generated_files(
    engine: Engine, made: dict[str, Any], directory: str, address: str, lender: str
) -> list[dict[str, Any]]:
    """/etc/hosts, hostname and resolv.conf: written into the container's folder, mounted over the image's."""
    taken = {point["Destination"] for point in made["Mounts"]}
    source = engine.paths.container(lender) if lender else directory
    if not lender:
        from estiva.network import dns

        config, host_config = made["Config"], made["HostConfig"]
        hostname = config.get("Hostname") or os.uname().nodename
        try:
            with open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
                text = file.read(1 << 16)
        except OSError:
            text = ""
        resolv = (
            text
            if host_config["NetworkMode"] == "host" and not host_config.get("Dns")
            else dns.resolv_conf(
                text,
                dns=host_config.get("Dns") or (),
                search=host_config.get("DnsSearch") or (),
                options=host_config.get("DnsOptions") or (),
            )
        )
        for name, content in (
            ("hosts", dns.hosts(hostname, address, extra=host_config.get("ExtraHosts") or ())),
            ("hostname", hostname + "\n"),
            ("resolv.conf", resolv),
        ):
            write_shared(f"{directory}/{name}", content.encode())
    return [
        {
            "destination": f"/etc/{name}",
            "type": "bind",
            "source": f"{source}/{name}",
            "options": ["bind", "rprivate"],
        }
        for name in ("resolv.conf", "hostname", "hosts")
        if f"/etc/{name}" not in taken
    ]
