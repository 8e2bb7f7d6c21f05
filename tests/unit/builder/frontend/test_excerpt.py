"""Errors as compilers tell them: the lines, the word underlined, what was meant."""

import pytest

from estiva.builder.frontend import foreign, parser, stages
from estiva.builder.frontend.excerpt import WIDTH, excerpt
from estiva.builder.frontend.run_mounts import parse as parse_mount
from estiva.builder.frontend.variables import Expander
from estiva.builder.steps import statuses
from estiva.errors import EstivaError, NotFound


def failure(text, target=None):
    try:
        stages.make(parser.parse(text), {}, {}).target(target)
    except EstivaError as error:
        return error
    raise AssertionError("nothing is wrong with it")


@pytest.mark.parametrize(
    ("text", "excerpt", "hint"),
    [
        ("FORM box:1\nRUN a\n", "    1 | FORM box:1\n      | ^^^^\n    2 | RUN a", "did you mean FROM?"),
        ("FROM a\nrnu b\n", "    1 | FROM a\n    2 | rnu b\n      | ^^^", "did you mean RUN?"),
        ("FROM a\nWRKDIR /b", "    1 | FROM a\n    2 | WRKDIR /b\n      | ^^^^^^", "did you mean WORKDIR?"),
        (
            "FROM a AS b\nCOPY \\\n  --form=b \\\n\t/c /d\n",
            "    1 | FROM a AS b\n    2 | COPY \\\n    3 |   --form=b \\\n      |   ^^^^^^\n    4 |  /c /d",
            "did you mean --from?",
        ),
        (
            "FROM a\nHEALTHCHECK --interval=soon CMD b",
            "    1 | FROM a\n    2 | HEALTHCHECK --interval=soon CMD b\n      |                        ^^^^",
            None,
        ),
        ("COPY a b\n", "    1 | COPY a b\n      | ^^^^^^^^", "only ARG may come before the first FROM"),
    ],
)  # fmt: skip
def test_the_word_that_is_wrong_is_underlined(text, excerpt, hint):
    error = failure(text)
    assert error.excerpt == excerpt
    assert hint is None or error.hint == hint


def test_stages_that_were_meant():
    error = failure("FROM a AS build\nFROM b AS test\n", "biuld")
    assert (type(error), error.message) == (NotFound, "no stage 'biuld' in Dockerfile")
    assert error.hint == "did you mean build? it has build, test"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("type=cach,target=/c", "did you mean cache?"),
        ("type=volume,target=/c", "it is one of bind, cache, tmpfs, secret, ssh"),
        ("type=cache,targte=/c", "did you mean target?"),
        ("type=cache,target=/c,sharing=lock", "did you mean locked?"),
    ],
)
def test_keys_and_kinds_of_mounts_that_were_meant(text, hint):
    with pytest.raises(EstivaError) as caught:
        parse_mount(text, Expander({}, "\\"), "/")
    assert caught.value.hint == hint
    with pytest.raises(EstivaError) as caught:
        parse_mount("type=tmpfs,target=/c,sharing=locked", Expander({}, "\\"), "/")
    assert caught.value.hint.startswith("what does is ")


def test_long_instructions_and_lines_are_cut():
    lines = [f"line {n}" for n in range(1, 41)]
    assert excerpt(lines, 10, 30, "it has 'line 20'").split("\n") == [
        "     8 | line 8",
        "     9 | line 9",
        "    10 | line 10",
        "   ... |",
        *(f"    {n} | line {n}" for n in range(16, 21)),
        "       | ^^^^^^^",
        *(f"    {n} | line {n}" for n in range(21, 24)),
        "   ... |",
        "    31 | line 31",
        "    32 | line 32",
    ]
    long = ["RUN " + "a " * 5000 + "word " + "b " * 5000]
    text, marks = excerpt(long, 1, 1, "unknown 'word'").split("\n")
    assert len(text) <= WIDTH + 12
    assert text[marks.index("^") :].startswith("word ")
    assert marks.count("^") == 4


def test_what_cannot_be_printed_is_escaped_and_wide_characters_are_two_columns():
    assert excerpt(["日本 \x1b[31m --bad"], 1, 1, "unknown flag: --bad") == (
        "    1 | 日本 \\x1b[31m --bad\n      |               ^^^^^"
    )


def test_a_line_that_is_not_there_has_no_excerpt():
    assert excerpt([], 1, 1, "x") == excerpt(["a"], 5, 9, "x") == ""


def test_no_message_makes_the_search_long():
    lines = ["a" * 100_000] * 50
    assert excerpt(lines, 1, 50, "'a' " * 250)


# --- `# syntax=` ---


@pytest.mark.parametrize(
    "image",
    ["docker/dockerfile", "docker/dockerfile:1", "docker.io/docker/dockerfile:1.7-labs", "docker/dockerfile-upstream:master",
     "docker/dockerfile:1@sha256:abc"],
)  # fmt: skip
def test_the_frontend_of_dockerfiles_is_ours(image):
    assert foreign.warning(parser.parse(f"# syntax={image}\nFROM a\n"), {}) == ""


def test_another_frontend_is_said_not_to_be_used():
    asked = parser.parse("# syntax=example.org/x:1 --opt\nFROM a\n")
    told = "Dockerfile: # syntax=example.org/x:1: the frontend example.org/x:1 is not used, the file is read as a Dockerfile"
    assert foreign.warning(asked, {}) == told
    assert foreign.warning(asked, {"BUILDKIT_SYNTAX": "docker/dockerfile:1"}) == ""
    assert foreign.warning(asked, {"BUILDKIT_SYNTAX": "y"}).startswith(
        "BUILDKIT_SYNTAX: the frontend y is not used"
    )
    assert foreign.warning(parser.parse("FROM a\n"), {}) == ""
    error = failure("#syntax=ghcr.io/other/frontend\napiVersion: v1\n")
    assert error.hint == "it is written for the frontend ghcr.io/other/frontend, which is not used here"


# --- exit statuses ---


@pytest.mark.parametrize(
    ("status", "meaning"),
    [(1, ""), (2, ""), (126, "the command can't be executed"), (127, "command not found"), (137, "killed, by SIGKILL"),
     (139, "segmentation fault, by SIGSEGV"), (143, "terminated, by SIGTERM"), (128, ""), (255, "")],
)  # fmt: skip
def test_statuses_in_words(status, meaning):
    assert statuses.meaning(status) == meaning
    assert statuses.hint(127) and not statuses.hint(1)
