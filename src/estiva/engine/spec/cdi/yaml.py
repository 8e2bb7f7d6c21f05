"""A CDI spec in YAML, as the value that it has in JSON: the vendors' programs write either.

Of YAML 1.1 it takes what JSON has as well: no tags, no dates, no keys but texts, and no aliases: nine lines
of them stand for gigabytes. The values are made here out of the parser's events, so that the depth is bounded
before anything recurses, and no number of base 60 is computed, which can take minutes.

Not for the cold path: this module is imported where a file of YAML is read, and PyYAML with it.
"""

from __future__ import annotations

import yaml

from estiva.errors import InvalidInput, brief

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_DEPTH = 64  # lists and objects within each other; a spec has 6
STANDARD = "tag:yaml.org,2002:"


class _Refused(ValueError):
    """YAML that JSON has not."""


def loads(data: bytes, *, what: str) -> Any:
    """The value of the one document in `data`, which is bounded by the caller. Raises InvalidInput."""
    line = 0
    try:
        parser = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(data.decode())
        parser.get_event()  # StreamStart
        if parser.check_event(yaml.StreamEndEvent):
            return None
        parser.get_event()  # DocumentStart
        composer = _Composer(parser)
        try:
            value = composer.value()
        finally:
            line = composer.line
        parser.get_event()  # DocumentEnd
        if not parser.check_event(yaml.StreamEndEvent):
            raise InvalidInput(f"{what} has more than one document")
        return value
    except _Refused as error:
        raise InvalidInput(f"{what}: line {line}: {error}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise InvalidInput(f"{what} is not valid yaml: {where}{brief(str(error.problem))}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # the reader's: no UTF-8, control characters; chr() of an escape beyond Unicode
        raise InvalidInput(
            f"{what} is not valid yaml: {brief(str(getattr(error, 'reason', error)))}"
        ) from None


class _Composer:
    """Values out of the events of a parser; `line` is where it has got to, counted from 1."""

    def __init__(self, parser: Any) -> None:
        self.parser = parser
        self.line = 0

    def value(self, depth: int = 0) -> Any:
        """The next value. Raises _Refused, yaml.YAMLError."""
        event = self.parser.get_event()
        self.line = event.start_mark.line + 1
        if event.anchor is not None:
            raise _Refused("anchors and aliases are not taken")
        if event.tag is not None:
            raise _Refused(f"the tag {brief(event.tag, 100)} is not taken")
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event)
        if depth == MAX_DEPTH:
            raise _Refused(f"it is nested more than {MAX_DEPTH} deep")
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(depth + 1)
        return self.mapping(depth + 1)

    def sequence(self, depth: int) -> list[Any]:
        result = []
        while not self.parser.check_event(yaml.SequenceEndEvent):
            result.append(self.value(depth))
        self.parser.get_event()
        return result

    def mapping(self, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while not self.parser.check_event(yaml.MappingEndEvent):
            key = self.value(depth)
            if not isinstance(key, str):
                raise _Refused("a key is not a text")
            if key in result:
                raise _Refused(f"the key {brief(key, 100)} is there twice")
            result[key] = self.value(depth)
        self.parser.get_event()
        return result

    def scalar(self, event: yaml.ScalarEvent) -> Any:
        """A text, number, truth value or null, by the rules of YAML 1.1."""
        text = event.value
        tag = self.parser.resolve(yaml.ScalarNode, text, event.implicit).removeprefix(STANDARD)
        try:
            if tag == "str":
                text.encode()  # an escape may be half of a surrogate pair
                return text
            if tag == "null":
                return None
            if tag == "bool":
                return self.parser.bool_values[text.lower()]
            if tag == "int":
                return _integer(text.replace("_", ""))
            if tag == "float":
                return float(text.replace("_", ""))
        except ValueError:
            pass
        raise _Refused(f"{brief(text, 100)} ({tag}) is nothing that json has")


def _integer(text: str) -> int:
    """A number of base 2, 8 (0644 is 420), 10 or 16. Raises ValueError for base 60, and for endless ones."""
    digits = text.lstrip("+-")
    return int(text, 8 if digits.isdigit() and digits[0] == "0" else 0)
