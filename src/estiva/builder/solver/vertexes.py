"""Steps as BuildKit's frontend counts and names them, for who shows a build in its clients' display.

What has files of its own is a vertex: COPY, ADD, RUN, WORKDIR and the image of a FROM; the others change the
config alone. (dockerfile2llb/convert.go of moby/buildkit: prefixCommand, resolveBaseImage.)
"""

from __future__ import annotations

from typing import NamedTuple

from estiva.builder.files.url import redacted
from estiva.builder.frontend import instructions, stages
from estiva.builder.frontend.instructions import Command, Copy
from estiva.builder.frontend.parser import heredoc_of
from estiva.builder.frontend.run_mounts import fields
from estiva.builder.frontend.shown import Shown
from estiva.builder.frontend.variables import Expander
from estiva.errors import EstivaError, InvalidInput
from estiva.oci.platform import Platform
from estiva.oci.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from estiva.builder.frontend.instructions import Typed
    from estiva.builder.frontend.stages import Plan, Stage
    from estiva.builder.solver.job import Job
    from estiva.builder.steps.state import State

COUNTED = ("COPY", "ADD", "RUN", "WORKDIR")
MOST = 10_000  # characters of a name
APART = ("cache", "tmpfs", "secret", "ssh")  # mounts that show nothing of the context
INLINE = "[internal] preparing inline document"


class Vertexes:
    """Those of one stage of a build."""

    def __init__(self, job: Job, stage: Stage) -> None:
        self.job = job
        self.stage = stage
        self.label = "" if alone(job.plan) else stage.label
        self.index = 0
        self.total = _total(stage)

    def event(self, typed: Typed, state: State | None) -> dict[str, Any]:
        """What a step's event has: its "vertex", "" for none, and "beside" it those that go with it."""
        name, beside = (self._base(), []) if state is None else self._step(typed, state)
        return {"vertex": name, "beside": beside}

    def triggers(self, found: list[Typed]) -> None:
        """The base has these instructions more for the stage."""
        self.total += sum(typed.name in COUNTED for typed in found)

    def _base(self) -> str:
        """The name of the image that the stage begins with; "" where there is none, or a named context,
        which is a vertex of its own and, as with BuildKit, is counted and has no number."""
        stage, job = self.stage, self.job
        if not _has_image(stage) or job.sources.contexts.place(stage.image):
            return ""
        self.index += 1
        plan, request = job.plan, job.request
        for base in names(plan, plan.target(request.target), job.wanted, several=request.several):
            if base.name == whole(stage.image) and base.platform == str(_own(stage, job.wanted)):
                return base.shown
        return f"FROM {whole(stage.image)}"

    def _step(self, typed: Typed, state: State) -> tuple[str, list[str]]:
        """The name of an instruction, "" for one that is no vertex; and those of what it has beside it."""
        if typed.name not in COUNTED:
            return "", []
        if typed.name == "WORKDIR" and _root(typed, state):
            return "", []
        self.index += 1
        platform = _platform(self.stage, self.job.wanted) if self.job.request.several else ""
        head = _prefix(platform, self.label, self.index, self.total)
        words = typed.source.original
        if isinstance(typed, Copy):
            words = redacted(words)
        elif isinstance(typed, Command) and _lone(typed):
            words += f" ({_summary(typed.source.heredocs[0].text)})"
        name = typed.name + words[len(typed.name) :]
        expand = (Shown if typed.name == "RUN" else Expander)(state.variables, typed.source.escape)
        try:
            name = expand.word(name)
        except InvalidInput:
            pass
        return (head + name)[:MOST], self._beside(typed)

    def _beside(self, typed: Typed) -> list[str]:
        beside = []
        if isinstance(typed, Copy):
            beside = [INLINE] * len(typed.heredocs)
        elif isinstance(typed, Command) and _lone(typed) and typed.source.heredocs[0].text.startswith("#!"):
            beside = [INLINE]
        for name in stages.references(typed):
            if self.job.plan.find(name, self.stage) is None and not self.job.sources.contexts.place(name):
                beside.append(f"FROM {whole(name)}")
        return beside


def _own(stage: Stage, wanted: Platform) -> Platform:
    try:
        return Platform.parse(stage.platform) if stage.platform else wanted
    except EstivaError:
        return wanted


def _platform(stage: Stage, wanted: Platform) -> str:
    """Of a build for several platforms: which one's, and where a stage runs for another one."""
    own = _own(stage, wanted)
    here, there = ("/".join(platform.written().values()) for platform in (own, wanted))
    if here == there:
        return here
    return f"{here}->{there.partition('/')[2] if own.os == wanted.os else there}"


def alone(plan: Plan) -> bool:
    """Whether a stage needs no name: nothing else is read from."""
    if len(plan.stages) > 1:
        return False
    return not any(
        typed.from_ if isinstance(typed, Copy) else isinstance(typed, Command) and typed.mounts
        for typed in plan.stages[0].steps
    )


class Base(NamedTuple):
    """An image that a build begins with or copies from: its whole name and platform, whether the Dockerfile
    asks for that, and how it is shown."""

    name: str
    platform: str
    asked: bool
    shown: str


def names(plan: Plan, target: Stage, wanted: Platform, *, several: bool = False) -> list[Base]:
    """The base images that a target needs: each shown for the stage that begins with it, of several the last
    that is come to, and for no stage where only files are copied from it."""
    found: dict[tuple[str, str], Base] = {}
    seen: set[int] = set()
    pending: list[Iterator[Stage | str]] = [iter([target])]
    named = not alone(plan)
    while pending:
        entry = next(pending[-1], None)
        if entry is None:
            pending.pop()
        elif isinstance(entry, str):
            name = whole(entry)
            found[name, str(wanted)] = Base(name, str(wanted), False, f"FROM {name}")
        elif entry.index not in seen:
            seen.add(entry.index)
            if _has_image(entry):
                name, platform = whole(entry.image), str(_own(entry, wanted))
                head = _prefix(
                    _platform(entry, wanted) if several else "", entry.label * named, 1, _total(entry)
                )
                found[name, platform] = Base(name, platform, bool(entry.platform), f"{head}FROM {name}")
            pending.append(_needed(plan, entry))
    return list(found.values())


def _needed(plan: Plan, stage: Stage) -> Iterator[Stage | str]:
    if stage.base is not None:
        yield stage.base
    for typed in stage.steps:
        for name in stages.references(typed):
            try:
                there = plan.find(name, stage)
            except InvalidInput:
                continue
            if there is not None:
                yield there
            elif name != "scratch":
                yield name


def read(plan: Plan, target: Stage) -> bool:
    """Whether anything is read from the build context, as far as the Dockerfile alone tells."""
    needed = plan.needed(target)
    bases = [stage.base for stage in needed if stage.base is not None]
    if any(typed.name == "ONBUILD" for base in bases for typed in base.steps):
        return True
    return any(_reads(typed) for stage in needed for typed in stage.steps)


def _reads(typed: Typed) -> bool:
    if isinstance(typed, Copy):
        return not typed.from_ and any("://" not in source for source in typed.sources)
    if not isinstance(typed, Command):
        return False
    mounts = [dict(fields(text)) for text in typed.mounts]
    return any(not mount.get("from") and (mount.get("type") or "bind") not in APART for mount in mounts)


def whole(name: str) -> str:
    """A reference in full; what is none as it is."""
    try:
        return str(Reference.parse(name))
    except EstivaError:
        return name


def _has_image(stage: Stage) -> bool:
    return stage.base is None and stage.image != "scratch"


def _total(stage: Stage) -> int:
    return _has_image(stage) + sum(typed.name in COUNTED for typed in stage.steps)


def _prefix(platform: str, label: str, index: int, total: int) -> str:
    where = " ".join(word for word in (platform, label, f"{index:{len(str(total))}}/{total}") if word)
    return f"[{where}] "


def _root(typed: Typed, state: State) -> bool:
    """Whether a WORKDIR is the root, which is there."""
    assert isinstance(typed, instructions.Text)
    try:
        word = Expander(state.variables, typed.source.escape).word(typed.text)
    except InvalidInput:
        return False
    return state.absolute(word).rstrip("/") == ""


def _lone(typed: Command) -> bool:
    """Whether a RUN is a here-document and nothing else."""
    return bool(typed.source.heredocs) and heredoc_of(typed.shell.strip()) is not None


def _summary(text: str) -> str:
    lines = text.strip().replace("\r\n", "\n").split("\n")
    return lines[0] + ("..." if len(lines) > 1 else "")
