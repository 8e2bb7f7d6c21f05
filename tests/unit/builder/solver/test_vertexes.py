"""Steps as BuildKit counts and names them; the display of a whole build is in tests/conformance/docker_cli."""

from __future__ import annotations

import pytest

from estiva.builder.frontend import parser, stages
from estiva.builder.frontend.shown import Shown
from estiva.builder.frontend.variables import Expander
from estiva.builder.solver import vertexes
from estiva.oci.platform import Platform

AMD = Platform.parse("linux/amd64")


def plan(text: str) -> stages.Plan:
    return stages.make(parser.parse(text), {}, {"BUILDPLATFORM": "linux/amd64"})


def names(text: str, target: str = "", platform: str = "", several: bool = False) -> list[str]:
    made = plan(text)
    wanted = Platform.parse(platform) if platform else AMD
    return [base.shown for base in vertexes.names(made, made.target(target or None), wanted, several=several)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("FROM a\nARG x\nENV k=v\nLABEL l=m\nRUN r\nUSER u\nWORKDIR /w\n", ["[1/3] FROM docker.io/library/a:latest"]),
        ("FROM scratch\nCOPY a /\n", []),
        ("FROM a AS x\nRUN r\nFROM x\nRUN s\n", ["[x 1/2] FROM docker.io/library/a:latest"]),
        ("FROM a AS x\nRUN r\nFROM a\nCOPY --from=x y /\n", ["[x 1/2] FROM docker.io/library/a:latest"]),
        ("FROM a\nCOPY --from=a y /\n", ["FROM docker.io/library/a:latest"]),
        ("FROM a\nRUN --mount=type=cache,target=/c r\n", ["[stage-0 1/2] FROM docker.io/library/a:latest"]),
        ("FROM a AS x\nFROM b AS y\nRUN r\n", ["[y 1/2] FROM docker.io/library/b:latest"]),
        ("FROM a\n" + "RUN r\n" * 9, ["[ 1/10] FROM docker.io/library/a:latest"]),
    ],
)  # fmt: skip
def test_bases(text: str, wanted: list[str]) -> None:
    assert names(text) == wanted


def test_bases_of_several_platforms() -> None:
    text = "FROM --platform=$BUILDPLATFORM a AS x\nRUN r\nFROM a\nCOPY --from=x y /\n"
    assert names(text, platform="linux/arm64", several=True) == [
        "[linux/arm64 stage-1 1/2] FROM docker.io/library/a:latest",
        "[linux/amd64->arm64 x 1/2] FROM docker.io/library/a:latest",
    ]
    assert names("FROM a\n", several=True) == ["[linux/amd64 1/1] FROM docker.io/library/a:latest"]


@pytest.mark.parametrize(
    ("steps", "reads"),
    [
        ("RUN r", False),
        ("COPY a /", True),
        ("COPY --from=b a /", False),
        ("ADD http://host/a /", False),
        ("ADD http://host/a b /", True),
        ("COPY <<E /\nx\nE", False),
        ("RUN --mount=type=secret,id=s r", False),
        ("RUN --mount=target=/m r", True),
        ("RUN --mount=from=b,target=/m r", False),
        ("ONBUILD COPY a /", False),
        ("ONBUILD COPY a /\nFROM x", True),
        ("COPY a /\nFROM b", False),
    ],
)
def test_whether_the_context_is_read(steps: str, reads: bool) -> None:
    made = plan(f"FROM a AS x\n{steps}\n")
    assert vertexes.read(made, made.target(None)) is reads


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("RUN $A '$A' \"$A\" $B ${B} ${B:-x} ${A:+y}", "RUN 1 '$A' \"1\" $B ${B} ${B:-x} y"),
        (r"RUN a\ b \$A", "RUN a b $A"),
        ("RUN $", "RUN $"),
    ],
)
def test_a_run_as_it_is_shown(text: str, wanted: str) -> None:
    assert Shown({"A": "1"}).word(text) == wanted
    assert Expander({"A": "1"}).word('COPY "$A" $B') == "COPY 1 "
