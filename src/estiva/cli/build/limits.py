"""`build`'s options on what RUN may use and where it runs, read as HostConfig; engine/spec judges it."""

from __future__ import annotations

from estiva.cmdline.parser import INT, LIST, TEXT
from estiva.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.cmdline.parser import Options

OPTIONS = (
    ("", "add-host", LIST, "HOST:IP", "add a line to the /etc/hosts of RUN"),
    ("", "cgroup-parent", TEXT, "CGROUP", "cgroup, or systemd slice, above those of RUN"),
    ("", "cpu-period", INT, "USEC", "cpu quota period of a RUN in microseconds"),
    ("", "cpu-quota", INT, "USEC", "cpu time of a RUN per period in microseconds"),
    ("c", "cpu-shares", INT, "N", "relative cpu weight of a RUN (1024 is usual)"),
    ("", "cpuset-cpus", TEXT, "LIST", "cpus for RUN, such as 0-3,7"),
    ("", "cpuset-mems", TEXT, "LIST", "memory nodes for RUN"),
    ("m", "memory", TEXT, "BYTES", "memory limit of each RUN, such as 256m"),
    ("", "memory-swap", TEXT, "BYTES", "memory plus swap of a RUN; -1 is unlimited"),
    ("", "shm-size", TEXT, "BYTES", "size of /dev/shm of a RUN (default 64m)"),
    ("", "ulimit", LIST, "N=SOFT[:HARD]", "set a resource limit of RUN"),
    ("", "isolation", TEXT, "", ""),  # default, or refused
    ("", "security-opt", LIST, "", ""),  # refused
)  # fmt: skip
KINDS = {option[1]: option for option in OPTIONS}


def read(options: Options) -> dict[str, Any]:
    """HostConfig of those that were given. Raises UsageError, Unsupported."""
    if options.given("security-opt"):
        raise Unsupported(
            "build --security-opt is not supported: a RUN is confined as usual, or not at all",
            hint="RUN --security=insecure, with --allow security.insecure",
        )
    if KINDS.keys().isdisjoint(options.values):
        return {}
    from estiva.cli.options import limits, values

    host = limits.read(options, KINDS)
    if options.given("add-host"):
        host["ExtraHosts"] = [values.extra_host(word) for word in options.many("add-host")]
    if options.given("isolation"):
        host["Isolation"] = options.text("isolation")
    return host
