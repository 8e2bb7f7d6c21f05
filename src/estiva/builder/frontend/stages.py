"""The stages of a Dockerfile, how they need each other, and which of them a target needs."""

from __future__ import annotations

import bisect

from estiva.builder.frontend import run_mounts, values
from estiva.builder.frontend.errors import DockerfileError, bad
from estiva.builder.frontend.instructions import Command, Copy, From, Pairs, interpret
from estiva.builder.frontend.near import near
from estiva.builder.frontend.variables import Budget, Expander
from estiva.errors import InvalidInput, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.builder.frontend.instructions import Typed
    from estiva.builder.frontend.syntax import Dockerfile, Instruction


class Later(InvalidInput):
    """A stage that is read from is there, but below: docker only minds where the reader is needed."""


class Stage:
    """One FROM and what follows. `base` is an earlier stage, or None for an image or scratch (in `image`).

    `wrong` is what keeps it from being built, for whoever needs it.
    """

    def __init__(self, index: int, start: From, image: str, platform: str) -> None:
        self.index = index
        self.start = start
        self.image = image
        self.platform = platform
        self.base: Stage | None = None
        self.steps: list[Typed] = []
        self.needs: list[Stage] = []
        self.wrong: DockerfileError | None = None

    @property
    def alias(self) -> str:
        return self.start.alias

    @property
    def label(self) -> str:
        return self.start.alias or f"stage-{self.index}"


class Plan:
    """All stages in order, the one to build, and the ARGs from before the first FROM."""

    def __init__(
        self, dockerfile: Dockerfile, build_args: dict[str, str], platform_args: dict[str, str]
    ) -> None:
        self.dockerfile = dockerfile
        self.build_args = build_args
        self.stages: list[Stage] = []
        self.global_args: dict[str, str] = {
            name: build_args.get(name, value) for name, value in platform_args.items()
        }
        self.predefined = dict(self.global_args)
        self.header: list[Pairs] = []  # the ARGs from before the first FROM, as written
        self.declared: set[str] = set()
        self.budget = Budget()
        self.named: dict[str, list[Stage]] = {}  # by alias, in order

    def add(self, stage: Stage) -> None:
        self.stages.append(stage)
        if stage.alias:
            self.named.setdefault(stage.alias, []).append(stage)

    def before(self, name: str, stage: Stage) -> Stage | None:
        """The last stage of that name before another one."""
        named = self.named.get(name.lower(), [])
        place = bisect.bisect_left(named, stage.index, key=lambda other: other.index)
        return named[place - 1] if place else None

    def find(self, name: str, before: Stage) -> Stage | None:
        """The stage that COPY --from names, by alias or number. Raises InvalidInput for a later one."""
        found = self.before(name, before)
        if found is None and name.isdecimal():
            index = values.whole(name, before.index - 1)
            if index is None:
                raise InvalidInput(f"invalid stage index {name}: it must be that of an earlier stage")
            found = self.stages[index]
        if found is None and name.lower() in self.named:
            names = self.earlier(before, name)
            kind = Later if self.named[name.lower()][-1].index > before.index else InvalidInput
            raise kind(
                f"can't copy from stage {name}: it must be defined before stage {before.label}",
                hint=f"earlier stages with a name: {', '.join(names)}" if names else "",
            )
        return found

    def target(self, name: str | None) -> Stage:
        """The stage to build: the last, or the one named. Raises NotFound."""
        if not name:
            return self.stages[-1]
        for stage in self.stages:
            if stage.alias == name.lower() or name == str(stage.index):
                return stage
        known = [stage.alias for stage in self.stages if stage.alias]
        hint = f"it has {', '.join(known)}" if known else ""
        if meant := near(name, known):
            hint = f"did you mean {meant}? {hint}"
        raise NotFound(f"no stage {name!r} in {self.dockerfile.name}", hint=hint)

    def earlier(self, stage: Stage, name: str) -> list[str]:
        """The names of the stages before one, those that `name` may be meant for first."""
        known = [other.alias for other in self.stages[: stage.index] if other.alias]
        meant = near(name, known)
        return sorted(dict.fromkeys(known), key=lambda alias: alias != meant)

    def needed(self, target: Stage) -> list[Stage]:
        """What must be built for `target`, itself included, in order. Raises DockerfileError for a stage
        among them that reads from a later one.
        """
        wanted: set[int] = set()
        pending = [target]
        while pending:
            stage = pending.pop()
            if stage.index not in wanted:
                if stage.wrong is not None:
                    raise stage.wrong
                wanted.add(stage.index)
                pending += stage.needs
        return [stage for stage in self.stages if stage.index in wanted]


def make(dockerfile: Dockerfile, build_args: dict[str, str], platform_args: dict[str, str]) -> Plan:
    """Interpret every instruction and link the stages. Raises DockerfileError.

    TARGETSTAGE "default" is the last stage's name, if it has one.
    """
    understood = [interpret(instruction) for instruction in dockerfile.instructions]
    if platform_args.get("TARGETSTAGE") == "default":
        last = next((typed for typed in reversed(understood) if isinstance(typed, From)), None)
        platform_args = {**platform_args, "TARGETSTAGE": (last.alias if last else "") or "default"}
    plan = Plan(dockerfile, build_args, platform_args)
    stage: Stage | None = None
    for typed in understood:
        instruction = typed.source
        if isinstance(typed, From):
            stage = _stage(plan, typed)
            plan.add(stage)
        elif stage is not None:
            stage.steps.append(typed)
            if isinstance(typed, Pairs) and typed.name == "ARG":
                plan.declared.update(name for name, _ in typed.pairs)
        elif isinstance(typed, Pairs) and typed.name == "ARG":
            _global(plan, typed)
        else:
            raise bad(
                instruction, f"{instruction.name} before FROM", "only ARG may come before the first FROM"
            )
    if not plan.stages:
        raise InvalidInput(f"{dockerfile.name} has no FROM", hint="a Dockerfile starts with FROM IMAGE")
    for each in plan.stages:
        _link(plan, each)
    return plan


def _global(plan: Plan, typed: Pairs) -> None:
    plan.header.append(typed)
    for name, default in typed.pairs:
        plan.declared.add(name)
        if name in plan.build_args:
            plan.global_args[name] = plan.build_args[name]
        elif default is not None:
            plan.global_args[name] = _expand(plan, typed.source, default)


def _expand(plan: Plan, source: Instruction, text: str) -> str:
    try:
        return Expander(plan.global_args, source.escape, plan.budget).word(text)
    except InvalidInput as error:
        raise bad(source, error.message, error.hint) from None


def _stage(plan: Plan, typed: From) -> Stage:
    image = _expand(plan, typed.source, typed.image)
    if not image:
        raise bad(
            typed.source,
            f"the base image of FROM is empty: {typed.image}",
            "an ARG used in FROM must come before the first FROM and have a value",
        )
    platform = _expand(plan, typed.source, typed.platform)
    if typed.platform and not platform:
        name = near(typed.platform.strip("${}"), plan.global_args)
        hint = f"did you mean ${name}?" if name else "leave it out for that of the build"
        raise bad(typed.source, f"the platform of FROM is empty: {typed.platform}", hint)
    return Stage(len(plan.stages), typed, image, platform)


def _link(plan: Plan, stage: Stage) -> None:
    stage.base = plan.before(stage.image, stage)
    if stage.base is not None:
        stage.needs.append(stage.base)
    for typed in stage.steps:
        try:
            found = [plan.find(name, stage) for name in references(typed)]
        except DockerfileError:
            raise
        except Later as error:
            stage.wrong = stage.wrong or bad(typed.source, error.message, error.hint)
            continue
        except InvalidInput as error:
            raise bad(typed.source, error.message, error.hint) from None
        stage.needs += [other for other in found if other is not None]


def references(typed: Typed) -> list[str]:
    """The stages, images or named contexts that an instruction reads from, as written."""
    if isinstance(typed, Copy):
        names = [typed.from_]
    elif isinstance(typed, Command):
        names = [run_mounts.from_of(text) for text in typed.mounts]
    else:
        return []
    for name in names:
        if "$" in name:
            raise bad(
                typed.source, f"from={name} can't hold a variable", "FROM $IMAGE AS NAME, and use NAME here"
            )
    return [name for name in names if name]
