"""moby.buildkit.v1.Control: builds, what they tell, and what they keep."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from estiva.api.buildkit import messages
from estiva.api.buildkit.gateway import Gateway
from estiva.api.buildkit.messages import SOLVE
from estiva.api.buildkit.rpc import INVALID, NOT_FOUND, UNIMPLEMENTED, RpcError, of_error
from estiva.api.buildkit.shared import VERSION, Kit
from estiva.api.buildkit.solve import Build
from estiva.api.buildkit.status import stamp
from estiva.api.builds.uploads import Uploads
from estiva.engine.builds import upkeep
from estiva.errors import EstivaError, InvalidInput, brief, oneline

if TYPE_CHECKING:
    from estiva.api.app import Api
    from estiva.api.buildkit.http2 import Call
    from estiva.api.buildkit.shared import Method

PATIENCE = 5.0  # seconds that who asks about a build waits for it: its requests come in any order
BUILDS = 500  # under way at once
FOLLOWED = 60.0  # seconds that a build which has ended is told about to who asks late


class BuildKit:
    """One server's: who is connected, and which builds run."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.kit = Kit(api)
        self._builds: dict[str, Build] = {}
        self._began = asyncio.Condition()
        self.uploads = Uploads()
        control = "/moby.buildkit.v1.Control/"
        self._methods: dict[str, Method] = {
            control + "Info": self._info,
            control + "ListWorkers": self._workers,
            control + "Solve": self._solve,
            control + "Status": self._status,
            control + "DiskUsage": self._usage,
            control + "Prune": self._prune,
            control + "ListenBuildHistory": self._history,
            control + "UpdateBuildHistory": self._history,
            "/grpc.health.v1.Health/Check": self._health,
            **Gateway(self.kit, self.build).methods(),
        }

    async def answer(self, call: Call) -> None:
        """One call of a client. Raises RpcError."""
        path = call.headers.get(":path", "")
        method = self._methods.get(path)
        if method is None:
            raise RpcError(UNIMPLEMENTED, f"unknown method {brief(path, 200)}")
        try:
            await method(call)
        except EstivaError as error:
            raise of_error(error) from None

    # --- builds ---

    async def build(self, ref: str) -> Build:
        """The one of this name, which may be about to begin. Raises RpcError."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE), self._began:
                await self._began.wait_for(lambda: ref in self._builds)
        if ref not in self._builds:
            raise RpcError(NOT_FOUND, f"no such job {oneline(ref)[:100]}")
        return self._builds[ref]

    async def _solve(self, call: Call) -> None:
        request = SOLVE.decode(await call.one())
        name = request.get("ref", "")
        if not name or len(name) > 200:
            raise RpcError(INVALID, "a build needs a name: Ref")
        if name in self._builds:
            raise RpcError(INVALID, f"there is a build {oneline(name)} already")
        if len(self._builds) >= BUILDS:
            self._make_room()
        build = Build(self.kit, request)
        async with self._began:
            self._builds[name] = build
            self._began.notify_all()
        try:
            response = await build.run()
        finally:
            build.close()
            asyncio.get_running_loop().call_later(FOLLOWED, self._forget, name, build)
        await call.send([messages.SOLVED.encode({"response": response})])

    def _forget(self, name: str, build: Build) -> None:
        if self._builds.get(name) is build:
            del self._builds[name]

    def _make_room(self) -> None:
        """The one that ended first is told about no more. Raises InvalidInput where none has."""
        for name, build in self._builds.items():
            if build.progress.over:
                del self._builds[name]
                return
        raise InvalidInput("too many builds at once")

    async def _status(self, call: Call) -> None:
        request = messages.BY_REF.decode(await call.one())
        build = await self.build(request.get("ref", ""))
        async for message in build.progress.listen():
            await call.send([messages.PROGRESS.encode(message)])

    # --- what there is ---

    async def _info(self, call: Call) -> None:
        await call.one()
        await call.send([messages.INFO.encode({"version": VERSION})])

    async def _workers(self, call: Call) -> None:
        await call.receive()
        await call.send([messages.WORKERS.encode({"record": [await self.api.work.do(self.kit.worker)]})])

    async def _health(self, call: Call) -> None:
        await call.receive()
        await call.send([messages.HEALTH.encode({"status": 1})])

    async def _history(self, call: Call) -> None:
        """None is kept: what was built is in the events and the images."""
        await call.receive()
        if call.headers[":path"].endswith("UpdateBuildHistory"):
            raise RpcError(NOT_FOUND, "no build history is kept")

    async def _usage(self, call: Call) -> None:
        request = messages.DISK_USAGE.decode(await call.one())
        filters = _filters(request.get("filter", []))
        found = await self.api.work.long_do(upkeep.entries, self.api.engine, filters)
        await call.send([messages.DISK_USED.encode({"record": [_usage(entry) for entry in found]})])

    async def _prune(self, call: Call) -> None:
        request = messages.PRUNE.decode(await call.one())
        going = await self.api.work.long_do(_prune, self.api.engine, request)
        for entry in going:
            await call.send([messages.USAGE.encode(_usage(entry))])


def _prune(engine: Any, request: dict[str, Any]) -> list[upkeep.Entry]:
    """What has gone."""
    filters = _filters(request.get("filter", []))
    if seconds := request.get("keep_duration", 0) // 10**9:
        filters.setdefault("until", []).append(f"{seconds}s")
    before = upkeep.entries(engine, filters)
    most = request.get("keep_bytes") or request.get("most")
    keep = upkeep.Keep(most or None, request.get("free") or None)
    upkeep.prune(engine, filters=filters, keep=keep)
    left = {entry.id for entry in upkeep.entries(engine)}
    return [entry for entry in before if entry.id not in left]


def _filters(words: list[str]) -> dict[str, list[str]]:
    """containerd's words name==value, as `docker buildx du --filter` has them. Raises InvalidInput."""
    found: dict[str, list[str]] = {}
    for word in words:
        for each in filter(None, word.split(",")):
            name, equals, value = each.partition("==")
            if not equals:
                raise InvalidInput(f"the filter {brief(each, 100)} is not name==value")
            found.setdefault(name, []).append(value)
    return found


def _usage(entry: upkeep.Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "mutable": entry.type != upkeep.STEP,
        "in_use": entry.busy,
        "size": entry.size,
        "created": stamp(entry.created),
        "used": stamp(entry.used),
        "count": 1,
        "description": entry.description,
        "type": entry.type,
        "shared": entry.shared,
    }
