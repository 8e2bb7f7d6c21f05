"""Protobuf's wire format for messages that are declared here: dicts <-> bytes.

A Schema says {name: (number, kind)}; kind is TEXT, BYTES, INT (int64, uint32, enums), BOOL, another Schema,
[kind] for a repeated field, {kind: kind} for a map. Fields that are not declared are passed over; those that
are absent are absent from the dict, as proto3 leaves out what is zero.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from estiva.errors import InvalidInput

TEXT, BYTES, INT, BOOL = "text", "bytes", "int", "bool"
FIELDS = 1 << 17  # of one message, with those inside it: a fifth of a second's work
DEPTH = 16

Kind: TypeAlias = "str | Schema | list[Any] | dict[Any, Any]"


class Schema:
    """The declared fields of one message."""

    def __init__(self, fields: dict[str, tuple[int, Kind]]) -> None:
        self.fields = fields
        self.numbers = {number: (name, kind) for name, (number, kind) in fields.items()}

    def encode(self, message: dict[str, Any]) -> bytes:
        out = bytearray()
        for name, value in message.items():
            number, kind = self.fields[name]
            if isinstance(kind, list):
                for each in value:
                    out += _field(number, kind[0], each)
            elif isinstance(kind, dict):
                ((keys, values),) = kind.items()
                for key, each in value.items():
                    out += _field(number, BYTES, _field(1, keys, key) + _field(2, values, each))
            elif value is not None and (value or isinstance(kind, Schema)):
                out += _field(number, kind, value)
        return bytes(out)

    def decode(self, data: bytes) -> dict[str, Any]:
        """Raises InvalidInput for what is no such message."""
        return _Reader().message(self, memoryview(data), 0)


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(number: int, kind: Kind, value: Any) -> bytes:
    if kind in (INT, BOOL):
        return varint(number << 3) + varint(int(value))
    if isinstance(kind, Schema):
        data = kind.encode(value)
    elif kind == TEXT:
        data = value.encode("utf-8", "replace")
    else:
        data = bytes(value)
    return varint(number << 3 | 2) + varint(len(data)) + data


class _Reader:
    """Counts what one message brings."""

    def __init__(self) -> None:
        self.left = FIELDS

    def message(self, schema: Schema, data: memoryview, depth: int) -> dict[str, Any]:
        if depth > DEPTH:
            raise InvalidInput("a message is nested too deep")
        found: dict[str, Any] = {}
        at = 0
        while at < len(data):
            self.left -= 1
            if self.left < 0:
                raise InvalidInput(f"a message has over {FIELDS} fields")
            tag, at = read_varint(data, at)
            value: int | memoryview
            if tag & 7 == 0:
                value, at = read_varint(data, at)
            elif tag & 7 in (1, 5):
                at += 8 if tag & 7 == 1 else 4
                if at > len(data):
                    raise InvalidInput("a message ends too early")
                continue
            elif tag & 7 == 2:
                size, at = read_varint(data, at)
                value = data[at : at + size]
                at += size
                if at > len(data):
                    raise InvalidInput("a message ends too early")
            else:
                raise InvalidInput(f"a message has a field of the unknown form {tag & 7}")
            known = schema.numbers.get(tag >> 3)
            if known is not None:
                self._put(found, *known, value, depth)
        return found

    def _put(self, found: dict[str, Any], name: str, kind: Kind, value: int | memoryview, depth: int) -> None:
        if isinstance(kind, list):
            found.setdefault(name, []).append(self._value(kind[0], value, depth))
        elif isinstance(kind, dict):
            ((keys, values),) = kind.items()
            entry = self._value(Schema({"key": (1, keys), "value": (2, values)}), value, depth)
            found.setdefault(name, {})[entry.get("key", _zero(keys))] = entry.get("value", _zero(values))
        else:
            found[name] = self._value(kind, value, depth)

    def _value(self, kind: Kind, value: int | memoryview, depth: int) -> Any:
        if isinstance(value, int):
            if kind == BOOL:
                return bool(value)
            if kind != INT:
                raise InvalidInput("a message has a number where none is expected")
            return value - (1 << 64) if value >> 63 else value
        if isinstance(kind, Schema):
            return self.message(kind, value, depth + 1)
        if kind == BYTES:
            return bytes(value)
        if kind != TEXT:
            raise InvalidInput("a message has no number where one is expected")
        try:
            return str(value, "utf-8")
        except UnicodeDecodeError:
            raise InvalidInput("a message has text that is not UTF-8") from None


def _zero(kind: Kind) -> Any:
    return {TEXT: "", BYTES: b"", INT: 0, BOOL: False}[kind] if isinstance(kind, str) else {}


def read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """(the number, where the rest begins). Raises InvalidInput."""
    result = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise InvalidInput("a message ends too early")
        byte = data[at]
        at += 1
        result |= (byte & 127) << shift
        if byte < 128:
            return result & ((1 << 64) - 1), at
        shift += 7
