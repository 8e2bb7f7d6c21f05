"""What the Python API shows: values that don't change. Times are seconds since the epoch, sizes bytes."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SIGNALS = range(129, 193)  # statuses that tell of a signal


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container's last run ended: its status (128+n for signal n), whether its memory limit killed it,
    what kept it from starting ("" if nothing), and when (RFC 3339; "" where it has been removed).

    As far as it is known (docs/why.md): what that means, in a phrase; who sent the signal; the most memory
    that it had, in bytes; whether a system call was its end; seconds from its start; what can be done.
    """

    status: int
    oom: bool = False
    error: str = ""
    finished: str = ""
    meaning: str = ""
    sender: str = ""
    peak_memory: int | None = None
    seccomp: bool = False
    alive: float | None = None
    hint: str = ""

    @property
    def signal(self) -> int:
        """The signal that ended it, by its status; 0 for none."""
        return self.status - 128 if self.status in SIGNALS else 0

    @property
    def ok(self) -> bool:
        return self.status == 0


@dataclass(frozen=True, slots=True)
class Port:
    """A published port: `host` is the port of the host at `address`."""

    container: int
    protocol: str
    host: int
    address: str


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One check: -1 is a check that could not be run, or took too long."""

    status: int
    output: str
    started: str
    ended: str


@dataclass(frozen=True, slots=True)
class Health:
    """status: starting, healthy, unhealthy; failing: how often in a row; checks: the latest, oldest first."""

    status: str
    failing: int = 0
    checks: tuple[HealthCheck, ...] = ()


@dataclass(frozen=True, slots=True)
class Stats:
    """What a container uses now. `cpu_percent` is of one cpu, since the reading before, 0 in the first one;
    `memory` is without file pages that are idle; `raw` is all that is known, and stats["memory"] a part of
    it: see engine/containers/stats.py.
    """

    cpu_ns: int
    cpu_percent: float
    memory: int
    memory_limit: int
    memory_percent: float
    pids: int
    read: int
    written: int
    received: int
    sent: int
    raw: Mapping[str, Any] = field(repr=False, default_factory=dict)

    def __getitem__(self, key: str) -> Any:
        return self.raw[key]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened: type "container", action "start", id, and what is known of it."""

    type: str
    action: str
    id: str
    attributes: Mapping[str, str]
    time_ns: int

    @property
    def time(self) -> float:
        return self.time_ns / 1e9

    @property
    def name(self) -> str:
        """The name of what it happened to; "" if it has none."""
        return self.attributes.get("name", "")


@dataclass(frozen=True, slots=True)
class LogLine:
    """What a container has written to "stdout" or "stderr": a line with its end, or as much as came."""

    stream: str
    text: bytes
    time: str

    def piece(self, timestamps: bool) -> bytes:
        """Its text, after its time if that is wanted."""
        return self.time.encode() + b" " + self.text if timestamps else self.text

    def __str__(self) -> str:
        return self.text.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file in a container. `kind`: file, folder, link, fifo, socket, device; uid and gid as the container
    has them; `target` is where a link leads."""

    name: str
    path: str
    kind: str
    size: int
    mode: int
    uid: int
    gid: int
    modified: float
    target: str = ""

    @property
    def is_dir(self) -> bool:
        return self.kind == "folder"

    @property
    def is_file(self) -> bool:
        return self.kind == "file"

    @property
    def permissions(self) -> int:
        return stat.S_IMODE(self.mode)


@dataclass(frozen=True, slots=True)
class Processes:
    """What runs in a container, as ps on the host shows it."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What a container has done to a file of its image: "A" added, "C" changed, "D" deleted."""

    kind: str
    path: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a pull or push is with a layer (`id` "": with all of it). Of a build: `step` is "2/9",
    `stage` where, `message` the instruction, or the address of what is fetched, `output` what its command has
    just written; steps of several stages come as they run."""

    status: str
    id: str = ""
    current: int = 0
    total: int = 0
    message: str = ""
    step: str = ""
    output: bytes = b""
    stage: str = ""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What has been removed, by name or id, and how many bytes that gave back."""

    removed: tuple[str, ...]
    freed: int


def exit_of(state: Mapping[str, Any]) -> Exit:
    """Of a record's State."""
    known = state.get("Exit") or {}
    return Exit(
        int(state.get("ExitCode") or 0),
        bool(state.get("OOMKilled")),
        state.get("Error") or "",
        state.get("FinishedAt") or "",
        known.get("Meaning", ""),
        known.get("Sender", {}).get("By", ""),
        known.get("PeakMemory"),
        known.get("Seccomp", False),
        known.get("Alive"),
        known.get("Hint", ""),
    )


def health_of(found: Mapping[str, Any]) -> Health:
    checks = tuple(
        HealthCheck(one["ExitCode"], one["Output"], one["Start"], one["End"])
        for one in found.get("Log") or ()
    )
    return Health(found.get("Status") or "", found.get("FailingStreak") or 0, checks)


def ports_of(table: Mapping[str, Any]) -> tuple[Port, ...]:
    """Of NetworkSettings.Ports."""
    found = []
    for key, bindings in table.items():
        number, _, protocol = key.partition("/")
        for one in bindings or ():
            found.append(Port(int(number), protocol, int(one["HostPort"] or 0), one["HostIp"]))
    return tuple(sorted(found, key=lambda port: (port.container, port.protocol, port.address)))


def stats_of(before: dict[str, Any] | None, now: dict[str, Any]) -> Stats:
    from estiva.engine.containers import stats

    shown = stats.figures(before, now)
    return Stats(
        cpu_ns=now["cpu"]["usage_ns"],
        cpu_percent=shown["cpu"],
        memory=shown["memory"],
        memory_limit=shown["limit"],
        memory_percent=shown["percent"],
        pids=shown["pids"],
        read=shown["read"],
        written=shown["written"],
        received=shown["received"],
        sent=shown["sent"],
        raw=now,
    )


def progress_of(event: Mapping[str, Any]) -> Progress:
    """Of an event of registry.transfer.progress, or of the builder."""
    data = event.get("data")
    return Progress(
        str(event.get("status") or ""),
        str(event.get("id") or ""),
        int(event.get("current") or 0),
        int(event.get("total") or 0),
        str(event.get("message") or event.get("instruction") or event.get("fetch") or ""),
        str(event.get("step") or ""),
        data if isinstance(data, bytes) else b"",
        str(event.get("stage") or ""),
    )
