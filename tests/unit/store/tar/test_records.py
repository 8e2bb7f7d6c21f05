"""What a tar keeps in text: read strictly, or refused."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estiva.errors import LayerError
from estiva.store.tar import records
from estiva.store.tar.scanner import number


def record(key: bytes, value: bytes) -> bytes:
    size = len(key) + len(value) + 3
    while len(str(size)) + len(key) + len(value) + 3 != size:
        size = len(str(size)) + len(key) + len(value) + 3
    return b"%d %s=%s\n" % (size, key, value)


@given(st.dictionaries(st.from_regex(rb"[a-z.]{1,20}", fullmatch=True), st.binary(min_size=1, max_size=200)))
def test_pax_records_come_back(given: dict[bytes, bytes]) -> None:
    body = b"".join(record(key, value) for key, value in given.items())
    if any(b"\0" in given.get(key, b"") for key in (b"path", b"linkpath")):
        return
    assert records.parse_pax(body) == (given, None)


def test_the_last_of_a_key_wins_and_nothing_deletes_it() -> None:
    body = record(b"path", b"one") + record(b"path", b"two") + record(b"uid", b"7") + record(b"uid", b"")
    assert records.parse_pax(body) == ({b"path": b"two"}, None)
    empty = records.SCHILY + b"user.mark"
    assert records.parse_pax(record(empty, b"")) == ({empty: b""}, None)  # an attribute may be empty


@given(st.binary(max_size=300))
def test_any_bytes_are_records_or_a_refusal(body: bytes) -> None:
    try:
        found, pairs = records.parse_pax(body)
    except LayerError:
        return
    assert pairs is None or all(offset >= 0 and length >= 0 for offset, length in pairs)
    assert all(key and b"=" not in key for key in found)


@pytest.mark.parametrize(
    "body",
    [
        record(b"path", b"a\0b"),
        record(b"linkpath", b"\0"),
        record(b"GNU.sparse.name", b"x\0"),
        record(b"GNU.sparse.numbytes", b"5"),
        record(b"GNU.sparse.offset", b"5") + record(b"GNU.sparse.numbytes", b"-5"),
        record(b"GNU.sparse.offset", b"1_0"),
        record(b"GNU.sparse.offset", b"9" * 20),
    ],
)
def test_records_that_are_refused(body: bytes) -> None:
    with pytest.raises(LayerError):
        records.parse_pax(body)


def test_a_sparse_map_in_repeated_records() -> None:
    body = b"".join(
        record(b"GNU.sparse.offset", offset) + record(b"GNU.sparse.numbytes", length)
        for offset, length in ((b"0", b"512"), (b"4096", b"1"))
    )
    assert records.parse_pax(body) == ({}, [(0, 512), (4096, 1)])


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        (b"0", 0),
        (b"1700000000.123456789", 1_700_000_000_123_456_789),
        (b"1.5", 1_500_000_000),
        (b"1.0000000019", 1_000_000_001),
        (b"-1.25", -1_250_000_000),
        (b"-0.5", -500_000_000),
    ],
)
def test_times(text: bytes, nanoseconds: int) -> None:
    assert records.timestamp(text) == nanoseconds


@pytest.mark.parametrize(
    "text", [b"", b".5", b"-", b"--1", b"1e5", b"1.-5", b"1.5.5", b"+1", b" 1", b"1" * 13]
)
def test_times_that_are_none(text: bytes) -> None:
    with pytest.raises(LayerError, match="time"):
        records.timestamp(text)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        (b"user.mark", True),
        (b"security.capability", True),
        (b"system.posix_acl_access", True),
        (b"system.posix_acl_default", True),
        (b"user.", False),
        (b"user.overlay.opaque", False),
        (b"trusted.overlay.redirect", False),
        (b"trusted.mark", False),
        (b"security.selinux", False),
        (b"security.ima", False),
        (b"system.posix_acl", False),
        (b"", False),
    ],
)
def test_attributes_that_a_layer_may_set(name: bytes, kept: bool) -> None:
    assert records.kept_xattr(name) == kept
    assert records.header_xattr(records.SCHILY + name, b"x") == ((name, b"x") if kept else None)


def test_attributes_as_libarchive_writes_them() -> None:
    value = b"\0\xff binary"
    encoded = base64.b64encode(value).rstrip(b"=")
    assert records.header_xattr(records.LIBARCHIVE + b"user.a%3Db", encoded) == (b"user.a=b", value)
    assert records.header_xattr(b"path", b"x") is None
    hidden = records.LIBARCHIVE + b"%74rusted.overlay.opaque"  # judged after it is decoded
    assert records.header_xattr(hidden, base64.b64encode(b"y")) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (records.SCHILY + b"user.a\0b", b""),
        (records.SCHILY + b"user." + b"x" * 251, b""),
        (records.SCHILY + b"user.x", bytes(1 << 16)),
        (records.LIBARCHIVE + b"user.x", b"%%%"),
        (records.LIBARCHIVE + b"user.%00", b""),
    ],
)
def test_attributes_that_can_not_be(key: bytes, value: bytes) -> None:
    with pytest.raises(LayerError, match="attribute"):
        records.header_xattr(key, value)


def test_sparse_maps_in_records() -> None:
    said = {b"GNU.sparse.name": b"f", b"GNU.sparse.size": b"9000", b"GNU.sparse.map": b"0,512,8192,10"}
    assert records.pax_map(said, None) == (b"f", 9000, [(0, 512), (8192, 10)])
    one = {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.realsize": b"7"}
    assert records.pax_map(one, None) == (None, 7, None)
    assert records.pax_map({}, [(1, 2)]) == (None, None, [(1, 2)])
    for text in (b"0,512,8192", b"0,x", b"", b"-1,5"):
        with pytest.raises(LayerError):
            records.pax_map({b"GNU.sparse.map": text}, None)


def test_sparse_maps_before_the_data() -> None:
    text = b"2\n0\n512\n4096\n1\n"
    assert records.inline_lines(text + bytes(512 - len(text))) == 5
    assert records.inline_map(text + bytes(100)) == [(0, 512), (4096, 1)]
    assert records.inline_map(b"0\n") == []
    for wrong in (b"2", b"x\n", b"-1\n"):
        with pytest.raises(LayerError):
            records.inline_lines(wrong)


def test_old_sparse_tables() -> None:
    table = b"%011o\0%011o\0%011o\0%011o\0" % (0, 512, 4096, 1)
    assert records.old_map(table + bytes(48), number) == [(0, 512), (4096, 1)]
    assert records.old_map(bytes(96), number) == []
    with pytest.raises(LayerError, match="offset"):
        records.old_map(b"x" * 24, number)
