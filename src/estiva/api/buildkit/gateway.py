"""moby.buildkit.v1.frontend.LLBBridge: what buildx does as the gateway client of its own build.

It asks for dockerfile.v0 and gives the result back, both by name: the build runs when all is known.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from typing import TYPE_CHECKING, Any

from estiva.api.buildkit import messages
from estiva.api.buildkit.rpc import INVALID, NOT_FOUND, UNIMPLEMENTED, RpcError
from estiva.api.buildkit.shared import FRONTEND, repository
from estiva.api.buildkit.solve import Build, Ref
from estiva.api.buildkit.transfer import go_mode
from estiva.engine.builds import begins
from estiva.engine.builds.begins import Remote
from estiva.errors import EstivaError, Unavailable, oneline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from estiva.api.buildkit.http2 import Call
    from estiva.api.buildkit.shared import Kit, Method

BUILD = "buildkit-controlapi-buildid"  # the header that says of which build
CAPS = (
    "solve.base", "solve.inlinereturn", "resolveimage", "resolveimage.resolvemode", "return", "returnmap",
    "importcaches", "proto.refarray", "reference.output", "frontend.inputs", "gateway.solve.metadata",
    "frontend.caps", "gateway.solve.evaluate", "gateway.evaluate", "gateway.warnings",
    "reference.attestations", "readfile", "statfile",
)  # fmt: skip
LLB = (
    "source.image", "source.image.resolvemode", "source.local", "source.local.unique",
    "source.local.sessionid",
    "source.local.includepatterns", "source.local.followpaths", "source.local.excludepatterns",
    "source.local.sharedkeyhint", "source.local.differ", "source.git", "source.git.fullurl",
    "source.git.keepgitdir", "source.http", "source.ocilayout",
    "exec.meta.base", "exec.meta.network", "exec.mount.ssh", "exec.mount.secret", "constraints", "platform",
    "meta.ignorecache", "meta.description", "meta.exportcache", "exporter.image.annotations",
    "exporter.image.attestations", "exporter.sourcedateepoch", "exporter.multiple",
)  # fmt: skip


REFUSED = (
    "ResolveImageConfig", "ResolveSourceMeta", "ReadDir", "NewContainer",
    "ReleaseContainer", "ReadFileContainer", "ReadDirContainer", "StatFileContainer", "ExecProcess",
)  # fmt: skip


class Files:
    """Those of a repository, in which buildx looks for a bake file; as long as its build."""

    def __init__(self, build: Build, place: str) -> None:
        self.name = os.urandom(12).hex()
        self.work = build.kit.api.work
        self.over = False
        self._remote = Remote(build.kit.api.engine, place, self._look)
        self._turn = asyncio.Lock()
        self._title = f"[internal] load {begins.source(place)}"
        self._progress = build.progress
        build.closing.append(self.close)

    def _look(self) -> None:
        if self.over:
            raise Unavailable("the client has gone")

    async def ask(self, what: str, path: str) -> Any:
        """Raises EstivaError."""
        async with self._turn:
            self._look()
            self._progress.begin(self._title, self._title)
            try:
                found = await self.work.long_do(getattr(self._remote, what), path)
            except EstivaError as error:
                self._progress.end(self._title, error=error.message)
                raise
            self._progress.end(self._title)
        return found

    def close(self) -> None:
        self.over = True
        self.work.long.submit(self._close)

    def _close(self) -> None:
        self._remote.close()


class Gateway:
    """Its methods; each call says by a header which build it is of."""

    def __init__(self, kit: Kit, find: Callable[[str], Awaitable[Build]]) -> None:
        self.kit = kit
        self.find = find
        self.remotes: weakref.WeakValueDictionary[str, Files] = weakref.WeakValueDictionary()

    def methods(self) -> dict[str, Method]:
        bridge = "/moby.buildkit.v1.frontend.LLBBridge/"
        return {
            bridge + "Ping": self._ping,
            bridge + "Solve": self._solve,
            bridge + "Return": self._return,
            bridge + "Evaluate": self._evaluate,
            bridge + "Inputs": self._inputs,
            bridge + "Warn": self._warn,
            bridge + "ReadFile": self._read,
            bridge + "StatFile": self._stat,
            **{bridge + name: self._refuse for name in REFUSED},
        }

    async def _build(self, call: Call) -> Build:
        return await self.find(call.headers.get(BUILD, ""))

    async def _ping(self, call: Call) -> None:
        await self._build(call)
        await call.receive()
        pong = {
            "frontend": [{"id": name, "enabled": True} for name in CAPS],
            "llb": [{"id": name, "enabled": True} for name in LLB],
            "workers": [await self.kit.api.work.do(self.kit.worker)],
        }
        await call.send([messages.PONG.encode(pong)])

    async def _solve(self, call: Call) -> None:
        build = await self._build(call)
        request = messages.BRIDGE_SOLVE.decode(await call.one())
        result: dict[str, Any] = {}
        if request.get("frontend") == FRONTEND:
            ref = Ref(build, request.get("opt", {}), request.get("inputs", {}), request.get("imports", []))
            ref.check()
            if ref.call:
                result = {"metadata": await ref.answer()}
            else:
                self.kit.keep(ref)
                if request.get("evaluate"):
                    await ref.evaluate()
                result = {"ref": ref.result()}
        elif request.get("frontend"):
            name = oneline(request["frontend"])[:100]
            raise RpcError(UNIMPLEMENTED, f"the frontend {name} is not here: there is {FRONTEND}")
        elif place := repository(request.get("definition", {})):
            remote = Files(build, place)
            await remote.ask("stat", "")
            self.remotes[remote.name] = remote
            result = {"ref": {"id": remote.name, "def": request["definition"]}}
        else:
            known = self.kit.named(request.get("definition", {}))
            if known is not None:
                if request.get("evaluate"):
                    await known.evaluate()
                result = {"ref": known.result()}
        await call.send([messages.BRIDGE_SOLVED.encode({"result": result})])

    async def _return(self, call: Call) -> None:
        build = await self._build(call)
        request = messages.RETURN.decode(await call.one())
        if request.get("error"):
            told = request["error"]
            error = RpcError(told.get("code", 2), told.get("message", ""), told.get("details", []))
            build.returned(None, error)
        else:
            result = request.get("result", {})
            name = result.get("ref", {}).get("id", "")
            if result.get("refs"):
                raise RpcError(INVALID, "a result has one image here")
            if name and name not in self.kit.results:
                raise RpcError(NOT_FOUND, f"no such result {oneline(name)[:100]}")
            build.returned(self.kit.results[name] if name else None, None)
        await call.send([b""])

    async def _evaluate(self, call: Call) -> None:
        name = messages.BY_REF.decode(await call.one()).get("ref", "")
        if name not in self.kit.results:
            raise RpcError(NOT_FOUND, f"no such result {oneline(name)[:100]}")
        await self.kit.results[name].evaluate()
        await call.send([b""])

    def _files(self, name: str) -> Files:
        if name in self.kit.results:
            raise RpcError(UNIMPLEMENTED, "the files of a build's result are not read here: export it")
        if name not in self.remotes:
            raise RpcError(NOT_FOUND, f"no such result {oneline(name)[:100]}")
        return self.remotes[name]

    async def _read(self, call: Call) -> None:
        request = messages.FILE_REQUEST.decode(await call.one())
        data = await self._files(request.get("ref", "")).ask("read", request.get("path", ""))
        part = request.get("range", {})
        begin = max(part.get("offset", 0), 0)
        end = begin + part["length"] if part.get("length", 0) > 0 else None
        await call.send([messages.FILE.encode({"data": data[begin:end]})])

    async def _stat(self, call: Call) -> None:
        request = messages.FILE_REQUEST.decode(await call.one())
        path = request.get("path", "")
        there = await self._files(request.get("ref", "")).ask("stat", path)
        told = {"path": path.rpartition("/")[2], "mode": go_mode(there.st_mode), "size": there.st_size}
        await call.send([messages.FILE_STAT.encode({"stat": {**told, "mtime": there.st_mtime_ns}})])

    async def _refuse(self, call: Call) -> None:
        """What frontends and debuggers do with results: they are looked into once they are images."""
        name = call.headers[":path"].rpartition("/")[2]
        raise RpcError(
            UNIMPLEMENTED, f"{name} is not supported: a gateway client only builds {FRONTEND} here"
        )

    async def _inputs(self, call: Call) -> None:
        await self._build(call)
        await call.receive()
        await call.send([b""])

    async def _warn(self, call: Call) -> None:
        build = await self._build(call)
        told = messages.VERTEX_WARNING.decode(await call.one())
        build.progress.warn(told.get("short", b"").decode("utf-8", "replace"))
        await call.send([b""])
