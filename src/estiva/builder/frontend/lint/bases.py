"""Rules on FROM: its image and its platform."""

from __future__ import annotations

from estiva.builder.frontend.lint.rule import Report, Rule
from estiva.builder.frontend.stages import Plan, Stage
from estiva.builder.frontend.variables import Budget, Expander
from estiva.errors import EstivaError
from estiva.oci.platform import Platform
from estiva.oci.reference import Reference

UNDEFINED_ARG_IN_FROM = Rule("UndefinedArgInFrom", "FROM only uses ARGs that stand above the first FROM")
INVALID_DEFAULT_ARG_IN_FROM = Rule(
    "InvalidDefaultArgInFrom", "FROM names an image also when no build argument is given"
)
INVALID_BASE_IMAGE_PLATFORM = Rule(
    "InvalidBaseImagePlatform", "A base image is for the platform that is built for"
)
REDUNDANT_TARGET_PLATFORM = Rule(
    "RedundantTargetPlatform", "$TARGETPLATFORM is what FROM takes anyway, and need not be said"
)
FROM_PLATFORM_FLAG_CONST_DISALLOWED = Rule(
    "FromPlatformFlagConstDisallowed",
    "A platform in FROM comes of a variable, or is in the name of the stage",
)


def arguments(plan: Plan, report: Report) -> None:
    """The rules on variables in all FROMs."""
    known = {name for header in plan.header for name, _ in header.pairs}
    for stage in plan.stages:
        source = stage.start.source
        for text in (stage.start.image, stage.start.platform):
            expand = Expander(plan.global_args, source.escape, plan.budget)
            expand.word(text)
            for name in sorted(expand.used - known - set(plan.global_args)):
                guess = report.near(name, [*known, *plan.global_args])
                report.add(UNDEFINED_ARG_IN_FROM, source, f"${name} is no ARG above the first FROM{guess}")
        if stage.start.platform:
            _platform(plan, stage, report)


def _platform(plan: Plan, stage: Stage, report: Report) -> None:
    source, text = stage.start.source, stage.start.platform
    expand = Expander(plan.global_args, source.escape, plan.budget)
    value = expand.word(text)
    if expand.used == {"TARGETPLATFORM"} and value == plan.global_args.get("TARGETPLATFORM"):
        report.add(REDUNDANT_TARGET_PLATFORM, source, f"--platform={text} is what FROM takes anyway")
    if expand.used:
        return
    try:
        platform = Platform.parse(value)
    except EstivaError:
        return
    if platform.os not in stage.alias and platform.architecture not in stage.alias:
        report.add(
            FROM_PLATFORM_FLAG_CONST_DISALLOWED, source, f"--platform={value} is the same for every build"
        )


def defaults(plan: Plan, report: Report) -> None:
    """Every FROM names an image without build arguments. What can't be expanded then is left alone."""
    budget = Budget()
    values = dict(plan.predefined)
    try:
        for header in plan.header:
            expand = Expander(values, header.source.escape, budget)
            for name, default in header.pairs:
                if default is not None:
                    values[name] = expand.word(default)
        images = [Expander(values, s.start.source.escape, budget).word(s.start.image) for s in plan.stages]
    except EstivaError:
        return
    for stage, image in zip(plan.stages, images, strict=True):
        source = stage.start.source
        try:
            Reference.parse_name(image)
        except EstivaError:
            report.add(
                INVALID_DEFAULT_ARG_IN_FROM,
                source,
                f"without build arguments, {stage.start.image} names no image",
            )


def base_platform(stage: Stage, wanted: Platform, got: Platform, report: Report) -> None:
    """A base image is for the platform that was asked for."""
    if (wanted.os, wanted.architecture) != (got.os, got.architecture):
        report.add(
            INVALID_BASE_IMAGE_PLATFORM,
            stage.start.source,
            f"{stage.image} is for {got}, not for {wanted}",
        )


RULES = (
    FROM_PLATFORM_FLAG_CONST_DISALLOWED, INVALID_BASE_IMAGE_PLATFORM, INVALID_DEFAULT_ARG_IN_FROM,
    REDUNDANT_TARGET_PLATFORM, UNDEFINED_ARG_IN_FROM,
)  # fmt: skip
