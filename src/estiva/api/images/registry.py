"""Images from and to registries, and out of archives of files: create, push, search."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from aiohttp import web

from estiva.api import answers, auth, told
from estiva.api.images import names
from estiva.api.images.progress import Pulled, Pushed
from estiva.api.reaper import image as reaper
from estiva.engine.images import archive, lookup, registry
from estiva.errors import Denied, EstivaError, InvalidInput, NoAccess, NotFound, brief
from estiva.oci import digest as digests

if TYPE_CHECKING:
    from estiva.api.app import Api, Route
    from estiva.engine.images.logins import Logins
    from estiva.oci.reference import Reference

LIMIT = 25  # results of a search, as docker has it
SEARCHED = ("is-automated", "is-official", "stars")


async def create(api: Api, request: web.Request) -> web.StreamResponse:
    """Pull, or import."""
    platform = names.platform(request)
    if request.query.get("fromImage"):
        return await _pull(api, request, platform)
    return await _import(api, request, platform)


async def _pull(api: Api, request: web.Request, platform: str | None) -> web.StreamResponse:
    """Without any tag all of the repository's."""
    word, tag = request.query["fromImage"].removesuffix(":"), request.query.get("tag", "")
    named = names.parse(word, tag) if tag else names.bare(word)
    if named.familiar_name == "scratch":
        raise Denied("'scratch' is a reserved name")
    given = auth.one(request, named.registry)
    line = told.Told(request)

    def verb() -> None:
        if named.tag or named.digest:
            pull(api, line, named, platform, given)
            return
        with names.of_registry(named):
            found = registry.remote_tags(str(named), given=given)
        for each in found:
            pull(api, line, names.parse(each), platform, given)

    return await told.run(api, line, verb)


def pull(api: Api, line: told.Told, named: Reference, platform: str | None, given: Logins) -> None:
    """Pull one image, telling how it goes on."""
    if api.reaper and reaper.is_name(str(named)):
        here = reaper.here(api.engine, str(named))
        if here != "others":
            line.status(f"{named.familiar}: Estiva's own reaper, made here; --reaper=false fetches ryuk")
            if here != "ours":
                reaper.make(api.engine, str(named), platform)
            return
    before = lookup.find(api.engine, str(named))
    shown = Pulled(line.say, named)

    def hear(event: dict[str, object]) -> None:
        line.look()
        shown.take(event)

    with names.of_registry(named):
        image = registry.pull(api.engine, str(named), platform=platform, progress=hear, given=given)
    shown.end(named.digest or image.manifest or "", before is None or before.id != image.id)


async def _import(api: Api, request: web.Request, platform: str | None) -> web.StreamResponse:
    source = request.query.get("fromSrc", "")
    if source != "-" and "://" not in source:
        source = f"http://{source}"
    repo, tag = request.query.get("repo", ""), request.query.get("tag", "")
    reference = str(names.parse(repo, tag)) if repo else None
    changes = names.changes(request)
    message = request.query.get("message") or f"Imported from {source}"
    line = told.Told(request)

    def take(file: IO[bytes]) -> str:
        return archive.import_(
            api.engine, file, reference, changes=changes, message=message, platform=platform
        )

    def verb() -> None:
        if source == "-":
            image = take(line.file)
        else:
            with archive.fetched(api.engine, source) as file:
                line.status(f"Downloading from {source}")
                image = take(file)
        line.status(image)

    return await told.run(api, line, verb)


async def push(api: Api, request: web.Request) -> web.StreamResponse:
    """With `tag` that one, else all of the repository's that are here."""
    name, tag = request.match_info["name"], request.query.get("tag", "")
    named = names.parse(name, tag) if tag else names.bare(name)
    given = auth.one(request, named.registry)
    platform = names.platform(request)
    line = told.Told(request)

    def verb() -> None:
        line.status(f"The push refers to repository [{named.name}]")
        shown = named.familiar_name
        try:
            tags = lookup.tags(api.engine, shown)
        except NotFound:
            raise NotFound(f"An image does not exist locally with the tag: {shown}") from None
        chosen = [named.familiar] if named.tag else tags
        if not set(chosen) <= set(tags):
            raise NotFound(f"tag does not exist: {named.familiar}")
        for each in chosen:
            _push(api, line, names.parse(each), platform, given)

    return await told.run(api, line, verb)


def _push(api: Api, line: told.Told, named: Reference, platform: str | None, given: Logins) -> None:
    image = lookup.resolve(api.engine, str(named))
    shown = Pushed(line.say, digests.short(image.id))

    def hear(event: dict[str, object]) -> None:
        line.look()
        shown.take(event)

    try:
        digest = registry.push(api.engine, str(named), platform=platform, progress=hear, given=given)
    except Denied as error:
        if not isinstance(error, NoAccess):
            raise EstivaError(f"unauthorized: {error.message}") from None
        raise Denied(f"denied: requested access to the resource is denied: {error.message}") from None
    size = registry.manifest_size(api.engine, digest)
    line.status(f"{named.tag}: digest: {digest} size: {size}")
    line.say({"progressDetail": {}, "aux": {"Tag": named.tag, "Digest": digest, "Size": size}})


async def search(api: Api, request: web.Request) -> web.Response:
    term, filters = request.query.get("term", ""), answers.filters(request)
    limit = answers.number(request, "limit") or LIMIT
    for name in filters:
        if name not in SEARCHED:
            raise InvalidInput(f"invalid filter '{brief(name, 60)}'")
    official = _truth(filters, "is-official")
    if _truth(filters, "is-automated"):
        return answers.json([])  # nothing is, any more
    stars = [int(word) for word in filters.get("stars", ()) if word.isascii() and word.isdecimal()]
    if len(stars) != len(filters.get("stars", ())):
        raise InvalidInput("invalid filter 'stars': it is a number")
    found = await api.work.long_do(registry.search, term, limit, official, max(stars, default=0))
    return answers.json(
        [
            {
                "star_count": each["StarCount"],
                "is_official": each["IsOfficial"],
                "name": each["Name"],
                "is_automated": False,
                "description": each["Description"],
            }
            for each in found
        ]
    )


def _truth(filters: dict[str, list[str]], name: str) -> bool | None:
    values = {word.lower() for word in filters.get(name, ())}
    if not values:
        return None
    if len(values) > 1 or not values <= {"true", "false", "1", "0"}:
        raise InvalidInput(f"invalid filter '{name}={brief(','.join(sorted(values)), 60)}'")
    return values <= {"true", "1"}


ROUTES: tuple[Route, ...] = (
    ("POST", "/images/create", create),
    ("GET", "/images/search", search),
    ("POST", "/images/{name:.+}/push", push),
)
