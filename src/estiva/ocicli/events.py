"""`events` of estiva-oci: what a container uses, and that its memory ran out, as lines of JSON."""

from __future__ import annotations

from estiva import fastjson
from estiva.cmdline.parser import FLAG, TEXT, Options, UsageError, Verb
from estiva.errors import Conflict, NotFound, Unsupported, brief
from estiva.oci import units
from estiva.runtime.lifecycle import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.ocicli.main import Context
    from estiva.runtime.cgroup import Cgroup
    from estiva.runtime.lifecycle.containers import Container

_UNLIMITED = (1 << 64) - 1


def seconds(text: str) -> float:
    """A duration as Go writes it, more than none: 5s, 500ms. Raises UsageError."""
    try:
        value = units.duration(text)
    except ValueError:
        value = 0
    if not value:
        raise UsageError(f"invalid --interval '{brief(text, 60)}'", hint="such as 5s or 500ms")
    return value / 1e9


def usage(stats: dict[str, Any]) -> dict[str, Any]:
    """The figures under runc's names. Times in nanoseconds, sizes in bytes."""
    cpu, memory, pids, io = (stats.get(part) or {} for part in ("cpu", "memory", "pids", "io"))
    return {
        "cpu": {
            "usage": {
                "total": cpu.get("usage_ns", 0),
                "kernel": cpu.get("system_ns", 0),
                "user": cpu.get("user_ns", 0),
            },
            "throttling": {
                "periods": cpu.get("periods", 0),
                "throttledPeriods": cpu.get("throttled_periods", 0),
                "throttledTime": cpu.get("throttled_ns", 0),
            },
        },
        "memory": {
            "cache": memory.get("cache", 0),
            "usage": {
                "usage": memory.get("usage", 0),
                "max": memory.get("peak") or 0,
                "limit": _UNLIMITED if memory.get("limit") is None else memory["limit"],
                "failcnt": memory.get("oom_kills", 0),
            },
            "swap": {
                "usage": memory.get("swap", 0),
                "limit": _UNLIMITED if memory.get("swap_limit") is None else memory["swap_limit"],
                "failcnt": 0,
            },
            "kernel": {"usage": memory.get("kernel", 0), "failcnt": 0},
            "raw": {
                "rss": memory.get("anonymous", 0),
                "inactive_file": memory.get("inactive_file", 0),
                "cache": memory.get("cache", 0),
            },
        },
        "pids": {"current": pids.get("current", 0), "limit": pids.get("limit") or 0},
        "blkio": {
            "ioServiceBytesRecursive": [
                {"op": "Read", "value": io.get("read_bytes", 0)},
                {"op": "Write", "value": io.get("write_bytes", 0)},
            ],
            "ioServicedRecursive": [
                {"op": "Read", "value": io.get("reads", 0)},
                {"op": "Write", "value": io.get("writes", 0)},
            ],
        },
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": None,
    }


def events(context: Context, options: Options) -> int:
    pause = seconds(options.text("interval", "5s"))
    made = containers.load(context.root, options.arguments[0])
    if made.status() == "stopped":
        raise Conflict(f"container not running: {made.id}")
    group = made.cgroup
    if group is None:
        raise Unsupported(f"container {made.id} has no cgroup")
    if options.flag("stats"):
        _print(made.id, "stats", usage(group.stats()))
        return 0
    return _follow(made, group, pause)


def _follow(made: Container, group: Cgroup, pause: float) -> int:
    """A line of figures every `pause` seconds, and one at once when memory runs out, until the end."""
    import os
    import select
    import time

    from estiva.runtime.cgroup.oom import Watch

    pidfd = os.pidfd_open(made.pid, 0)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    watch = Watch(group)
    if watch.fd >= 0:
        poll.register(watch.fd, watch.interest)
    due = time.monotonic()
    ended = False
    while not ended:
        if time.monotonic() >= due:
            try:
                _print(made.id, "stats", usage(group.stats()))
            except NotFound:
                break
            due = time.monotonic() + pause
        ready = dict(poll.poll(min(1 << 30, max(1, int((due - time.monotonic()) * 1000)))))
        ended = pidfd in ready
        if watch.happened(watch.fd in ready):
            _print(made.id, "oom", None)
    return 0


def _print(id: str, kind: str, data: object) -> None:
    event: dict[str, object] = {"type": kind, "id": id}
    if data is not None:
        event["data"] = data
    print(fastjson.dumps(event), flush=True)


EVENTS = Verb(
    events,
    "ID",
    "Print what a container uses, until it ends",
    (
        ("", "interval", TEXT, "TIME", "between two lines (default 5s)"),
        ("", "stats", FLAG, "", "one line, and that's it"),
    ),
    least=1,
    most=1,
)
