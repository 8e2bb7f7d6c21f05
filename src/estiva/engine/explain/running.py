"""`doctor CONTAINER`: why a container that runs does not do what is wanted of it.

Published ports that nobody answers (proc_net(5), "tcp" and "udp", of its init), names that can't be found,
mounts that are empty or hide what the image has, restarts, health.
"""

from __future__ import annotations

import os
from ipaddress import ip_address

from estiva.engine.containers import inspect
from estiva.engine.containers.listing import networks_of
from estiva.engine.explain import why
from estiva.engine.state import lookup
from estiva.errors import EstivaError, oneline
from estiva.linux import fs
from estiva.runtime import state as process_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from estiva.engine import Engine
    from estiva.engine.state.types import MountPoint, Record

LISTEN, UNCONNECTED = "0A", "07"  # tcp_states.h: of a socket that waits, and of any one of UDP
_LIMIT = 1 << 20  # bytes of a table of sockets


def examine(engine: Engine, ref: str, names: list[str]) -> tuple[list[str], list[str]]:
    """(what is wrong, what is good to know) of a container, where `names` are such as it can't find. Raises
    NotFound."""
    record = inspect.inspect(engine, ref)
    state = record["State"]
    told = why.of(record)
    problems: list[str] = []
    if not state["Running"] or state["Restarting"]:
        problems, told = told, []
    elif len(told) > 1:  # paused, unhealthy, restarted
        problems, told = told[1:], told[:1]
    if state["Running"]:
        problems += list(_ports(engine, record))
    problems += [line for mount in record["Mounts"] for line in _mount(engine, record, mount)]
    for name in names:
        problems += _name(engine, record, name)
    return problems, told


def _ports(engine: Engine, record: Record) -> Iterator[str]:
    """The published ports that nobody answers."""
    published = {key: bound for key, bound in (record["NetworkSettings"].get("Ports") or {}).items() if bound}
    yield from _discarded(record)
    if not published:
        return
    live = lookup.running_state(engine, record["Id"])
    tables = {name: sockets(live["pid"], name) for name in ("tcp", "udp")}
    if not process_state.alive(live["pid"], live["start_time"]):
        return  # what was read was another's
    for key, bound in sorted(published.items()):
        port, _, protocol = key.partition("/")
        table = tables.get(protocol)
        if table is None or bound is None:
            continue
        outside = ", ".join(sorted({binding["HostPort"] for binding in bound}))
        at = {address for address, each in table if each == int(port)}
        other = {"tcp": "udp", "udp": "tcp"}[protocol]
        if not at and any(each == int(port) for _, each in tables[other]):
            yield (
                f"port {outside} does not answer: in it {port}/{other} listens, and published is {key}: "
                f"-p {bound[0]['HostPort']}:{port}/{other}"
            )
        elif not at:
            others = sorted({each for address, each in table if not ip_address(address).is_loopback})
            words = f"port {outside} does not answer: nothing in it listens on {key}"
            yield f"{words}; it listens on {', '.join(map(str, others[:8]))}" if others else words
        elif all(ip_address(address).is_loopback for address in at):
            where = ", ".join(sorted(at))
            yield (
                f"port {outside} does not answer: in it {key} listens on {where} only, the container's own "
                "loopback: have it listen on 0.0.0.0"
            )

    yield from _firewall(engine, record)


def _discarded(record: Record) -> Iterator[str]:
    """Ports that were asked for, where a network mode has none to publish."""
    host_config = record["HostConfig"]
    asked = {
        str(binding.get("HostPort") or key.partition("/")[0])
        for key, bound in (host_config.get("PortBindings") or {}).items()
        for binding in bound or ()
    }
    mode = host_config.get("NetworkMode")
    if not asked or mode not in ("none", "host"):
        return
    ports = ", ".join(sorted(asked))
    if mode == "none":
        yield f"port {ports} does not answer: it has no network (--network none), so nothing is published"
    else:
        yield f"port {ports} is not published: with --network host it is reached where it listens"


def _firewall(engine: Engine, record: Record) -> Iterator[str]:
    """Rules for it that others have taken away."""
    from estiva.engine.networks import upkeep

    settings = record["NetworkSettings"]
    places = [settings, *(settings.get("Networks") or {}).values()]
    addresses = {place.get(key) for place in places for key in ("IPAddress", "GlobalIPv6Address")} - {
        None,
        "",
    }
    for line in upkeep.missing_rules(engine):
        if "rules of" in line or any(f" {address}," in line for address in addresses):
            yield f"{line}: `estiva network reload` puts it back"


def sockets(pid: int, protocol: str) -> list[tuple[str, int]]:
    """(address, port) of all that waits for a protocol's peers in the network namespace of a process."""
    wanted = LISTEN if protocol == "tcp" else UNCONNECTED
    found = []
    for name in (protocol, protocol + "6"):
        try:
            with open(f"/proc/{pid}/net/{name}", encoding="ascii") as file:
                lines = file.read(_LIMIT).splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if len(fields) > 3 and fields[3] == wanted:
                address, _, port = fields[1].partition(":")
                found.append((plain(address), int(port, 16)))
    return found


def plain(address: str) -> str:
    """An address of those tables, whose 32-bit words are in the machine's order, as people write it."""
    raw = bytes.fromhex(address)
    words = [int.from_bytes(raw[at : at + 4], "big") for at in range(0, len(raw), 4)]
    from sys import byteorder

    value = ip_address(b"".join(word.to_bytes(4, byteorder) for word in words))
    mapped = getattr(value, "ipv4_mapped", None)
    return str(mapped or value)


def _mount(engine: Engine, record: Record, mount: MountPoint) -> Iterator[str]:
    """A folder that is mounted in it and has nothing in it."""
    if mount["Type"] not in ("bind", "volume") or not mount["Source"]:
        return
    try:
        with os.scandir(mount["Source"]) as entries:
            if any(True for _ in entries):
                return
    except NotADirectoryError:
        return
    except OSError as error:
        yield f"{oneline(mount['Destination'])}: {oneline(mount['Source'])}: {error.strerror}"
        return
    kind = f"the volume {mount['Name']}" if mount["Type"] == "volume" else oneline(mount["Source"])
    hidden = _in_image(engine, record, mount["Destination"])
    if hidden:
        yield f"{oneline(mount['Destination'])} is empty: {kind} is, and hides what the image has there"
    elif mount["Type"] == "bind":
        yield f"{oneline(mount['Destination'])} is empty: {kind} is"


def _in_image(engine: Engine, record: Record, destination: str) -> bool:
    """Whether a layer of its image, as they are mounted while it runs, has anything in that folder."""
    try:
        image = engine.store.images.find(record["Image"])
    except EstivaError:
        return False
    for place in engine.store.layers.mounts.places(image.chain) if image is not None else ():
        try:
            root = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            folder = fs.open_in_root(root, destination, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK)
            try:
                with os.scandir(folder) as entries:
                    if any(True for _ in entries):
                        return True
            finally:
                os.close(folder)
        except OSError:
            continue
        finally:
            os.close(root)
    return False


def _name(engine: Engine, record: Record, name: str) -> list[str]:
    """Why a name of another container can't be found in this one."""
    own = record["Name"].removeprefix("/")
    shown = oneline(name)
    mine = networks_of(record)
    if set(mine) <= {"none"}:
        return [f"{own} is on no network: `estiva network connect NETWORK {own}`"]
    if any(":" in network for network in mine):
        return [
            f"{own} shares a network with another container or the host: names are found there as it does"
        ]
    other = _called(engine, name)
    if other is None and "." in name:
        return [f"{shown} is no container's name: {_servers(record)}"]
    if other is None:
        return [f"no container is called {shown}, and none has it as an alias"]
    theirs = networks_of(other)
    if not other["State"]["Running"]:
        return [f"{shown} does not run: a name is found while its container does"]
    both = set(mine) & set(theirs)
    if both & {"bridge", "host"} and not both - {"bridge", "host"}:
        return [
            f"{own} and {shown} are both on the network {sorted(both)[0]} alone, which has no names: "
            "`estiva network create NET` makes one that has"
        ]
    if not both:
        network = sorted(set(theirs) - {"bridge", "host", "none"})
        words = f"{shown} is on {', '.join(sorted(theirs))}, {own} on {', '.join(sorted(mine))}"
        return [f"{words}: `estiva network connect {network[0]} {own}`" if network else words]
    return []


def _servers(record: Record) -> str:
    """Whom it asks for other names."""
    pid = record["State"]["Pid"]
    try:
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) if pid else -1
    except OSError:
        root = -1
    if root < 0:
        return "a running container could tell whom it asks for such names"
    try:
        text = fs.read_in_root(root, "/etc/resolv.conf", _LIMIT).decode("utf-8", "replace")
    except OSError as error:
        return f"its /etc/resolv.conf can't be read: {error.strerror}"
    finally:
        os.close(root)
    lines = [line.split() for line in text.splitlines()]
    servers = [oneline(words[1])[:60] for words in lines if len(words) > 1 and words[0] == "nameserver"]
    if not servers:
        return "its /etc/resolv.conf has no name server (--dns gives one)"
    return f"it is asked of {', '.join(servers[:3])} (its /etc/resolv.conf; --dns gives others)"


def _called(engine: Engine, name: str) -> Record | None:
    from estiva.engine.containers import listing

    for record in listing.listing(engine, all=True, damaged=[]):
        networks = record["NetworkSettings"].get("Networks") or {}
        aliases = {alias for each in networks.values() for alias in each.get("Aliases") or ()}
        if name == record["Name"].removeprefix("/") or name in aliases or record["Id"].startswith(name):
            return record
    return None
