"""Golden cases of the language: (Dockerfile, build arguments) -> config, history, or what is wrong.

All of it is the reference's word on each instruction, its flags and forms; what it leaves open was tried with
BuildKit.
"""

from __future__ import annotations

from typing import Any

import pytest

from estiva.builder.frontend import parser, stages
from estiva.builder.frontend.instructions import Command, Pairs, Text
from estiva.builder.frontend.variables import Budget
from estiva.builder.steps import config
from estiva.builder.steps.state import State
from estiva.errors import EstivaError
from estiva.oci.config import DEFAULT_PATH

PLATFORM = {
    "TARGETPLATFORM": "linux/amd64", "TARGETARCH": "amd64", "BUILDPLATFORM": "linux/arm64", "TARGETSTAGE": "default",
}  # fmt: skip
BASE = {"config": {"Env": ["PATH=/bin", "BASE=b"], "Cmd": ["base"]}}
SHELL = ["/bin/sh", "-c"]


def run(text: str, args: dict[str, str] | None = None) -> tuple[dict[str, Any], list[str]]:
    """The config and the history of the last stage, of what changes the config alone."""
    given = dict(args or {})
    plan = stages.make(parser.parse(text), given, PLATFORM)
    states: dict[int, State] = {}
    for stage in plan.needed(plan.target(None)):
        if stage.base is not None:
            state = states[stage.base.index].child()
        else:
            state = State(BASE, clock=lambda: "", budget=Budget())
        for typed in stage.steps:
            if isinstance(typed, Pairs) and typed.name == "ARG":
                state.record(config.declare(state, typed, given, plan.global_args))
            elif isinstance(typed, Text) and typed.name == "WORKDIR":
                config.workdir(state, typed)
            elif isinstance(typed, Command) and typed.name == "RUN":
                state.record("RUN " + " ".join(state.command(typed)))
            else:
                line = config.apply(state, typed)
                if line:
                    state.record(line)
        states[stage.index] = state
    return state.config, [step["created_by"] for step in state.document["history"]]


def env(*items: str) -> dict[str, Any]:
    return {"Env": ["PATH=/bin", "BASE=b", *items]}


CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    # ENV: forms
    "env pairs": ("ENV a=1 b='x y' c=\"z $a\" d=q\\ r", env("a=1", "b=x y", "c=z ", "d=q r")),
    "env legacy": ("ENV a b  c", env("a=b  c")),
    "env replaces in place": ("ENV BASE=1\nENV x=2 BASE=3", {"Env": ["PATH=/bin", "BASE=3", "x=2"]}),
    "env of the line before": ("ENV a=1\nENV a=2 b=$a", env("a=2", "b=1")),
    "env empty": ("ENV a= b=''", env("a=", "b=")),
    "env name of a variable": ("ENV a=n\nENV $a=1", env("a=n", "n=1")),
    # expansion
    "braces": ("ENV a=${BASE}x b=$BASE.c", env("a=bx", "b=b.c")),
    "default": ("ENV e=\nENV a=${x:-1} b=${e:-2} c=${e-3} d=${BASE:-4}", env("e=", "a=1", "b=2", "c=", "d=b")),
    "alternative": ("ENV e=\nENV a=${x:+1} b=${e:+2} c=${e+3} d=${BASE:+4}", env("e=", "a=", "b=", "c=3", "d=4")),
    "nested": ("ENV a=${x:-${y:-$BASE}}", env("a=b")),
    "prefix": ("ENV p=a/b/a.x\nENV a=${p#*/} b=${p##*/}", env("p=a/b/a.x", "a=b/a.x", "b=a.x")),
    "suffix": ("ENV p=a.b.c\nENV a=${p%.*} b=${p%%.*} c=${p%?}", env("p=a.b.c", "a=a.b", "b=a", "c=a.b.")),
    "no match": ("ENV p=abc\nENV a=${p#x} b=${p%x} c=${p/x/y} d=${p#}", env("p=abc", "a=abc", "b=abc", "c=abc", "d=abc")),
    "replace": ("ENV p=a.b.c\nENV a=${p/./-} b=${p//./-} c=${p//?/x}", env("p=a.b.c", "a=a-b.c", "b=a-b-c", "c=xxxxx")),
    "replace a slash": ("ENV p=a/b\nENV a=${p//\\//-}", env("p=a/b", "a=a-b")),
    "escapes in a pattern": ("ENV p=a*b\nENV a=${p/\\*/-}", env("p=a*b", "a=a-b")),
    "single quotes": ("ENV a='$BASE \\n'", env("a=$BASE \\n")),
    "double quotes": ('ENV a="$BASE \\"q\\" \\$x \\n \'s\'"', env("a=b \"q\" $x \\n 's'")),
    "escaped dollar": ("ENV a=\\$BASE b=\\${BASE}", env("a=$BASE", "b=${BASE}")),
    "special names": ("ENV a=$1x b=$@ c=$ d=$$ e=$_x", env("a=x", "b=", "c=$", "d=", "e=")),
    "escape directive": ("ENV a=b`$c d=\\x e=`\n f=g", env("a=b$c", "d=\\x", "e=", "f=g")),
    # ARG
    "arg": ("ARG a=1\nARG b=$a$a\nENV c=$b", env("c=11")),
    "arg without a value": ("ARG a\nENV b=x$a", env("b=x")),
    "several args": ("ARG a=1 b=$a c\nENV d=$a$b$c", env("d=11")),
    "an arg over an env": ("ENV a=1\nARG a=2\nENV b=$a", env("a=1", "b=2")),
    "an env over an arg": ("ARG a=1\nENV a=2\nENV b=$a", env("a=2", "b=2")),
    "arg does not stay": ("ARG a=1", env()),
    "platform": ("ARG TARGETARCH BUILDPLATFORM\nENV a=$TARGETARCH,$BUILDPLATFORM", env("a=amd64,linux/arm64")),
    "platform unasked": ("ENV a=x$TARGETARCH", env("a=x")),
    "target stage": ("ARG TARGETSTAGE\nENV a=$TARGETSTAGE", env("a=last")),
    # CMD, ENTRYPOINT, SHELL
    "cmd shell": ("CMD a $b", {**env(), "Cmd": [*SHELL, "a $b"]}),
    "cmd exec": ('CMD ["a", "$b"]', {**env(), "Cmd": ["a", "$b"]}),
    "cmd none": ("CMD []", {**env(), "Cmd": []}),
    "cmd no json": ("CMD ['a']", {**env(), "Cmd": [*SHELL, "['a']"]}),
    "cmd nothing": ("CMD", {**env(), "Cmd": [*SHELL, ""]}),
    "entrypoint takes the base's cmd away": ("ENTRYPOINT e", {"Env": env()["Env"], "Entrypoint": [*SHELL, "e"], "Cmd": None}),
    "entrypoint keeps its stage's cmd": ('CMD ["c"]\nENTRYPOINT ["e"]', {**env(), "Entrypoint": ["e"], "Cmd": ["c"]}),
    "entrypoint none": ('ENTRYPOINT ["e"]\nENTRYPOINT []', {"Entrypoint": None}),
    "shell": ('SHELL ["/bin/ash", "-x"]\nCMD a', {"Shell": ["/bin/ash", "-x"], "Cmd": ["/bin/ash", "-x", "a"]}),
    # LABEL, EXPOSE, VOLUME
    "label": ("LABEL a=1 'b c'=\"d e\"\nLABEL f g h", {"Labels": {"a": "1", "b c": "d e", "f": "g h"}}),
    "label over lines": ("LABEL a=1 \\\n  # comment\n  b=2", {"Labels": {"a": "1", "b": "2"}}),
    "expose": ("EXPOSE 80 81/udp 90-91/TCP 1:2 127.0.0.1:3:4 [::1]:5:6", {
        "ExposedPorts": dict.fromkeys(["80/tcp", "81/udp", "90/tcp", "91/tcp", "2/tcp", "4/tcp", "6/tcp"], {}),
    }),
    "expose a variable": ("ARG p='80 81'\nEXPOSE $p", {"ExposedPorts": {"80/tcp": {}, "81/tcp": {}}}),
    "expose nothing": ("EXPOSE $none", {"ExposedPorts": {}}),
    "expose one of a range": ("EXPOSE 1000-1005:80", {"ExposedPorts": {"80/tcp": {}}}),
    "volume": ('VOLUME /a $BASE\nVOLUME ["/c d"]', {"Volumes": {"/a": {}, "b": {}, "/c d": {}}}),
    # USER, WORKDIR, STOPSIGNAL, HEALTHCHECK, ONBUILD
    "user": ("USER ${u:-me}:2", {"User": "me:2"}),
    "workdir": ("WORKDIR /a\nWORKDIR b/../c", {"WorkingDir": "/a/c"}),
    "workdir with a slash": ("WORKDIR /a/$BASE/", {"WorkingDir": "/a/b/"}),
    "workdir with a blank": ("WORKDIR /a b", {"WorkingDir": "/a b"}),
    "stopsignal": ("STOPSIGNAL SIG${x:-TERM}", {"StopSignal": "SIGTERM"}),
    "stopsignal number": ("STOPSIGNAL 9", {"StopSignal": "9"}),
    "healthcheck": (
        "HEALTHCHECK --interval=1m30s --timeout=5s --start-period=2s --start-interval=100ms --retries=4 CMD a b",
        {"Healthcheck": {
            "Test": ["CMD-SHELL", "a b"], "Interval": 90 * 10**9, "Timeout": 5 * 10**9, "StartPeriod": 2 * 10**9,
            "StartInterval": 10**8, "Retries": 4,
        }},
    ),
    "healthcheck exec": ('HEALTHCHECK CMD ["a"]', {"Healthcheck": {"Test": ["CMD", "a"]}}),
    "healthcheck none": ("HEALTHCHECK NONE", {"Healthcheck": {"Test": ["NONE"]}}),
    "onbuild": ("ONBUILD RUN a\nonbuild copy b $c", {"OnBuild": ["RUN a", "copy b $c"]}),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_config(name: str) -> None:
    text, wanted = CONFIGS[name]
    head = "# escape=`\n" if name == "escape directive" else ""
    found, _ = run(f"{head}FROM i AS last\n{text}\n")
    assert {key: found.get(key) for key in wanted} == wanted


ARGUMENTS: dict[str, tuple[str, dict[str, str], list[str]]] = {
    "given": ("FROM i\nARG a=1\nENV b=$a\n", {"a": "2"}, ["b=2"]),
    "given, not declared": ("FROM i\nENV b=x$a\n", {"a": "2"}, ["b=x"]),
    "given over an env": ("FROM i\nENV a=1\nARG a\nENV b=$a\n", {"a": "2"}, ["a=1", "b=2"]),
    "global": ("ARG a=1\nFROM i\nENV b=x$a\nARG a\nENV c=$a\n", {}, ["b=x", "c=1"]),
    "global, with its own default": ("ARG a=1\nFROM i\nARG a=2\nENV c=$a\n", {}, ["c=2"]),
    "global, given": ("ARG a=1\nFROM i\nARG a=2\nENV c=$a\n", {"a": "3"}, ["c=3"]),
    "of the stage below": ("FROM i AS s\nARG a=1\nENV x=$a\nFROM s\nENV b=$a\n", {}, ["x=1", "b=1"]),
    "of another stage": ("FROM i AS s\nARG a=1\nFROM i\nENV b=x$a\n", {}, ["b=x"]),
    "platform, given": ("FROM i\nARG TARGETARCH\nENV b=$TARGETARCH\n", {"TARGETARCH": "z"}, ["b=z"]),
    "platform, with a default": ("FROM i\nARG TARGETARCH=z\nENV b=$TARGETARCH\n", {}, ["b=z"]),
}  # fmt: skip


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments(name: str) -> None:
    text, args, wanted = ARGUMENTS[name]
    assert run(text, args)[0]["Env"] == ["PATH=/bin", "BASE=b", *wanted]


def test_history() -> None:
    _, lines = run(
        "FROM i\nARG a=1 b\nENV x=1 y='2 3'\nLABEL l=\"a b\"\nEXPOSE 90 80/udp\nVOLUME /v /w\nUSER u\nSTOPSIGNAL 9\n"
        'SHELL ["s", "-c"]\nCMD a b\nENTRYPOINT ["c d"]\nONBUILD RUN x\nMAINTAINER me\n'
    )
    assert lines == [
        "ARG a=1 b",
        "ENV x=1 y=2 3",
        "LABEL l=a b",
        "EXPOSE [80/udp 90/tcp]",
        "VOLUME [/v /w]",
        "USER u",
        "STOPSIGNAL 9",
        "SHELL [s -c]",
        'CMD ["s" "-c" "a b"]',
        'ENTRYPOINT ["c d"]',
        "MAINTAINER me",
    ]


WRONG = {
    "ENV": "ENV requires at least one argument",
    "ENV a": "ENV must have two arguments",
    "ENV a=b c": "can't find = in 'c'",
    "ENV =b": "names can't be blank",
    "ENV a=${": "bad substitution",
    "ENV a=${}": "bad substitution",
    "ENV a=${b": "missing '}'",
    "ENV a=${b^}": "unsupported modifier",
    "ENV a=${b:#c}": "unsupported modifier",
    "ENV a=${b/c}": "missing '/'",
    "ENV a=${BASE/\\./c}": "invalid escape in the pattern",
    "ENV a=${BASE#\\x}": "invalid escape in the pattern",
    "ENV a=${b:?none}": "b: none",
    'ENV a="b': "missing the closing double quote",
    "ENV a='b": "missing the closing single quote",
    "ARG": "ARG requires at least one argument",
    "ARG =a": "names can't be blank",
    "CMD [1]": "must be an array of strings only",
    "SHELL /bin/sh": "requires the arguments to be in JSON form",
    "SHELL []": "requires at least one argument",
    "EXPOSE": "requires at least one argument",
    "EXPOSE a": "invalid port",
    "EXPOSE 65536": "invalid port",
    "EXPOSE 2-1": "invalid port range",
    "EXPOSE 1/foo": "invalid protocol",
    "EXPOSE x:1": "invalid port",
    "EXPOSE 1.2.3:1:1": "invalid address",
    "EXPOSE 1-3:1-2": "not equally long",
    "VOLUME": "requires at least one argument",
    'VOLUME [""]': "can't be an empty string",
    "VOLUME $none": "can't be an empty string",
    "STOPSIGNAL NONE": "invalid signal",
    "STOPSIGNAL": "requires exactly one argument",
    "USER": "requires exactly one argument",
    "WORKDIR": "requires exactly one argument",
    "HEALTHCHECK": "unknown type",
    "HEALTHCHECK CMD": "needs a command",
    "HEALTHCHECK NONE x": "takes no arguments",
    "HEALTHCHECK --interval=1us CMD x": "can't be less than 1ms",
    "HEALTHCHECK --interval=x CMD x": "invalid duration",
    "HEALTHCHECK --retries=-1 CMD x": "must be a number of 0 or more",
    "ONBUILD": "requires at least one argument",
    "ONBUILD ONBUILD RUN x": "can't be chained",
    "ONBUILD FROM x": "isn't allowed as an ONBUILD trigger",
    "ONBUILD MAINTAINER x": "isn't allowed as an ONBUILD trigger",
    "RUN []": "RUN requires a command",
    "RUN --network=x y": "network",
    "RUN --security=x y": "security",
    "RUN --foo y": "unknown flag: --foo",
    "RUN --network y": "missing a value on flag: --network",
    "RUN --network=none --network=none y": "duplicate flag: --network",
    "COPY a": "requires at least two arguments",
    "COPY --link=maybe a b": "--link must be true or false",
    "COPY --from=$x a b": "can't hold a variable",
    "COPY a <<EOF\nx\nEOF": "can't have a here-document as its destination",
    "COPY <<EOF b\nx": "here-document EOF is not ended",
    "COPY --checksum=x a b": "unknown flag: --checksum",
    "ADD --from=x a b": "unknown flag: --from",
    "FROM a b": "FROM requires either one or three arguments",
    "FROM a AS 1b": "invalid name for a build stage",
    "FROM --from=x a": "unknown flag: --from",
    "NOPE": "unknown instruction: NOPE",
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong(line: str) -> None:
    with pytest.raises(EstivaError) as caught:
        run(f"FROM i\n{line}\n")
    assert WRONG[line] in caught.value.message


@pytest.mark.parametrize("word", ["<<'a b'", '<<"a b"', "<<-'a b'"])
def test_a_here_document_s_name_may_have_a_blank_in_quotes(word: str) -> None:
    (instruction,) = parser.parse(f"RUN {word}\nx\na b\n").instructions
    assert [(each.name, each.content) for each in instruction.heredocs] == [("a b", "x\n")]


def test_a_path_where_the_base_has_none() -> None:
    state = State({"config": {"Env": ["A=1"]}}, clock=lambda: "")
    assert state.config["Env"] == ["A=1", f"PATH={DEFAULT_PATH}"]
