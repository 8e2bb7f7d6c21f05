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


def wanted(given: dict[str, Any], version: tuple[int, int]) -> tuple[dict[str, Any], list[str]]:
    """(what of an UpdateConfig is to be changed, warnings): docker reads 0 and null as "stays"."""
    found, warnings = fields.known(fields.canonical(given, fields.HOST_NAMES), fields.HOST_NAMES, "")
    changes: dict[str, Any] = {}
    for name, value in found.items():
        if name == "PidsLimit":
            if value is not None and version >= (1, 40):
                changes[name] = value if not isinstance(value, int) or value > 0 else UNLIMITED
        elif name == "KernelMemory" and version >= (1, 42):
            if value:
                warnings.append("KernelMemory is ignored since API 1.42")
        elif name == "RestartPolicy":
            if isinstance(value, dict) and not value.get("Name") and not value.get("MaximumRetryCount"):
                continue
            changes[name] = value
        elif value:
            changes[name] = value
    return changes, warnings


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
    changes, warnings = wanted(await answers.body(request), api_version(request))
    warnings += await api.work.do(_update, api.engine, request.match_info["id"], changes)
    return answers.json({"Warnings": warnings or None})


ROUTES: tuple[Route, ...] = words.routes(("POST", "/containers/{id}/update", update))
