"""Files into and out of a container as a tar (engine/containers/cp/): `docker cp`.

The engine's work is in a thread, and a container that does not run can't be started meanwhile: so a client
that neither gives nor takes anything for PATIENCE is let go of.
"""

from __future__ import annotations

import asyncio
import base64
import json
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from aiohttp import web

from estiva import timestamps
from estiva.api import answers, streaming
from estiva.engine.containers.cp import archive as archives
from estiva.engine.containers.cp import files
from estiva.errors import Denied, EngineError, EstivaError, InvalidInput, NotFound, oneline

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from estiva.api.app import Api, Route
    from estiva.engine import Engine
    from estiva.engine.containers.cp.files import Found

PATIENCE = 60.0  # seconds
PIECE = 1 << 17  # bytes that are sent at once
AT_ONCE = 32  # archives that are on their way at once; who comes then waits

# os.FileMode of Go, which PathStat has
KINDS = {"folder": 1 << 31, "link": 1 << 27, "fifo": 1 << 25, "socket": 1 << 24, "device": 1 << 26}
BITS = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))
NOWHERE = ("too many levels of symbolic links", "not a directory", "file name too long")
CHARACTER = 1 << 21

pool = ThreadPoolExecutor(AT_ONCE, "archive")


def path_stat(found: Found) -> dict[str, Any]:
    """ContainerPathStat."""
    mode = KINDS.get(found["kind"], 0) | stat.S_IMODE(found["mode"]) & 0o777
    mode |= sum(bit for ours, bit in BITS if found["mode"] & ours)
    if stat.S_ISCHR(found["mode"]):
        mode |= CHARACTER
    return {
        "name": found["name"],
        "size": found["size"],
        "mode": mode,
        "mtime": timestamps.rfc3339(round(found["modified"] * 1e9), short=True),
        "linkTarget": found["target"],
    }


def _path(request: web.Request) -> str:
    path = request.query.get("path", "")
    if not path:
        raise InvalidInput("Bad parameter: path is empty")
    return path


def _told(error: InvalidInput, path: str) -> EstivaError:
    """A path that leads nowhere, as docker's lstat(2) says it: with a status of 500."""
    why = error.message.rpartition(": ")[2]
    if why.endswith("leads through too many symlinks"):
        why = "too many levels of symbolic links"
    return EngineError(f"lstat {oneline(path)}: {why}") if why in NOWHERE else error


def _stat(engine: Engine, ref: str, path: str) -> tuple[str, str]:
    """(the container's id, the header). Raises NotFound, InvalidInput."""
    record = streaming.record_of(engine, ref)
    try:
        found = files.stat_path(engine, record["Id"], path)
    except NotFound:
        raise NotFound(f"Could not find the file {oneline(path)} in container {oneline(ref)}") from None
    except InvalidInput as error:
        raise _told(error, path) from None
    return record["Id"], base64.b64encode(json.dumps(path_stat(found)).encode()).decode()


async def look(api: Api, request: web.Request) -> web.Response:
    _, header = await api.work.do(_stat, api.engine, request.match_info["id"], _path(request))
    return web.Response(headers={"X-Docker-Container-Path-Stat": header})


class Ends:
    """The way from a thread to a client, and back. Raises EngineError in the thread once the client is let
    go of."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.gone = False

    def do(self, what: Coroutine[Any, Any, Any]) -> Any:
        if self.gone:
            what.close()
            raise EngineError("the client has gone")
        future = asyncio.run_coroutine_threadsafe(what, self.loop)
        try:
            return future.result(PATIENCE)
        except (TimeoutError, asyncio.CancelledError, OSError) as error:
            future.cancel()
            self.gone = True
            raise EngineError(f"the client has let {PATIENCE:.0f} s pass, or gone") from error


class Sending(Ends):
    """A tar that is sent. The headers go with its first bytes."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        super().__init__()
        self.request = request
        self.response = response
        self.waiting = bytearray()

    def write(self, data: bytes) -> None:
        self.waiting += data
        if len(self.waiting) >= PIECE:
            self.flush()

    def flush(self) -> None:
        data = bytes(self.waiting)
        self.waiting.clear()
        self.do(self._send(data))

    async def _send(self, data: bytes) -> None:
        if not self.response.prepared:
            await self.response.prepare(self.request)
        await self.response.write(data)


class Receiving(Ends):
    """A tar that is sent to us."""

    def __init__(self, request: web.Request) -> None:
        super().__init__()
        self.request = request

    def read(self, size: int) -> bytes:
        data: bytes = self.do(self.request.content.read(size))
        return data


def _pack(engine: Engine, container_id: str, path: str, out: Sending) -> None:
    try:
        archives.pack(engine, container_id, path, out)  # a link itself, as `look` says
    except InvalidInput as error:
        raise _told(error, path) from None
    out.flush()


async def get(api: Api, request: web.Request) -> web.StreamResponse:
    path = _path(request)
    container_id, header = await api.work.do(_stat, api.engine, request.match_info["id"], path)
    headers = {"Content-Type": "application/x-tar", "X-Docker-Container-Path-Stat": header}
    response = web.StreamResponse(headers=headers)
    sending = Sending(request, response)
    with streaming.told(request, response):
        try:
            await asyncio.get_running_loop().run_in_executor(
                pool, _pack, api.engine, container_id, path, sending
            )
        finally:
            sending.gone = True
        await response.write_eof()
    return response


def _unpack(engine: Engine, ref: str, path: str, stream: Receiving, as_user: bool, replace: bool) -> None:
    record = streaming.record_of(engine, ref)
    if record["HostConfig"].get("ReadonlyRootfs") and not _in_volume(record["Mounts"], path):
        raise Denied("container rootfs is marked read-only")
    try:
        found = files.look(engine, record["Id"], path, follow=True)
    except NotFound:
        raise NotFound(f"Could not find the file {oneline(path)} in container {oneline(ref)}") from None
    except InvalidInput as error:
        raise _told(error, path) from None
    if found["kind"] != "folder":
        raise InvalidInput("extraction point is not a directory")
    archives.unpack(engine, record["Id"], path, stream, as_user=as_user, replace=replace)


def _in_volume(mounts: Any, path: str) -> bool:
    """Whether a path is in a mount that can be written."""
    places = [mount["Destination"].rstrip("/") for mount in mounts if mount.get("RW", True)]
    return any(f"{path}/".startswith(f"{place}/") for place in places)


async def put(api: Api, request: web.Request) -> web.Response:
    path = _path(request)
    as_user = answers.flag(request, "copyUIDGID")
    replace = not answers.flag(request, "noOverwriteDirNonDir")
    stream = Receiving(request)
    answer = web.Response()
    with streaming.told(request, answer):
        try:
            await asyncio.get_running_loop().run_in_executor(
                pool, _unpack, api.engine, request.match_info["id"], path, stream, as_user, replace
            )
        finally:
            stream.gone = True
    return answer


ROUTES: tuple[Route, ...] = (
    ("HEAD", "/containers/{id}/archive", look),
    ("GET", "/containers/{id}/archive", get),
    ("PUT", "/containers/{id}/archive", put),
)
