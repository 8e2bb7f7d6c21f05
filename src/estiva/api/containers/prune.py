"""Containers that have ended, removed all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from estiva.api import answers
from estiva.api.containers import words
from estiva.engine.containers import sweep

if TYPE_CHECKING:
    from aiohttp import web

    from estiva.api.app import Api, Route


async def prune(api: Api, request: web.Request) -> web.Response:
    removed, freed = await api.work.long_do(sweep.prune, api.engine, answers.filters(request))
    return answers.json({"ContainersDeleted": removed or None, "SpaceReclaimed": freed})


ROUTES: tuple[Route, ...] = words.routes(("POST", "/containers/prune", prune))
