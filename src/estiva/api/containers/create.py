"""A container made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from estiva.api import answers
from estiva.api.app import api_version
from estiva.api.containers import words
from estiva.api.containers.fields import Create
from estiva.api.reaper import image as reaper
from estiva.engine.containers import create as creating
from estiva.engine.images import platforms
from estiva.engine.state import names
from estiva.errors import EstivaError, InvalidInput, Missing, NameTaken, NotFound, oneline
from estiva.oci.reference import Reference

if TYPE_CHECKING:
    from aiohttp import web

    from estiva.api.app import Api, Route
    from estiva.engine import Engine

HEX = frozenset("0123456789abcdef")


def no_image(ref: str) -> NotFound:
    """Of an image that isn't here: docker's client pulls it when it hears this."""
    shown = ref
    if not ref.startswith("sha256:") and not (len(ref) == 64 and HEX.issuperset(ref)):
        named = Reference.parse(ref)
        shown = named.familiar
        if not named.tag and not named.digest:
            shown += ":latest"
    return NotFound(f"No such image: {oneline(shown)}")


def _create(engine: Engine, wanted: Create, name: str, platform: str | None) -> dict[str, Any]:
    ref = wanted.config.get("Image") or ""
    if not isinstance(ref, str):
        raise InvalidInput("Image is not a string")
    if not ref:
        raise InvalidInput("no command specified" if not wanted.config.get("Cmd") else "no image specified")
    if name:
        try:
            names.check(name)
        except InvalidInput:
            raise InvalidInput(f"Invalid container name ({oneline(name)}), {words.ALLOWED}") from None
    warnings: list[str] = []
    links = [each.partition(":")[0] for each in _links(wanted)]

    def tell(event: dict[str, Any]) -> None:
        if event.get("status") == "warning":
            warnings.append(event["message"])

    try:
        made = creating.create(
            engine,
            wanted.config,
            wanted.host,
            name=name or None,
            pull="never",
            platform=platform,
            networking=wanted.endpoints or None,
            progress=tell,
        )
    except NameTaken as error:
        raise words.taken(error) from None
    except Missing as error:
        if error.kind != "container":
            raise
        found = words.missing(error).message
        if error.name in links:
            found = f"could not get container for {oneline(error.name)}: {found}"
        raise InvalidInput(found) from None
    except NotFound as error:
        here = engine.store.images.find(ref)
        if here is None:
            raise no_image(ref) from None
        if platform and platforms.mismatch(here, ref, platform):
            raise
        raise InvalidInput(words.capital(error.message)) from None  # at a 404 docker's client pulls the image
    except EstivaError as error:
        error.message = words.capital(words.capability(error.message, wanted.host))
        raise
    if not platform and (here := engine.store.images.find(ref)) is not None:
        other = platforms.mismatch(here, ref, None)
        warnings += [words.capital(other)] if other else []
    return {"Id": made["Id"], "Warnings": [*warnings, *wanted.warnings]}


def _links(wanted: Create) -> list[str]:
    return [
        link
        for endpoint in wanted.endpoints.values()
        if isinstance(endpoint, dict) and isinstance(endpoint.get("Links"), list)
        for link in endpoint["Links"]
        if isinstance(link, str)
    ]


async def create(api: Api, request: web.Request) -> web.Response:
    if not request.can_read_body:
        raise InvalidInput("invalid JSON: got EOF while reading request body")
    given, version = await answers.body(request), api_version(request)
    wanted = Create(given, version, tuple(request.query))
    platform = request.query.get("platform") or None if version >= (1, 41) else None
    name = request.query.get("name", "")
    if api.reaper and reaper.is_name(str(wanted.config.get("Image") or "")):
        await api.work.do(reaper.renew, api.engine, str(wanted.config["Image"]))
    return answers.json(await api.work.do(_create, api.engine, wanted, name, platform), 201)


ROUTES: tuple[Route, ...] = words.routes(("POST", "/containers/create", create))
