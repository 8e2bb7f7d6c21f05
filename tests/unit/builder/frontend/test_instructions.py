"""The typed forms of instructions, and what is refused with its line."""

from __future__ import annotations

from typing import Any

import pytest

from estiva.builder.frontend import instructions, parser
from estiva.builder.frontend.errors import DockerfileError
from estiva.errors import EstivaError


def read(text: str) -> Any:
    return instructions.interpret(parser.parse(text).instructions[0])


def test_exec_and_shell_form() -> None:
    assert read('RUN ["a", "b c"]').argv == ["a", "b c"]
    assert read("RUN a  b").shell == "a  b"
    assert read("CMD ['a']").shell == "['a']"  # not JSON: the shell form
    assert read("ENTRYPOINT []").argv == []


def test_pairs() -> None:
    assert read('ENV a=1 b="x y" c=a\\ b').pairs == [("a", "1"), ("b", '"x y"'), ("c", "a\\ b")]
    assert read("ENV name the  rest = 1").pairs == [("name", "the  rest = 1")]
    assert read("ARG a b=1 c=").pairs == [("a", None), ("b", "1"), ("c", "")]


def test_from() -> None:
    typed = read("FROM --platform=linux/arm64 Alpine:3 aS Base-1")
    assert (typed.image, typed.alias, typed.platform) == ("Alpine:3", "base-1", "linux/arm64")


def test_copy() -> None:
    typed = read(
        'COPY --from=x --chown=a:b --chmod=755 --link --parents --exclude=*.o --exclude=q ["a b", "c", "/d/"]'
    )
    assert (typed.sources, typed.destination, typed.from_) == (["a b", "c"], "/d/", "x")
    assert (typed.chown, typed.chmod, typed.link, typed.parents) == ("a:b", "755", True, True)
    assert typed.exclude == ["*.o", "q"]
    document = read("COPY << a.txt f /d/\nx\na.txt\n")
    assert document.sources == ["f"] and [doc.name for doc in document.heredocs] == ["a.txt"]


def test_healthcheck() -> None:
    typed = read(
        "HEALTHCHECK --interval=1m30s --timeout=500ms --start-period=1h --start-interval=2s --retries=5"
        " CMD a b"
    )
    assert typed.config == {
        "Test": ["CMD-SHELL", "a b"],
        "Interval": 90 * 10**9,
        "Timeout": 5 * 10**8,
        "StartPeriod": 3600 * 10**9,
        "StartInterval": 2 * 10**9,
        "Retries": 5,
    }
    assert read('HEALTHCHECK CMD ["a", "b"]').config == {"Test": ["CMD", "a", "b"]}
    assert read("HEALTHCHECK none").config == {"Test": ["NONE"]}


def test_onbuild_keeps_its_heredoc() -> None:
    assert read("ONBUILD RUN <<E\nhi\nE\n").text == "RUN <<E\nhi\nE"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM a b", "one or three arguments"),
        ("FROM a AS 1x", "invalid name for a build stage"),
        ("FROM --platfrom=x a", "unknown flag: --platfrom"),
        ("RUN", "requires a command"),
        ("RUN --network=moon x", "unsupported network mode"),
        ("RUN --security=none x", "unsupported security mode"),
        ("RUN [1, 2]", "strings only"),
        ("ENV", "at least one argument"),
        ("ENV a", "two arguments"),
        ("ENV a=1 b", "can't find ="),
        ("ENV =1", "blank"),
        ("COPY a", "at least two arguments"),
        ("COPY --from a b", "missing a value on flag: --from"),
        ("COPY --link=maybe a b", "must be true or false"),
        ("COPY --from=a --from=b x y", "duplicate flag"),
        ("COPY a <<E\nE\n", "as its destination"),
        ("SHELL /bin/sh -c", "JSON form"),
        ('VOLUME [""]', "empty string"),
        ("EXPOSE", "at least one argument"),
        ("USER", "exactly one argument"),
        ("CMD --x a", "unknown flag: --x"),
        ("HEALTHCHECK TRY x", "unknown type"),
        ("HEALTHCHECK NONE x", "no arguments"),
        ("HEALTHCHECK CMD", "needs a command"),
        ("HEALTHCHECK --interval=1 CMD x", "invalid duration"),
        ("HEALTHCHECK --interval=1us CMD x", "less than 1ms"),
        ("HEALTHCHECK --retries=-1 CMD x", "--retries"),
        ("ONBUILD ONBUILD RUN x", "chained"),
        ("ONBUILD FROM x", "isn't allowed"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(EstivaError, match=message) as caught:
        read("# one\n" + text)
    assert caught.value.message.startswith("Dockerfile:2: ")
    assert isinstance(caught.value, DockerfileError)


def test_hint_for_a_misspelt_flag() -> None:
    with pytest.raises(DockerfileError) as caught:
        read("COPY --chmown=1 a b")
    assert caught.value.hint == "did you mean --chown?"
