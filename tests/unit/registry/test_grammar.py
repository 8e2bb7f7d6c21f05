"""The words of the distribution protocol: nothing else may become a path, a key or a header (K9)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estiva.registry import grammar

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    "name", ["a", "a/b", "0", "library/alpine", "a.b/c_d/e__f/g-h/i---j", "x/" * 100 + "y", "a" * 255]
)
def test_names(name):
    assert grammar.is_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "/", "a/", "/a", "a//b", "A", "a..b", "a._b", "a___b", "-a", "a-", "a/../b", ".", "..", "a b", "a\n",
     "a\0", "é", "a:1", "a@b", "a" * 256],
)  # fmt: skip
def test_what_is_no_name(name):
    assert not grammar.is_name(name)


@given(st.from_regex(grammar.NAME, fullmatch=True))
def test_a_name_never_leads_elsewhere(name):
    assert not {"", ".", ".."} & set(name.split("/"))
    assert name.isascii() and name.isprintable() and " " not in name


def test_a_long_name_that_just_fails_takes_no_backtracking():
    assert not grammar.is_name("a-" * 127 + "-")
    assert grammar.NAME.fullmatch("a_" * 50_000 + "!") is None


@pytest.mark.parametrize(("tag", "good"), [
    ("1", True), ("_x", True), ("A.b-c", True), ("t" * 128, True),
    ("", False), (".x", False), ("-x", False), ("t" * 129, False), ("a/b", False), ("a\n", False), ("a:b", False),
])  # fmt: skip
def test_tags(tag, good):
    assert grammar.is_tag(tag) == good


@pytest.mark.parametrize(("digest", "good"), [
    (DIGEST, True), ("sha512:" + "f" * 128, True),
    (DIGEST.upper(), False), (DIGEST + "0", False), (DIGEST[:-1], False), (DIGEST + "\n", False),
    ("sha512:" + "f" * 64, False), ("sha1:" + "0" * 40, False), ("sha256:../../etc/passwd", False), ("", False),
])  # fmt: skip
def test_digests(digest, good):
    assert grammar.is_digest(digest) == good


@pytest.mark.parametrize(("header", "bare", "good"), [
    (grammar.OCI_MANIFEST, grammar.OCI_MANIFEST, True),
    (f" {grammar.OCI_INDEX} ; charset=utf-8", grammar.OCI_INDEX, True),
    ("text", "text", False), ("text/", "text/", False), ("", "", False), ("a/b/c", "a/b/c", False),
    ("text/a b", "text/a b", False), ("text/a\r\nX: y", "text/a\r\nX: y", False),
])  # fmt: skip
def test_media_types(header, bare, good):
    assert grammar.bare_type(header) == bare
    assert grammar.is_media_type(bare) == good


@pytest.mark.parametrize(("header", "part"), [
    ("bytes 0-9/10", (0, 9, 10)), (" bytes 5-6/* ", (5, 6, None)),
    ("bytes 0-9", None), ("bytes */10", None), ("lines 0-9/10", None), ("bytes -1-9/10", None),
    ("bytes 0-9/10, 1-2/3", None), ("bytes 0-" + "9" * 20 + "/*", None), ("", None),
])  # fmt: skip
def test_the_range_of_an_answer(header, part):
    assert grammar.content_range(header) == part


@pytest.mark.parametrize(("header", "part"), [
    ("0-9", (0, 9)), ("bytes=3-3", (3, 3)), ("bytes 0-0", (0, 0)),
    ("9-0", None), ("0-", None), ("-5", None), ("0-9/10", None), ("x", None), ("", None),
])  # fmt: skip
def test_the_range_of_a_chunk(header, part):
    assert grammar.chunk_range(header) == part


@given(st.integers(0, 2000), st.integers(0, 3000), st.integers(0, 3000))
def test_a_range_asked_for_is_what_slicing_gives(size, first, last):
    data = bytes(size)
    for header, wanted in (
        (f"bytes={first}-{last}", data[first : last + 1] if first <= last else data),
        (f"bytes={first}-", data[first:]),
        (f"bytes=-{last}", data[max(0, size - last) :]),
    ):
        try:
            part = grammar.byte_range(header, size)
        except ValueError:
            assert not wanted
            continue
        offset, count = part or (0, size)
        assert offset >= 0 and offset + count <= size
        assert data[offset : offset + count] == wanted


@pytest.mark.parametrize(
    "header", ["", "bytes=-", "bytes=1-2,4-5", "lines=0-1", "bytes=a-b", "bytes 0-1", "0-1"]
)
def test_a_range_that_is_ignored(header):
    assert grammar.byte_range(header, 100) is None


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_that_can_not_be_satisfied(header):
    with pytest.raises(ValueError, match="range"):
        grammar.byte_range(header, 100)
