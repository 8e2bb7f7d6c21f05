"""Volumes (Engine API, Volume): docker's shapes and words over `engine/volumes`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from estiva.api import answers
from estiva.api.app import api_version
from estiva.engine import volumes
from estiva.errors import Conflict, InvalidInput, NotFound, oneline
from estiva.oci import rules
from estiva.oci.rules import EACH_SAID, ONLY

if TYPE_CHECKING:
    from estiva.api.app import Api, Route

_WORDS = {EACH_SAID: "string"}
CREATE: dict[str, Any] = {  # VolumeCreateOptions
    ONLY: None,
    "Name": "string",
    "Driver": "string",
    "DriverOpts": _WORDS,
    "Labels": _WORDS,
    "ClusterVolumeSpec": {ONLY: None},
}
NAMED = (1, 42)  # from which on prune leaves alone what has a name, unless it is told all=true


def _missing(name: str) -> NotFound:
    return NotFound(f"get {oneline(name)}: no such volume")


def _refused(name: str, text: str) -> str:
    """Why a volume is not made, in docker's words."""
    if text.startswith("invalid volume name"):
        text = (
            f'"{oneline(name)}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. '
            "If you intended to pass a host directory, use absolute path"
        )
    elif text.endswith(" is too short"):
        text = "volume name is too short, names should be at least two alphanumeric characters"
    return f"create {oneline(name)}: {text.removeprefix(f'volume {name}: ')}" if name else text


async def listing(api: Api, request: web.Request) -> web.Response:
    found = await api.work.do(volumes.listing, api.engine, answers.filters(request))
    return answers.json({"Volumes": found, "Warnings": None})


async def create(api: Api, request: web.Request) -> web.Response:
    given = await answers.body(request)
    rules.check(given, CREATE, "VolumeCreateOptions")
    driver, name = given.get("Driver") or "local", given.get("Name") or ""
    if driver != "local":
        shown = oneline(driver[:100])
        of = f"create {oneline(name)}: " if name else ""
        raise NotFound(f'{of}error looking up volume plugin {shown}: plugin "{shown}" not found')

    def made() -> dict[str, Any]:
        try:
            made = volumes.create(
                api.engine, name or None, given.get("Labels"), options=given.get("DriverOpts")
            )
        except InvalidInput as error:
            raise InvalidInput(_refused(name, error.message)) from None
        return volumes.inspect(api.engine, made)

    return answers.json(await api.work.do(made), 201)


async def inspect(api: Api, request: web.Request) -> web.Response:
    name = request.match_info["name"]
    try:
        return answers.json(await api.work.do(volumes.inspect, api.engine, name))
    except (NotFound, InvalidInput):  # nor is there one of a name that is none
        raise _missing(name) from None


async def delete(api: Api, request: web.Request) -> web.Response:
    name = request.match_info["name"]
    try:
        await api.work.do(volumes.remove, api.engine, name, force=answers.flag(request, "force"))
    except (NotFound, InvalidInput):
        raise _missing(name) from None
    except Conflict as error:
        users = await api.work.do(api.engine.store.volumes.in_use_by, name)
        if not users:
            raise  # it has other reasons, or is free by now
        raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]") from error
    return answers.nothing()


async def update(api: Api, request: web.Request) -> web.Response:
    text = "volume update only valid for cluster volumes, but swarm is unavailable"
    return answers.json({"message": text}, 503)


async def prune(api: Api, request: web.Request) -> web.Response:
    filters = answers.filters(request)
    every = api_version(request) < NAMED
    names, freed = await api.work.do(volumes.prune, api.engine, all=every, filters=filters)
    return answers.json({"VolumesDeleted": names, "SpaceReclaimed": freed})


ROUTES: tuple[Route, ...] = (
    ("GET", "/volumes", listing),
    ("POST", "/volumes/create", create),
    ("POST", "/volumes/prune", prune),
    ("GET", "/volumes/{name}", inspect),
    ("PUT", "/volumes/{name}", update),
    ("DELETE", "/volumes/{name}", delete),
)
