"""Wildcard patterns of paths and of shells; tests/security/test_build_bounds.py has what they cost."""

from __future__ import annotations

import pytest

from estiva.builder.frontend import patterns
from estiva.errors import InvalidInput


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("", "", "a"),
        ("a?c", "abc", "a/c"),
        ("*", "abc", "a/b"),
        ("**", "a/b/c", None),
        ("**/c", "a/b/c", "a/bc"),
        ("**/c", "c", "c/d"),
        ("a/**/c", "a/c", "ac"),
        ("a**c", "ab/c", "abc"),
        ("**c", "a/bc", "a/cb"),
        ("[a-c]x", "bx", "dx"),
        ("[^a-c]x", "dx", "/x"),
        (r"\*[\]]", "*]", "a]"),
        ("a\nb*", "a\nb\n", "ab"),
    ],
)
def test_paths(pattern: str, yes: str, no: str | None) -> None:
    compiled = patterns.path(pattern)
    assert compiled.match(yes) and compiled.match(yes)
    assert no is None or not compiled.match(no)


def test_classes_as_go_has_them() -> None:
    assert not patterns.path("[c-a]").match("b")  # an empty range is no error
    assert patterns.path("[^c-a]").match("b")
    with pytest.raises(InvalidInput, match="malformed"):
        patterns.path("[]a]")


@pytest.mark.parametrize(
    ("pattern", "text", "ends"),
    [
        ("a*", "abc", [1, 2, 3]),
        ("*", "ab", [0, 1, 2]),
        ("?", "ab", [1]),
        ("a*c", "abcdc/c", [3, 5, 7]),
        ("x", "ab", []),
        (r"\*\?", "*?", [2]),
    ],
)
def test_where_matches_end(pattern: str, text: str, ends: list[int]) -> None:
    assert list(patterns.shell(pattern).ends(text)) == ends
    assert list(patterns.shell(pattern).ends("y" + text, 1)) == [end + 1 for end in ends]


@pytest.mark.parametrize(
    ("pattern", "text", "starts"),
    [
        ("b", "abcb", [1, 3]),
        ("b*", "abcb", [1, 3]),
        ("b?", "abcb", [1]),
        ("", "ab", [0, 1, 2]),
        ("*b", "abc", [0, 1]),
    ],
)
def test_where_matches_begin(pattern: str, text: str, starts: list[int]) -> None:
    found = patterns.shell(pattern).starts(text)
    assert [place for place, begins in enumerate(found) if begins] == starts
