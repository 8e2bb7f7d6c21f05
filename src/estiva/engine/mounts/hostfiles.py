"""/etc/hosts, /etc/hostname and /etc/resolv.conf of a container, which Estiva writes."""

from __future__ import annotations

import os

from estiva.engine.state.net import addresses
from estiva.files import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.engine.state.config_types import HostConfig
    from estiva.engine.state.net.addresses import Taken
    from estiva.engine.state.types import OCI, Record
    from estiva.network.types import Settings


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
    engine: Engine, made: Record, directory: str, taken_address: Taken, lender: str
) -> list[OCI]:
    """OCI mounts of /etc/hosts, hostname and resolv.conf over the image's: files in `directory`, written now,
    or those of the container `lender` whose network it is.
    """
    taken = {point["Destination"] for point in made["Mounts"]}
    source = engine.paths.container(lender) if lender else directory
    access = ["ro"] if made["HostConfig"].get("ReadonlyRootfs") else []  # as Docker's
    if not lender:
        from estiva.network import resolvconf

        config, host_config = made["Config"], made["HostConfig"]
        hostname = config.get("Hostname") or os.uname().nodename
        address, more = _addresses(taken_address)
        embedded = addresses.embedded(taken_address) or bool(host_config.get("AllowHosts"))
        text = resolv_conf(host_config, embedded=embedded)
        extra = host_config.get("ExtraHosts") or ()
        lines = []
        if not isinstance(taken_address, str):
            from estiva.engine.mounts import linked

            lines = linked.hosts(engine, made["Id"])
        gateway = _gateway(taken_address) if any(entry.endswith("host-gateway") for entry in extra) else ""
        domain = config.get("Domainname")
        whole = f"{hostname}.{domain}" if domain else hostname
        hosts = ""
        if host_config["NetworkMode"] == "host" and not extra:
            hosts = _of_host("/etc/hosts", 1 << 24)  # as Docker's
        for name, content in (
            (
                "hosts",
                hosts or resolvconf.hosts(whole, address, extra, gateway=gateway, more=more, linked=lines),
            ),
            ("hostname", hostname + "\n"),
            ("resolv.conf", text),
        ):
            write_shared(f"{directory}/{name}", content.encode())
    return [
        {
            "destination": f"/etc/{name}",
            "type": "bind",
            "source": f"{source}/{name}",
            "options": ["bind", "rprivate", *access],
        }
        for name in ("resolv.conf", "hostname", "hosts")
        if f"/etc/{name}" not in taken
    ]


def _addresses(taken: Taken) -> tuple[str, list[str]]:
    """The container's own address, and more that it has: "" and none without a network of its own."""
    if isinstance(taken, str):
        return taken, []
    places = sorted(taken, key=lambda place: not place["default"])
    own = [place["address"] for place in places] + [p["address6"] for p in places if p["address6"]]
    return (own[0], own[1:]) if own else ("", [])


def resolv_conf(host_config: HostConfig, *, embedded: bool) -> str:
    """A container's: `embedded` for one that has the embedded name server."""
    from estiva.network import resolvconf

    text, shared = _resolv_conf(), host_config["NetworkMode"] == "host"
    dns, search = host_config.get("Dns") or (), host_config.get("DnsSearch") or ()
    options = host_config.get("DnsOptions") or ()
    if shared and not (dns or search or options):
        return text
    return resolvconf.resolv_conf(
        text, dns=dns, search=search, options=options, host_network=shared, embedded=embedded
    )


def name_server(host_config: HostConfig) -> Settings:
    """What the embedded name server does with a container's queries for others."""
    from estiva.network import resolvconf

    servers, ndots = resolvconf.forwarding(
        _resolv_conf(), dns=host_config.get("Dns") or (), options=host_config.get("DnsOptions") or ()
    )
    found: Settings = {"servers": servers, "ndots": ndots}
    if host_config.get("AllowHosts"):
        found["allow"] = host_config["AllowHosts"]
        found["servers"] = [(server, True) for server, _ in servers]  # it reaches none of them itself
    return found


def _resolv_conf() -> str:
    """The host's."""
    return _of_host("/etc/resolv.conf", 1 << 16)


def _of_host(path: str, limit: int) -> str:
    """A file of the host's, "" for one that is not there."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(limit)
    except OSError:
        return ""


def _gateway(taken: Taken) -> str:
    """Where the host is, seen from a container: the bridge, or itself for one without an address there."""
    if not isinstance(taken, str):
        places = sorted(taken, key=lambda place: not place["default"])
        ways = (place.get("own") or place["gateway"] for place in places)
        return next(filter(None, ways), "127.0.0.1")
    if not taken:
        return "127.0.0.1"
    from estiva.network.subnet import Subnet

    return Subnet(taken).gateway
