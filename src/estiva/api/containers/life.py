"""A container's life: made, started, waited for, ended, removed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from estiva.api import answers
from estiva.engine.containers import control
from estiva.engine.containers import create as creating
from estiva.engine.containers import start as starting
from estiva.engine.state import lookup

if TYPE_CHECKING:
    from estiva.api.app import Api, Route


async def create(api: Api, request: web.Request) -> web.Response:
    given = await answers.body(request)
    host = given.pop("HostConfig", None) or {}
    networking = given.pop("NetworkingConfig", None) or {}
    record = await api.work.do(
        creating.create,
        api.engine,
        given,
        host,
        name=request.query.get("name") or None,
        pull="never",
        platform=request.query.get("platform") or None,
        networking=networking.get("EndpointsConfig") or None,
    )
    return answers.json({"Id": record["Id"], "Warnings": []}, 201)


def _start(api: Api, ref: str) -> bool:
    """Whether it did not run before."""
    begun = starting.again(api.engine, ref)
    if begun is None:
        return False
    with begun:
        begun.guests += api.attaches.take(begun.id)
        begun.go(detach=True)
        begun.started()
    return True


async def start(api: Api, request: web.Request) -> web.Response:
    await answers.body(request)
    begun = await api.work.long_do(_start, api, request.match_info["id"])
    return answers.nothing(204 if begun else 304)


async def wait(api: Api, request: web.Request) -> web.StreamResponse:
    """The headers go out before the end: `docker run` starts the container when it has them."""
    ref = request.match_info["id"]
    record = await api.work.do(lookup.resolve, api.engine, ref)
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    while not record["State"]["Running"] and record["State"]["Status"] == "created":
        await asyncio.sleep(0.01)
        record = await api.work.do(lookup.resolve, api.engine, record["Id"])
    status = await api.work.long_do(control.wait, api.engine, record["Id"])
    await response.write(b'{"StatusCode":%d}\n' % status)
    await response.write_eof()
    return response


async def remove(api: Api, request: web.Request) -> web.Response:
    force, volumes = answers.flag(request, "force"), answers.flag(request, "v")
    await api.work.long_do(control.remove, api.engine, request.match_info["id"], force=force, volumes=volumes)
    return answers.nothing()


ROUTES: tuple[Route, ...] = (
    ("POST", "/containers/create", create),
    ("POST", "/containers/{id}/start", start),
    ("POST", "/containers/{id}/wait", wait),
    ("DELETE", "/containers/{id}", remove),
)
