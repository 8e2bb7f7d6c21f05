"""POST /build: docker's classic builder, and what builds keep."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from estiva.api import answers, auth, told
from estiva.api.builds.classic import Classic, in_words
from estiva.api.images import names
from estiva.engine.builds import build as building
from estiva.engine.builds import upkeep
from estiva.engine.images import lookup
from estiva.errors import EstivaError, InvalidInput, Unsupported, brief

if TYPE_CHECKING:
    from estiva.api.app import Api, Route

LIMITS = {  # of RUN: the query's names, and HostConfig's
    "memory": "Memory",
    "memswap": "MemorySwap",
    "cpushares": "CpuShares",
    "cpuperiod": "CpuPeriod",
    "cpuquota": "CpuQuota",
    "shmsize": "ShmSize",
}
PLACES = {"cpusetcpus": "CpusetCpus", "cpusetmems": "CpusetMems", "cgroupparent": "CgroupParent"}
FILTERS = ("until", "id", "parent", "type", "description", "inuse", "shared", "private", "unused-for")


def _texts(request: web.Request, name: str, doing: str) -> dict[str, str]:
    """An object of texts; those that are null are left out, as they say that there is no value."""
    found = answers.query(request, name, dict, doing) or {}
    for key, value in found.items():
        if value is not None and not isinstance(value, str):
            raise InvalidInput(f"{doing}: {brief(key, 60)} is no text")
    return {key: value for key, value in found.items() if value is not None}


def limits(request: web.Request) -> dict[str, Any]:
    """HostConfig of what each RUN may use. Raises InvalidInput."""
    host: dict[str, Any] = {}
    for name, field in LIMITS.items():
        if value := answers.number(request, name):
            host[field] = value
    for name, field in PLACES.items():
        if word := request.query.get(name):
            host[field] = word
    if hosts := [word for word in request.query.getall("extrahosts", ()) if word]:
        host["ExtraHosts"] = hosts
    if ulimits := answers.query(request, "ulimits", list, "error reading ulimit settings"):
        host["Ulimits"] = ulimits
    if isolation := request.query.get("isolation"):
        host["Isolation"] = isolation
    return host


def outputs(request: web.Request, buildkit: bool = False) -> list[dict[str, str]]:
    """Without BuildKit those that need no session with the client. Raises InvalidInput, Unsupported."""
    made = []
    for each in answers.query(request, "outputs", list, "invalid outputs specified") or []:
        attributes = each.get("Attrs") or {} if isinstance(each, dict) else None
        if not isinstance(each, dict) or not isinstance(attributes, dict):
            raise InvalidInput("invalid outputs specified: an output is no object")
        kind = each.get("Type")
        if not buildkit and (kind not in ("image", "cacheonly") or set(attributes) - {"name"}):
            raise Unsupported(
                f"the output {brief(json.dumps(each), 100)} is not supported by the classic builder",
                hint="BuildKit has it",
            )
        made.append({**{key: str(value) for key, value in attributes.items()}, "type": str(kind)})
    return made


def _is_buildkit(request: web.Request) -> bool:
    """Raises InvalidInput for a version that there isn't."""
    version = request.query.get("version", "") or "1"
    if version not in ("1", "2"):
        raise InvalidInput(f'invalid version "{brief(version, 20)}"')
    return version == "2"


def options(api: Api, request: web.Request) -> dict[str, Any]:
    """Keywords of the engine's build, but for the context. Raises InvalidInput, Unsupported."""
    query = request.query
    if "securityopt" in query:
        raise InvalidInput("security options are not supported on linux")
    if answers.flag(request, "squash"):
        raise InvalidInput("squash is only supported with experimental mode")
    buildkit = _is_buildkit(request)
    if query.get("session") and not buildkit:
        raise Unsupported("the classic builder has no sessions", hint="BuildKit has them")
    tags: dict[str, None] = {}
    for word in filter(None, query.getall("t", ())):
        named = names.parse(word)
        if named.digest:
            raise InvalidInput("build tag cannot contain a digest")
        tags[str(named)] = None
    made: dict[str, Any] = {
        "tags": list(tags),
        "dockerfile": query.get("dockerfile") or None,
        "build_args": _texts(request, "buildargs", "error reading build args"),
        "labels": _texts(request, "labels", "error reading labels"),
        "target": query.get("target") or None,
        "no_cache": answers.flag(request, "nocache"),
        "pull": answers.flag(request, "pull"),
        "platform": names.platform(request),
        "network": query.get("networkmode") or "default",
        "limits": limits(request),
        "outputs": outputs(request, buildkit),
        "given": auth.every(request),
    }
    return made


def _unknown_caches(api: Api, request: web.Request) -> bool:
    """Whether images were named to take steps from, and none of them is here: then docker takes none."""
    named = answers.texts(request, "cachefrom", "error reading cache-from")
    return bool(named) and not any(lookup.find(api.engine, names.parse(each).familiar) for each in named)


async def build(api: Api, request: web.Request) -> web.StreamResponse:
    asked = options(api, request)
    if _is_buildkit(request):
        from estiva.api.buildkit import routes
        from estiva.api.builds import version2

        return await version2.build(api, routes.buildkit(api), request, asked)
    quiet = answers.flag(request, "q")
    remote = building.elsewhere(request.query["remote"]) if request.query.get("remote") else ""
    line = told.Told(request)

    def verb() -> None:
        nonlocal asked
        if _unknown_caches(api, request):
            asked = {**asked, "no_cache": True}
        cache, labels = not asked["no_cache"], asked["labels"]
        shown = Classic(api.engine, line, cache=cache, quiet=quiet, labels=labels)
        tags = asked["tags"]
        try:
            image = building.build(
                api.engine,
                context=remote or line,
                progress=shown.take,
                look=line.look,
                watch=shown,
                **asked,
            )
        except EstivaError as error:
            line.look()
            raise _docker_s(error, shown.failed()) from error
        shown.done(image, tags)

    return await told.run(api, line, verb)


class StepFailed(EstivaError):
    """A command's exit status is the error's code."""

    code = 0


def _docker_s(error: EstivaError, argv: list[str]) -> EstivaError:
    """An error of a build in docker's words, where clients look for them. `argv`: of the step that failed."""
    failed = building.failed(error)
    if failed is not None:
        command = " ".join(argv)
        made = StepFailed(f"The command '{command}' returned a non-zero code: {failed.status}")
        made.code = failed.status
        return made
    error.message = in_words(error)
    return error


async def prune(api: Api, request: web.Request) -> web.Response:
    filters = answers.filters(request)
    for name in filters:
        if name not in FILTERS:
            raise InvalidInput(f"invalid filter '{brief(name, 60)}'")
    for word in filters.pop("unused-for", []):
        filters.setdefault("until", []).append(word)
    for word in filters.pop("private", []):
        filters.setdefault("shared", []).append("false" if word.lower() in ("", "1", "true") else "true")
    if filters.pop("parent", None):
        raise Unsupported("the filter 'parent' is not supported: what is kept has no parents here")
    keep = answers.number(request, "keep-storage") or answers.number(request, "reserved-space") or 0
    keep = answers.number(request, "max-used-space") or keep
    free = answers.number(request, "min-free-space")
    before = {entry.id for entry in await api.work.long_do(upkeep.entries, api.engine)}
    done = await api.work.long_do(
        upkeep.prune, api.engine, filters=filters, keep=upkeep.Keep(keep or None, free or None)
    )
    after = {entry.id for entry in await api.work.long_do(upkeep.entries, api.engine)}
    return answers.json({"CachesDeleted": sorted(before - after) or None, "SpaceReclaimed": done["bytes"]})


async def cancel(api: Api, request: web.Request) -> web.Response:
    if not request.query.get("id"):
        raise InvalidInput("build ID not provided")
    from estiva.api.buildkit import routes

    routes.buildkit(api).uploads.cancel(request.query["id"])
    return answers.nothing(200)  # docker's answer, of whatever name


ROUTES: tuple[Route, ...] = (
    ("POST", "/build", build),
    ("POST", "/build/prune", prune),
    ("POST", "/build/cancel", cancel),
)
