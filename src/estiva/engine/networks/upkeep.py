"""Networks held against what runs: what killed processes have left of them, what others have taken away of
them, and that put back.
"""

from __future__ import annotations

import os

from estiva.engine.state import locks, runstate
from estiva.engine.state.published import published_own
from estiva.errors import EstivaError, oneline, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from estiva.engine import Engine
    from estiva.engine.state.types import RunState
    from estiva.network.types import Place

    Refused = dict[tuple[str, str], str]  # by container and endpoint: why
    Ends = dict[tuple[str, str], tuple[Place, str]]  # by container and endpoint: its place, its veth or ""


def network(engine: Engine) -> Iterator[str]:
    """What has gone, in words. Whoever has an address holds the container's lock from before until after."""
    paths, db = engine.paths, engine.db
    from estiva.network import networks

    used = db.read("SELECT 1 FROM meta WHERE key LIKE 'network.%' LIMIT 1")
    if not used and not networks.any_there(db):
        return  # never
    from estiva.network import bridge, bridges

    found = bridge.sweep(
        db, paths, lambda: [i for i in os.listdir(paths.run_containers) if locks.held(paths, i)]
    )
    for kind, what in (("leases", "addresses"), ("ports", "published ports"), ("veths", "veths")):
        if found[kind]:
            yield f"{found[kind]} {what} of containers that do not run: removed"
    for what in bridges.sweep(paths, db, lambda: published_own(paths, db)):
        yield f"{what}: removed"


def unplugged(engine: Engine, refused: Refused | None = None) -> list[str]:
    """Containers that run and have lost their network, in words; with why `mend_network` could not help."""
    told = []
    for (container_id, endpoint), (_, veth) in _unplugged(engine).items():
        said = f"container {container_id[:12]} has lost its network: its interface "
        why = (refused or {}).get((container_id, endpoint))
        if veth and why:
            told.append(f"{said}{veth} is in no bridge, and is not put back: {why}")
        elif veth:
            told.append(f"{said}{veth} is in no bridge: `estiva system check --repair` puts it back")
        else:
            told.append(f"{said}has been deleted: `estiva restart {container_id[:12]}` makes another")
    return told


def _unplugged(engine: Engine) -> Ends:
    """Those."""
    import time

    from estiva.network.unplugged import unplugged

    found: Ends = {}
    for turn in range(2):
        found = unplugged(_plugged(engine))
        if not found:
            break
        if not turn:
            time.sleep(0.1)  # one that ends loses its network a moment before anybody can see that
    return found


def _plugged(engine: Engine) -> dict[str, list[Place]]:
    """The places in bridges of the containers that ought to be in this network namespace."""
    from estiva.engine.state.net.endpoint_shape import places_of
    from estiva.network import networks

    leased = {(row[0], row[1]) for row in engine.db.read("SELECT container, address FROM leases")}
    found = {}
    for live in _running(engine):
        places = [place for place in places_of(live) if (live["id"], place["address"]) in leased]
        found[live["id"]] = [place for place in places if place["driver"] == networks.BRIDGE]
    return found


def _running(engine: Engine) -> list[RunState]:
    """The containers with addresses that run and were started in this network namespace."""
    from estiva.runtime import state

    found = []
    here = os.stat("/proc/self/ns/net")
    for (container_id,) in engine.db.read("SELECT DISTINCT container FROM leases"):
        try:
            live = runstate.read(engine.paths, container_id)
            if (
                live is not None
                and os.path.samestat(os.stat(f"/proc/{live['monitor']}/ns/net"), here)
                and locks.held(engine.paths, container_id)
                and state.alive(live["pid"], live["start_time"])
            ):
                found.append(live)
        except (EstivaError, OSError):
            continue  # damaged, which is told; has ended
    return found


def relays(engine: Engine, *, mend: bool = False) -> list[str]:
    """Containers whose ports on IPv6 addresses nobody serves any more, in words; with `mend` those who are
    served again."""
    told = []
    for live in _running(engine):
        told += relay_of(engine, live, mend=mend)
    return told


def relay_of(engine: Engine, live: RunState, *, mend: bool) -> list[str]:
    """The same of one container. Only a process of one thread starts what serves them."""
    if not any(":" in port["HostIp"] for port in live["network"].get("ports") or ()):
        return []
    from estiva.engine.state.net import relays

    try:
        wrong = relays.trouble(engine.paths, live["id"], live["network"])
        said = f"the relay of container {live['id'][:12]} for ports on IPv6 addresses {wrong}"
        if wrong and not mend:
            return [f"{said}: `estiva network reload` starts it again"]
        if wrong and engine.direct and _relay_again(engine, live):
            return [f"{said}: started again"]
    except OSError:
        pass  # the container has ended meanwhile
    return []


def _relay_again(engine: Engine, live: RunState) -> bool:
    """Whether it could be: not when another has a port of it by now. One that is stopped holds its ports,
    and goes first."""
    from estiva.engine.state.net import relays
    from estiva.network import ports

    wanted = [port for port in live["network"]["ports"] if ":" in port["HostIp"]]
    pidfd = runstate.opened(live["pid"], live["start_time"])
    if pidfd < 0:
        return False
    try:
        relays.end(engine.paths, live["id"])
        held, sockets = ports.bind(wanted)
        try:
            relays.start(engine.paths, live["id"], pidfd, held, sockets)
        finally:
            ports.release(sockets)
    except EstivaError:
        return False
    finally:
        os.close(pidfd)
    return True


def mend_network(engine: Engine, refused: Refused) -> list[str]:
    """Plug in again what can be; what was unplugged. What can't be, as another has taken its bridge's subnet,
    harms no other: why goes to `refused`."""
    from estiva.engine.state.published import firewalls
    from estiva.network.unplugged import plug

    mended = []
    for (container_id, endpoint), (place, veth) in _unplugged(engine).items():
        if not veth:
            continue
        try:
            plug(engine.db, engine.paths, place, veth, firewalls(engine.paths, engine.db))
            mended.append(f"container {container_id[:12]} was in no bridge: plugged in again")
        except EstivaError as error:
            hint = f" ({error.hint})" if error.hint else ""
            refused[container_id, endpoint] = oneline(f"{error.message}{hint}")
        except OSError as error:
            refused[container_id, endpoint] = f"{error.filename or 'netlink'}: {reason(error)}"
    return mended


def missing_rules(engine: Engine, *, mend: bool = False) -> list[str]:
    """What others have taken out of the firewall of containers that run, in words; with `mend` it is put
    back."""
    from estiva.engine.state.published import published
    from estiva.network import bridge, ipam, rules

    paths, db = engine.paths, engine.db
    told = []
    if any(locks.held(paths, container_id) for container_id in ipam.leased(db)):
        found = bridge.missing(lambda: published(paths, db))
        if found and mend:
            bridge.mend(paths, lambda: published(paths, db))
        told += found
    others = db.read("SELECT container FROM leases WHERE network != ?", (ipam.DEFAULT_NETWORK,))
    if any(locks.held(paths, row[0]) for row in others):
        found = rules.missing(paths, db, lambda: published_own(paths, db))
        if found and mend:
            rules.mend(paths, db, lambda: published_own(paths, db))
        told += found
    return told
