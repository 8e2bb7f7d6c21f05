"""`update`: other limits for containers, running or not."""

from __future__ import annotations

from estiva.cmdline.parser import INT, TEXT, Options, Verb
from estiva.errors import EstivaError, oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.cli.context import Context

TABLE = (
    ("", "blkio-weight", INT, "N", "block io weight, 10 to 1000"),
    ("", "cpu-period", INT, "USEC", "cpu quota period in microseconds"),
    ("", "cpu-quota", INT, "USEC", "cpu time per period in microseconds; -1 is unlimited"),
    ("", "cpu-rt-period", INT, "USEC", "realtime period, only with cgroup v1"),
    ("", "cpu-rt-runtime", INT, "USEC", "realtime runtime per period, only with cgroup v1"),
    ("c", "cpu-shares", INT, "N", "relative cpu weight (1024 is usual)"),
    ("", "cpus", TEXT, "N", "number of cpus, such as 1.5"),
    ("", "cpuset-cpus", TEXT, "LIST", "cpus to run on, such as 0-3,7"),
    ("", "cpuset-mems", TEXT, "LIST", "memory nodes to use"),
    ("m", "memory", TEXT, "BYTES", "memory limit, such as 256m"),
    ("", "memory-reservation", TEXT, "BYTES", "memory that is protected when the host runs short"),
    ("", "memory-swap", TEXT, "BYTES", "memory plus swap; -1 is unlimited"),
    ("", "pids-limit", INT, "N", "most processes; -1 is unlimited"),
    ("", "restart", TEXT, "POLICY", "no, on-failure[:N], always or unless-stopped"),
    ("", "kernel-memory", TEXT, "", ""),
)
KIND = {option[1]: option for option in TABLE}


def update(context: Context, options: Options) -> int:
    """1 if one of the containers could not be changed; the others are."""
    import sys

    from estiva.cli.context import tell
    from estiva.cli.options import limits
    from estiva.engine.containers import update as engine

    changes: dict[str, Any] = limits.read(options, KIND)
    if options.given("restart"):
        changes["RestartPolicy"] = limits.restart_policy(options.text("restart"))
    status = 0
    warnings: list[str] = []
    for ref in options.arguments:
        try:
            found = engine.update(context.engine, ref, changes)
        except EstivaError as error:
            tell(error)
            status = 1
            continue
        warnings += [line for line in found if line not in warnings]
        print(ref)
    sys.stdout.flush()
    for line in warnings:
        sys.stderr.write(f"WARNING: {oneline(line)}\n")
    return status


UPDATE = Verb(
    update,
    "CONTAINER [CONTAINER...]",
    "Change the limits of containers, also while they run",
    TABLE,
    least=1,
    examples=(
        ("estiva update -m 512m --memory-swap 1g web", "memory, and memory plus swap"),
        ("estiva update --cpus 0.5 web db", "half a cpu for each"),
    ),
)
