"""/etc/hosts, /etc/hostname and /etc/resolv.conf of a container, which Estiva writes."""

from __future__ import annotations

import os

from estiva.files import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.engine.state.types import OCI, Record


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


def generated_files(engine: Engine, made: Record, directory: str, address: str, lender: str) -> list[OCI]:
    """/etc/hosts, hostname and resolv.conf: written into the container's folder, mounted over the image's."""
    taken = {point["Destination"] for point in made["Mounts"]}
    source = engine.paths.container(lender) if lender else directory
    if not lender:
        from estiva.network import resolvconf

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
            else resolvconf.resolv_conf(
                text,
                dns=host_config.get("Dns") or (),
                search=host_config.get("DnsSearch") or (),
                options=host_config.get("DnsOptions") or (),
            )
        )
        for name, content in (
            ("hosts", resolvconf.hosts(hostname, address, extra=host_config.get("ExtraHosts") or ())),
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
