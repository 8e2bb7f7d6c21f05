"""One stage of a build: its base, the triggers of that, its instructions, one after the other."""

from __future__ import annotations

import time

from estiva.builder.cache.inputs import slot
from estiva.builder.files.url import redacted
from estiva.builder.files.workspace import Scratch
from estiva.builder.frontend import parser, stages
from estiva.builder.frontend.errors import bad, located, shorten
from estiva.builder.frontend.instructions import Copy, Pairs, interpret
from estiva.builder.solver import instruction
from estiva.builder.steps import run
from estiva.builder.steps.context import Source, StepContext
from estiva.builder.steps.lookup import Lookup
from estiva.builder.steps.state import State
from estiva.builder.steps.together import Sharing
from estiva.errors import FREE_SPACE, FULL, EngineError, EstivaError, Stopped, Unavailable, exhausted, reason
from estiva.oci.platform import Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.builder.frontend.instructions import Typed
    from estiva.builder.solver.job import Job
    from estiva.builder.solver.vertexes import Vertexes
    from estiva.builder.steps.written import Written


class StageRun:
    """The run of one stage, in one thread, beside those of others."""

    def __init__(self, job: Job, stage: stages.Stage) -> None:
        self.job = job
        self.stage = stage
        self.current: dict[str, Any] = {}
        self.place, self.steps = 0, 1 + len(stage.steps)
        self.source = stage.start.source
        self.number = 0
        self.vertexes: Vertexes | None = None
        if job.request.vertexes:
            from estiva.builder.solver.vertexes import Vertexes

            self.vertexes = Vertexes(job, stage)
        self.context = StepContext(
            request=job.request,
            store=job.store,
            lookup=Lookup(job.cache(stage), job.remote),
            workspace=Scratch(job.workspace),
            source=self._source,
            run_step=job.run_step,
            output=self.output,
            look=job.look,
            go_on=job.go_on,
            warn=job.warn,
            pack=self._pack,
            place=self._place,
            busy=self._busy,
            missed=self._missed,
            fetching=job.fetching,
            sharing=None if job.together is None else Sharing(job.together),
            ahead=job.command_ahead,
        )

    def run(self) -> State:
        """Run all of it; the state at its end. Raises EstivaError."""
        job, start = self.job, self.stage.start
        with _Reported(self, start) as reported:
            state = self._start()
            triggers = self._triggers(state)
            for typed in triggers:
                run.refuse_wider(typed, job.request)
            reported.status = "done"
        self.steps += len(triggers)
        if self.vertexes is not None:
            self.vertexes.triggers(triggers)
        if job.add(len(triggers)) > parser.MOST:
            raise bad(
                start.source, f"with the triggers of its base images, the build has over {parser.MOST} steps"
            )
        for typed in [*triggers, *self.stage.steps]:
            self.number += 1
            self.source = typed.source
            with _Reported(self, typed, state) as reported:
                try:
                    reported.status = "cached" if self._do(state, typed) else "done"
                except EstivaError as error:
                    raise located(error, typed.source) from error.__cause__
                except OSError as error:
                    message = f"{typed.name} failed: {reason(error)}: {error.filename or ''}".rstrip(": ")
                    raise located(_failed(error, message), typed.source) from error
                finally:
                    if self.context.sharing is not None:
                        self.context.sharing.drop()
        return state

    def _place(self) -> str:
        request, stage = self.job.request, self.stage
        where = f"{request.context} {request.dockerfile} {stage.platform or request.platform}"
        return slot(where, str(stage.index), str(self.number))

    def _busy(self) -> None:
        if not self.job.frugal:  # else what others would begin may not be needed
            self.job.busy()

    def _missed(self) -> None:
        self.job.busy()

    def skipped(self) -> None:
        """Tell the steps of a stage that nobody has needed: what was made of it is in the cache."""
        for typed in [self.stage.start, *self.stage.steps]:
            with _Reported(self, typed) as reported:
                reported.status = "cached" if typed.name in ("RUN", "COPY", "ADD", "WORKDIR") else "done"

    def _pack(self, written: Written) -> None:
        written.source = self.source
        self.job.packing.add(written)

    def output(self, data: bytes) -> None:
        """What a RUN's command writes."""
        self.job.tell({**self.current, "status": "output", "data": data})

    def _start(self) -> State:
        """The state that a stage's FROM gives."""
        job, stage = self.job, self.stage
        source = stage.start.source
        if stage.base is not None:
            return self._defined(job.state(stage.base).child())
        asked = stage.platform or job.request.platform
        try:
            wanted = Platform.parse(stage.platform) if stage.platform else job.wanted
            if job.sources.is_scratch(stage.image):
                return self._based(State.scratch(wanted, job.clock, job.plan.budget))
            image = job.sources.image(stage.image, asked or None)
        except EstivaError as error:
            if stage.image.isdecimal():
                error.message = f"{stage.image} is no stage, and the image of that name: {error.message}"
                error.hint = "FROM takes an earlier stage by its name: FROM IMAGE AS NAME, then FROM NAME"
            elif names := self._earlier(stage.image):
                error.hint = error.hint or f"earlier stages with a name: {names}"
            raise located(error, source) from error.__cause__
        got = Platform.of(image.config)
        if not wanted.accepts(got):
            message = f"the image {stage.image} is for {got}, not for {wanted}"
            if asked:
                raise bad(source, message, f"ask for it with --platform={got}, or use another image")
            job.warn(f"{source.file}:{source.line}: {message}")
        return self._based(State(image.config, clock=job.clock, budget=job.plan.budget))

    def _based(self, state: State) -> State:
        """The state of an image, which begins a definition where one is of use."""
        if self.job.defining:
            state.definition = list(state.document["rootfs"]["diff_ids"])
        return self._defined(state)

    def _defined(self, state: State) -> State:
        """Nobody finds by its definition what reads from a stage that is to be built anew."""
        if self.job.anew(self.stage):
            state.definition = None
        return state

    def _triggers(self, state: State) -> list[Typed]:
        """The ONBUILD instructions of the base, which run once and are not inherited further."""
        triggers: list[Typed] = []
        job, source = self.job, self.stage.start.source
        for text in state.config.pop("OnBuild", None) or []:
            for found in parser.parse(text, name=source.file).instructions:
                found.line, found.end, found.lines = source.line, source.end, source.lines
                if found.name in ("FROM", "MAINTAINER", "ONBUILD"):
                    raise bad(source, f"{found.name} isn't allowed as an ONBUILD trigger")
                typed = interpret(found)
                for name in stages.references(typed):
                    read = job.plan.find(name, self.stage)
                    if read is not None:
                        job.state(read)
                if isinstance(typed, Pairs) and typed.name == "ARG":
                    job.plan.declared.update(name for name, _ in typed.pairs)
                triggers.append(typed)
        return triggers

    def _do(self, state: State, typed: Typed) -> bool:
        done = instruction.do(self.context, state, typed, self.job.plan.global_args)
        self.job.passed[self.stage.index] = typed.source.line
        return done

    def _earlier(self, name: str) -> str:
        """The names of the stages before this one, where `name`, which no image has, may be meant as such."""
        return "" if "/" in name or ":" in name else ", ".join(self.job.plan.earlier(self.stage, name))

    def _source(self, name: str) -> Source:
        """What COPY --from=name or a mount's `from` reads."""
        job = self.job
        if not name:
            return Source(lambda: job.sources.context, None)
        found = job.plan.find(name, self.stage)
        if found is not None:
            if not job.defining:
                return job.sources.view(f"stage {found.index}", job.state(found).layers, stage=True)
            from estiva.builder.solver.definition import StageSource

            return StageSource(job, found)
        try:
            return job.sources.find(name)
        except EstivaError as error:
            if job.sources.contexts.place(name):
                raise
            if "/" not in name and ":" not in name:  # a stage was meant more likely than an image
                error.message = f"there is no stage {name}, and the image of that name: {error.message}"
                names = self._earlier(name)
                error.hint = f"earlier stages with a name: {names}" if names else error.hint
            raise


def _failed(error: OSError, message: str) -> EstivaError:
    """Of what is used up, that it can be had again."""
    if error.errno in FULL:
        return EngineError(message, hint=FREE_SPACE)
    reached = exhausted(error)
    return Unavailable(message, hint=reached.hint) if reached is not None else EngineError(message)


class _Reported:
    """Reports one step's begin and end to the progress callback."""

    def __init__(self, run: StageRun, typed: Typed, state: State | None = None) -> None:
        self.run = run
        self.job = run.job
        self.status = "done"
        words = typed.source.original
        if isinstance(typed, Copy):  # the addresses of an ADD, as in the history
            words = redacted(words)
        self.event: dict[str, Any] = {"stage": run.stage.label, "instruction": shorten(words)}
        self.event["index"] = run.job.order.get(run.stage.index, len(run.job.order) + run.stage.index)
        if run.vertexes is not None:
            self.event |= run.vertexes.event(typed, state)

    def __enter__(self) -> _Reported:
        self.run.place += 1
        self.event |= {"step": self.job.next_step(), "place": f"{self.run.place}/{self.run.steps}"}
        self.run.current = self.event
        self.started = time.monotonic()
        self.job.tell({**self.event, "status": "running", "seconds": 0.0})
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        seconds = time.monotonic() - self.started
        ended = {"status": self.status}
        if isinstance(error, Exception) and not isinstance(error, Stopped):
            ended = {"status": "error", "error": str(error)}
        elif error is not None:  # Ctrl-C, another stage: the step itself has done nothing wrong
            ended = {"status": "canceled"}
        self.job.tell({**self.event, **ended, "seconds": seconds})
