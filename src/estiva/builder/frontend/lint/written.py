"""Rules on how a Dockerfile is written, which need no variable's value and no base image."""

from __future__ import annotations

from estiva.builder.frontend.instructions import From, Pairs
from estiva.builder.frontend.lint.rule import Report, Rule
from estiva.builder.frontend.stages import Plan
from estiva.builder.frontend.syntax import Instruction

RESERVED = ("context", "scratch")

STAGE_NAME_CASING = Rule("StageNameCasing", "Names of stages are in small letters")
FROM_AS_CASING = Rule("FromAsCasing", "FROM and AS are both in capitals or both in small letters")
NO_EMPTY_CONTINUATION = Rule(
    "NoEmptyContinuation",
    "No empty line stands among the lines of an instruction: it will be its end one day",
)
CONSISTENT_INSTRUCTION_CASING = Rule(
    "ConsistentInstructionCasing", "All instructions of a file are in capitals, or all in small letters"
)
DUPLICATE_STAGE_NAME = Rule("DuplicateStageName", "Each stage has a name of its own")
RESERVED_STAGE_NAME = Rule("ReservedStageName", "No stage is called scratch or context, which mean something")
MAINTAINER_DEPRECATED = Rule("MaintainerDeprecated", "An author is told by a label, not by MAINTAINER")
INVALID_DEFINITION_DESCRIPTION = Rule(
    "InvalidDefinitionDescription",
    "A comment right above FROM or ARG says what it is, beginning with the name; `#` alone sets others apart",
    experimental=True,
)  # fmt: skip


def instruction(source: Instruction, report: Report) -> None:
    """The rules on one instruction alone."""
    if source.gap:
        report.add(
            NO_EMPTY_CONTINUATION, source, "an empty line among those of an instruction", line=source.gap
        )
    if source.name == "MAINTAINER":
        report.add(
            MAINTAINER_DEPRECATED,
            source,
            "MAINTAINER is out of use: LABEL org.opencontainers.image.authors=... says the same",
        )
    elif source.name == "FROM":
        _from(source, report)


def _from(source: Instruction, report: Report) -> None:
    words = source.args.split()
    if len(words) != 3:
        return
    if words[2] != words[2].lower():
        report.add(STAGE_NAME_CASING, source, f"the stage {words[2]} should be called {words[2].lower()}")
    small, capitals = source.word.islower(), source.word.isupper()
    if (small and not words[1].islower()) or (capitals and not words[1].isupper()):
        report.add(FROM_AS_CASING, source, f"{source.word} and {words[1]} are not written alike")


def stages(plan: Plan, report: Report) -> None:
    """The rules on all stages together."""
    known: set[str] = set()
    for stage in plan.stages:
        if stage.alias in RESERVED:
            report.add(
                RESERVED_STAGE_NAME, stage.start.source, f"{stage.alias} means something else than a stage"
            )
        if stage.alias and stage.alias in known:
            report.add(
                DUPLICATE_STAGE_NAME, stage.start.source, f"there is a stage {stage.alias} above already"
            )
        known.add(stage.alias)


def casing(plan: Plan, report: Report) -> None:
    """All instructions from the first FROM on are written as most of them are."""
    sources = [typed.source for stage in plan.stages for typed in (stage.start, *stage.steps)]
    alike = [source.word.islower() for source in sources if _alike(source.word)]
    small = sum(alike) * 2 > len(alike)
    for source in sources:
        wanted = source.word.lower() if small else source.word.upper()
        if source.word != wanted:
            how = "small letters" if small else "capitals"
            report.add(
                CONSISTENT_INSTRUCTION_CASING,
                source,
                f"{source.word} should be in {how} as most are: {wanted}",
            )


def _alike(word: str) -> bool:
    return word.islower() or word.isupper()


def described(source: Instruction, names: list[str], report: Report) -> None:
    """A comment above FROM ... AS name, or ARG name, tells of the name."""
    names = [name for name in names if name]
    if not names or not source.comments or source.comments[-1].split(" ", 1)[0] in names:
        return
    example = names[0] if len(names) == 1 else "NAME"
    report.add(
        INVALID_DEFINITION_DESCRIPTION,
        source,
        f"the comment above {source.name} should read: # {example} WHAT IT IS",
    )


def defined(typed: From | Pairs) -> list[str]:
    """The names that FROM or ARG defines."""
    return [typed.alias] if isinstance(typed, From) else [name for name, _ in typed.pairs]


RULES = (
    CONSISTENT_INSTRUCTION_CASING, DUPLICATE_STAGE_NAME, FROM_AS_CASING, INVALID_DEFINITION_DESCRIPTION,
    MAINTAINER_DEPRECATED, NO_EMPTY_CONTINUATION, RESERVED_STAGE_NAME, STAGE_NAME_CASING,
)  # fmt: skip
