"""Details of instructions that Dockerfiles lean on and no page tells: as BuildKit has them."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator

import pytest

from buildlab import Lab
from estiva.errors import EstivaError


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab()
    yield made
    made.close()


def archive(name: str, kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.type = kind
        tar.addfile(info, io.BytesIO())
    return buffer.getvalue()


def test_numeric_chmod_counts_for_new_parents(lab: Lab) -> None:
    lab.put("d/s/f", "x")
    lab.put("t.tar", archive("member"))
    image = lab.build(
        """
FROM box
RUN mkdir -m 711 /there
COPY --chmod=750 d/s/f /a/b/f
COPY --chmod=1777 d/s/f /sticky/f
COPY --chmod=705 d /whole
COPY --chmod=750 d/s/f /there/new/f
COPY --chmod=u=rwx,go= d/s/f /words/f
COPY --chmod=700 <<E /doc/f
E
ADD --chmod=700 t.tar /unpacked/t
"""
    )
    assert lab.mode(image, "/a") == lab.mode(image, "/a/b") == "0750 0:0"
    assert lab.mode(image, "/sticky") == "0777 0:0"
    assert lab.mode(image, "/whole") == lab.mode(image, "/whole/s") == "0705 0:0"
    assert lab.mode(image, "/there") == "0711 0:0"
    assert lab.mode(image, "/there/new") == "0750 0:0"
    assert lab.mode(image, "/words") == "0755 0:0"
    assert lab.mode(image, "/doc") == "0700 0:0"
    assert lab.mode(image, "/unpacked") == lab.mode(image, "/unpacked/t") == "0755 0:0"


def test_directories_and_archives_make_the_destination_a_directory(lab: Lab) -> None:
    lab.write(d1__a="a", d2__b="b", f="f")
    lab.put("t.tar", archive("member"))
    image = lab.build(
        """
FROM box
COPY d* /one
COPY d1 f /two
ADD t.tar f /three
COPY none* f /four
"""
    )
    assert lab.names(image, "/one") == ["a", "b"]
    assert lab.names(image, "/two") == ["a", "f"]
    assert lab.names(image, "/three") == ["f", "member"]
    assert lab.read(image, "/four") == "f"
    for line in ("COPY f d1 /d", "COPY t.tar f /d", "ADD --unpack=false t.tar f /d"):
        with pytest.raises(EstivaError, match="more than one source, the destination must be a directory"):
            lab.build(f"FROM box\n{line}\n")


def test_parents_takes_the_directory_itself(lab: Lab) -> None:
    lab.put("x/y/f", "1")
    os.chmod(lab.context / "x", 0o711)
    os.chmod(lab.context / "x/y", 0o2750)
    text = """
FROM box
RUN mkdir -p -m 700 /old/x && mkdir -m 700 /old/x/y && chown 5:6 /old /old/x /old/x/y
COPY --parents x/y /new/
COPY --parents x/y /old/
COPY --parents none* /made/
"""
    image = lab.build(text)
    assert lab.mode(image, "/new") == "0755 0:0"
    assert lab.mode(image, "/new/x") == "0711 0:0"
    assert lab.mode(image, "/new/x/y") == "2750 0:0"
    assert lab.mode(image, "/old").endswith(" 5:6")
    assert lab.mode(image, "/old/x") == "0711 5:6"
    assert lab.mode(image, "/old/x/y") == "2750 0:0"
    assert lab.names(image, "/made") == []
    assert lab.build(text).id == image.id
    os.chmod(lab.context / "x/y", 0o755)
    assert lab.mode(lab.build(text), "/new/x/y") == "0755 0:0"


def test_owners_that_are_empty_or_unknown(lab: Lab) -> None:
    lab.put("f", "x")
    image = lab.build(
        """
FROM box
COPY --chown=${NONE}:${NONE} f /1
COPY --chown=:extra f /2
COPY --chown=7: f /3
USER ghost
WORKDIR /w/x
"""
    )
    assert lab.mode(image, "/1").endswith(" 0:0")
    assert lab.mode(image, "/2").endswith(" 0:2000")
    assert lab.mode(image, "/3").endswith(" 7:0")
    assert lab.mode(image, "/w/x") == "0755 0:0"


def test_workdir_keeps_its_slash(lab: Lab) -> None:
    image = lab.build("FROM box\nWORKDIR /w/\nRUN pwd > f\n")
    assert image.config["config"]["WorkingDir"] == "/w/"
    assert lab.read(image, "/w/f") == "/w\n"
    assert lab.build("FROM box\nWORKDIR /w/\nWORKDIR x\n").config["config"]["WorkingDir"] == "/w/x"
    assert lab.build("FROM box\nWORKDIR /w\nWORKDIR x/\n").config["config"]["WorkingDir"] == "/w/x"
    assert lab.build("FROM box\nWORKDIR //\n").config["config"]["WorkingDir"] == "/"


def test_an_archive_replaces_what_is_there(lab: Lab) -> None:
    lab.put("t.tar", archive("full"))
    image = lab.build("FROM box\nRUN mkdir -p /full/of && echo > /full/of/things\nADD t.tar /\n")
    assert lab.read(image, "/full") == ""


def test_a_proxy_is_told_in_both_cases(lab: Lab) -> None:
    given = {"HTTP_PROXY": "http://p:1", "no_proxy": "n"}
    text = "FROM box\nRUN echo $http_proxy $HTTP_PROXY $NO_PROXY $no_proxy > /f\n"
    assert lab.read(lab.build(text, build_args=given), "/f") == "http://p:1 http://p:1 n n\n"
    text = "FROM box\nENV http_proxy=own\nRUN echo $http_proxy $HTTP_PROXY > /f\n"
    assert lab.read(lab.build(text, build_args=given), "/f") == "own http://p:1\n"


def test_a_named_context_may_be_scratch(lab: Lab) -> None:
    contexts = {"nothing": "docker-image://scratch"}
    lab.put("f", "x")
    image = lab.build("FROM nothing\nCOPY f /\nCOPY --from=nothing / /\n", build_contexts=contexts)
    assert lab.names(image, "/") == ["f"]


def test_a_cache_of_another_owner_is_another(lab: Lab) -> None:
    image = lab.build(
        """
FROM box
RUN --mount=type=cache,id=c,target=/c echo root > /c/f
RUN --mount=type=cache,id=c,target=/c,uid=1000 test ! -e /c/f && echo user > /c/f
RUN --mount=type=cache,id=c,target=/c,mode=0700 test ! -e /c/f
RUN --mount=type=cache,id=c,target=/c,uid=0,mode=0755 cat /c/f > /out
RUN --mount=type=cache,id=c,target=/c,uid=1000 cat /c/f >> /out
"""
    )
    assert lab.read(image, "/out") == "root\nuser\n"


def test_of_arg_and_env_the_later_one_counts(lab: Lab) -> None:
    text = """
FROM box AS base
ENV A=env B=env
FROM base
ARG A=arg
ARG B
ARG C=1
ARG C
RUN echo $A $B $C > /1
LABEL a=$A
ENV A=$A-env
RUN echo $A > /2
ARG A
RUN echo $A > /3
"""
    image = lab.build(text)
    assert [lab.read(image, name) for name in ("/1", "/2", "/3")] == ["arg env 1\n", "arg-env\n", "arg-env\n"]
    assert image.config["config"]["Labels"] == {"a": "arg"}
    image = lab.build(text, build_args={"A": "given"})
    assert [lab.read(image, name) for name in ("/1", "/2", "/3")] == [
        "given env 1\n",
        "given-env\n",
        "given\n",
    ]
    assert "A=given-env" in image.config["config"]["Env"]


def test_exclude_of_parents_is_for_whole_paths(lab: Lab) -> None:
    lab.write(a__b__f="f", a__b__c__g="g", a__x="x")
    text = """
FROM box
COPY --parents --exclude=a/b a /1/
COPY --parents --exclude=b a /2/
COPY --parents --exclude=b/c ./a/./b /3/
COPY --parents --exclude=a/b/f a/b/f a/x /4/
"""
    image = lab.build(text)
    assert lab.names(image, "/1/a") == ["x"]
    assert lab.names(image, "/2/a") == ["b", "x"]
    assert lab.names(image, "/3/b") == ["f"]
    assert lab.names(image, "/4/a") == ["b", "x"]
    assert lab.build(text).id == image.id


def test_link_with_chmod_leaves_directories_as_they_are(lab: Lab) -> None:
    lab.put("f", "x")
    text = "FROM box\nRUN mkdir -m 711 /d && chown 4:4 /d\nCOPY --link {} f /d/\n"
    assert lab.mode(lab.build(text.format("--chmod=600")), "/d") == "0711 4:4"
    assert lab.mode(lab.build(text.format("--chown=4")), "/d") == "0755 4:4"
