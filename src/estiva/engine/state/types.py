"""What crosses a process or a file, by name. For type checkers alone: it is not imported at run time.

Record, State, MountPoint                Docker's shapes (API 1.45), in the database; keys of our own say so
Config, HostConfig, Mount, ...           what a container is made of: config_types.py
Exit                                     how a run ended, and why: life/end_types.py
RunState                                 state.json of a run folder: what exec and stats need to know
Plan, ExecPlan; Ending                   what a monitor, or an exec's parent, is told; what of a killed one
Request, Handed                          how plans reach the spawner's workers, or a monitor that waits
Outcome, Order                           what a monitor and its caller say to each other (launch/launch.py)
Frozen; Event                            a monitor that hibernates; what has happened, in the event log
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from typing import Any, Literal, NotRequired, Protocol, TypedDict

from estiva.engine.state.config_types import Config, HostConfig
from estiva.engine.state.life.end_types import Exit
from estiva.network.types import Kept, Place, Settings

OCI = dict[str, Any]  # a runtime config, or a part of one: runtime-spec config.md
Ids = tuple[int, int]  # uid, gid


class MountPoint(TypedDict, total=False):
    """One entry of a record's Mounts: what was made of a Mount."""

    Type: str
    Name: str
    Source: str
    Destination: str
    Driver: str
    Mode: str
    RW: bool
    Propagation: str
    NonRecursive: bool  # ours, as are the rest
    Anonymous: bool
    New: bool  # a volume that is to get what the image has there
    Made: bool  # a volume that was not there before; like New, not in a record
    Chown: bool
    IDMap: str
    ReadOnlyNonRecursive: bool
    Flags: list[str]
    Subpath: str
    Overlay: dict[str, str]  # see Mount
    ImageId: str  # of an image mount
    ReadWrite: bool  # an image mount with a layer of its own, which is thrown away
    Detached: bool  # mounted by who starts it, and handed to the init: engine/mounts/detached.py


class HealthResult(TypedDict):
    """One check of a container's health: Docker's HealthcheckResult."""

    Start: str
    End: str
    ExitCode: int  # -1: it could not be run, or took too long
    Output: str


class Health(TypedDict):
    """Docker's Health; health.json of the run folder is one."""

    Status: str
    FailingStreak: int
    Log: list[HealthResult]


class HealthPlan(TypedDict):
    """What a monitor must know of a container's health check: state/life/health.py. Times in seconds."""

    argv: list[str]
    interval: float
    timeout: float
    start_period: float
    start_interval: float
    retries: int
    action: str  # none, kill, restart, stop: once it is unhealthy
    stop_timeout: float  # before it is killed, when it is stopped; less than 0: never


class Checks(Protocol):
    """The health checks of a run, as who copies its streams sees them: monitor/life/health.py."""

    @property
    def times(self) -> tuple[float, float]: ...
    def busy(self) -> int: ...
    def left(self) -> int: ...
    def register(self, poll: select.poll) -> None: ...
    def serve(self, ready: dict[int, int]) -> bool: ...
    def close(self) -> bool: ...


class State(TypedDict, total=False):
    """A record's State. Only how the last run ended is kept; the rest is filled in when it is looked up."""

    Status: str
    Running: bool
    Paused: bool
    Restarting: bool
    OOMKilled: bool
    Dead: bool
    Pid: int
    ExitCode: int
    Error: str
    StartedAt: str
    FinishedAt: str
    Health: Health  # while it runs, of one with a health check
    Exit: Exit
    Began: str  # ours, as the next: see store/containers.set_running; never shown
    Stopped: bool  # by somebody, so that `unless-stopped` does not start it after a reboot


class Record(TypedDict):
    """A container, as `inspect` shows it and the database keeps it."""

    Id: str
    Created: str
    Path: str
    Args: list[str]
    State: State
    Image: str
    Name: str  # with a slash before it
    RestartCount: int
    Platform: str
    Config: Config
    HostConfig: HostConfig
    Mounts: list[MountPoint]
    NetworkSettings: dict[str, Any]
    States: NotRequired[list[str]]  # ours: the snapshots that it stands on, the lowest first
    Address: NotRequired[str]  # ours: on the default bridge, in the last run
    Memory: NotRequired[str]  # ours: the snapshot from whose processes its first run goes on
    Driver: NotRequired[str]
    GraphDriver: NotRequired[dict[str, Any]]
    LogPath: NotRequired[str]
    HostnamePath: NotRequired[str]
    HostsPath: NotRequired[str]
    ResolvConfPath: NotRequired[str]


class Network(TypedDict, total=False):
    """What a run has of a network, nothing when it has none: see network/bridge.py's Endpoint. Of several,
    the one with the default route; `places` are all, without them it is the default bridge."""

    address: str
    prefix: int
    gateway: str
    mac: str
    ports: list[dict[str, str]]
    places: list[Place]


class Actor(TypedDict):
    ID: str
    Attributes: dict[str, str]


class Event(TypedDict):
    """One line of the event log: eventlog.py."""

    timeNano: int
    Type: str
    Action: str
    Actor: Actor


class Seccomp(TypedDict, total=False):
    """Without a profile: the built-in one."""

    profile: dict[str, Any]  # the content of the file that was given
    strict: bool  # the built-in one of --profile untrusted


class RunState(TypedDict):
    """state.json of a running container. With `start_time`, clock ticks since boot, a pid is one process."""

    id: str
    name: str
    pid: int
    start_time: int
    monitor: int
    monitor_start: NotRequired[int]  # as start_time
    started: str
    cgroup: str
    process: OCI
    seccomp: Seccomp | None
    network: Network
    stop_signal: str
    root: NotRequired[Ids]
    limits: NotRequired[Limits]  # as of its plan, as is the next
    profile: NotRequired[str]
    paused: NotRequired[bool]
    about: NotRequired[dict[str, str]]  # what events say of it: eventlog.about


class NetworkPlan(TypedDict):
    mode: str
    address: str  # leased already; "" when the mode has none
    ports: list[dict[str, str]]  # spec/ports.py
    places: NotRequired[list[Place]]  # in networks of one's own: then these, and no address


class Lender(TypedDict):
    """The init of a container that lends a namespace."""

    kind: str
    pid: int
    start_time: int
    id: str


class Sharing(TypedDict):
    """Namespaces of others: made by spec/namespaces.py, carried out by monitor/namespaces.py."""

    lenders: list[Lender]
    shm: int  # of `lenders`, whose /dev/shm it is; -1 for none
    mapped: bool  # the ids of its files are mapped
    maps: NotRequired[list[str]]  # as in uid_map and gid_map of /proc/PID
    root: NotRequired[Ids]  # the host's ids of the container's root


class Ending(TypedDict):
    """What must be known of a run to end it and settle its row; a Plan has all of it."""

    id: str
    name: str
    root: str
    run_root: str
    network: NetworkPlan
    auto_remove: bool
    ephemeral: bool  # a step of a build: there is no row
    about: NotRequired[dict[str, str]]  # what events say of it: eventlog.about; none of a step of a build


class LogOptions(TypedDict, total=False):
    """How the log is kept, where that is not the default: spec/logs/options.py."""

    size: int  # bytes a file, 0 for no limit
    keep: int  # files
    compress: bool
    attrs: str  # JSON text that each entry has


class Outlet(TypedDict):
    """Where a log goes besides its file: monitor/outlet.py."""

    driver: Literal["journald", "syslog"]
    tag: str
    drops: bool  # rather than have the container wait
    size: int  # bytes that may wait
    fields: dict[str, str]  # of each entry: journald
    facility: NotRequired[int]  # syslog, as are the rest
    format: NotRequired[str]
    address: NotRequired[Sequence[Any]]  # udp, tcp, unix, unixgram; address or path; port


class Limits(TypedDict, total=False):
    """Of a run, where there are any: monitor/life/bounds.py."""

    time: int  # nanoseconds
    output: int  # bytes
    ahead: bool  # the time counts from an order on


class Plan(Ending):
    """All that a monitor must know."""

    cache: str
    config: OCI
    lowerdirs: list[str]
    overlay: Sequence[tuple[str, str]]
    upper: str
    work: str
    seccomp: Seccomp | None  # None: no filter
    stdin: bool
    log: str  # a path, "" for none
    log_options: NotRequired[LogOptions]
    outlet: NotRequired[Outlet]
    init: bool
    detach: bool
    stop_signal: str
    cgroup_parent: str
    mounted: NotRequired[list[str]]  # destinations whose detached mounts come as fds beside the plan
    sharing: NotRequired[Sharing]
    names: NotRequired[Settings]  # it has the embedded name server
    bound: NotRequired[bool]  # it ends, and is removed, when its caller goes
    guests: NotRequired[int]  # how many are attached from the start
    volumes: NotRequired[list[tuple[str, dict[str, str]]]]  # that are mounted in it, for events too
    detach_keys: NotRequired[str]  # "": the usual ones
    health: NotRequired[HealthPlan]
    explain: NotRequired[str]  # a file to which its start is written down: monitor/explain.py
    again: NotRequired[bool]  # it is started again by its restart policy
    limits: NotRequired[Limits]
    profile: NotRequired[str]  # spec/profile.py
    memory: NotRequired[str]  # a folder, from whose images it goes on: monitor/revive.py


class ExecEvents(TypedDict):
    """Where to write events of an exec, and what they say of it."""

    root: str
    run_root: str
    about: dict[str, str]


class ExecPlan(TypedDict):
    """All that the parent of an exec must know: whose namespaces, and which process."""

    id: str
    pid: int
    start_time: int
    cgroup: str
    run: str  # its run folder
    config: OCI  # its "process" alone
    seccomp: Seccomp | None
    cache: str
    stdin: bool
    detach_keys: NotRequired[str]
    root: Ids | None
    limits: NotRequired[Limits]
    events: NotRequired[ExecEvents]  # without: the event log hears nothing of it
    bound: NotRequired[bool]  # it ends when its caller goes, with all that it has started
    kept: NotRequired[str]  # the folder of one that is kept: execs.py


class Outcome(TypedDict, total=False):
    """A message of a monitor: what has become of its command."""

    event: Literal["started", "exited", "detached", "error", "lost", "removed"]
    pid: int  # started
    status: int  # exited: 128+n for a signal
    oom: bool  # exited: its memory limit killed it
    exit: Exit  # exited; of one that is removed only its status, if all went well
    problem: str  # exited: what could not be cleaned up
    kind: str  # error: the class in errors.py
    message: str
    hint: str
    about: dict[str, str]  # error: what that class has besides (errors.ABOUT)


class Order(TypedDict, total=False):
    """A message to a monitor."""

    do: Literal["signal", "resize", "eof", "end", "names", "begin"]
    signal: int
    rows: int
    columns: int
    settings: Settings  # names


class MonitorRequest(TypedDict):
    """To the spawner: a monitor of a container, or of one to come like it."""

    kind: Literal["container", "reserve"]
    plan: Plan


class ExecRequest(TypedDict):
    """To the spawner: the parent of an exec."""

    kind: Literal["exec"]
    plan: ExecPlan


Request = MonitorRequest | ExecRequest


class Handed(TypedDict):
    """To a monitor that waits already: prefork's, or one with a reservation."""

    plan: Plan


class FrozenSource(TypedDict):
    fd: int
    stream: str  # stdout, stderr


class Frozen(TypedDict):
    """A monitor that hibernates, as another interpreter in the same process reads it."""

    plan: Plan
    pid: int
    pidfd: int
    console: int
    cgroup: str
    started: str
    began: int
    hold: int
    sources: list[FrozenSource]
    input: int
    listening: int  # for who attaches
    health: NotRequired[tuple[float, float]]  # monitor/life/health.py: when it began, and is due
    ooms: NotRequired[int]  # how often memory has run out, as far as that has been told
    names: NotRequired[Kept]
    sent: list[tuple[int, str]]  # signals that it has passed on
    partial: dict[str, str]  # by stream, a line without its end: latin-1, for bytes of any kind
    fds: list[int]  # that must stay open
