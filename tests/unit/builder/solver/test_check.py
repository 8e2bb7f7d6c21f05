"""The rules on Dockerfiles: what each finds and where, what turns it off, and what is no mistake.

Each case was held against BuildKit's own check of the same text (rules and lines).
"""

from __future__ import annotations

from typing import Any

import pytest

from estiva.builder.frontend import ignore, parser, stages
from estiva.builder.frontend.lint import bases, rule, steps, written
from estiva.builder.request import Request
from estiva.builder.solver.check import Check
from estiva.errors import EstivaError
from estiva.oci.platform import Platform

BASE = {"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin", "TERM=x"]}}
HOST = {"TARGETPLATFORM": "linux/amd64", "BUILDPLATFORM": "linux/amd64", "TARGETARCH": "amd64"}
RULES = {each.name: each for each in (*written.RULES, *bases.RULES, *steps.RULES)}


def check(
    text: str,
    *,
    args: dict[str, str] | None = None,
    base: dict[str, Any] | None = BASE,
    out: list[str] | None = None,
    target: str = "",
) -> Check:
    request = Request(build_args=args)
    plan = stages.make(parser.parse(text), request.build_args, HOST)
    ignored = ignore.Matcher(out or [])
    made = Check(plan, request, Platform.parse("linux/amd64"), ignored, lambda stage: base)
    made.run(plan.needed(plan.target(target)) if target else plan.stages)
    return made


def found(text: str, **options: Any) -> list[str]:
    """`Rule:line` of each finding, in the order in which they are told."""
    return [f"{each.rule.name}:{each.line}" for each in check(text, **options).report.ordered()]


CASES = {
    "StageNameCasing": ("FROM i AS Base\nFROM base AS two\n", ["StageNameCasing:1"]),
    "FromAsCasing": ("FROM i AS a\nFROM i as b\nfrom i AS c\nfrom i as d\nFrom i As e\n", None),
    "NoEmptyContinuation": ("FROM i\nRUN a \\\n\n b\n\nRUN c \\\n# d\n e\n", ["NoEmptyContinuation:4"]),
    "gap before a document": ("FROM i\nCOPY <<X \\\n\n /f\n\nX\n", ["NoEmptyContinuation:4"]),
    "ConsistentInstructionCasing": (
        "FROM i\nrun x\nRun y\nENV a=b\n",
        ["ConsistentInstructionCasing:2", "ConsistentInstructionCasing:3"],
    ),
    "small letters": ("from i\nrun x\nENV a=b\n", ["ConsistentInstructionCasing:3"]),
    "DuplicateStageName": ("FROM i AS a\nFROM i AS b\nFROM i AS a\n", ["DuplicateStageName:3"]),
    "ReservedStageName": (
        "FROM i AS scratch\nFROM i AS context\nFROM i AS contexts\n",
        ["ReservedStageName:1", "ReservedStageName:2"],
    ),
    "JSONArgsRecommended": ('FROM i\nCMD a\nENTRYPOINT ["b"]\n', ["JSONArgsRecommended:2"]),
    "a shell of one's own": ('FROM i\nSHELL ["/bin/bash", "-c"]\nCMD a\nENTRYPOINT b\n', []),
    "MaintainerDeprecated": ("FROM i\nMAINTAINER me\n", ["MaintainerDeprecated:2"]),
    "UndefinedArgInFrom": (
        "ARG A=i\nFROM $A AS x\nFROM i$B\nFROM --platform=linux/${BUILDARCX:-amd64} i\n",
        ["UndefinedArgInFrom:3", "UndefinedArgInFrom:4"],
    ),
    "WorkdirRelativePath": (
        "FROM i AS a\nWORKDIR b\nWORKDIR c\nFROM i AS d\nWORKDIR /e\nWORKDIR f\nFROM d\nWORKDIR g\n",
        ["WorkdirRelativePath:2"],
    ),
    "UndefinedVar": (
        "FROM i\nARG a=$b\nENV c=$a d=$e f=$PATH g=$c\nUSER $h\nVOLUME /$i$i\nRUN $j\nCMD [\"$k\"]\nLABEL $a=$l\n",
        ["UndefinedVar:2", "UndefinedVar:3", "UndefinedVar:3", "UndefinedVar:4", "UndefinedVar:5", "UndefinedVar:8"],
    ),
    "variables of COPY": (
        "FROM i\nCOPY --chown=$a --chmod=${b:-644} $c d$e/\nCOPY <<F <<'G' /\n$h\nF\n$i\nG\n",
        ["UndefinedVar:2"] * 4 + ["UndefinedVar:3"],
    ),
    "variables of mounts": (
        "FROM i\nRUN --mount=type=cache,target=/m$a,id=$b x\n",
        ["UndefinedVar:2", "UndefinedVar:2"],
    ),
    "variables that are none": ("FROM i\nENV a='$b' c=\"\\$d\" e=$\nLABEL f=${PATH#x}${TERM/x/y}\n", []),
    "an ARG without a value": ("FROM i AS a\nARG b\nENV c=$b\nFROM a\nENV d=$b\n", []),
    "a global ARG": ("ARG a=1\nFROM i\nENV b=$a\nARG a\nENV c=$a\n", ["UndefinedVar:3"]),
    "scratch has a PATH": ("FROM scratch\nENV a=$PATH b=$HOME\n", ["UndefinedVar:2"]),
    "MultipleInstructionsDisallowed": (
        'FROM i AS a\nCMD ["a"]\nCMD ["b"]\nHEALTHCHECK NONE\nHEALTHCHECK CMD x\nFROM a\nCMD ["c"]\n',
        ["MultipleInstructionsDisallowed:2", "MultipleInstructionsDisallowed:4"],
    ),
    "LegacyKeyValueFormat": (
        "FROM i\nENV a b\nLABEL c d e\nENV f=g h=i\n",
        ["LegacyKeyValueFormat:2", "LegacyKeyValueFormat:3"],
    ),
    "InvalidBaseImagePlatform": (
        "FROM --platform=linux/s390x i AS s390x\nENV a=b\n",
        ["InvalidBaseImagePlatform:1"],
    ),
    "RedundantTargetPlatform": (
        "FROM --platform=$TARGETPLATFORM i AS a\nFROM --platform=${TARGETPLATFORM} i\nFROM --platform=$BUILDPLATFORM i\n",
        ["RedundantTargetPlatform:1", "RedundantTargetPlatform:2"],
    ),
    "SecretsUsedInArgOrEnv": (
        "FROM i\nARG MY_TOKEN KEYS passwd_file\nENV API_key=1 TOKEN_VERSION=2 PUBLIC_KEY=3\nENV AUTHOR=me\n",
        ["SecretsUsedInArgOrEnv:2", "SecretsUsedInArgOrEnv:3"],
    ),
    "InvalidDefaultArgInFrom": (
        "ARG V\nFROM i:${V:-1} AS a\nFROM i:$V\n",
        ["InvalidDefaultArgInFrom:3"],
    ),
    "FromPlatformFlagConstDisallowed": (
        "FROM --platform=linux/amd64 i\nFROM --platform=linux/amd64 i AS amd64\nFROM --platform=linux/amd64 i AS on-linux\n",
        ["FromPlatformFlagConstDisallowed:1"],
    ),
    "CopyIgnoredFile": (
        "FROM i AS a\nCOPY out /\nADD ./out/x y /\nFROM i\nCOPY --from=a out /\nCOPY in . /\nADD http://out/out /\n",
        ["CopyIgnoredFile:2", "CopyIgnoredFile:3"],
    ),
    "ExposeProtoCasing": ("FROM i\nEXPOSE 1/TCP 2/udp 3\n", ["ExposeProtoCasing:2"]),
    "ExposeInvalidFormat": (
        "FROM i\nEXPOSE 1 2:3 127.0.0.1:4:4 5-6/tcp\n",
        ["ExposeInvalidFormat:2", "ExposeInvalidFormat:2"],
    ),
    "InvalidDefinitionDescription": (
        "# check=experimental=all\n\n# what\n\nFROM i AS a\n# else\n#\nARG b\n# b is\nARG b\n# c\nARG c\n# d is\n# e\nARG d\n# f\nFROM i\n",
        ["InvalidDefinitionDescription:5", "InvalidDefinitionDescription:15"],
    ),
    "triggers of a stage": (
        'FROM i AS a\nONBUILD ENV b $c\nONBUILD CMD d\nFROM a\nENV e=$b\nFROM i\n',
        ["JSONArgsRecommended:4", "LegacyKeyValueFormat:4", "UndefinedVar:4"],
    ),
    "left out": ("# check=skip=JSONArgsRecommended, MaintainerDeprecated\nFROM i\nCMD a\nMAINTAINER b\nENV c d\n", None),
    "all left out": ("# check=skip=all\nFROM i AS A\nCMD a\nMAINTAINER b\nENV c d\n", []),
    "left out for one instruction": (
        "FROM i\n# why\n# check=skip=SecretsUsedInArgOrEnv\nENV A_KEY=1\nENV B_KEY=2\n# check=what\nENV C_KEY=3\n",
        ["SecretsUsedInArgOrEnv:5", "SecretsUsedInArgOrEnv:7"],
    ),
    "nothing to say": ('FROM i AS a\nARG b=1\nENV c=$b\nWORKDIR /w\nCOPY in /\nUSER 5\nCMD ["d"]\n', []),
}  # fmt: skip
EXPECTED = {
    "FromAsCasing": [
        "ConsistentInstructionCasing:3", "ConsistentInstructionCasing:4", "ConsistentInstructionCasing:5",
        "FromAsCasing:2", "FromAsCasing:3",
    ],
    "left out": ["LegacyKeyValueFormat:5", "MaintainerDeprecated:4"],  # a blank ends the value of a directive
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_rules(name: str) -> None:
    text, wanted = CASES[name]
    wanted = EXPECTED[name] if wanted is None else wanted
    assert sorted(found(text, out=["out"])) == sorted(wanted)


def test_every_rule_is_found_somewhere() -> None:
    seen = {one.partition(":")[0] for text, wanted in CASES.values() for one in wanted or ()}
    seen |= {one.partition(":")[0] for wanted in EXPECTED.values() for one in wanted}
    assert seen == set(RULES)
    assert all(each.summary and "http" not in each.summary for each in RULES.values())


def test_a_build_argument_counts_in_place_of_the_directive() -> None:
    text = "# check=skip=all\nFROM i\nCMD a\nENV b c\n"
    assert found(text, args={"BUILDKIT_DOCKERFILE_CHECK": "skip=LegacyKeyValueFormat"}) == [
        "JSONArgsRecommended:3"
    ]


@pytest.mark.parametrize("word", ["what", "what=1", "error=maybe", "skip"])
def test_options_that_there_are_not(word: str) -> None:
    with pytest.raises(EstivaError, match="Dockerfile: "):
        found(f"# check={word}\nFROM i\n")
    with pytest.raises(EstivaError, match="BUILDKIT_DOCKERFILE_CHECK: "):
        found("FROM i\n", args={"BUILDKIT_DOCKERFILE_CHECK": word})


def test_what_is_not_known_is_not_told() -> None:
    text = "FROM gone\nCMD a\nENV b $c\nWORKDIR f\n"
    assert found(text, base=None) == ["LegacyKeyValueFormat:3", "WorkdirRelativePath:4"]


def test_the_triggers_of_a_base_image_are_its_maker_s_affair() -> None:
    config = {"OnBuild": ["ENV a b", "CMD c", "ARG d"], "Shell": ["sh"]}
    assert found("FROM i\nENV e=$a$d\nCMD f\n", base={**BASE, "config": config}) == [
        "MultipleInstructionsDisallowed:1"
    ]


def test_only_the_stages_of_a_target() -> None:
    text = "FROM i AS a\nCMD b\nFROM i AS c\nCMD d\nMAINTAINER e\n"
    assert found(text, target="a") == ["JSONArgsRecommended:2", "MaintainerDeprecated:5"]


def test_names_that_may_be_meant() -> None:
    messages = [each.message for each in check("FROM i$BUILDPLATFROM\nENV a=$PAHT\n").report.ordered()]
    assert messages == [
        "$BUILDPLATFROM is no ARG above the first FROM: $BUILDPLATFORM is meant?",
        "$PAHT is not set: $PATH is meant?",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM i\nSTOPSIGNAL none\n", "Dockerfile:2: invalid signal"),
        ("FROM i\nEXPOSE 99999\n", "Dockerfile:2: invalid port"),
        ("FROM i\nCOPY --chmod=9 a b\n", "Dockerfile:2: invalid chmod value"),
        ("FROM i\nRUN --mount=type=cache x\n", "Dockerfile:2: a cache mount needs a target"),
        ("FROM i\nCOPY --from=later a b\nFROM i AS later\n", "Dockerfile:2: can't copy from stage later"),
        ("FROM i\nENV a=${b:?no}\n", "Dockerfile:2: can't expand"),
    ],
)
def test_errors(text: str, message: str) -> None:
    with pytest.raises(EstivaError) as caught:
        check(text)
    assert caught.value.message.startswith(message)


def test_as_many_as_one_can_read() -> None:
    made = check("FROM i\n" + "ENV a $b\n" * 9000)
    assert len(made.report.findings) == rule.MOST


def test_triggers_upon_triggers_are_counted() -> None:
    """As many stages as there are triggers would be their product."""
    with pytest.raises(EstivaError, match="over 10000 steps"):
        check("FROM i AS a\n" + "ONBUILD ENV b $c\n" * 3000 + "FROM a\n" * 3000)


def test_only_states_that_something_stands_on_are_kept() -> None:
    made = check("FROM i AS a0\n" + "".join(f"ENV e{n}=1\nFROM a{n} AS a{n + 1}\n" for n in range(100)))
    assert made._ends == {}
