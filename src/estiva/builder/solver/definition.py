"""What a stage is to become, told without building it: the keys of its steps, each on those below it.

A cache elsewhere may have the result of `COPY --from=build` and nothing of the stage `build` itself
(mode=min, inline). The step's key tells of the layers of that stage, which nobody knows before it is built.
So there is a second key, which tells of its definition in their place: the layers of its base, and for each
step DEFINED and its key, made on the definition below it. Who finds the step by that key needs nothing of the
stage.

A definition is made of what the steps would read now. Of a stage that was built it is that of what was read
(steps/context.py adds to it), so that nothing is kept under the key of other files (K20).
"""

from __future__ import annotations

from estiva.builder.files.workspace import Scratch
from estiva.builder.frontend import parser
from estiva.builder.frontend.instructions import interpret
from estiva.builder.frontend.stages import references
from estiva.builder.frontend.variables import Budget
from estiva.builder.solver import instruction
from estiva.builder.steps.context import DEFINED, Source, StepContext
from estiva.builder.steps.lookup import Lookup
from estiva.builder.steps.state import State
from estiva.errors import EngineError, EstivaError
from estiva.oci.platform import Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from estiva.builder.files.frozen import Frozen
    from estiva.builder.files.tree import Tree
    from estiva.builder.files.workspace import Workspace
    from estiva.builder.frontend.stages import Stage
    from estiva.builder.once import Once
    from estiva.builder.request import Step
    from estiva.builder.solver.job import Job
    from estiva.builder.steps.context import Keys


class Unknown(EngineError):
    """It can't be told without building it."""


def known(job: Job, stage: Stage) -> list[str] | None:
    """The definition of a stage, None where it can't be told; of one that was built as it was."""
    built = job.states.found(stage.index)
    if built is not None:
        return built.definition
    defined = job.definitions.get(stage.index, lambda: _defined(job, stage))
    return None if defined is None else [layer for layer in defined.layers if isinstance(layer, str)]


class StageSource(Source):
    """A stage to read from: it is built when its layers or files are asked for."""

    def __init__(self, job: Job, stage: Stage) -> None:
        super().__init__(self._open, None, stage=True)
        self.job = job
        self.of = stage

    def _built(self) -> Source:
        job = self.job
        return job.sources.view(f"stage {self.of.index}", job.state(self.of).layers, stage=True)

    def _open(self) -> Tree:
        return self._built().tree

    @property
    def layers(self) -> Any:
        return self._built().layers

    @property
    def definition(self) -> list[str] | None:
        return known(self.job, self.of)


def _defined(job: Job, stage: Stage) -> State | None:
    """Its state at the end, with a definition for layers."""
    if job.anew(stage):
        return None
    try:
        state = _start(job, stage)
        context = _context(job, stage)
        for typed in [*_triggers(state), *stage.steps]:
            instruction.do(context, state, typed, job.plan.global_args)
        return state
    except (EstivaError, OSError):  # who builds it tells what is wrong
        job.look()
        return None


def _start(job: Job, stage: Stage) -> State:
    if stage.base is not None:
        below = job.definitions.get(stage.base.index, lambda: _defined(job, stage.base or stage))
        if below is None:
            raise Unknown(f"stage {stage.base.label} is not known")
        return below.child()
    wanted = Platform.parse(stage.platform) if stage.platform else job.wanted
    if job.sources.is_scratch(stage.image):
        return State.scratch(wanted, job.clock, Budget())
    platform = stage.platform or job.request.platform or None
    image = job.sources.known(stage.image, platform)
    name = job.sources.contexts.image_of(stage.image) or stage.image
    if image is not None:
        config: dict[str, Any] | None = image.config
    elif job.store.images.find(name, short=False) is not None:
        config = job.sources.image(stage.image, platform).config
    else:
        config = _elsewhere(job, stage.image, wanted)
    if config is None or not wanted.accepts(Platform.of(config)):
        raise Unknown(f"the image {stage.image} is not to be had")
    return State(config, clock=job.clock, budget=Budget())


def _elsewhere(job: Job, name: str, platform: Platform) -> dict[str, Any] | None:
    """The config of an image that is not here, without its layers: nobody may need them."""
    contexts = job.sources.contexts
    if job.remote is None or (contexts.place(name) and not contexts.image_of(name)):
        return None
    return job.remote.config(contexts.image_of(name) or name, platform)


def _triggers(state: State) -> list[Any]:
    found = []
    for text in state.config.pop("OnBuild", None) or []:
        found += [interpret(each) for each in parser.parse(text, name="ONBUILD").instructions]
    if any(references(typed) for typed in found):
        raise Unknown("a trigger reads from elsewhere")
    return found


def _context(job: Job, stage: Stage) -> StepContext:
    def run_step(step: Step) -> NoReturn:
        _unknown()

    def source(name: str) -> Source:
        if not name:
            return Source(lambda: job.sources.context, None)
        found = job.plan.find(name, stage)
        if found is None:
            contexts = job.sources.contexts
            image = contexts.image_of(name) or name
            if name == "scratch" or job.store.images.find(image, short=False) is not None:
                return job.sources.find(name)
            if contexts.place(name) and not contexts.image_of(name):
                return job.sources.find(name)
            config = _elsewhere(job, name, job.wanted)
            if config is None:
                raise Unknown(f"the image {name} is not to be had")
            return Source(_unknown, list(config["rootfs"]["diff_ids"]))
        layers = known(job, found)
        if layers is None:
            raise Unknown(f"stage {found.label} is not known")
        return _Defined(layers)

    return _Context(
        request=job.request,
        store=job.store,
        lookup=Lookup(job.cache(stage), None),
        workspace=_Scratch(job.workspace),
        source=source,
        run_step=run_step,
        output=_unknown,
        look=job.look,
        go_on=job.look,
        warn=lambda message: None,
        pack=_unknown,
        place=lambda: "",
        busy=lambda: None,
        missed=_unknown,
        fetching=job.fetching,
        ahead=_unknown,
    )


class _Defined(Source):
    """A stage of which nothing but the definition is known."""

    def __init__(self, definition: list[str]) -> None:
        super().__init__(_unknown, None, stage=True)
        self._definition = definition

    @property
    def layers(self) -> NoReturn:
        _unknown()

    @property
    def definition(self) -> list[str]:
        return self._definition


def _unknown(*arguments: object) -> NoReturn:
    raise Unknown("it takes files of the stage")


class _Context(StepContext):
    """Whatever is looked for is found, by the first of its keys; nothing is done."""

    def reuse(
        self, state: State, keys: Keys, created_by: str, *, alone: bool = False, last: bool = True
    ) -> bool:
        below = [layer for layer in state.layers if isinstance(layer, str)]
        name = next(iter(keys(below)), None)
        if name is None:
            raise Unknown(created_by)
        state.record(created_by, layer=DEFINED + name)
        return True

    def view(self, layers: object) -> NoReturn:
        _unknown()

    snapshot = write = add = keep = view  # type: ignore[assignment]


class _Scratch(Scratch):
    """Nothing is made."""

    def file(self) -> NoReturn:
        _unknown()

    directory = secret = file

    def __init__(self, workspace: Workspace) -> None:
        self.known = workspace
        self.secrets, self.held = [], []

    @property
    def frozen(self) -> Once[tuple[Tree, str], Frozen]:
        return self.known.frozen

    @property
    def workspace(self) -> NoReturn:  # type: ignore[override]
        _unknown()
