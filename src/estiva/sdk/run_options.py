"""What may be asked of a container, of its update and of a build: each keyword once, with its type.

`run`, `container`, `containers.create` and the like take them as `**options: Unpack[...]` (PEP 692): a type
checker reads the types here, `typed.shows` makes the signature that help() prints of them, and
`typed.checked` judges by them what a program gives. None is as if it had not been given.

Lists are Sequences here, as a dict is an Iterable of texts too; any iterable is taken, but text and bytes.
The annotations are evaluated, so this module has no `from __future__ import annotations`. The words beside a
type are those of an error message.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Annotated, Literal, TypeAlias, TypedDict

Path: TypeAlias = str | PathLike[str]
Words: TypeAlias = Annotated[str | Sequence[str], "text or a list of texts"]
Files: TypeAlias = Annotated[Path | Sequence[Path], "a path or a list of paths"]
Number: TypeAlias = Annotated[int, "a whole number"]
Size: TypeAlias = Annotated[int | str, 'bytes or a size such as "256m"']
Seconds: TypeAlias = Annotated[float | str, 'seconds or a duration such as "1m30s"']
Command: TypeAlias = Annotated[str | Sequence[Path], "a list of words, or text that is split into words"]
Environment: TypeAlias = Annotated[
    Mapping[str, str | int | float | PathLike[str] | None] | Sequence[str],
    "names with texts or numbers",
]
Labels: TypeAlias = Annotated[
    Mapping[str, str | int | float] | Sequence[str] | str, "names with texts, or a list of names"
]
Table: TypeAlias = Annotated[Mapping[str, str | int | float], "a dict of texts"]
Binding: TypeAlias = int | str | tuple[str, int] | Sequence[int | str] | None
Ports: TypeAlias = Annotated[
    Mapping[int | str, Binding] | Sequence[int | str] | int | str,
    'a dict such as {80: 8080} or a list such as ["8080:80"]',
]


class BindOptions(TypedDict, total=False):
    """Where a volume or a path of the host goes: docker-py's words."""

    bind: str
    mode: str  # "ro", "rw", "z"...


Volumes: TypeAlias = Annotated[
    Mapping[Path, Path | BindOptions] | Sequence[str] | str,
    'a dict of source and place, or a list such as ["data:/data:ro"]',
]


class EndpointOptions(TypedDict, total=False):
    """How a container is on one network."""

    ip: str
    ip6: str
    mac_address: str
    aliases: Words
    link_local_ips: Words
    links: Words
    driver_opts: Table
    gw_priority: int


Networks: TypeAlias = Annotated[
    str | Sequence[str] | Mapping[str, EndpointOptions | None],
    "a network's name, a list of names, or a dict of names with their settings",
]
Rates: TypeAlias = Annotated[Mapping[Path, Size], "a dict of devices with bytes or sizes"]
Counts: TypeAlias = Annotated[Mapping[Path, int], "a dict of devices with whole numbers"]
Limits: TypeAlias = Annotated[Mapping[str, int | tuple[int, int]], "a dict such as {'nofile': (1024, 2048)}"]
Pull: TypeAlias = Literal["missing", "always", "never"]


class LimitOptions(TypedDict, total=False):
    """What an update can change, and a start can say."""

    blkio_weight: int | None
    cpu_period: int | None
    cpu_quota: int | None
    cpu_rt_period: int | None
    cpu_rt_runtime: int | None
    cpu_shares: int | None
    cpus: Annotated[float | str | None, "a number of cpus such as 1.5"]
    cpuset_cpus: str | None
    cpuset_mems: str | None
    memory: Size | None
    memory_reservation: Size | None
    memory_swap: Size | None
    pids_limit: int | None


class UpdateOptions(LimitOptions, total=False):
    restart: str | None


class RunOptions(LimitOptions, total=False):
    """All that the command line's `run` takes, by its names with _ for -: docs/python.md tells them."""

    add_host: Table | Words | None
    allow: Words | None
    annotations: Table | None
    blkio_weight_device: Counts | None
    cap_add: Words | None
    cap_drop: Words | None
    cgroup_parent: str | None
    cgroupns: str | None
    device_cgroup_rules: Words | None
    device_read_bps: Rates | None
    device_read_iops: Counts | None
    device_write_bps: Rates | None
    device_write_iops: Counts | None
    devices: Words | None
    dns: Words | None
    dns_option: Words | None
    dns_search: Words | None
    domainname: str | None
    entrypoint: Command | None
    env: Environment | None
    env_file: Files | None
    expose: Annotated[int | str | Sequence[int | str] | None, "a port or a list of ports"]
    gidmap: Words | None
    gpus: Annotated[int | str | Sequence[str] | None, '"all", a number, or a list of ids']
    group_add: Annotated[str | int | Sequence[str | int] | None, "a group or a list of groups"]
    health_cmd: Command | None
    health_interval: Seconds | None
    health_on_failure: Literal["none", "kill", "restart", "stop"] | None
    health_retries: int | None
    health_start_interval: Seconds | None
    health_start_period: Seconds | None
    health_timeout: Seconds | None
    hostname: str | None
    init: bool | None
    ip: str | None
    ip6: str | None
    ipc: str | None
    label_file: Files | None
    labels: Labels | None
    link_local_ips: Words | None
    links: Table | Words | None
    log_driver: str | None
    log_opts: Table | None
    mac_address: str | None
    memory_swappiness: int | None
    mounts: Annotated[
        Sequence[Mapping[str, object]] | None,
        "a list of dicts with the keys of Docker's API (Type, Source, Target)",
    ]
    name: str | None
    network: Networks | None
    network_alias: Words | None
    no_healthcheck: bool | None
    oom_kill_disable: bool | None
    oom_score_adj: int | None
    output_limit: Size | None
    pid: str | None
    platform: str | None
    ports: Ports | None
    privileged: bool | None
    profile: Literal["untrusted"] | None
    publish_all: bool | None
    pull: Pull | None
    read_only: bool | None
    restart: str | None
    security_opt: Words | None
    shm_size: Size | None
    stop_signal: Annotated[str | int | None, "a signal's name or number"]
    stop_timeout: int | None
    subgidname: str | None
    subuidname: str | None
    sysctls: Table | None
    time_limit: Seconds | None
    tmpfs: Annotated[
        Mapping[str, str] | Sequence[Path] | str | None, "places, or a dict of places with options"
    ]
    tty: bool | None
    uidmap: Words | None
    ulimits: Limits | None
    user: Annotated[str | int | None, "a name or a number"]
    userns: str | None
    uts: str | None
    volume_driver: str | None
    volumes: Volumes | None
    volumes_from: Words | None
    workdir: Path | None


class CreateOptions(RunOptions, total=False):
    """And what makes sense of a container that goes on by itself."""

    auto_remove: bool | None
    interactive: bool | None


OutputOptions: TypeAlias = Annotated[
    Mapping[str, str | bool | int | PathLike[str] | Sequence[str]], "a dict of an output's attributes"
]
Outputs: TypeAlias = Annotated[
    Path | OutputOptions | Sequence[Path | OutputOptions],
    'a folder, text such as "type=oci,dest=x.tar", a dict of such attributes, or a list of them',
]


class StepOptions(TypedDict, total=False):
    """What each RUN of a build may use, and where it runs."""

    add_host: Table | Words | None
    cgroup_parent: str | None
    cpu_period: int | None
    cpu_quota: int | None
    cpu_shares: int | None
    cpuset_cpus: str | None
    cpuset_mems: str | None
    memory: Size | None
    memory_swap: Size | None
    shm_size: Size | None
    ulimits: Limits | None


class BuildOptions(StepOptions, total=False):
    """All that the command line's `build` takes."""

    allow: Words | None
    annotations: Words | None
    attest: Words | None
    build_args: Table | None
    build_contexts: Annotated[Mapping[str, Path] | None, "a dict of names with folders or addresses"]
    cache_from: Words | None
    cache_to: Words | None
    dockerfile_text: str | None
    explain_cache: bool | None
    labels: Table | None
    load: bool | None
    network: str | None
    no_cache: bool | None
    no_cache_filter: Words | None
    output: Outputs | None
    platform: str | None
    platforms: Words | None
    provenance: Annotated[bool | str | None, 'True, False or text such as "mode=min"']
    push: bool | None
    sbom: Annotated[bool | str | None, "True, False or text"]
    secrets: Annotated[Mapping[str, Path | bytes] | None, "a dict of ids with paths or bytes"]
    source_date_epoch: int | None
    ssh: Annotated[Mapping[str, Path | Sequence[Path]] | None, "a dict of ids with paths or lists of paths"]
    target: str | None


REASONS = {  # flags of the command line's `run` that have no keyword
    "attach": "a program says which streams it wants where it runs a command",
    "cidfile": "a program has the id",
    "disable-content-trust": "there is no content trust",
    "isolation": "for old command lines",
    "kernel-memory": "for old command lines",
    "net": "network",
    "net-alias": "network_alias",
    "quiet": "nothing is ever printed",
    "rm": "auto_remove, where a container does not end with the program anyway",
    "runtime": "not supported on the command line either",
    "storage-opt": "not supported on the command line either",
}
SPELLED = {  # the keyword of a flag that is not spelled as the flag
    "allow-host": "allow", "annotation": "annotations", "device": "devices",
    "device-cgroup-rule": "device_cgroup_rules",
    "dns-opt": "dns_option", "label": "labels", "link": "links", "link-local-ip": "link_local_ips",
    "log-opt": "log_opts", "mount": "mounts",
    "publish": "ports", "sysctl": "sysctls", "ulimit": "ulimits", "volume": "volumes",
}  # fmt: skip
DOCKER_PY = {  # docker-py's word -> ours
    "buildargs": "build_args",
    "cgroupns_mode": "cgroupns",
    "device_requests": "gpus, or devices with CDI names",
    "dns_opt": "dns_option",
    "environment": "env",
    "extra_hosts": "add_host",
    "fileobj": "dockerfile_text",
    "healthcheck": "health_cmd, health_interval, ...",
    "ipc_mode": "ipc",
    "ipv4_address": "ip",
    "ipv6_address": "ip6",
    "log_config": "log_driver and log_opts",
    "mac": "mac_address",
    "mem_limit": "memory",
    "mem_reservation": "memory_reservation",
    "mem_swappiness": "memory_swappiness",
    "memswap_limit": "memory_swap",
    "nano_cpus": "cpus",
    "network_disabled": 'network="none"',
    "network_mode": "network",
    "networking_config": "network",
    "nocache": "no_cache",
    "path": "the first argument",
    "pid_mode": "pid",
    "publish_all_ports": "publish_all",
    "remove": "auto_remove",
    "restart_policy": "restart",
    "stdin_open": "interactive",
    "userns_mode": "userns",
    "uts_mode": "uts",
    "working_dir": "workdir",
}
