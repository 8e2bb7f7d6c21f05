"""Images to and from archives: get, load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from estiva.api import answers, told
from estiva.api.images import names
from estiva.api.images.progress import Loaded
from estiva.engine.images import archive, lookup, platforms
from estiva.errors import EstivaError, InvalidInput, NotFound

if TYPE_CHECKING:
    from estiva.api.app import Api, Route


async def get(api: Api, request: web.Request) -> web.StreamResponse:
    """One image, or several in one archive."""
    one = request.match_info.get("name")
    asked = [one] if one else request.query.getall("names", ())
    refs = [ref for word in asked for ref in word.split(",") if ref]
    if not refs:
        raise InvalidInput("no image was named: names=NAME")
    platform = names.platform(request)
    line = told.Line(request, "application/x-tar")

    def verb() -> None:
        for ref in refs:
            image = lookup.find(api.engine, ref)
            if image is None:
                raise NotFound(f"No such image: {ref}")
            if platform and (other := platforms.mismatch(image, ref, platform)):
                raise NotFound(other)
        archive.save(api.engine, refs, line.file)

    return await told.run(api, line, verb)


async def load(api: Api, request: web.Request) -> web.StreamResponse:
    platform = names.platform(request)
    line = told.Told(request)
    shown = None if answers.flag(request, "quiet", True) else Loaded(line.say).take

    def verb() -> None:
        try:
            found = archive.load(api.engine, line.file, platform=platform, progress=shown)
        except EstivaError as error:
            line.failed(error)
            return
        for name in found:
            what = "Loaded image ID" if name.startswith("sha256:") else "Loaded image"
            line.say({"stream": f"{what}: {name}\n"})

    return await told.run(api, line, verb)


ROUTES: tuple[Route, ...] = (
    ("GET", "/images/get", get),
    ("POST", "/images/load", load),
    ("GET", "/images/{name:.+}/get", get),
)
