"""Containers looked at: the list, one of them, its processes."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from estiva import timestamps
from estiva.api import answers
from estiva.api.app import api_version
from estiva.api.containers import shapes, words
from estiva.engine import daemon_fields
from estiva.engine.containers import changes, inspect, listing
from estiva.engine.images import lookup as images
from estiva.engine.networks import links
from estiva.engine.state.net import endpoint_shape
from estiva.errors import EngineError, EstivaError, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from estiva.api.app import Api, Route
    from estiva.engine import Engine
    from estiva.engine.state.types import Record

OURS = ("Address", "Memory", "States")  # of a record, and not docker's
WEIGHED = (1, 48)  # the version whose endpoints have GwPriority
PLAIN_ALIASES = (1, 45)  # the first whose Aliases are those that were asked for


def ports(table: Mapping[str, list[dict[str, str]] | None]) -> list[dict[str, Any]]:
    """NetworkSettings.Ports as rows have them: one for each binding, or for a port that is only exposed."""
    found: list[dict[str, Any]] = []
    for key, bindings in table.items():
        inside, _, protocol = key.partition("/")
        port = {"PrivatePort": int(inside), "Type": protocol}
        if not bindings:
            found.append(port)
        for binding in bindings or ():
            bound = {"IP": binding["HostIp"], **port, "PublicPort": int(binding["HostPort"] or 0)}
            found.append({name: value for name, value in bound.items() if value})
    return found


def mounts(record: Record) -> list[dict[str, Any]]:
    """Its mount points with docker's keys; what HostConfig.Tmpfs asks for is told there."""
    tmpfs = record["HostConfig"].get("Tmpfs") or {}
    points: list[Any] = [point for point in record["Mounts"] if point["Destination"] not in tmpfs]
    found = [{key: point[key] for key in shapes.POINT if key in point} for point in points]
    return [{**point, "Mode": ""} if point["Type"] == "tmpfs" else point for point in found]


def summary(engine: Engine, record: Record, version: tuple[int, int], tags: dict[str, str]) -> dict[str, Any]:
    """A container's row (ContainerSummary). `tags`: to which image a name leads now, where that is known."""
    config, state, host = record["Config"], record["State"], record["HostConfig"]
    named = config.get("Image") or record["Image"]
    endpoint_shape.complete(record)
    networks = record["NetworkSettings"]["Networks"]
    row: dict[str, Any] = {
        "Id": record["Id"],
        "Names": [record["Name"]],
        "Image": named if _leads_to(engine, record, tags) == record["Image"] else record["Image"],
        "ImageID": record["Image"],
        "Command": listing.command(record),
        "Created": int(timestamps.seconds(record["Created"])),
        "Ports": ports(record["NetworkSettings"].get("Ports") or {}),
        "Labels": config.get("Labels") or {},
        "State": state["Status"],
        "Status": listing.status(state),
        "HostConfig": {"NetworkMode": host["NetworkMode"]},
        "NetworkSettings": {"Networks": {name: told(each, version) for name, each in networks.items()}},
        "Mounts": mounts(record),
    }
    if host.get("Annotations") and version >= (1, 46):
        row["HostConfig"]["Annotations"] = host["Annotations"]
    return row


def _leads_to(engine: Engine, record: Record, tags: dict[str, str]) -> str:
    """The id of the image that the name leads to now which the container was made from; "" for none."""
    named = record["Config"].get("Image") or record["Image"]
    if named not in tags:
        found = engine.store.images.find(named)
        tags[named] = found.id if found is not None else ""
    return tags[named]


def told(endpoint: dict[str, Any], version: tuple[int, int]) -> dict[str, Any]:
    """An endpoint with the keys that a version has."""
    if version >= WEIGHED:
        return shapes.ordered({"GwPriority": 0, **endpoint}, shapes.ENDPOINT)
    return shapes.ordered(
        {key: value for key, value in endpoint.items() if key != "GwPriority"}, shapes.ENDPOINT
    )


def sizes(engine: Engine, record: Record) -> tuple[int, int]:
    """(bytes that it has written, bytes with its image)."""
    written = changes.size(engine, record)
    try:
        return written, written + images.resolve(engine, record["Image"]).size
    except EstivaError:
        return written, written  # the image of one that was adopted is lost


def _list(
    api: Api,
    version: tuple[int, int],
    every: bool,
    limit: int,
    sized: bool,
    filters: dict[str, list[str]],
) -> str:
    engine, known = api.engine, api.known
    tasks = filters.pop("is-task", [])
    damaged: list[EstivaError] = []
    found = listing.listing(engine, all=every or limit > 0, filters=filters, damaged=damaged, known=known)
    if any(word in ("1", "true") for word in tasks):
        found = []  # there is no swarm whose they could be
    tags: dict[str, str] = {}
    linked = links.aliases(engine, known.belonging_of_each(engine))

    def row(record: Record) -> dict[str, Any]:
        made = summary(engine, record, version, tags)
        made["Names"] = sorted([*made["Names"], *linked.get(record["Id"], ())])
        return made

    rows = []
    for record in found[:limit] if limit > 0 else found:
        if sized:
            written, whole = sizes(engine, record)
            more = {"SizeRootFs": whole, **({"SizeRw": written} if written else {})}
            rows.append(answers.text({**row(record), **more}))
        else:
            beside = (version, linked.get(record["Id"]), _leads_to(engine, record, tags))
            rows.append(api.rows.text(record, beside, row))
    if not filters and (every or limit <= 0):
        api.rows.forget(found)
    return f"[{','.join(rows)}]"


async def ps(api: Api, request: web.Request) -> web.Response:
    every, sized, filters = (
        answers.flag(request, "all"),
        answers.flag(request, "size"),
        answers.filters(request),
    )
    for name in ("since", "before"):  # as words of the query too
        if request.query.get(name):
            filters.setdefault(name, []).append(request.query[name])
    limit = answers.number(request, "limit", -1) or -1
    arguments = (api_version(request), every, limit, sized, filters)
    work = api.work.long_do if sized else api.work.do
    return answers.ready(await work(_list, api, *arguments))


@functools.cache
def _killed() -> bool:
    """Whether this machine has the switch at all: docker shows null without it."""
    return daemon_fields.limits()["OomKillDisable"]


def _inspect(engine: Engine, ref: str, version: tuple[int, int], sized: bool) -> dict[str, Any]:
    record = inspect.inspect(engine, ref)
    whole: dict[str, Any] = {key: value for key, value in record.items() if key not in OURS}
    whole["State"] = {key: value for key, value in record["State"].items() if key != "Exit"}
    whole["Mounts"] = mounts(record)
    if whole["HostConfig"].get("OomKillDisable") is None and _killed():
        whole["HostConfig"] = {**whole["HostConfig"], "OomKillDisable": False}
    config, shown = whole["Config"], whole["NetworkSettings"]["Networks"]
    for name, endpoint in shown.items():
        shown[name] = own = told(endpoint, version)
        if version < PLAIN_ALIASES and name not in ("bridge", "host", "none"):
            aliases = [*(own["Aliases"] or ()), record["Id"][:12], config.get("Hostname") or ""]
            own["Aliases"] = list(dict.fromkeys(alias for alias in aliases if alias))
    mac = inspect.asked_mac(engine, record)
    if mac:
        config["MacAddress"] = mac
    if sized:
        whole["SizeRw"], whole["SizeRootFs"] = sizes(engine, record)
    for name, order in (
        ("State", shapes.STATE),
        ("HostConfig", shapes.HOST),
        ("Config", shapes.CONFIG),
        ("NetworkSettings", shapes.NETWORKS),
    ):
        whole[name] = shapes.ordered(whole[name], order)
    return shapes.ordered(whole, shapes.WHOLE)


async def one(api: Api, request: web.Request) -> web.Response:
    sized = answers.flag(request, "size")
    found = await api.work.do(_inspect, api.engine, request.match_info["id"], api_version(request), sized)
    return answers.json(found)


def _top(engine: Engine, ref: str, args: list[str]) -> dict[str, Any]:
    try:
        titles, rows = inspect.top(engine, ref, args)
    except InvalidInput:
        raise EngineError("Couldn't find PID field in ps output") from None
    return {"Processes": rows, "Titles": titles}


async def top(api: Api, request: web.Request) -> web.Response:
    ref, args = request.match_info["id"], request.query.get("ps_args", "").split()
    if any("\0" in arg for arg in args):
        raise InvalidInput("invalid ps_args: they have a null byte")
    return answers.json(await words.verb(api, ref, "top", _top, api.engine, ref, args))


ROUTES: tuple[Route, ...] = words.routes(
    ("GET", "/containers/json", ps),
    ("GET", "/containers/{id}/json", one),
    ("GET", "/containers/{id}/top", top),
)
