"""`build`: the builder, joined to the store, to the registry client and to the launcher of its steps."""

from __future__ import annotations

import time

from estiva.errors import EstivaError, InvalidInput, brief

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from estiva.builder.exporters.output import Output
    from estiva.builder.frontend.errors import BuildFailed
    from estiva.builder.once import Once
    from estiva.builder.request import Request, Step
    from estiva.builder.steps.together import Together
    from estiva.engine import Engine
    from estiva.engine.builds.built import Built
    from estiva.engine.builds.caches import Caches
    from estiva.engine.builds.shell import Attend, Shells
    from estiva.engine.builds.worker import Watch
    from estiva.engine.images.logins import Logins
    from estiva.engine.images.outfile import Standard
    from estiva.engine.state.config_types import HostConfig
    from estiva.store.images import Image

EMULATOR = "RUN for another platform needs an emulator: qemu-user-static and binfmt-support are the packages"


def build(
    engine: Engine,
    *,
    progress: Callable[[dict[str, Any]], None] | None = None,
    fetch: bool = True,
    look: Callable[[], object] | None = None,
    outputs: Sequence[str | Mapping[str, object]] = (),
    annotations: Sequence[str] = (),
    push: bool = False,
    load: bool = False,
    attest: Sequence[str] = (),
    provenance: str | None = None,
    sbom: str | None = None,
    platforms: Sequence[str] = (),
    standard: Standard | None = None,
    metadata: dict[str, Any] | None = None,
    limits: dict[str, Any] | None = None,
    shell: Attend | None = None,
    watch: Watch | None = None,
    given: Logins = None,
    check: bool = True,
    vertexes: bool = False,
    **options: Any,
) -> str:
    """Build an image, name it by `tags`, and return its id: of several platforms', this machine's.

    `options` are those of builder.request.Request; `outputs`, `annotations`, `push` and `load` those of
    builder.exporters.output.judge, `attest`, `provenance` and `sbom` those of attest.judge there, `standard`
    what an output's "-" is. `metadata` gets what buildx' --metadata-file has. `progress` gets the builder's
    events and those of pulls of base images, which have an "id" and the "image"; without `fetch` nothing is
    ever pulled. `look` is called often by all threads that work for the build, and before each output: what
    it raises ends the build. `limits` is a HostConfig of what each RUN may use and where it runs; no step's
    key has it, as it is no input.
    Without `check` nobody is told what is likely a mistake in the Dockerfile. With `vertexes` the events of
    steps have the names that BuildKit gives them, too (builder/solver/vertexes.py).
    `shell` attends a shell in the first step that fails (engine/builds/shell.py), `watch` hears of the
    containers of steps (worker.py). `given`: credentials for registries (engine/images/logins.py). Raises
    DockerfileError, BuildFailed and other EstivaErrors.
    """
    from estiva.builder.exporters.output import judge
    from estiva.engine.builds import exports as exporting
    from estiva.engine.builds.attesting import Attesting
    from estiva.engine.builds.lost import end_lost
    from estiva.engine.images.find import allow_refetch

    tags = options.pop("tags", None) or []
    wanted = _platforms(options.pop("platform", None), platforms)
    chosen = judge(outputs, tags=tags, annotations=annotations, push=push, load=load)
    attesting = Attesting(engine, attest, provenance, sbom)
    exporting.check(chosen, wanted, attesting, standard)
    host: HostConfig = {}
    if limits:
        from estiva.engine.spec import judge as judging

        _, host = judging.check({"Image": "any"}, limits)
        if progress is not None:
            _warn_of(host, progress)
    allow_refetch(engine)
    end_lost(engine)
    options["check"], options["vertexes"] = check, vertexes
    of = _Platforms(engine, options, Steps(engine, host, shell, watch), progress, fetch, given, look)
    with engine.store.writing():
        built = of.build(wanted)
        exports = exporting.Exports(engine, built, attesting, progress, standard, given)
        for output in chosen:
            if look is not None:
                look()
            exports.run(output)
    if metadata is not None:
        metadata.update(exports.done)
    return str(exports.done.get("containerimage.config.digest") or exports.main.id)


def outputs_of(
    words: Sequence[str],
    tags: Sequence[str],
    annotations: Sequence[str] = (),
    *,
    push: bool = False,
    load: bool = False,
) -> list[Output]:
    """The outputs that words ask for: see builder.exporters.output. Raises InvalidInput, Unsupported."""
    from estiva.builder.exporters.output import judge

    return judge(words, tags=tags, annotations=annotations, push=push, load=load)


def _platforms(one: str | None, more: Sequence[str]) -> list[str | None]:
    """The platforms to build for, each once; None is what the Dockerfile gives on this machine."""
    from estiva.oci.platform import Platform

    found: dict[str, str | None] = {}
    for word in (*([one] if one else ()), *more):
        for each in word.split(","):
            found.setdefault(str(Platform.parse(each.strip())), each.strip())
    return list(found.values()) or [None]


class _Platforms:
    """The builds of one Dockerfile, for each platform. Of what the first has asked for, the others have the
    same: the commit of a ref, the image of a name."""

    def __init__(
        self,
        engine: Engine,
        options: dict[str, Any],
        steps: Steps,
        progress: Callable[[dict[str, Any]], None] | None,
        fetch: bool,
        given: Logins,
        look: Callable[[], object] | None,
    ) -> None:
        from estiva.builder.once import Once

        self.engine, self.options, self.steps = engine, options, steps
        self.progress, self.fetch, self.given, self.look = progress, fetch, given, look
        self.commits: dict[str, Any] = {}
        self.materials: dict[str, str] = {}
        self.bases: Once[tuple[str, str | None, bool], Image] = Once()
        self.together: Together | None = None

    def build(self, wanted: Sequence[str | None]) -> list[Built]:
        """Those of all, beside each other if several. Raises what the first that fails has raised."""
        requests = [self._request(each, len(wanted) > 1) for each in wanted]
        remote = _caches(self.engine, requests, self.progress, self.given)
        try:
            if remote is not None:
                remote.bases = self.fetch
            if len(requests) == 1:
                built = [self._one(requests[0], remote)]
            else:
                built = self._several(requests, remote)
            if remote is not None:
                remote.write([each.image for each in built])
            return built
        finally:
            if remote is not None:
                remote.close()

    def _request(self, platform: str | None, several: bool) -> Request:
        from estiva.builder.request import NETWORKS, Request
        from estiva.engine.builds.devices import Devices

        options = {**self.options, "platform": platform}
        check, vertexes = options.pop("check"), options.pop("vertexes")
        request = Request(**options, hidden=True)
        request.check, request.vertexes, request.several = check, vertexes, several
        request.devices = Devices(request.allow)
        request.commits, request.materials = self.commits, self.materials
        if request.network not in NETWORKS:
            from estiva.network import networks

            networks.get(self.engine.db, request.network)  # before the first of its steps looks for it
        if request.build_args.get("BUILDKIT_INLINE_CACHE") == "1":
            request.cache_to.append("type=inline")
        return request

    def _several(self, requests: Sequence[Request], remote: Caches | None) -> list[Built]:
        """A thread for each, the first in this one."""
        from functools import partial

        from estiva.builder import threads
        from estiva.builder.files.workspace import Workspace
        from estiva.builder.steps.together import Together

        self.together = together = Together(Workspace(self.engine.paths), self.progress, self.look)
        built: dict[int, Built] = {}

        def work(number: int = 0) -> None:
            try:
                built[number] = self._one(requests[number], remote)
            except BaseException as error:
                together.failed(error)

        begun = []
        try:
            try:
                for number in range(1, len(requests)):
                    begun.append(threads.start(partial(work, number), "estiva-platform"))
                work()
                while alive := [thread for thread in begun if thread.is_alive()]:
                    alive[0].join()
            except BaseException as error:
                together.failed(error)
                for thread in begun:
                    thread.join()
            if together.failure is not None:
                raise together.failure
        finally:
            together.close()
        return [built[number] for number in range(len(requests))]

    def _one(self, request: Request, remote: Caches | None) -> Built:
        """Build for one platform."""
        from estiva.builder.cache.local import Cache
        from estiva.builder.solver import executor
        from estiva.engine.builds.built import Built
        from estiva.engine.images.bases import BaseImages

        engine, progress = self.engine, self.progress
        if self.together is not None and progress is not None:
            progress = _Of(str(request.platform), self.together.tell)
        resolver = BaseImages(engine, progress, self.fetch, self.given, self.bases)
        started = time.time_ns()
        try:
            image = executor.build(
                request,
                store=engine.store,
                run_step=self.steps,
                ahead=self.steps.ahead,
                look=self.look,
                resolve_image=resolver,
                progress=progress,
                remote=remote,
                together=self.together,
            )
        except EstivaError as error:
            if "exec format error" in error.message or "it is built for" in error.message:
                error.hint = EMULATOR
            raise
        return Built(Cache(engine.store, off=request.no_cache), image, request, resolver.found, started)


def _caches(
    engine: Engine,
    requests: Sequence[Request],
    progress: Callable[[dict[str, Any]], None] | None,
    given: Logins,
) -> Caches | None:
    """Those elsewhere, if any are named: of all platforms together. Raises InvalidInput, Unsupported."""
    first = requests[0]
    if not first.cache_from and not first.cache_to:
        return None
    from estiva.engine.builds import caches

    places = caches.parse("cache-from", first.cache_from), caches.parse("cache-to", first.cache_to)
    return caches.Caches(engine, *places, [each.platform for each in requests], progress, given)


class _Of:
    """Tells the events of one platform's build."""

    def __init__(self, platform: str, progress: Callable[[dict[str, Any]], None]) -> None:
        self.platform = platform
        self.progress = progress

    def __call__(self, event: dict[str, Any]) -> None:
        self.progress({**event, "platform": self.platform} if "step" in event else event)


def _warn_of(limits: HostConfig, progress: Callable[[dict[str, Any]], None]) -> None:
    """Tell what of the limits has no effect on this machine."""
    from estiva.engine.spec import judge

    judge.warn(limits, lambda event: progress({"status": "warning", "message": event["message"]}))


def elsewhere(place: str, *, image: bool = False) -> str:
    """A build context that is an address, of a repository or of http(s), or a named one of an `image`: no
    folder of this machine, whoever asks for it. Raises InvalidInput."""
    from estiva.builder.fetch import address

    if image and place.startswith("docker-image://"):
        return place
    if address.parse(place, context=not image) is None and not address.is_http(place):
        raise InvalidInput(f"the build context {brief(place, 100)} is no address", hint="of git, or http(s)")
    return place


def failed(error: Exception) -> BuildFailed | None:
    """The error of a step whose command has failed; None for all others."""
    from estiva.builder.frontend.errors import BuildFailed

    return error if isinstance(error, BuildFailed) else None


class Steps:
    """Runs a RUN's command in a container."""

    def __init__(
        self,
        engine: Engine,
        limits: HostConfig | None = None,
        shell: Attend | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.engine = engine
        self.watch = watch
        self.limits = limits
        self.several = False
        self.shells: Shells | None = None
        if shell is not None:
            from estiva.engine.builds.shell import Shells

            self.shells = Shells(shell)

    def ahead(self, network: str, several: bool) -> None:
        """Soon a command is to be run in such a network. Whether `several` may be, in all."""
        from estiva.engine.builds import ahead

        self.several = several
        ahead.monitor(self.engine, bridge=network not in ("none", "host"))

    def begun(self) -> None:
        """The first has been launched: the next ones may be beside a thread that packs."""
        if self.several and self.engine.direct:
            from estiva.engine.builds import ahead

            ahead.spawner()
        self.several = False

    def __call__(self, step: Step) -> int:
        from estiva.engine.builds.worker import run_step

        return run_step(self.engine, step, self.limits, self.shells, self.watch, self.begun)
