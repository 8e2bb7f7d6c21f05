"""moby.buildkit.v1.frontend.LLBBridge: what buildx does as the gateway client of its own build.

It asks for dockerfile.v0 and gives the result back, both by name: the build runs when all is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from estiva.api.buildkit import messages
from estiva.api.buildkit.rpc import INVALID, NOT_FOUND, UNIMPLEMENTED, RpcError
from estiva.api.buildkit.shared import FRONTEND
from estiva.api.buildkit.solve import Build, Ref
from estiva.errors import oneline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from estiva.api.buildkit.http2 import Call
    from estiva.api.buildkit.shared import Kit, Method

BUILD = "buildkit-controlapi-buildid"  # the header that says of which build
CAPS = (
    "solve.base", "solve.inlinereturn", "resolveimage", "resolveimage.resolvemode", "return", "returnmap",
    "importcaches", "proto.refarray", "reference.output", "frontend.inputs", "gateway.solve.metadata",
    "frontend.caps", "gateway.solve.evaluate", "gateway.evaluate", "gateway.warnings",
    "reference.attestations",
)  # fmt: skip
LLB = (
    "source.image", "source.image.resolvemode", "source.local", "source.local.unique",
    "source.local.sessionid",
    "source.local.includepatterns", "source.local.followpaths", "source.local.excludepatterns",
    "source.local.sharedkeyhint", "source.local.differ", "source.git", "source.http", "source.ocilayout",
    "exec.meta.base", "exec.meta.network", "exec.mount.ssh", "exec.mount.secret", "constraints", "platform",
    "meta.ignorecache", "meta.description", "meta.exportcache", "exporter.image.annotations",
    "exporter.image.attestations", "exporter.sourcedateepoch", "exporter.multiple",
)  # fmt: skip


REFUSED = (
    "ResolveImageConfig", "ResolveSourceMeta", "ReadFile", "ReadDir", "StatFile", "NewContainer",
    "ReleaseContainer", "ReadFileContainer", "ReadDirContainer", "StatFileContainer", "ExecProcess",
)  # fmt: skip


class Gateway:
    """Its methods; each call says by a header which build it is of."""

    def __init__(self, kit: Kit, find: Callable[[str], Awaitable[Build]]) -> None:
        self.kit = kit
        self.find = find

    def methods(self) -> dict[str, Method]:
        bridge = "/moby.buildkit.v1.frontend.LLBBridge/"
        return {
            bridge + "Ping": self._ping,
            bridge + "Solve": self._solve,
            bridge + "Return": self._return,
            bridge + "Evaluate": self._evaluate,
            bridge + "Inputs": self._inputs,
            bridge + "Warn": self._warn,
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
