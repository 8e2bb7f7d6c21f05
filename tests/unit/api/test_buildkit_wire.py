"""Protobuf's bytes: what is written is read again, and what is hostile is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estiva.api.buildkit import messages, wire
from estiva.api.buildkit.wire import BOOL, BYTES, INT, TEXT, Schema
from estiva.errors import InvalidInput

INNER = Schema({"name": (1, TEXT), "on": (2, BOOL)})
ALL = Schema(
    {
        "text": (1, TEXT),
        "data": (2, BYTES),
        "number": (3, INT),
        "inner": (4, INNER),
        "many": (5, [INNER]),
        "words": (16, [TEXT]),
        "map": (2000, {TEXT: BYTES}),
    }
)


def test_what_is_written_is_read() -> None:
    message = {
        "text": "é",
        "data": b"\0\xff",
        "number": -5,
        "inner": {},
        "many": [{"name": "a"}, {"on": True}],
        "words": ["", "b"],
        "map": {"k": b"v", "": b""},
    }
    assert ALL.decode(ALL.encode(message)) == message


def test_known_bytes() -> None:
    # https://protobuf.dev/programming-guides/encoding/: a number 150 in field 1, "testing" in field 2
    schema = Schema({"a": (1, INT), "b": (2, TEXT)})
    data = bytes.fromhex("089601") + bytes.fromhex("120774657374696e67")
    assert schema.decode(data) == {"a": 150, "b": "testing"}
    assert schema.encode({"a": 150, "b": "testing"}) == data


def test_what_is_zero_is_left_out_and_what_is_unknown_is_passed_over() -> None:
    assert ALL.encode({"text": "", "number": 0, "inner": None, "words": []}) == b""
    unknown = Schema({"x": (77, INT), "y": (78, BYTES)}).encode({"x": 1, "y": b"abc"})
    fixed = b"\x99\x05" + b"12345678" + b"\x9d\x05" + b"1234"  # field 83, 64 and 32 bits
    assert ALL.decode(unknown + fixed + ALL.encode({"text": "t"})) == {"text": "t"}


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a",  # no length
        b"\x0a\x05ab",  # too short
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # 2^64 bytes
        b"\x18" + b"\xff" * 11,  # a number without an end
        b"\x0b",  # a group
        b"\x08\x01",  # a number where text is
        b"\x1a\x01a",  # bytes where a number is
        b"\x0a\x01\xff",  # not UTF-8
        b"\x22\x01\x0a",  # inner ends too early
        b"\x99\x05123",  # 64 bits that are fewer
    ],
)
def test_broken_bytes(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        ALL.decode(data)


def test_fields_and_depth_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "FIELDS", 100)
    assert len(ALL.decode(b"\x2a\x00" * 100)["many"]) == 100
    with pytest.raises(InvalidInput, match="over 100 fields"):
        ALL.decode(b"\x2a\x00" * 101)
    loop = Schema({"in": (1, INT)})
    loop.fields["in"] = (1, loop)
    loop.numbers[1] = ("in", loop)
    data = b""
    for _ in range(wire.DEPTH + 2):
        data = b"\x0a" + wire.varint(len(data)) + data
    with pytest.raises(InvalidInput, match="nested"):
        loop.decode(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for schema in (messages.SOLVE, messages.PACKET, messages.RETURN, messages.PROGRESS):
        try:
            schema.decode(data)
        except InvalidInput:
            pass
