"""A build from end to end: read the Dockerfile, plan, run the stages that are needed, make the image."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from estiva.builder.cache import local
from estiva.builder.files.workspace import Workspace
from estiva.builder.frontend import parser, stages
from estiva.builder.frontend.errors import bad, located, shorten
from estiva.builder.frontend.instructions import Command, Copy, Pairs, Text, Typed, interpret
from estiva.builder.frontend.source import read_dockerfile
from estiva.builder.request import Progress, Request, ResolveImage, RunStep
from estiva.builder.solver.sources import Sources
from estiva.builder.steps import config, copy, run, workdir
from estiva.builder.steps.context import Source, StepContext
from estiva.builder.steps.state import State
from estiva.errors import EngineError, EstivaError, InvalidInput, reason
from estiva.oci.platform import Platform

if TYPE_CHECKING:
    from estiva.store import Store
    from estiva.store.images import Image

_UNCOUNTED = (*run.PROXIES, "SOURCE_DATE_EPOCH")  # build args that need no ARG


class Build:
    """One running build."""

    def __init__(
        self,
        request: Request,
        store: Store,
        run_step: RunStep,
        resolve_image: ResolveImage,
        progress: Progress | None,
    ) -> None:
        self.request = request
        self.store = store
        self.run_step = run_step
        self.progress = progress or (lambda event: None)
        self.epoch = epoch(request)
        self.host = Platform.host()
        self.wanted = Platform.parse(request.platform) if request.platform else self.host
        self.states: dict[int, State] = {}
        self.number = 0
        self.total = 0
        self.current: dict[str, Any] = {}
        self.workspace = Workspace(store.paths)
        try:
            self.sources = Sources(request, store, self.workspace, resolve_image)
        except BaseException:
            self.workspace.close()
            raise

    def close(self) -> None:
        self.sources.close()
        self.workspace.close()

    def run(self) -> Image:
        """Build the target's image. Raises EstivaError."""
        request = self.request
        context = self.sources.context
        dockerfile, context.exclude = read_dockerfile(
            context.rootfd if request.context is not None else None,
            request.context or "",
            path=request.dockerfile,
            text=request.dockerfile_text,
        )
        self.plan = stages.make(dockerfile, request.build_args, self._platform_args())
        target = self.plan.target(request.target)
        for message in dockerfile.warnings:
            self.warn(message)
        needed = self.plan.needed(target)
        for typed in (typed for stage in needed for typed in stage.steps):
            run.refuse_wider(typed, request)  # before anything is fetched or run
        self.total = sum(1 + len(stage.steps) for stage in needed)
        for stage in needed:
            self.stage(stage)
        final = self.states[target.index]
        for name in sorted(set(request.build_args) - self.plan.declared - set(_UNCOUNTED)):
            self.warn(f"build argument {name} is not used")
        if request.labels:
            final.config["Labels"] = {**(final.config.get("Labels") or {}), **request.labels}
        final.document.setdefault("created", self.clock())
        return self._cache(target).image(final.document, final.inherited, hidden=request.hidden)

    def stage(self, stage: stages.Stage) -> None:
        """Run all of one stage."""
        if stage.index in self.states:
            return
        start = stage.start
        with _Reported(self, stage, start) as reported:
            state = self._start(stage)
            triggers = self._triggers(stage, state)
            for typed in triggers:
                run.refuse_wider(typed, self.request)
            reported.status = "done"
        self.total += len(triggers)
        if self.total > parser.MOST:
            raise bad(
                start.source, f"with the triggers of its base images, the build has over {parser.MOST} steps"
            )
        context = StepContext(
            request=self.request,
            store=self.store,
            cache=self._cache(stage),
            workspace=self.workspace,
            source=lambda name: self._source(name, stage),
            run_step=self.run_step,
            output=self.output,
            warn=self.warn,
            epoch=self.epoch,
        )
        for typed in [*triggers, *stage.steps]:
            with _Reported(self, stage, typed) as reported:
                try:
                    reported.status = "cached" if self._step(context, state, typed) else "done"
                except EstivaError as error:
                    raise located(error, typed.source) from error.__cause__
                except OSError as error:
                    message = f"{typed.name} failed: {reason(error)}: {error.filename or ''}".rstrip(": ")
                    raise located(EngineError(message), typed.source) from error
        self.states[stage.index] = state

    def _start(self, stage: stages.Stage) -> State:
        """The state that a stage's FROM gives."""
        source = stage.start.source
        if stage.base is not None:
            self.stage(stage.base)
            return self.states[stage.base.index].child()
        asked = stage.platform or self.request.platform
        try:
            wanted = Platform.parse(stage.platform) if stage.platform else self.wanted
            if self.sources.is_scratch(stage.image):
                return State.scratch(wanted, self.clock, self.plan.budget)
            image = self.sources.image(stage.image, asked or None)
        except EstivaError as error:
            if stage.image.isdecimal():
                error.message = f"{stage.image} is no stage, and the image of that name: {error.message}"
                error.hint = "FROM takes an earlier stage by its name: FROM IMAGE AS NAME, then FROM NAME"
            elif names := self._earlier(stage, stage.image):
                error.hint = error.hint or f"earlier stages with a name: {names}"
            raise located(error, source) from error.__cause__
        got = Platform.of(image.config)
        if not wanted.accepts(got):
            message = f"the image {stage.image} is for {got}, not for {wanted}"
            if asked:
                raise bad(source, message, f"ask for it with --platform={got}, or use another image")
            self.warn(f"{source.file}:{source.line}: {message}")
        return State(image.config, clock=self.clock, budget=self.plan.budget)

    def _triggers(self, stage: stages.Stage, state: State) -> list[Typed]:
        """The ONBUILD instructions of the base, which run once and are not inherited further."""
        triggers: list[Typed] = []
        source = stage.start.source
        for text in state.config.pop("OnBuild", None) or []:
            for instruction in parser.parse(text, name=source.file).instructions:
                instruction.line = source.line
                if instruction.name in ("FROM", "MAINTAINER", "ONBUILD"):
                    raise bad(source, f"{instruction.name} isn't allowed as an ONBUILD trigger")
                typed = interpret(instruction)
                for name in stages.references(typed):
                    found = self.plan.find(name, stage)
                    if found is not None:
                        self.stage(found)
                if isinstance(typed, Pairs) and typed.name == "ARG":
                    self.plan.declared.update(name for name, _ in typed.pairs)
                triggers.append(typed)
        return triggers

    def _step(self, context: StepContext, state: State, typed: Typed) -> bool:
        """Run one instruction: whether the cache had its result."""
        if isinstance(typed, Copy):
            return copy.CopyStep(context, state, typed).run()
        if typed.name == "RUN":
            assert isinstance(typed, Command)
            return run.CommandStep(context, state, typed).run()
        if typed.name == "WORKDIR":
            assert isinstance(typed, Text)
            return workdir.run(context, state, typed)
        if typed.name == "ARG":
            assert isinstance(typed, Pairs)
            line = config.declare(state, typed, self.request.build_args, self.plan.global_args)
        else:
            line = config.apply(state, typed)
        if line:
            state.record(line)
        else:
            state.touch()
        return False

    def _earlier(self, stage: stages.Stage, name: str) -> str:
        """The names of the stages before one, where `name`, which no image has, may be meant as such."""
        before = self.plan.stages[: stage.index] if "/" not in name and ":" not in name else []
        return ", ".join(other.alias for other in before if other.alias)

    def _source(self, name: str, stage: stages.Stage) -> Source:
        """What COPY --from=name or a mount's `from` reads in a stage."""
        if not name:
            return Source(self.sources.context, None)
        found = self.plan.find(name, stage)
        if found is not None:
            return self.sources.view(f"stage {found.index}", self.states[found.index].diff_ids)
        try:
            return self.sources.find(name)
        except EstivaError as error:
            if "/" not in name and ":" not in name:  # a stage was meant more likely than an image
                error.message = f"there is no stage {name}, and the image of that name: {error.message}"
                names = self._earlier(stage, name)
                error.hint = f"earlier stages with a name: {names}" if names else error.hint
            raise

    def _cache(self, stage: stages.Stage) -> local.Cache:
        names = self.request.no_cache_filter
        off = self.request.no_cache or stage.label in names or stage.alias in names
        return local.Cache(self.store, off=off)

    def clock(self) -> str:
        return local.timestamp(self.epoch)

    def output(self, data: bytes) -> None:
        """What a RUN's command writes."""
        self.progress({**self.current, "status": "output", "data": data})

    def warn(self, message: str) -> None:
        self.progress({"status": "warning", "message": message})

    def _platform_args(self) -> dict[str, str]:
        result: dict[str, str] = {}
        for prefix, platform in (("TARGET", self.wanted), ("BUILD", self.host)):
            result[prefix + "PLATFORM"] = "/".join(platform.written().values())
            result[prefix + "OS"] = platform.os
            result[prefix + "ARCH"] = platform.architecture
            result[prefix + "VARIANT"] = platform.written().get("variant", "")
            result[prefix + "OSVERSION"] = ""  # there is none but on Windows
        result["TARGETSTAGE"] = self.request.target or "default"
        return result


class _Reported:
    """Reports one step's begin and end to the progress callback."""

    def __init__(self, build: Build, stage: stages.Stage, typed: Typed) -> None:
        self.build = build
        self.status = "done"
        self.event = {"stage": stage.label, "instruction": shorten(typed.source.original)}

    def __enter__(self) -> _Reported:
        self.build.number += 1
        self.event["step"] = f"{self.build.number}/{self.build.total}"
        self.build.current = self.event
        self.started = time.monotonic()
        self.build.progress({**self.event, "status": "running", "seconds": 0.0})
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        seconds = time.monotonic() - self.started
        status = self.status if error is None else "error"
        self.build.progress({**self.event, "status": status, "seconds": seconds})


def epoch(request: Request) -> int | None:
    """SOURCE_DATE_EPOCH of a build in seconds, or None. Raises InvalidInput."""
    if request.source_date_epoch is not None:
        return request.source_date_epoch
    text = request.build_args.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > 11:
        raise InvalidInput(f"SOURCE_DATE_EPOCH must be a number of seconds, not {text[:40]!r}")
    return int(text)


def build(
    request: Request,
    *,
    store: Store,
    run_step: RunStep,
    resolve_image: ResolveImage,
    progress: Progress | None = None,
) -> Image:
    """Build an image and return it, untagged; an unchanged build returns the image that it made before.

    `progress` gets events: {"step": "2/9", "stage", "instruction", "status": "running" | "cached" | "done" |
    "error", "seconds"}, the same with "status": "output" and "data" (bytes) for what a command writes, and
    {"status": "warning", "message"}. Raises DockerfileError, BuildFailed and other EstivaErrors, all naming
    the Dockerfile's line.
    """
    with store.writing():
        running = Build(request, store, run_step, resolve_image, progress)
        try:
            return running.run()
        finally:
            running.close()
