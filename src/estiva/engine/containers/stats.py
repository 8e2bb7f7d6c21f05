"""What containers use: their cgroup's accounts, and the counters of their network interfaces."""

from __future__ import annotations

import os
import time

from estiva.engine.state import lookup
from estiva.errors import Conflict, NotFound
from estiva.runtime import state
from estiva.runtime.cgroup import factory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine import Engine
    from estiva.engine.state.types import RunState


def stats(engine: Engine, ref: str) -> dict[str, Any]:
    """What a running container uses now: memory, cpu, pids and io as `Cgroup.stats` tells them (bytes,
    nanoseconds), network ({rx_bytes, tx_bytes, rx_packets, ...} by interface) and read_ns, the monotonic time
    of reading.

    memory: `usage` is all that is charged, the page cache with it; `working_set` is without file pages that
    are idle, which the kernel drops before it kills. Raises NotFound, Conflict when it does not run.
    """
    record = lookup.resolve(engine, ref)
    live = lookup.running_state(engine, record["Id"])
    return of(live, record["HostConfig"].get("NetworkMode") or "")


def of(live: RunState, mode: str) -> dict[str, Any]:
    """The same by the run state. Raises Conflict when it has ended."""
    network = {} if mode == "host" else interfaces(live)
    try:
        usage = factory.open(live["cgroup"]).stats()
    except NotFound:
        raise Conflict(f"container {live['id'][:12]} has ended") from None
    usage["network"] = network
    usage["read_ns"] = time.monotonic_ns()
    return usage


COUNTERS = ("bytes", "packets", "errors", "dropped")


def interfaces(live: RunState) -> dict[str, dict[str, int]]:
    """The counters in the container's network namespace, loopback left out: proc_pid_net(5)."""
    try:
        fd = os.open(f"/proc/{live['pid']}/net/dev", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return {}
    try:
        text = os.read(fd, 1 << 20).decode("utf-8", "replace")
    except OSError:
        return {}
    finally:
        os.close(fd)
    if not state.alive(live["pid"], live["start_time"]):
        return {}  # the pid may have been another's by then
    result = {}
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        numbers = rest.split()
        if name.strip() == "lo" or len(numbers) < 12:
            continue
        result[name.strip()] = {
            f"{way}_{counter}": int(numbers[at + index])
            for way, at in (("rx", 0), ("tx", 8))
            for index, counter in enumerate(COUNTERS)
        }
    return result


def host_memory() -> int:
    """Bytes of the machine: the limit of a container without one."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def figures(before: dict[str, Any] | None, now: dict[str, Any]) -> dict[str, Any]:
    """The numbers that Docker's `stats` shows of two readings: cpu and memory in percent, the rest in bytes.

    cpu: of one cpu, so that two busy ones are 200. memory: the usage without idle file pages, as the page
    cache is not what brings a container to its limit.
    """
    cpu = 0.0
    if before is not None and now["read_ns"] > before["read_ns"]:
        used = now["cpu"]["usage_ns"] - before["cpu"]["usage_ns"]
        cpu = max(0.0, 100.0 * used / (now["read_ns"] - before["read_ns"]))
    memory = now["memory"]["working_set"]
    whole = host_memory()
    limit = min(now["memory"]["limit"] or whole, whole)
    network = now["network"].values()
    return {
        "cpu": cpu,
        "memory": memory,
        "limit": limit,
        "percent": 100.0 * memory / limit if limit else 0.0,
        "received": sum(each["rx_bytes"] for each in network),
        "sent": sum(each["tx_bytes"] for each in network),
        "read": now["io"]["read_bytes"],
        "written": now["io"]["write_bytes"],
        "pids": now["pids"]["current"],
    }
