"""What a registry has under a name, without pulling it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from estiva.api import answers, auth
from estiva.api.images import names
from estiva.engine.images import registry

if TYPE_CHECKING:
    from estiva.api.app import Api, Route


async def inspect(api: Api, request: web.Request) -> web.Response:
    reference = names.parse(request.match_info["name"])
    given = auth.one(request, reference.registry)
    with names.of_registry(reference):
        found = await api.work.long_do(registry.described, str(reference), given=given)
    return answers.json(found)


ROUTES: tuple[Route, ...] = (("GET", "/distribution/{name:.+}/json", inspect),)
