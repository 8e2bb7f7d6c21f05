"""What the disk is used for: `docker system df`, and `-v`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from estiva.api import answers
from estiva.api.app import api_version
from estiva.api.containers.look import summary
from estiva.api.images import look
from estiva.engine import volumes
from estiva.engine.builds import upkeep
from estiva.engine.containers import listing
from estiva.engine.images import inspect, usage
from estiva.errors import InvalidInput, brief
from estiva.timestamps import rfc3339

if TYPE_CHECKING:
    from estiva.api.app import Api, Route
    from estiva.engine import Engine

KINDS = ("container", "image", "volume", "build-cache")


def _images(engine: Engine, known: dict[str, Any], version: tuple[int, int]) -> list[dict[str, Any]]:
    rows = []
    for entry in inspect.listing(engine, parents=True):
        about = known["images"].get(entry["Id"], {})
        row = look.summary(entry, version)
        rows.append(
            {
                **row,
                "Containers": about.get("containers", 0),
                "SharedSize": about.get("shared", 0),
                "RepoTags": entry["RepoTags"] or None,
                "RepoDigests": entry["RepoDigests"] or None,
            }
        )
    return rows


def _containers(engine: Engine, known: dict[str, Any], version: tuple[int, int]) -> list[dict[str, Any]]:
    rows = []
    tags: dict[str, str] = {}
    for record in listing.listing(engine, all=True):
        written = known["containers"].get(record["Id"], 0)
        under = known["images"].get(record["Image"], {}).get("size", 0)
        row = {**summary(engine, record, version, tags), "SizeRootFs": under + written}
        if written:
            row["SizeRw"] = written
        rows.append(row)
    return rows


def _volumes(engine: Engine, known: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for volume in volumes.listing(engine):
        about = known["volumes"].get(volume["Name"], {})
        used = {"RefCount": about.get("links", 0), "Size": about.get("size", 0)}
        rows.append({**volume, "UsageData": used})
    return rows


def build_cache(engine: Engine) -> list[dict[str, Any]]:
    """What builds remember, as BuildCache."""
    return [
        {
            "ID": entry.id,
            "Type": entry.type,
            "Description": entry.description,
            "InUse": entry.busy,
            "Shared": entry.shared,
            "Size": entry.size,
            "CreatedAt": rfc3339(int(entry.created * 1e9)),
            "LastUsedAt": rfc3339(int(entry.used * 1e9)) if entry.used else None,
            "UsageCount": 1,
        }
        for entry in upkeep.entries(engine)
    ]


def _df(engine: Engine, kinds: tuple[str, ...], version: tuple[int, int]) -> dict[str, Any]:
    """What was not asked for is null."""
    known = usage.detail(engine)
    cache = build_cache(engine) if "build-cache" in kinds else None
    old = version < (1, 42)
    return {
        "LayersSize": known["layers"] if "image" in kinds else 0,
        "Images": _images(engine, known, version) if "image" in kinds else None,
        "Containers": _containers(engine, known, version) if "container" in kinds else None,
        "Volumes": _volumes(engine, known) if "volume" in kinds else None,
        "BuildCache": cache,
        **({"BuilderSize": sum(entry["Size"] for entry in cache or ())} if old else {}),
    }


async def df(api: Api, request: web.Request) -> web.Response:
    version = api_version(request)
    asked = tuple(request.query.getall("type", ())) if version >= (1, 42) else ()
    for kind in asked:
        if kind not in KINDS:
            raise InvalidInput(f"unknown object type: {brief(kind, 60)}")
    return answers.json(await api.work.long_do(_df, api.engine, asked or KINDS, version))


ROUTES: tuple[Route, ...] = (("GET", "/system/df", df),)
