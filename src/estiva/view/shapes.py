"""The anatomy as data: what `--json` prints and Python programs get; docs/anatomy.md is its reference.

Sizes are bytes, times seconds. Every text is printable: what was not is escaped, what was long is cut. A part
that there is none of is empty or None: an image has no processes, a stopped container no namespaces.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Process:
    """`pid` is its number on the host, `inside` in the container (0: it has none there). `parent` is a pid of
    the host's, 0 for one that came from outside: `origin` is init, exec or child. `state` is a word."""

    pid: int
    inside: int
    parent: int
    origin: str
    command: str
    state: str
    uid: int
    user: str
    uid_inside: int
    user_inside: str
    memory: int
    threads: int


@dataclass(frozen=True, slots=True)
class Mapping:
    """`size` ids from `inside` on are those of the host from `outside` on: user_namespaces(7)."""

    inside: int
    outside: int
    size: int


@dataclass(frozen=True, slots=True)
class Namespace:
    """One of namespaces(7). `host`: it is the host's own. `shared` are the names of other containers in it.
    `differs` says in words what is different from the host's."""

    kind: str
    id: int
    host: bool
    shared: tuple[str, ...]
    differs: str


@dataclass(frozen=True, slots=True)
class Interface:
    """`received` and `sent` are bytes."""

    name: str
    up: bool
    mtu: int
    mac: str
    addresses: tuple[str, ...]
    received: int
    sent: int


@dataclass(frozen=True, slots=True)
class Route:
    """`destination` with its prefix length, or "default"; `gateway` is "" on the link itself."""

    destination: str
    gateway: str
    interface: str


@dataclass(frozen=True, slots=True)
class Port:
    """A published port: `host` at `address` of the host leads to `container`."""

    container: int
    protocol: str
    address: str
    host: int


@dataclass(frozen=True, slots=True)
class Listener:
    """What waits for peers in the container's network namespace."""

    protocol: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Network:
    """`mode` is Docker's; `networks` are those that it is on, with its aliases there."""

    mode: str
    hostname: str
    networks: tuple[str, ...]
    interfaces: tuple[Interface, ...]
    routes: tuple[Route, ...]
    ports: tuple[Port, ...]
    listening: tuple[Listener, ...]


@dataclass(frozen=True, slots=True)
class Limit:
    """What a cgroup accounts. `unit` is bytes, processes or cpus; `limit` None: there is none. `used` of cpus
    is seconds of processor time since its start. `met`: how often the limit was met. `says` is for people."""

    name: str
    unit: str
    limit: float | None
    used: float
    peak: float | None
    met: int
    says: str


@dataclass(frozen=True, slots=True)
class Pressure:
    """psi(7): percent of the last ten and sixty seconds in which some, or all, of its processes waited."""

    resource: str
    some10: float
    some60: float
    full10: float
    full60: float


@dataclass(frozen=True, slots=True)
class Cgroup:
    version: str
    path: str
    limits: tuple[Limit, ...]
    pressure: tuple[Pressure, ...]
    frozen: bool


@dataclass(frozen=True, slots=True)
class Capability:
    """`default`: Docker gives it to every container."""

    name: str
    words: str
    default: bool


@dataclass(frozen=True, slots=True)
class Rights:
    """What its first process may do. `lacking` are capabilities that containers have by default and this one
    has not; `seccomp` is disabled, strict or filter, `says` all of it in words."""

    capabilities: tuple[Capability, ...]
    lacking: tuple[str, ...]
    seccomp: str
    filters: int
    no_new_privileges: bool
    label: str
    says: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mount:
    """`kind` is root, kernel, tmpfs, bind, volume, file (hosts, hostname, resolv.conf), mask, guard (made
    read-only), or its filesystem's type."""

    destination: str
    kind: str
    source: str
    filesystem: str
    read_only: bool
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """Of an image, base first: `size` of its tar; `instruction` made it."""

    diff_id: str
    size: int
    instruction: str
    created: str


@dataclass(frozen=True, slots=True)
class File:
    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Writable:
    """What the read-write layer holds. `removed` hide what the image has; `complete` is False where there was
    too much to look at."""

    size: int
    files: int
    folders: int
    removed: int
    largest: tuple[File, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class Config:
    """What is started, as image and command line have it. Of its environment only the names: values may be
    secrets."""

    command: tuple[str, ...]
    user: str
    directory: str
    environment: tuple[str, ...]
    exposed: tuple[str, ...]
    volumes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Anatomy:
    """`kind` is container or image; `process_count` may be more than there are `processes`; `unseen` says
    what could not be looked at, and why."""

    kind: str
    id: str
    name: str
    status: str
    image: str
    created: str
    told: tuple[str, ...]
    pid: int
    processes: tuple[Process, ...]
    process_count: int
    users: tuple[Mapping, ...]
    groups: tuple[Mapping, ...]
    namespaces: tuple[Namespace, ...]
    network: Network | None
    cgroup: Cgroup | None
    rights: Rights | None
    mounts: tuple[Mount, ...]
    layers: tuple[Layer, ...]
    writable: Writable | None
    config: Config
    containers: tuple[str, ...]
    unseen: tuple[str, ...]
