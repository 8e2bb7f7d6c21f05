"""A Dockerfile looked through without building it: frontend/lint's rules, and what is wrong in it.

The instructions that change the config alone are done, on a state without layers, so that every variable has
its value where a rule looks at it; of COPY and RUN the words are expanded and checked.
"""

from __future__ import annotations

from estiva.builder.frontend import parser, run_mounts, values
from estiva.builder.frontend.errors import bad, located
from estiva.builder.frontend.instructions import Command, Copy, From, Pairs, Text, interpret
from estiva.builder.frontend.lint import bases, steps, written
from estiva.builder.frontend.lint.rule import ARGUMENT, Options, Report, options_of
from estiva.builder.frontend.lint.steps import Scope
from estiva.builder.frontend.variables import Budget, Expander
from estiva.builder.steps import config
from estiva.builder.steps.state import State, expander
from estiva.errors import EstivaError
from estiva.oci.platform import Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.builder.frontend import stages
    from estiva.builder.frontend.ignore import Matcher
    from estiva.builder.frontend.instructions import Typed
    from estiva.builder.frontend.lint.rule import Finding
    from estiva.builder.frontend.syntax import Instruction
    from estiva.builder.request import Request

    BaseConfig = Callable[[stages.Stage], dict[str, Any] | None]


class Seen:
    """What a stage asks of whoever builds it: its ARGs by name, with value and place; its RUNs' mounts."""

    def __init__(self) -> None:
        self.args: dict[str, tuple[str, Instruction]] = {}
        self.used: set[str] = set()
        self.mounts: list[tuple[run_mounts.Mount, Instruction]] = []


class Check:
    """Looks through the stages of a plan. `seen` has what was found in them, by their numbers.

    `base` gives the config of a stage's base image, None for one that is not known: then nothing is said of
    what depends on it. What it raises is the caller's.
    """

    def __init__(
        self, plan: stages.Plan, request: Request, wanted: Platform, ignored: Matcher | None, base: BaseConfig
    ) -> None:
        self.plan = plan
        self.request = request
        self.wanted = wanted
        self.ignored = ignored
        self.base = base
        self.options = options_of(plan.dockerfile, request.build_args.get(ARGUMENT))
        self.report = Report(self.options)
        self.budget = Budget()
        self.seen: dict[int, Seen] = {}
        self.wrong: Instruction | None = None  # where `run` has failed
        self.count = 0  # of steps, triggers included
        self._ends: dict[int, tuple[State, Scope]] = {}  # of those that others still begin with
        self._heirs = dict.fromkeys(range(len(plan.stages)), 0)
        for stage in plan.stages:
            if stage.base is not None:
                self._heirs[stage.base.index] += 1

    def run(self, wanted: list[stages.Stage]) -> list[Finding]:
        """What there is to say of the file and of the stages `wanted`, among them those that others stand on.

        Raises EstivaError, with the line, for what is wrong; `report` has what was found until then.
        """
        report, plan = self.report, self.plan
        for instruction in plan.dockerfile.instructions:
            written.instruction(instruction, report)
        for typed in [
            *plan.header,
            *(typed for stage in plan.stages for typed in [stage.start, *stage.steps]),
        ]:
            if isinstance(typed, From) or (isinstance(typed, Pairs) and typed.name == "ARG"):
                written.described(typed.source, written.defined(typed), report)
        written.stages(plan, report)
        written.casing(plan, report)
        bases.defaults(plan, report)
        bases.arguments(plan, report)
        for stage in wanted:
            if stage.wrong is not None:
                raise stage.wrong
            self._stage(stage)
        return report.ordered()

    def _stage(self, stage: stages.Stage) -> None:
        self.now = self.seen[stage.index] = Seen()
        triggers: list[tuple[str, Report]] = []
        if stage.base is not None:
            above, inherited = self._ends[stage.base.index]
            self._heirs[stage.base.index] -= 1
            if not self._heirs[stage.base.index]:
                del self._ends[stage.base.index]
            state = above.child()
            declared = set(inherited.declared)
            scope = Scope(self.budget, declared=declared, workdir=inherited.workdir, known=inherited.known)
            triggers = [(text, self.report) for text in state.config.pop("OnBuild", None) or []]
        else:
            try:
                state, scope = self._base(stage)
            except EstivaError as error:
                self.wrong = stage.start.source
                raise located(error, stage.start.source) from error.__cause__
            quiet = Report(Options(skip=frozenset(("all",))))  # nobody here has written them
            triggers = [(text, quiet) for text in state.config.pop("OnBuild", None) or []]
        scope.ignored = self.ignored
        self.count += 1 + len(triggers) + len(stage.steps)
        if self.count > parser.MOST:
            raise bad(stage.start.source, f"with the triggers of its stages, it has over {parser.MOST} steps")
        for text, report in triggers:
            for instruction in parser.parse(text, name=stage.start.source.file).instructions:
                instruction.line = instruction.end = stage.start.source.line
                self._step(interpret(instruction), state, scope, report)
        for typed in stage.steps:
            self._step(typed, state, scope, self.report)
        if self._heirs[stage.index]:
            self._ends[stage.index] = state, scope

    def _base(self, stage: stages.Stage) -> tuple[State, Scope]:
        wanted = Platform.parse(stage.platform) if stage.platform else self.wanted
        if stage.image == "scratch":
            return State.scratch(wanted, _clock, self.budget), Scope(self.budget)
        document = self.base(stage)
        if document is None:
            return State({}, clock=_clock, budget=self.budget), Scope(self.budget, known=False)
        if document.get("architecture"):
            bases.base_platform(stage, wanted, Platform.of(document), self.report)
        return State(document, clock=_clock, budget=self.budget), Scope(self.budget)

    def _step(self, typed: Typed, state: State, scope: Scope, report: Report) -> None:
        try:
            if isinstance(typed, Pairs) and typed.name == "ARG":
                self._argument(typed, state, scope, report)
                return
            scope.variables = state.variables
            scope.shell = bool(state.config.get("Shell"))
            steps.step(typed, scope, report)
            self._apply(typed, state)
        except EstivaError as error:
            self.wrong = typed.source
            raise located(error, typed.source) from error.__cause__

    def _argument(self, typed: Pairs, state: State, scope: Scope, report: Report) -> None:
        """ARG, name by name: what one sets, the next one uses."""
        given, known = self.request.build_args, self.plan.global_args
        scope.variables = state.variables
        expand = Expander(scope.variables, typed.source.escape, self.budget)
        for name, default in typed.pairs:
            steps.argument(typed, name, None if name in given else default, scope, report)
            value = known.get(name) if default is None else expand.word(default)
            value = given.get(name, value)
            if value is not None:
                scope.variables[name] = value
            scope.declared.add(name)
            self.now.used.add(name)
            if default is not None or name in given or name not in known:
                self.now.args[name] = scope.variables.get(name, ""), typed.source
        config.declare(state, typed, given, known)

    def _apply(self, typed: Typed, state: State) -> None:
        """What an instruction does to the config, or what is wrong in its words."""
        if isinstance(typed, Copy):
            chmod = expander(state, typed).word(typed.chmod)
            if chmod:
                values.mode_change(chmod, 0o644, False)
        elif isinstance(typed, Command) and typed.name == "RUN":
            expand = expander(state, typed)
            for text in typed.mounts:
                self.now.mounts.append((run_mounts.parse(text, expand, state.workdir), typed.source))
        elif isinstance(typed, Text) and typed.name == "WORKDIR":
            config.workdir(state, typed)
        else:
            config.apply(state, typed)


def _clock() -> str:
    return ""
