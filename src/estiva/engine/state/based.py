"""What a container stands on: its image, and the snapshots above that (cold path)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.engine.state.types import Record
    from estiva.store.images import Image


def image_of(engine: Engine, record: Record) -> Image:
    """Its image, whose `chain` has the snapshots too. Raises NotFound."""
    image = engine.store.images.resolve(record["Image"])
    image.states = list(record.get("States") or ())
    return image
