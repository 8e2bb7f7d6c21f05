"""POST /build?version=2: BuildKit's builder by the route of the classic one, as docker's client had it before
buildx and libraries have it still.

The context is the request's body, an address, the client's session, or an upload that comes in a request of
its own (remote=upload-request). What Status would tell comes as `moby.buildkit.trace` among the objects, the
image as `moby.image.id`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
from typing import TYPE_CHECKING, Any

from aiohttp import web

from estiva.api import answers, auth, streaming
from estiva.api.app import HEADERS
from estiva.api.buildkit import messages
from estiva.api.buildkit.rpc import RpcError
from estiva.api.buildkit.session import Alone
from estiva.api.buildkit.shared import FRONTEND
from estiva.api.buildkit.solve import Build
from estiva.api.buildkit.sources import UPLOADED
from estiva.api.builds.uploads import PATIENCE, Body
from estiva.errors import Conflict, EstivaError, InvalidInput, oneline, reason

if TYPE_CHECKING:
    from estiva.api.app import Api
    from estiva.api.buildkit.control import BuildKit
    from estiva.api.buildkit.session import Session
    from estiva.api.builds.uploads import Uploads

SESSION, UPLOAD = "client-session", "upload-request"
MODES = {"": "", "default": "", "host": "host", "none": "none"}


class Classic(Build):
    """A build whose context may be a request's body."""

    def __init__(self, kit: BuildKit, asked: dict[str, Any], body: Body | None, logins: Any) -> None:
        super().__init__(kit.kit, asked)
        self.body = body
        self.logins = logins

    async def session(self) -> Session:
        return await super().session() if self.request.get("session") else Alone()


async def build(api: Api, kit: BuildKit, request: web.Request, options: dict[str, Any]) -> web.StreamResponse:
    """`options` are those of the classic route, judged."""
    name = request.query.get("buildid", "")[:200]
    if name.startswith(f"{UPLOAD}:"):
        return await _uploaded(kit.uploads, name.partition(":")[2], request)
    if name in kit.uploads.builds:
        raise Conflict(f"there is a build {oneline(name)[:70]} already")
    asked, remote = _asked(request, options), request.query.get("remote", "")
    body = None
    if remote == UPLOAD:
        body = await kit.uploads.wait(name)
    elif not remote:
        body = Body(request)
    if body is not None:
        asked["attrs"]["context"] = f"{UPLOADED}body"
    elif remote != SESSION:
        asked["attrs"]["context"] = remote
    made = Classic(kit, asked, body, auth.every(request))
    try:
        return await _run(api, kit, request, made, name)
    finally:
        made.close()
        if body is not None:
            body.done.set()


async def _uploaded(uploads: Uploads, name: str, request: web.Request) -> web.Response:
    """The context of a build that asks in another request."""
    body, waiting = Body(request), uploads.body(name)
    if waiting.done():
        raise Conflict("the build context is uploaded already")
    waiting.set_result(body)
    try:
        async with asyncio.timeout(PATIENCE) as patience:
            while uploads.bodies.get(name) is waiting:
                await asyncio.sleep(0.02)
            patience.reschedule(None)
            await body.done.wait()
    except TimeoutError:
        raise InvalidInput("no build asks for this build context") from None
    finally:
        if uploads.bodies.get(name) is waiting:
            del uploads.bodies[name]
    return web.Response(headers=HEADERS)


def _asked(request: web.Request, options: dict[str, Any]) -> dict[str, Any]:
    """As Control.Solve has it. Raises InvalidInput."""
    attrs = {f"build-arg:{key}": value for key, value in options["build_args"].items()}
    attrs |= {f"label:{key}": value for key, value in options["labels"].items()}
    attrs["image-resolve-mode"] = "pull" if options["pull"] else "default"
    for key, value in (
        ("target", options["target"]),
        ("filename", options["dockerfile"]),
        ("platform", options["platform"]),
    ):
        if value and value != ".":
            attrs[key] = value
    if options["no_cache"]:
        attrs["no-cache"] = ""
    if options["network"] not in MODES:
        raise InvalidInput(f'network mode "{oneline(options["network"])[:60]}" not supported by buildkit')
    attrs["force-network-mode"] = MODES[options["network"]]
    exporters: list[dict[str, Any]] = [{"type": "moby", "attrs": {}}]
    if options["outputs"]:
        if len(options["outputs"]) > 1:
            raise InvalidInput("multiple outputs not supported")
        words = dict(options["outputs"][0])
        exporters = [{"type": words.pop("type"), "attrs": words}]
    if exporters[0]["type"] == "cacheonly":
        exporters = []
    elif exporters[0]["type"] in ("moby", "image") and options["tags"]:
        exporters[0]["attrs"]["name"] = ",".join(options["tags"])
    caches = answers.texts(request, "cachefrom", "error reading cache-from")
    return {
        "ref": os.urandom(12).hex(),
        "session": request.query.get("session", ""),
        "frontend": FRONTEND,
        "attrs": attrs,
        "exporters": exporters,
        "limits": options["limits"],
        "cache": {"imports": [{"type": "registry", "attrs": {"ref": each}} for each in caches]},
        "entitlements": ["network.host"] if options["network"] == "host" else [],
    }


async def _run(api: Api, kit: BuildKit, request: web.Request, made: Classic, name: str) -> web.StreamResponse:
    quiet = answers.flag(request, "q")
    response = web.StreamResponse(headers={**HEADERS, "Content-Type": "application/json"})
    await response.prepare(request)
    solving = asyncio.create_task(made.run())
    solving.add_done_callback(lambda _: made.close())
    if name:
        kit.uploads.builds[name] = solving
    try:
        async for message in made.progress.listen():
            if not quiet:
                trace = base64.b64encode(messages.PROGRESS.encode(message)).decode()
                await response.write(streaming.line({"id": "moby.buildkit.trace", "aux": trace}))
        end = await _end(solving, quiet)
        if end:
            await response.write(streaming.line(end))
        await response.write_eof()
    except OSError:
        pass  # nobody is there any more
    finally:
        solving.cancel()
        with contextlib.suppress(asyncio.CancelledError, RpcError, EstivaError):
            await asyncio.shield(solving)
        if kit.uploads.builds.get(name) is solving:
            del kit.uploads.builds[name]
    return response


async def _end(solving: asyncio.Task[dict[str, str]], quiet: bool) -> dict[str, Any]:
    """The last object of a build."""
    try:
        found = await solving
    except (RpcError, EstivaError) as error:
        message = error.message
    except OSError as error:  # of the build: its client is to hear of it
        message = reason(error)
    except asyncio.CancelledError:
        message = "context canceled"
    else:
        image = found.get("containerimage.digest", "")
        if not image:
            return {}
        return {"stream": f"{image}\n"} if quiet else {"id": "moby.image.id", "aux": {"ID": image}}
    return {"errorDetail": {"message": message}, "error": message}
