"""What concerns a whole engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from estiva.engine import resume, system
from estiva.engine.builds import upkeep as builds
from estiva.sdk import values
from estiva.sdk.objects.shown import Pruned
from estiva.sdk.told import told

if TYPE_CHECKING:
    from collections.abc import Mapping

    from estiva.engine import Engine
    from estiva.errors import EstivaError


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """What a build keeps: a step ("regular") or a cache mount ("exec.cachemount"). `created` and `used` in
    seconds since 1970, `size` in bytes; `shared`: an image has all of it; `busy`: a build uses it."""

    id: str
    type: str
    description: str
    created: float
    used: float
    size: int
    shared: bool
    busy: bool


@dataclass(frozen=True, slots=True)
class PrunedAll:
    """What `system.prune` has removed, and how many bytes that gave back. `busy`: another process was storing
    things, so that unused content had to stay; `failed`: what could not be removed, in words."""

    containers: tuple[str, ...]
    networks: tuple[str, ...]
    images: tuple[str, ...]
    volumes: tuple[str, ...]
    build_cache: int
    freed: int
    busy: bool
    failed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """What `system.check` has found, in words: what it swept up, repaired and left half done on purpose, and
    what is wrong."""

    swept: tuple[str, ...]
    repaired: tuple[str, ...]
    kept: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that Estiva needs of a machine: "ok", "missing" or "optional" (missing, and not needed), and
    what for."""

    name: str
    state: str
    why: str


class System:
    """What concerns the whole engine: `estiva.Engine().system`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @told
    def version(self) -> dict[str, str]:
        """Version and platform."""
        return system.version()

    @told
    def info(self) -> dict[str, Any]:
        """The engine and its machine, in the shape of `docker info`."""
        return system.info(self.engine)

    @told
    def df(self) -> dict[str, Any]:
        """Disk usage in bytes."""
        return system.df(self.engine)

    @told
    def prune(
        self, *, all: bool = False, volumes: bool = False, filters: Mapping[str, Any] | None = None
    ) -> PrunedAll:
        """Remove stopped containers, unused networks and images (`all`: also those with a name), what builds
        remember, and with `volumes` unused volumes without a name.

            print(engine.system.prune(all=True).freed)
        """
        done = system.prune(
            self.engine,
            all=values.flag("all", all),
            volumes=values.flag("volumes", volumes),
            filters=values.filters(filters),
        )
        return PrunedAll(
            containers=tuple(done["containers"]),
            networks=tuple(done["networks"]),
            images=tuple(done["images"]),
            volumes=tuple(done["volumes"]),
            build_cache=done["build_cache"],
            freed=done["bytes"],
            busy=done["busy"],
            failed=tuple(done["failed"]),
        )

    @told
    def build_cache(self, filters: Mapping[str, Any] | None = None) -> tuple[CacheEntry, ...]:
        """What builds keep for the next ones, steps and cache mounts; the least recently used first."""
        return tuple(CacheEntry(*entry) for entry in builds.entries(self.engine, values.filters(filters)))

    @told
    def prune_build_cache(
        self, filters: Mapping[str, Any] | None = None, *, keep: int | None = None, free: int | None = None
    ) -> Pruned:
        """Forget what builds remember, and remove cache mounts; images stay. The next build runs every step.

        engine.system.prune_build_cache(filters={"until": "24h"}, keep=10 * 10**9)

        `keep`: only until entries of so many bytes are left; `free`: only until so many bytes of the disk
        are free; what was used least recently goes first.
        """
        kept = builds.Keep(
            None if keep is None else values.whole("keep", keep),
            None if free is None else values.whole("free", free),
        )
        done = builds.prune(self.engine, filters=values.filters(filters), keep=kept)
        return Pruned(tuple(done["mounts"]), done["bytes"])

    @told
    def remove_cache_mounts(self, ids: Any) -> tuple[str, ...]:
        """Remove cache mounts (`RUN --mount=type=cache`) by their ids, or the beginnings of these."""
        return tuple(builds.remove(self.engine, values.listed("ids", ids)))

    @told
    def export_cache_mount(self, id: str, path: Any) -> None:
        """Write the files of a cache mount as a tar to a new file."""
        from estiva.engine.images.outfile import Output

        with Output(values.path("path", path)) as out:
            builds.export(self.engine, values.text("id", id), out)

    @told
    def doctor(self) -> tuple[Finding, ...]:
        """What the kernel and the packages of this machine have, and lack.

        missing = [one.name for one in engine.system.doctor() if one.state == "missing"]
        """
        from estiva.engine.explain import machine

        return tuple(Finding(one.name, one.state, one.why) for one in machine.examine(self.engine))

    @told
    def check(self, *, deep: bool = False, repair: bool = False) -> Checked:
        """Sweep up what killed processes left, then compare all state with itself; `deep` reads all content,
        `repair` mends it."""
        done = system.check(self.engine, deep=values.flag("deep", deep), repair=values.flag("repair", repair))
        return Checked(*(tuple(done[key]) for key in ("swept", "repaired", "kept", "problems")))

    @told
    def resume(self) -> dict[str, EstivaError | None]:
        """Start, after a reboot, the containers whose restart policy says so: what kept each from it."""
        return dict(resume.resume(self.engine))
