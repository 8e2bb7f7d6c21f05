"""What crosses a process or a file, by name. For type checkers alone: nothing imports this module when it
runs.

Record, Config, HostConfig, MountPoint    Docker's shapes (Engine API 1.45, ContainerInspect and
ContainerCreate), in the
                                          database; keys that are Estiva's own say so
RunState                                  state.json of a run folder: what exec, stats and the rest need of
a live container
Plan, ExecPlan                            what a monitor, or the parent of an exec, is told by who starts it
Message, Outcome, Order                   what a monitor and its caller say to each other
(monitor/protocol.py draws it)
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

OCI = dict[str, Any]  # a runtime config, or a part of one: runtime-spec config.md
Ids = tuple[int, int]  # uid, gid


class Config(TypedDict, total=False):
    """What is to run, in a container: the image's config completed by the user."""

    Image: str
    Hostname: str
    Domainname: str
    User: str
    AttachStdin: bool
    AttachStdout: bool
    AttachStderr: bool
    ExposedPorts: dict[str, Any]
    Tty: bool
    OpenStdin: bool
    StdinOnce: bool
    Env: list[str]
    Cmd: list[str] | None
    Entrypoint: list[str] | None
    Healthcheck: dict[str, Any]
    Volumes: dict[str, Any]
    WorkingDir: str
    Labels: dict[str, str]
    StopSignal: str
    StopTimeout: int
    OnBuild: list[str]
    Shell: list[str]


class Mount(TypedDict, total=False):
    """One entry of HostConfig.Mounts."""

    Type: str
    Source: str
    Target: str
    ReadOnly: bool
    BindOptions: dict[str, Any]
    VolumeOptions: dict[str, Any]
    TmpfsOptions: dict[str, Any]
    CreateMountpoint: bool  # ours: -v makes a missing folder
    TmpfsFlags: str  # ours: the options of --tmpfs
    IDMap: str  # ours
    Chown: bool  # ours: the volume option U


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
    Subpath: str
    Options: list[str]
    Anonymous: bool  # ours, as are the rest
    New: bool  # a volume that is to get what the image has there
    Chown: bool
    IDMap: str


class HostConfig(TypedDict, total=False):
    """How it is to run, on this host. Sizes in bytes, times in microseconds, NanoCpus in 1e-9 of a CPU."""

    Annotations: dict[str, str]
    AutoRemove: bool
    Binds: list[str]
    BlkioWeight: int
    BlkioWeightDevice: list[dict[str, Any]]
    BlkioDeviceReadBps: list[dict[str, Any]]
    BlkioDeviceReadIOps: list[dict[str, Any]]
    BlkioDeviceWriteBps: list[dict[str, Any]]
    BlkioDeviceWriteIOps: list[dict[str, Any]]
    CapAdd: list[str]
    CapDrop: list[str]
    CgroupParent: str
    CgroupnsMode: str
    ConsoleSize: list[int]
    CpuPeriod: int
    CpuQuota: int
    CpuRealtimePeriod: int
    CpuRealtimeRuntime: int
    CpuShares: int
    CpusetCpus: str
    CpusetMems: str
    DeviceCgroupRules: list[str]
    DeviceRequests: list[dict[str, Any]]
    Devices: list[dict[str, str]]
    Dns: list[str]
    DnsOptions: list[str]
    DnsSearch: list[str]
    ExtraHosts: list[str]
    GroupAdd: list[str]
    IDMappings: dict[str, list[list[int]]]
    Init: bool
    IpcMode: str
    KernelMemory: int
    LogConfig: dict[str, Any]
    Memory: int
    MemoryReservation: int
    MemorySwap: int
    MemorySwappiness: int | None
    Mounts: list[Mount]
    NanoCpus: int
    NetworkMode: str
    OomKillDisable: bool | None
    OomScoreAdj: int
    PidMode: str
    PidsLimit: int | None
    PortBindings: dict[str, list[dict[str, str]]]
    Privileged: bool
    PublishAllPorts: bool
    ReadonlyRootfs: bool
    RestartPolicy: dict[str, Any]
    SecurityOpt: list[str]
    ShmSize: int
    Sysctls: dict[str, str]
    Tmpfs: dict[str, str]
    UTSMode: str
    Ulimits: list[dict[str, Any]]
    UsernsMode: str


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
    Began: str  # ours: see store/containers.set_running; never shown


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
    Driver: NotRequired[str]
    GraphDriver: NotRequired[dict[str, Any]]
    LogPath: NotRequired[str]
    HostnamePath: NotRequired[str]
    HostsPath: NotRequired[str]
    ResolvConfPath: NotRequired[str]


class Network(TypedDict):
    """What a run has of a network: see network/bridge.py's Endpoint."""

    address: str
    prefix: int
    gateway: str
    mac: str
    ports: list[dict[str, str]]


class RunState(TypedDict):
    """state.json of a running container. `start_time` in clock ticks since boot: with it a pid is one
    process.
    """

    id: str
    name: str
    pid: int
    start_time: int
    monitor: int
    started: str
    cgroup: str
    process: OCI
    seccomp: dict[str, Any] | None
    network: Network | dict[str, Any]
    stop_signal: str
    root: NotRequired[Ids]
    paused: NotRequired[bool]


class NetworkPlan(TypedDict):
    mode: str
    address: str
    ports: list[dict[str, Any]]


class Ending(TypedDict):
    """What must be known of a run to end it and settle its row; a Plan has all of it."""

    id: str
    name: str
    root: str
    run_root: str
    network: NetworkPlan
    auto_remove: bool
    ephemeral: bool  # a step of a build: there is no row


class Plan(Ending):
    """All that a monitor must know."""

    cache: str
    config: OCI
    lowerdirs: list[str]
    overlay: list[tuple[str, str]]
    upper: str
    work: str
    seccomp: dict[str, Any] | None  # None: no filter; {}: the built-in profile; {"profile": ...}
    stdin: bool
    log: str  # a path, "" for none
    init: bool
    detach: bool
    stop_signal: str
    cgroup_parent: str
    sharing: NotRequired[dict[str, Any]]  # namespaces of others: monitor/namespaces.py
    detach_keys: NotRequired[str]  # "": the usual ones


class ExecPlan(TypedDict):
    """All that the parent of an exec must know: whose namespaces, and which process."""

    id: str
    pid: int
    start_time: int
    cgroup: str
    config: OCI  # its "process" alone
    seccomp: dict[str, Any] | None
    cache: str
    stdin: bool
    detach_keys: NotRequired[str]
    root: Ids | None


class Outcome(TypedDict, total=False):
    """A message of a monitor: what has become of its command."""

    event: Literal["started", "exited", "detached", "error", "lost"]
    pid: int  # started
    status: int  # exited: 128+n for a signal
    oom: bool  # exited: its memory limit killed it
    problem: str  # exited: what could not be cleaned up
    kind: str  # error: the class in errors.py
    message: str
    hint: str


class Order(TypedDict, total=False):
    """A message to a monitor."""

    do: Literal["signal", "resize"]
    signal: int
    rows: int
    columns: int


class Request(TypedDict):
    """What the spawner is asked for: a monitor, or the parent of an exec."""

    kind: Literal["container", "exec"]
    plan: Plan | ExecPlan
