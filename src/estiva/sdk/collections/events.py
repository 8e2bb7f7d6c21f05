"""What happens in an engine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from estiva.engine import events as engine_events
from estiva.sdk.objects.shown import Event
from estiva.sdk.told import told

if TYPE_CHECKING:
    from collections.abc import Generator

    from estiva.engine import Engine


@told
def events(
    engine: Engine, since: float | None, until: float | None, filters: dict[str, list[str]]
) -> Generator[Event, None, None]:
    """See Engine.events. What is wrong is told at once."""
    engine_events.judge(filters)
    if since is None and until is None:
        since = time.time()
    return _events(engine, since, until, filters)


def _events(
    engine: Engine, since: float | None, until: float | None, filters: dict[str, list[str]]
) -> Generator[Event, None, None]:
    for one in engine_events.events(engine, since=since, until=until, filters=filters):
        actor = one["Actor"]
        yield Event(one["Type"], one["Action"], actor["ID"], dict(actor["Attributes"]), one["timeNano"])
