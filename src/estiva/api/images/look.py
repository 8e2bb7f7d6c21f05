"""Images looked at: the list, one of them, its history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from estiva.api import answers
from estiva.api.app import api_version
from estiva.api.images import names
from estiva.engine.images import inspect, lookup, platforms, usage
from estiva.errors import InvalidInput, Unsupported

if TYPE_CHECKING:
    from estiva.api.app import Api, Route
    from estiva.engine import Engine

NONE_TAG, NONE_DIGEST = "<none>:<none>", "<none>@<none>"  # of an image without a name, before 1.43
NEVER_SET = (  # fields of an image's Config that no image has; told until 1.50
    "Hostname", "Domainname", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce",
    "Image", "NetworkDisabled", "MacAddress", "StopTimeout",
)  # fmt: skip
FILTERS = ("dangling", "label", "before", "since", "reference", "until")
TRUE, FALSE = ("1", "true"), ("0", "false")


def summary(entry: dict[str, Any], version: tuple[int, int]) -> dict[str, Any]:
    """An image's row (ImageSummary), out of the engine's, in a version of the API."""
    used = entry["Containers"] if version >= (1, 51) else -1
    made = {**entry, "Labels": entry["Labels"] or None, "Containers": used, "SharedSize": -1}
    if version < (1, 43) and not entry["RepoTags"] and not entry["RepoDigests"]:
        made |= {"RepoTags": [NONE_TAG], "RepoDigests": [NONE_DIGEST]}
    if version < (1, 44):
        made["VirtualSize"] = entry["Size"]
    return made


def check(filters: dict[str, list[str]], known: tuple[str, ...]) -> None:
    """Raises InvalidInput, in docker's words, for a filter that there is not, and for what is no truth."""
    for name, values in filters.items():
        if name not in known:
            raise InvalidInput(f"invalid filter '{name}'")
        for value in values if name == "dangling" else ():
            if value.lower() not in (*TRUE, *FALSE):
                raise InvalidInput(f"invalid filter 'dangling=[{value}]'")


def _refuse_manifests(request: web.Request) -> None:
    if answers.flag(request, "manifests"):
        raise Unsupported("manifests are not listed: an image here has the one of its platform")


async def images(api: Api, request: web.Request) -> web.Response:
    """What builds remember is no image here, so that `all` shows no more."""
    version, filters = api_version(request), answers.filters(request)
    _refuse_manifests(request)
    if version < (1, 41) and request.query.get("filter"):
        filters.setdefault("reference", []).append(request.query["filter"])
    check(filters, FILTERS)
    for ref in (*filters.get("before", ()), *filters.get("since", ())):
        if await api.work.do(lookup.find, api.engine, ref) is None:
            raise names.missing(ref)
    found = await api.work.do(inspect.listing, api.engine, filters=filters, parents=True)
    rows = [summary(entry, version) for entry in found]
    if version >= (1, 42) and answers.flag(request, "shared-size"):
        shared = await api.work.do(usage.shared, api.engine)
        for row in rows:
            row["SharedSize"] = shared.get(row["Id"], 0)
    return answers.json(rows)


async def _named(api: Api, request: web.Request) -> str:
    """The image that is asked for: its name, or of a single platform its id."""
    ref, platform = request.match_info["name"], names.platform(request)
    if platform is None:
        return ref
    with names.here(ref):
        image = await api.work.do(lookup.resolve, api.engine, ref)
    return (await api.work.do(platforms.of_platform, api.engine, image, platform)).id


def _inspect(engine: Engine, ref: str) -> tuple[dict[str, Any], bool]:
    """An image, and whether it is none that people see."""
    found = inspect.inspect(engine, ref)
    return found, lookup.is_hidden(engine, found["Id"])


async def one(api: Api, request: web.Request) -> web.Response:
    ref, version = await _named(api, request), api_version(request)
    _refuse_manifests(request)
    with names.here(ref):
        found, hidden = await api.work.do(_inspect, api.engine, ref)
    if hidden:
        raise names.missing(ref)
    found["Config"] = {**found["Config"], "Labels": found["Config"]["Labels"] or None}
    if version >= (1, 50):
        found["Config"] = {key: value for key, value in found["Config"].items() if key not in NEVER_SET}
    if version < (1, 48):
        found.pop("Descriptor", None)
    if version < (1, 45):
        found |= {"Container": "", "ContainerConfig": inspect.EMPTY_CONFIG}
    if version < (1, 44):
        found["VirtualSize"] = found["Size"]
    return answers.json(found)


async def history(api: Api, request: web.Request) -> web.Response:
    ref = await _named(api, request)
    with names.here(ref):
        found = await api.work.do(inspect.history, api.engine, ref)
    return answers.json([{**step, "Tags": step["Tags"] or None} for step in found])


ROUTES: tuple[Route, ...] = (
    ("GET", "/images/json", images),
    ("GET", "/images/{name:.+}/json", one),
    ("GET", "/images/{name:.+}/history", history),
)
