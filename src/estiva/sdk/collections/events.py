"""What happens in an engine."""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING

from estiva.engine import events as engine_events
from estiva.sdk.objects.shown import Event
from estiva.sdk.steps import Wait
from estiva.sdk.told import told

if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.sdk.steps import Stream


@told
def events(
    engine: Engine, since: float | None, until: float | None, filters: dict[str, list[str]]
) -> Stream[Event]:
    """See Engine.events, in steps. What is wrong is told at once."""
    engine_events.judge(filters)
    if since is None and until is None:
        since = time.time()
    return _stream(engine, since, until, filters)


def _stream(
    engine: Engine, since: float | None, until: float | None, filters: dict[str, list[str]]
) -> Stream[Event]:
    for one in engine_events.happening(engine, since=since, until=until, filters=filters):
        if isinstance(one, tuple):
            fd, seconds = one
            yield Wait({fd: select.POLLIN} if fd >= 0 else {}, seconds)
            continue
        actor = one["Actor"]
        yield Event(one["Type"], one["Action"], actor["ID"], dict(actor["Attributes"]), one["timeNano"])
