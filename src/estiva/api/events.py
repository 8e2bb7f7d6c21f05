"""What happens, as it happens (engine/events.py), without a thread while nothing does."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from aiohttp import web

from estiva.api import answers, streaming
from estiva.engine import events as happening
from estiva.errors import InvalidInput, brief

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from estiva.api.app import Api, Route

    Wait = tuple[int, float]

BATCH = 256  # events that are read at once
NOTHING = {"type": ["container"], "scope": ["swarm"]}  # filters that nothing passes


def moment(request: web.Request, name: str) -> float | None:
    """A moment of the query, in epoch seconds, with a fraction; None where there is none. Raises
    InvalidInput."""
    text = request.query.get(name, "")
    if not text:
        return None
    whole, _, rest = text.partition(".")
    digits = whole.removeprefix("-") + rest
    if not (digits.isascii() and digits.isdigit() and len(text) < 40):
        raise InvalidInput(f'invalid value for "{name}": {brief(text, 60)}')
    return float(text)


def filters(request: web.Request) -> dict[str, list[str]]:
    """The query's, as the engine has them: of what is not here, nothing ever happens."""
    found = answers.filters(request)
    if any(name in happening.FOREIGN for name, values in found.items() if values):
        return NOTHING
    if found.get("type"):
        found["type"] = [value for value in found["type"] if value in happening.TYPES]
        if not found["type"]:
            return NOTHING
    return {name: values for name, values in found.items() if values}


async def events(api: Api, request: web.Request) -> web.StreamResponse:
    since, until = moment(request, "since"), moment(request, "until")
    if since is not None and until is not None and since > until:
        raise InvalidInput("`since` time cannot be after `until` time")
    task = happening.happening(api.engine, since=since, until=until, filters=filters(request))
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    with streaming.told(request, response):
        async with contextlib.aclosing(_happening(api, task)) as going:
            async for found in going:
                if not response.prepared:
                    await response.prepare(request)
                for event in found:
                    if event["Action"] == "die":
                        await api.ends.answers(event["Actor"]["ID"])
                if found:
                    await response.write(b"".join(map(streaming.line, found)))
        await response.write_eof()
    return response


def _pull(task: Iterator[dict[str, Any] | Wait]) -> tuple[list[dict[str, Any]], Wait | None, bool]:
    """(events, what to wait for then, whether there will be more)."""
    found: list[dict[str, Any]] = []
    for one in task:
        if isinstance(one, tuple):
            return found, one, True
        found.append(one)
        if len(found) == BATCH:
            return found, None, True
    return found, None, False


async def _happening(api: Api, task: Any) -> AsyncGenerator[list[dict[str, Any]]]:
    """What has come since the last time, which may be nothing."""
    more = True
    while more:
        found, wait, more = await streaming.step(api.work.short, _pull, task)
        try:
            yield found
            if wait is not None:
                await streaming.readable(*wait)
        except BaseException:
            task.close()
            raise


ROUTES: tuple[Route, ...] = (("GET", "/events", events),)
