"""Names of members: cleaned once, then never leading anywhere."""

from __future__ import annotations

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estiva.errors import LayerError
from estiva.store.tar.entry import MAX_COMPONENT, Entry, clean, shown


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"a/b", b"a/b"),
        (b"/a/b/", b"a/b"),
        (b"././a//b/./", b"a/b"),
        (b"a/../b", b"b"),
        (b"a/b/../..", b""),
        (b"/", b""),
        (b"", b""),
        (b"...", b"..."),
        (b"a\\b", b"a\\b"),
    ],
)
def test_cleaned(raw: bytes, name: bytes) -> None:
    assert clean(raw) == name


@pytest.mark.parametrize(
    "raw", [b"..", b"/..", b"a/../..", b"./../a", b"a/b/../../../c", b"x" * (MAX_COMPONENT + 1)]
)
def test_refused(raw: bytes) -> None:
    with pytest.raises(LayerError):
        clean(raw)


@given(st.lists(st.sampled_from([b"a", b"b", b".", b"..", b""]), max_size=12).map(b"/".join))
def test_a_clean_name_stays_below_the_root(raw: bytes) -> None:
    try:
        name = clean(raw)
    except LayerError:
        return
    assert clean(name) == name
    assert not name or not {b"", b".", b".."} & set(name.split(b"/"))


@given(st.binary(max_size=400))
def test_a_name_is_shown_on_one_line(name: bytes) -> None:
    text = shown(name)
    assert text.isprintable() or not text
    assert len(text) <= 2200


def test_an_opaque_directory_is_marked_whatever_else_it_has() -> None:
    entry = Entry(b"d", stat.S_IFDIR, 0o755)
    assert entry.attributes() == {}
    entry.xattrs = {b"user.x": b"1", b"trusted.overlay.opaque": b"n"}
    entry.opaque = True
    assert entry.attributes() == {b"user.x": b"1", b"trusted.overlay.opaque": b"y"}
    assert entry.xattrs[b"trusted.overlay.opaque"] == b"n"
