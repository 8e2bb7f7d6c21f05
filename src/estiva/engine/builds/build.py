"""`build`: the builder, joined to the store, to the registry client and to the launcher of its steps."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.builder.frontend.errors import BuildFailed
    from estiva.builder.request import Step
    from estiva.engine import Engine
    from estiva.engine.builds.shell import Attend, Shells
    from estiva.engine.state.config_types import HostConfig
    from estiva.store.images import Image


def build(
    engine: Engine,
    *,
    progress: Callable[[dict[str, Any]], None] | None = None,
    fetch: bool = True,
    look: Callable[[], object] | None = None,
    limits: dict[str, Any] | None = None,
    shell: Attend | None = None,
    **options: Any,
) -> str:
    """Build an image, name it by `tags`, and return its id.

    `options` are those of builder.request.Request. `progress` gets the builder's events and those of pulls
    of base images, which have an "id" and the "image"; without `fetch` nothing is ever pulled. `look`
    is called now and then while a command says nothing: what it raises ends the build. `limits` is a
    HostConfig of what each RUN may use and where it runs; no step's key has it, as it is no input.
    `shell` attends a shell in the first step that fails (engine/builds/shell.py). Raises DockerfileError,
    BuildFailed and other EstivaErrors.
    """
    from contextlib import closing

    from estiva.builder.request import NETWORKS, Request
    from estiva.builder.solver.executor import build as run_build
    from estiva.engine.builds import caches, container
    from estiva.engine.builds.devices import Devices
    from estiva.engine.images import events
    from estiva.engine.images.find import allow_refetch
    from estiva.engine.spec import judge
    from estiva.oci.reference import Reference

    request = Request(**options)
    request.devices = Devices(request.allow)
    for tag in request.tags:
        Reference.parse(tag)
    _, host = judge.check({"Image": "any"}, limits or {})
    if progress is not None:
        _warn_of(host, progress)
    if request.network not in NETWORKS:
        from estiva.network import networks

        networks.get(engine.db, request.network)  # before the first of its steps looks for it
    allow_refetch(engine)
    container.end_lost(engine)
    if request.build_args.get("BUILDKIT_INLINE_CACHE") == "1":
        request.cache_to.append("type=inline")
    places = caches.parse("cache-from", request.cache_from), caches.parse("cache-to", request.cache_to)
    with closing(caches.Caches(engine, *places, request.platform, progress)) as remote:
        image = run_build(
            request,
            store=engine.store,
            run_step=Steps(engine, look, host, shell),
            resolve_image=Resolver(engine, progress, fetch),
            progress=progress,
            remote=remote if any(places) else None,
        )
        remote.write(image)
    for tag in request.tags:
        engine.store.images.tag(image.id, tag, image.manifest)
    events.tagged(engine, image, request.tags)
    return image.id


def _warn_of(limits: HostConfig, progress: Callable[[dict[str, Any]], None]) -> None:
    """Tell what of the limits has no effect on this machine."""
    from estiva.engine.spec import judge

    judge.warn(limits, lambda event: progress({"status": "warning", "message": event["message"]}))


def failed(error: Exception) -> BuildFailed | None:
    """The error of a step whose command has failed; None for all others."""
    from estiva.builder.frontend.errors import BuildFailed

    return error if isinstance(error, BuildFailed) else None


class Steps:
    """Runs a RUN's command in a container."""

    def __init__(
        self,
        engine: Engine,
        look: Callable[[], object] | None = None,
        limits: HostConfig | None = None,
        shell: Attend | None = None,
    ) -> None:
        self.engine = engine
        self.look = look
        self.limits = limits
        self.shells: Shells | None = None
        if shell is not None:
            from estiva.engine.builds.shell import Shells

            self.shells = Shells(shell)

    def __call__(self, step: Step) -> int:
        from estiva.engine.builds.worker import run_step

        return run_step(self.engine, step, self.look, self.limits, self.shells)


class Resolver:
    """Finds a base image here, by a name or a whole id as BuildKit does, or pulls it: when it is missing, is
    for another platform, or always."""

    def __init__(
        self, engine: Engine, progress: Callable[[dict[str, Any]], None] | None, fetch: bool = True
    ) -> None:
        self.engine = engine
        self.progress = progress
        self.fetch = fetch

    def __call__(self, name: str, *, platform: str | None, pull: bool) -> Image:
        from estiva.engine.images import registry
        from estiva.errors import NotFound
        from estiva.oci.platform import Platform

        found = None if pull else self.engine.store.images.find(name, short=False)
        if found is not None and (
            platform is None or Platform.parse(platform).accepts(Platform.of(found.config))
        ):
            return found
        if not self.fetch:
            what = f"no such image: {name} for {platform}" if platform else f"no such image: {name}"
            raise NotFound(what, hint=f"`estiva pull {name}` fetches it")
        return registry.pull(self.engine, name, platform=platform, progress=self._told(name))

    def _told(self, name: str) -> Callable[[dict[str, Any]], None] | None:
        """Who hears how the pull goes on, told which image it is of: several may be under way."""
        hears = self.progress
        return None if hears is None else lambda event: hears({"image": name, **event})
