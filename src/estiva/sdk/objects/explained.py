"""A container that explains itself: why it ended, and why it does not do what is wanted of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from estiva.sdk import values
from estiva.sdk.told import told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiva.engine import Engine


@dataclass(frozen=True, slots=True)
class Doctored:
    """What is wrong with a container, and what is good to know of it, in sentences."""

    problems: tuple[str, ...]
    notes: tuple[str, ...]


class Explained:
    """That half of a Container which is about reasons."""

    engine: Engine
    id: str

    @told
    def why(self) -> list[str]:
        """How it came to be in the state that it is in, in sentences: see docs/why.md.

        print(*box.why(), sep="\\n")
        """
        from estiva.engine.explain import why

        return why.why(self.engine, self.id)

    @told
    def doctor(self, names: str | Sequence[str] = ()) -> Doctored:
        """What keeps it from answering, from finding `names`, or from seeing its mounts: see docs/why.md."""
        from estiva.engine.explain import running

        problems, notes = running.examine(self.engine, self.id, values.listed("names", names))
        return Doctored(tuple(problems), tuple(notes))
