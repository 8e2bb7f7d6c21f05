"""Limits and the restart policy of a container, changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from estiva.api import answers
from estiva.api.app import api_version
from estiva.api.containers import fields, words
from estiva.engine.containers import update as updating
from estiva.engine.state import lookup
from estiva.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    from aiohttp import web

    from estiva.api.app import Api, Route
    from estiva.engine import Engine

UNLIMITED = -1


def wanted(given: dict[str, Any], version: tuple[int, int]) -> dict[str, Any]:
    """What of an UpdateConfig is to be changed: docker reads 0 and null as "stays". Raises InvalidInput for
    a field that is known and can't be changed while it would matter."""
    found = fields.canonical(given, fields.HOST_NAMES)
    changes: dict[str, Any] = {}
    for name, value in found.items():
        if name == "PidsLimit":
            if value is not None and version >= (1, 40):
                changes[name] = value if not isinstance(value, int) or value > 0 else UNLIMITED
        elif name == "KernelMemory" and version >= (1, 42):
            continue
        elif name == "RestartPolicy":
            if isinstance(value, dict) and not value.get("Name") and not value.get("MaximumRetryCount"):
                continue
            changes[name] = value
        elif value and (name in updating.KEYS or name in fields.HOST_NAMES):
            changes[name] = value
    return changes


def _update(engine: Engine, ref: str, changes: dict[str, Any]) -> list[str]:
    record = lookup.resolve(engine, ref)
    if not changes:
        return []
    try:
        return updating.update(engine, record["Id"], changes)
    except Conflict as error:
        raise Conflict(f"Cannot update container {record['Id']}: {words.capital(error.message)}") from None
    except InvalidInput as error:
        raise InvalidInput(words.capital(error.message)) from None


async def update(api: Api, request: web.Request) -> web.Response:
    changes = wanted(await answers.body(request), api_version(request))
    warnings = await api.work.do(_update, api.engine, request.match_info["id"], changes)
    return answers.json({"Warnings": warnings or None})


ROUTES: tuple[Route, ...] = words.routes(("POST", "/containers/{id}/update", update))
