"""`.dockerignore` patterns."""

from __future__ import annotations

import pytest

from estiva.builder.frontend import ignore
from estiva.errors import InvalidInput


@pytest.mark.parametrize(
    ("patterns", "path", "excluded"),
    [
        ("a", "a", True),
        ("a", "a/b/c", True),
        ("a", "ab", False),
        ("/a/", "a", True),
        ("./a/../b", "b", True),
        ("*.txt", "x.txt", True),
        ("*.txt", "d/x.txt", False),
        ("*/temp*", "d/temp1", True),
        ("*/temp*", "d/e/temp1", False),
        ("temp?", "tempa", True),
        ("temp?", "temp", False),
        ("**/*.go", "x.go", True),
        ("**/*.go", "a/b/x.go", True),
        ("**.go", "a/b/x.go", True),
        ("**foo", "a/barfoo", True),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("a/**", "a/b", True),
        ("a/**", "a", False),
        ("**", "anything/at/all", True),
        ("a[b-d]", "ac", True),
        ("a[^b-d]", "ac", False),
        ("a[^b-d]", "ax", True),
        (r"a\*", "a*", True),
        (r"a\*", "ab", False),
        ("# comment\n #x", "#x", True),
        ("*\n!keep", "keep", False),
        ("*\n!keep", "keep/below", False),
        ("*\n!keep\nkeep/not", "keep/not/it", True),
        ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", True),
        ("*.md\n!README*.md\nREADME-secret.md", "README.md", False),
        ("!a\na", "a", True),
        ("a.b", "axb", False),
    ],
)
def test_excluded(patterns: str, path: str, excluded: bool) -> None:
    assert ignore.read_ignore("\ufeff" + patterns + "\n").excluded(path) is excluded


def test_prunes_only_without_exceptions() -> None:
    assert ignore.Matcher(["a"]).prunes("a")
    assert not ignore.Matcher(["a", "!a/b"]).prunes("a")


@pytest.mark.parametrize("pattern", ["!", "[a", "a[]", "a[b-", "a\\"])
def test_malformed(pattern: str) -> None:
    with pytest.raises(InvalidInput):
        ignore.Matcher([pattern])


def test_a_malformed_line_is_named() -> None:
    assert ignore.read_ignore("# [a\n\n*.log\n").excluded("a.log")
    with pytest.raises(InvalidInput, match=r"^app\.dockerignore:3: malformed pattern: \[bad$"):
        ignore.read_ignore("# [a\n*.log\n[bad\n", "app.dockerignore")


def test_wildcards() -> None:
    assert ignore.has_wildcard("a*") and ignore.has_wildcard("[a]") and ignore.has_wildcard(r"\\*")
    assert not ignore.has_wildcard(r"a\*b")
    assert ignore.unescape(r"a\*b") == "a*b"


def test_a_directory_is_taken_back_only_if_it_was_out() -> None:
    kept = ignore.Matcher(["**/*.txt", "!docs", "x", "!x/y"])
    assert kept.excluded("docs/a.txt") and kept.excluded("docs") is False
    assert kept.excluded("x/z") and not kept.excluded("x/y/z")
    assert not ignore.Matcher(["**/*.txt", "!docs/**"]).excluded("docs/a.txt")
    assert not ignore.Matcher(["*", "!docs"]).excluded("docs/sub/a.txt")


def test_below() -> None:
    matcher = ignore.Matcher(["a/b", "!a/b/c"]).below("a/")
    assert matcher.excluded("b/x") and not matcher.excluded("b/c") and not matcher.excluded("a/b/x")
