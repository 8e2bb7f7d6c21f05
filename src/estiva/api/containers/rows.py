"""The rows of the list of containers as text: most of a row is the same each time that somebody looks."""

from __future__ import annotations

from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any

from estiva.api import answers
from estiva.engine.containers import listing

if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.engine.state.types import Record

STATUS = "Status"  # all that changes by itself


class Rows:
    """Thread-safe. A row is made anew when the record is another object (engine/state/known.py gives the same
    one for as long as nothing of it has changed), or one of the other things that it is made of."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[Record, tuple[Any, ...], str, str]] = {}

    def text(self, record: Record, beside: tuple[Any, ...], make: Callable[[Record], dict[str, Any]]) -> str:
        """A row as JSON. `beside`: what else it is made of; `make` makes it."""
        found = self._made.get(record["Id"])
        if found is None or found[0] is not record or found[1] != beside:
            fields = [(answers.text(key), answers.text(value)) for key, value in make(record).items()]
            at = next(number for number, (key, _) in enumerate(fields) if key == f'"{STATUS}"')
            members = [f"{key}:{value}" for key, value in fields]
            head = ",".join([*members[:at], f'"{STATUS}":'])
            found = record, beside, f"{{{head}", f"{','.join(['', *members[at + 1 :]])}}}"
            self._made[record["Id"]] = found
        return f"{found[2]}{encode_basestring(listing.status(record['State']))}{found[3]}"

    def forget(self, records: list[Record]) -> None:
        """All but these."""
        here = {record["Id"] for record in records}
        for container_id in [each for each in list(self._made) if each not in here]:
            self._made.pop(container_id, None)
