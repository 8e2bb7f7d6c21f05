"""Stages, what a target needs, and global ARGs."""

from __future__ import annotations

import pytest

from estiva.builder.frontend import parser, stages
from estiva.errors import EstivaError


def make(text: str, **build_args: str) -> stages.Plan:
    return stages.make(parser.parse(text), build_args, {"TARGETARCH": "amd64"})


FOUR = """
ARG TAG=3
FROM alpine:$TAG AS base
RUN a
FROM base AS unused
RUN b
FROM scratch AS files
COPY --from=base /a /a
FROM base
RUN --mount=from=files,target=/m c
COPY --from=0 /x /x
COPY --from=busybox:1 /y /y
"""


def test_needed_stages_only() -> None:
    made = make(FOUR)
    assert [stage.label for stage in made.needed(made.target(None))] == ["base", "files", "stage-3"]
    assert [stage.label for stage in made.needed(made.target("unused"))] == ["base", "unused"]
    assert [stage.label for stage in made.needed(made.target("0"))] == ["base"]


def test_global_args() -> None:
    assert make(FOUR).stages[0].image == "alpine:3"
    assert make(FOUR, TAG="4").stages[0].image == "alpine:4"
    assert make("FROM img-$TARGETARCH").stages[0].image == "img-amd64"
    assert make("ARG a=1\nARG b=${a}2\nFROM x:$b").stages[0].image == "x:12"


def test_an_image_with_the_name_of_a_later_stage() -> None:
    made = make("FROM tool\nFROM alpine AS tool")
    assert made.stages[0].base is None and made.stages[0].image == "tool"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("RUN x\nFROM a", "Dockerfile:1: RUN before FROM"),
        ("ARG x", "no FROM"),
        ("FROM $none", "Dockerfile:1: the base image of FROM is empty"),
        ("FROM a\nCOPY --from=1 x y\nFROM b", "Dockerfile:2: invalid stage index 1"),
        ("FROM a\nCOPY --from=7 x y\nFROM b", "Dockerfile:2: invalid stage index 7"),
        ("FROM a AS self\nCOPY --from=self x y", "can't copy from stage self"),
        ("FROM a\nCOPY --from=$x x y", "can't hold a variable"),
        ("FROM --platform=$none a", "Dockerfile:1: the platform of FROM is empty: $none"),
        ("ARG none=\nFROM --platform=$none a", "Dockerfile:2: the platform of FROM is empty: $none"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(EstivaError) as caught:
        make(text)
    assert message in caught.value.message


def test_a_later_stage_is_refused_where_its_reader_is_needed() -> None:
    """As docker has it: a stage that nobody asks for may read from one that is not yet there."""
    text = "FROM a AS later1\nFROM b AS reader\nCOPY --from=later x y\nFROM c AS later\nFROM reader\n"
    made = make(text)
    assert [stage.label for stage in made.needed(made.target("later"))] == ["later"]
    with pytest.raises(EstivaError) as caught:
        made.needed(made.target(None))
    assert caught.value.message == (
        "Dockerfile:3: can't copy from stage later: it must be defined before stage reader"
    )
    assert caught.value.hint == "earlier stages with a name: later1"


def test_names_that_may_be_meant_come_first() -> None:
    made = make("FROM a AS tools\nFROM a AS assets\nFROM a AS builder\nFROM a")
    assert made.earlier(made.stages[-1], "asset") == ["assets", "tools", "builder"]
    assert made.earlier(made.stages[-1], "xyz") == ["tools", "assets", "builder"]
    with pytest.raises(EstivaError) as caught:
        make("FROM --platform=$TARGETARHC a")
    assert caught.value.hint == "did you mean $TARGETARCH?"


def test_unknown_target() -> None:
    made = make(FOUR)
    with pytest.raises(EstivaError, match="no stage 'prod'") as caught:
        made.target("prod")
    assert "base" in caught.value.hint
