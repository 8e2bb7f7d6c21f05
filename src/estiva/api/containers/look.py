"""Containers looked at: the list, one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from estiva import timestamps
from estiva.api import answers
from estiva.engine.containers import inspect, listing

if TYPE_CHECKING:
    from estiva.api.app import Api, Route
    from estiva.engine.state.types import Record


def summary(record: Record) -> dict[str, Any]:
    """A container's row (ContainerSummary)."""
    config, state = record["Config"], record["State"]
    return {
        "Id": record["Id"],
        "Names": [record["Name"]],
        "Image": config["Image"],
        "ImageID": record["Image"],
        "Command": " ".join([record["Path"], *record["Args"]]),
        "Created": int(timestamps.seconds(record["Created"])),
        "Ports": [],
        "Labels": config.get("Labels") or {},
        "State": state["Status"],
        "Status": state["Status"],
        "HostConfig": {"NetworkMode": record["HostConfig"]["NetworkMode"]},
        "NetworkSettings": {"Networks": {}},
        "Mounts": [],
    }


async def ps(api: Api, request: web.Request) -> web.Response:
    every, filters = answers.flag(request, "all"), answers.filters(request)
    found = await api.work.do(listing.listing, api.engine, all=every, filters=filters)
    return answers.json([summary(record) for record in found])


async def one(api: Api, request: web.Request) -> web.Response:
    return answers.json(await api.work.do(inspect.inspect, api.engine, request.match_info["id"]))


ROUTES: tuple[Route, ...] = (
    ("GET", "/containers/json", ps),
    ("GET", "/containers/{id}/json", one),
)
