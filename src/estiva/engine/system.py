"""What concerns the whole engine: version, info, disk usage, clean-up, consistency check."""

from __future__ import annotations

import os

from estiva import settings
from estiva.errors import InvalidInput, StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine import Engine

API_VERSION = "1.45"
IDENTITY = "engine.id"  # the key in `meta`
ROUNDS = 3  # of sweep and check: somebody may be killed between the two


def version() -> dict[str, str]:
    """Version and platform."""
    import platform

    from estiva.version import __version__

    return {
        "Version": __version__,
        "PythonVersion": platform.python_version(),
        "Os": "linux",
        "Arch": architecture(),
        "KernelVersion": os.uname().release,
    }


def architecture() -> str:
    """The machine's architecture, by its name in image configs (GOARCH)."""
    machine = os.uname().machine
    names = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm", "loongarch64": "loong64"}
    return names.get(machine, machine)


def info(engine: Engine) -> dict[str, Any]:
    """The engine and its machine, in the shape of `docker info` as far as it has sense here."""
    from estiva.engine.containers import listing
    from estiva.engine.daemon_fields import daemon_fields
    from estiva.runtime import cgroup

    states: dict[str, int] = {}
    for record in listing.listing(engine, all=True):
        states[record["State"]["Status"]] = states.get(record["State"]["Status"], 0) + 1
    uname = os.uname()
    known, wrong = settings.look()
    return {
        "ID": identity(engine),
        "Containers": sum(states.values()),
        "ContainersRunning": states.get("running", 0),
        "ContainersPaused": states.get("paused", 0),
        "ContainersStopped": sum(n for status, n in states.items() if status not in ("running", "paused")),
        "Images": len(engine.store.images.list()),
        "Driver": _driver(engine),
        "CgroupVersion": cgroup.version().removeprefix("v"),
        "CgroupDriver": "cgroupfs",
        "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
        "KernelVersion": uname.release,
        "OperatingSystem": _operating_system(),
        "OSType": "linux",
        "Architecture": uname.machine,
        "NCPU": os.cpu_count() or 1,
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "Name": uname.nodename,
        "EstivaRootDir": engine.paths.root,
        "EstivaRunRootDir": engine.paths.run_root,
        "EstivaSettings": wrong or (settings.path() if known else ""),
        "ServerVersion": version()["Version"],
        **daemon_fields(engine, known),
    }


def identity(engine: Engine) -> str:
    """Of a state root: a UUID that is made when it is first asked for; "" where nothing can be written."""
    sql = "SELECT value FROM meta WHERE key = ?"
    rows = engine.db.read(sql, (IDENTITY,))
    if not rows:
        from uuid import uuid4

        from estiva.errors import StateError

        sql_new = "INSERT OR IGNORE INTO meta (key, value) VALUES (?, ?)"
        try:
            with engine.db.write() as transaction:
                transaction.execute(sql_new, (IDENTITY, str(uuid4())))
        except StateError:  # who only looks is told what there is
            return ""
        rows = engine.db.read(sql, (IDENTITY,))
    return str(rows[0][0])


def _driver(engine: Engine) -> str:
    from estiva.errors import EstivaError

    try:
        return engine.store.layers.driver
    except EstivaError:
        return "none"  # this machine can't store layers; the verbs that need to say why


def _operating_system() -> str:
    try:
        with open("/etc/os-release", encoding="utf-8", errors="replace") as file:
            for line in file.read(1 << 16).splitlines():
                if line.startswith("PRETTY_NAME="):
                    return line.partition("=")[2].strip("\"'")
    except OSError:
        pass
    return "Linux"


def df(engine: Engine) -> dict[str, Any]:
    """Disk usage in bytes: see store/upkeep/usage.py."""
    from estiva.store.upkeep import usage

    return usage.usage(engine.store)


def prune(
    engine: Engine, *, all: bool = False, volumes: bool = False, filters: dict[str, list[str]] | None = None
) -> dict[str, Any]:
    """Remove stopped containers, unused networks and images (`all`: named ones too), the build cache, unused
    content, and with `volumes` anonymous volumes. With `filters` (engine/state/prune_filters.py) only
    containers, images and volumes that they take, and what a build remembers stays: it has neither labels nor
    a time.

    Returns {"containers": ids, "networks": names, "images": rmi lines, "volumes": names, "build_cache":
    count, "bytes": freed, "busy": another process was storing things, so that unused content had to stay;
    "swept", "failed": what killed processes had left, in words, and what of it could not be removed}.
    """
    from estiva.engine import volumes as volume_verbs
    from estiva.engine.builds import upkeep as builds
    from estiva.engine.containers import adopt, sweep
    from estiva.engine.images import lookup as images
    from estiva.engine.networks import remove, upkeep
    from estiva.engine.state.prune_filters import Pruned
    from estiva.store.upkeep import gc

    if Pruned(filters).until is not None and volumes:
        raise InvalidInput(
            "the filter 'until' can't be with --volumes",
            hint="`estiva volume prune` is for volumes alone",
        )
    if adopt.is_lost(engine):
        raise StateError(*adopt.lost(engine), hint="nothing is pruned before that")
    swept, failed = sweep.sweep(engine, upkeep.network)
    ids, freed = sweep.prune(engine, filters)
    gone = remove.prune(engine, filters)
    names: list[str] = []
    if volumes:
        names, bytes_of_volumes = volume_verbs.prune(engine, filters=filters)
        freed += bytes_of_volumes
    before = images.store_size(engine)
    cached = 0 if filters else builds.prune(engine)["steps"]
    lines, _ = images.prune(engine, all=all, filters=filters)
    result = gc.reclaim(engine.store, grace=0.0 if all else gc.GRACE)
    engine.store.layers.sweep()
    engine.db.checkpoint()
    freed += max(0, before - images.store_size(engine))
    return {
        "containers": ids,
        "images": lines,
        "networks": gone,
        "volumes": names,
        "build_cache": cached,
        "bytes": freed,
        "busy": result["busy"],
        "swept": swept,
        "failed": failed,
    }


def check(engine: Engine, *, deep: bool = False, repair: bool = False) -> dict[str, list[str]]:
    """Sweep what killed processes left, then check all state against itself.

    Returns, in words, {"swept": what was removed, "repaired": what was wrong and with `repair` is not any
    more, "kept": what is half done and stays on purpose, "problems": what is wrong}. `deep` reads all content
    and verifies its digests. `repair` makes or fetches again what is damaged of images, adopts what a lost
    database knew, and makes anew what others have removed from the firewall and
    of the bridge.
    """
    from estiva.engine.containers import adopt, sweep
    from estiva.engine.networks import upkeep
    from estiva.store.upkeep import fsck, leftovers

    swept: list[str] = []
    repaired: list[str] = []
    problems: list[str] = []
    refused: dict[tuple[str, str], str] = {}
    if repair:
        from estiva.engine.images import repair as images
        from estiva.engine.images.find import allow_refetch

        allow_refetch(engine)
        repaired += adopt.adopt(engine)
        repaired += upkeep.mend_network(engine, refused)
        repaired += upkeep.missing_rules(engine, mend=True)
        repaired += upkeep.relays(engine, mend=True)
        repaired += images.repair(engine, deep=deep)
        engine.mended()  # is told by that
    for _ in range(ROUNDS):
        done, failed = ([], []) if adopt.is_lost(engine) else sweep.sweep(engine, upkeep.network)
        swept += done
        problems = [*failed, *adopt.lost(engine), *fsck.check(engine.store, deep=deep), *sweep.check(engine)]
        problems += upkeep.unplugged(engine, refused) + upkeep.missing_rules(engine) + upkeep.relays(engine)
        problems += filter(None, settings.look()[1:])
        if not problems:
            break
    engine.db.checkpoint()
    return {"swept": swept, "repaired": repaired, "kept": leftovers.kept(engine.store), "problems": problems}
