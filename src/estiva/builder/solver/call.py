"""What is asked of a Dockerfile instead of building it: `check`, `outline` and `targets`.

The answers are the documents that BuildKit has for these (its subrequests lint, outline and targets).
"""

from __future__ import annotations

import base64
from collections import ChainMap

from estiva.builder.frontend import stages
from estiva.builder.frontend.errors import DockerfileError
from estiva.builder.frontend.lint import written
from estiva.builder.frontend.lint.rule import ARGUMENT, Report, options_of
from estiva.builder.frontend.variables import Expander
from estiva.builder.solver.check import Check
from estiva.builder.solver.job import Job
from estiva.errors import EngineError, EstivaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol

    from estiva.builder.frontend.ignore import Matcher
    from estiva.builder.frontend.lint.rule import Finding
    from estiva.builder.frontend.syntax import Dockerfile, Instruction
    from estiva.builder.request import Request
    from estiva.builder.solver.check import BaseConfig
    from estiva.store import Store

    Document = dict[str, Any]

    class ResolveConfig(Protocol):
        """Finds an image's config by name for a platform, without its layers."""

        def __call__(self, name: str, *, platform: str | None) -> Document: ...


def call(what: str, request: Request, *, store: Store, resolve_config: ResolveConfig) -> Document:
    """The answer to one of CALLS. Raises EstivaError; `check` where there is no Dockerfile to look at."""
    with store.writing():
        job = Job(request, store, _never, _never, None, None, _never)
        try:
            context = job.sources.context
            dockerfile, ignored = job.sources.contexts.dockerfile(context)
            return CALLS[what](_Asked(job, dockerfile, ignored, resolve_config))
        finally:
            job.close()


def _never(*words: object, **options: object) -> Any:
    raise EngineError("nothing is built here")


class _Asked:
    """One question: the Dockerfile, and what it needs to be understood."""

    def __init__(
        self, job: Job, dockerfile: Dockerfile, ignored: Matcher | None, resolve: ResolveConfig
    ) -> None:
        self.job = job
        self.dockerfile = dockerfile
        self.ignored = ignored
        self.resolve = resolve

    @property
    def data(self) -> str:
        return base64.b64encode(self.dockerfile.text.encode("utf-8", "replace")).decode()

    def plan(self) -> stages.Plan:
        plan = stages.make(self.dockerfile, self.job.request.build_args, self.job.platform_args())
        self.job.sources.contexts.replace(plan)
        return plan

    def check(self, plan: stages.Plan, base: BaseConfig) -> Check:
        return Check(plan, self.job.request, self.job.wanted, self.ignored, base)

    def base(self, stage: stages.Stage) -> Document | None:
        request = self.job.request
        named = self.job.sources.contexts.place(stage.image) or "docker-image://" + stage.image
        if not named.startswith("docker-image://"):
            return None
        platform = stage.platform or request.platform
        return self.resolve(named.removeprefix("docker-image://"), platform=platform)

    def known(self, stage: stages.Stage) -> Document | None:
        """The same, None for an image that can't be had: an outline does without."""
        try:
            return self.base(stage)
        except EstivaError:
            return None


def _check(asked: _Asked) -> Document:
    """All warnings, and the first error if there is one."""
    dockerfile = asked.dockerfile
    options = options_of(dockerfile, asked.job.request.build_args.get(ARGUMENT))
    report = Report(options)
    failed: EstivaError | None = None
    check: Check | None = None
    try:
        plan = asked.plan()
        target = asked.job.request.target
        wanted = plan.needed(plan.target(target)) if target else plan.stages
        check = asked.check(plan, asked.base)
        report = check.report
        check.run(wanted)
    except EstivaError as error:
        failed = error
        if not report.findings:  # of what is written something can be said even so
            for instruction in dockerfile.instructions:
                written.instruction(instruction, report)
    result: Document = {
        "warnings": [_warning(finding) for finding in report.ordered()],
        "sources": [{"filename": dockerfile.name, "language": "Dockerfile", "data": asked.data}],
    }
    if failed is not None:
        place: Document = {}
        if check is not None and check.wrong is not None:
            place = _location(check.wrong)
        elif isinstance(failed, DockerfileError):
            place = {"ranges": [_range(failed.line, failed.line)]}
        result["buildError"] = {"message": failed.message, "location": place, "hint": failed.hint}
    return result


def _warning(finding: Finding) -> Document:
    return {
        "ruleName": finding.rule.name,
        "description": finding.rule.summary,
        "detail": finding.message,
        "location": {"ranges": [_range(finding.line, finding.end)]},
    }


def _targets(asked: _Asked) -> Document:
    """The stages that can be built, as they are written."""
    plan = asked.plan()
    targets = []
    for stage in plan.stages:
        source = stage.start.source
        fields = {
            "name": stage.alias,
            "default": stage is plan.stages[-1],
            "description": _description(source, stage.alias),
            "base": stage.start.image,
            "platform": stage.start.platform,
            "location": _location(source),
        }
        targets.append({key: value for key, value in fields.items() if value})
    return {"targets": targets, "sources": [asked.data]}


def _outline(asked: _Asked) -> Document:
    """What a target takes: ARGs, secrets, agents."""
    plan = asked.plan()
    target = plan.target(asked.job.request.target)
    needed = plan.needed(target)
    check = asked.check(plan, asked.known)
    check.run(needed)
    args: dict[str, Document] = {}
    secrets: dict[str, Document] = {}
    agents: dict[str, Document] = {}
    globals_ = _globals(plan)
    defaults = {
        (name, id(header.source)): default or "" for header in plan.header for name, default in header.pairs
    }
    for stage in reversed(needed):  # the target's own word on a name counts
        seen = check.seen[stage.index]
        for name in sorted(_used(plan, stage) | seen.used):
            _argument(name, ChainMap(seen.args, globals_), defaults, plan, args)
        for mount, source in seen.mounts:
            found = {"secret": secrets, "ssh": agents}.get(mount.kind)
            if found is not None:
                fields = {"name": mount.id, "required": mount.required, "location": _location(source)}
                found.setdefault(mount.id, {key: value for key, value in fields.items() if value})
    result: Document = {
        "name": target.alias,
        "description": _description(target.start.source, target.alias),
        "args": _sorted(args),
        "secrets": _sorted(secrets),
        "ssh": _sorted(agents),
        "sources": [asked.data],
    }
    return {key: value for key, value in result.items() if value}


def _globals(plan: stages.Plan) -> dict[str, tuple[str, Instruction]]:
    return {
        name: (plan.global_args.get(name, ""), header.source)
        for header in plan.header
        for name, _ in header.pairs
    }


def _used(plan: stages.Plan, stage: stages.Stage) -> set[str]:
    """The variables in a FROM."""
    expand = Expander(plan.global_args, stage.start.source.escape, plan.budget)
    expand.word(stage.start.image)
    expand.word(stage.start.platform)
    return expand.used


def _argument(
    name: str,
    known: Mapping[str, tuple[str, Instruction]],
    defaults: dict[tuple[str, int], str],
    plan: stages.Plan,
    into: dict[str, Document],
) -> None:
    """Add an ARG, and the global ones that its default is made of."""
    pending = [name]
    while pending:
        name = pending.pop()
        if name in into or name not in known:
            continue
        value, source = known[name]
        fields = {
            "name": name,
            "description": _description(source, name),
            "value": value,
            "location": _location(source),
        }
        into[name] = {key: value for key, value in fields.items() if value}
        default = defaults.get((name, id(source)), "")
        if default:
            expand = Expander(plan.global_args, source.escape, plan.budget)
            expand.word(default)
            pending += sorted(expand.used)


def _sorted(found: dict[str, Document]) -> list[Document]:
    return sorted(found.values(), key=lambda each: int(each["location"]["ranges"][0]["start"]["line"]))


def _description(source: Instruction, name: str) -> str:
    """What the comment above an instruction says of a name."""
    start = name + " "
    return next((text[len(start) :] for text in source.comments if name and text.startswith(start)), "")


def _location(source: Instruction) -> Document:
    return {"ranges": [_range(source.line, source.end)]}


def _range(line: int, end: int) -> Document:
    return {"start": {"line": line}, "end": {"line": end}}


CALLS: dict[str, Callable[[_Asked], Document]] = {"check": _check, "outline": _outline, "targets": _targets}
