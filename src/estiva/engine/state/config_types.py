"""Docker's Config and HostConfig (Engine API 1.45, POST /containers/create), with keys of our own: see also
types.py. For type checkers alone: nothing imports this module when it runs.

What nobody has judged yet is a plain dict. engine/spec/judge.py is the border; fields.py has the rules.
"""

from __future__ import annotations

from typing import Any, TypedDict


class Config(TypedDict, total=False):
    """What is to run, in a container: the image's config completed by the user. fields.py has its rules."""

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
    HealthcheckOnFailureAction: str  # Podman's
    Volumes: dict[str, Any]
    WorkingDir: str
    Labels: dict[str, str]
    StopSignal: str
    StopTimeout: int
    OnBuild: list[str]
    Shell: list[str]
    ArgsEscaped: bool
    MacAddress: str  # may be empty only, as may the next
    NetworkDisabled: bool


class Mount(TypedDict, total=False):
    """One entry of HostConfig.Mounts."""

    Type: str
    Source: str
    Target: str
    ReadOnly: bool
    BindOptions: dict[str, Any]
    VolumeOptions: dict[str, Any]
    TmpfsOptions: dict[str, Any]
    ImageOptions: dict[str, Any]
    Consistency: str
    IDMap: str  # ours, as are the rest
    Chown: bool  # the volume option U
    DevptsOptions: dict[str, Any]
    TmpfsFlags: str  # the options of --tmpfs: made by spec/mounts.py, nobody gives it, nor the next three
    Flags: list[str]  # nosuid and the like, of -v
    Mode: str  # for inspect, as Docker has it
    Overlay: dict[str, str]  # the volume option O: its upperdir and workdir, if they are the user's own


class RestartPolicy(TypedDict, total=False):
    Name: str
    MaximumRetryCount: int


class LogConfig(TypedDict, total=False):
    Type: str
    Config: dict[str, str]


class DeviceRequest(TypedDict, total=False):
    """--gpus, or CDI devices by name."""

    Driver: str
    Count: int  # -1: all
    DeviceIDs: list[str] | None
    Capabilities: list[list[str]] | None  # any of those sets
    Options: dict[str, str] | None


class Ulimit(TypedDict, total=False):
    """Seconds, bytes or numbers, as setrlimit(2) says; -1 is unlimited."""

    Name: str
    Soft: int
    Hard: int


class HostConfig(TypedDict, total=False):
    """How it is to run, on this host: fields.py has its rules. Sizes in bytes, times in microseconds,
    NanoCpus in 1e-9 of a CPU."""

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
    DeviceRequests: list[DeviceRequest]
    Devices: list[dict[str, str]]
    Dns: list[str]
    DnsOptions: list[str]
    DnsSearch: list[str]
    ExtraHosts: list[str]
    GroupAdd: list[str]
    IDMappings: dict[str, list[str]]  # ours: UidMap, GidMap; "CONTAINER:HOST:SIZE"
    Init: bool
    IpcMode: str
    KernelMemory: int
    LogConfig: LogConfig
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
    RestartPolicy: RestartPolicy
    SecurityOpt: list[str]
    ShmSize: int
    Sysctls: dict[str, str]
    Tmpfs: dict[str, str]
    UTSMode: str
    Ulimits: list[Ulimit]
    UsernsMode: str
    SubuidName: str  # ours, as is the next
    SubgidName: str
    Profile: str  # ours, as are the next three: spec/profile.py
    AllowHosts: list[str]  # network/dns/allow.py
    OutputLimit: int  # bytes of a command's stdout and stderr; 0 for no limit, as is the next
    TimeLimit: int  # nanoseconds of a run
    ContainerIDFile: str
    Isolation: str
    MaskedPaths: list[str] | None
    ReadonlyPaths: list[str] | None
    Runtime: str
    VolumeDriver: str
    Cgroup: str  # may be empty only, as may the rest
    CpuCount: int
    CpuPercent: int
    IOMaximumBandwidth: int
    IOMaximumIOps: int
    KernelMemoryTCP: int
    Links: list[str]
    StorageOpt: dict[str, str]
    VolumesFrom: list[str]
