"""api/images/names.py: names of images, and docker's words for what is none."""

from __future__ import annotations

import pytest

from estiva.api.images import names
from estiva.errors import Denied, EngineError, EstivaError, InvalidInput, NoAccess, NotFound, Unavailable

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "tag", "shown"),
    [
        ("alpine", "", "alpine:latest"),
        ("alpine", "3", "alpine:3"),
        ("alpine:2", "3", "alpine:3"),
        ("alpine", DIGEST, f"alpine@{DIGEST}"),
        (f"alpine@{DIGEST}", "", f"alpine@{DIGEST}"),
        ("localhost:5000/a/b", "", "localhost:5000/a/b:latest"),
    ],
)
def test_a_name(text: str, tag: str, shown: str) -> None:
    assert names.parse(text, tag).familiar == shown


@pytest.mark.parametrize(
    ("text", "tag", "message"),
    [
        ("Foo", "", "invalid reference format: repository name (library/Foo) must be lowercase"),
        ("Foo", "x", "invalid reference format: repository name (library/Foo) must be lowercase"),
        ("a/Foo:1", "", "invalid reference format: repository name (a/Foo) must be lowercase"),
        ("", "", "invalid reference format"),
        ("a b", "", "invalid reference format"),
        ("a", "b c", "invalid tag format"),
        ("a", "../b", "invalid tag format"),
    ],
)
def test_no_name(text: str, tag: str, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        names.parse(text, tag)
    assert refused.value.message == message


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("nope", "No such image: nope:latest"),
        ("r.example/nope:1", "No such image: r.example/nope:1"),
        (DIGEST, f"No such image: {DIGEST}"),
        ("a" * 64, "No such image: " + "a" * 64),
    ],
)
def test_an_image_that_is_not_here(ref: str, message: str) -> None:
    with pytest.raises(NotFound) as refused, names.here(ref):
        raise NotFound("the engine's own words")
    assert refused.value.message == message


@pytest.mark.parametrize(
    ("error", "kind", "begins"),
    [
        (NotFound("x"), NotFound, "manifest for a:latest not found: manifest unknown"),
        (
            NoAccess("r wants a login"),
            NotFound,
            "pull access denied for a, repository does not exist or may require",
        ),
        (Denied("r refuses the credentials"), EngineError, "unauthorized: "),
        (Unavailable("can't reach r"), EngineError, "can't reach r"),
    ],
)
def test_what_a_registry_refuses(error: EstivaError, kind: type[EstivaError], begins: str) -> None:
    with pytest.raises(kind) as refused, names.of_registry(names.parse("a")):
        raise error
    assert refused.value.message.startswith(begins)
