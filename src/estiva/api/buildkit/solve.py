"""One build: what a client asks for, its contexts brought here, our builder, and the results given back."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from estiva.api.buildkit import asked, failures, lent, messages
from estiva.api.buildkit.outputs import Outputs, check
from estiva.api.buildkit.rpc import INVALID, UNIMPLEMENTED, RpcError
from estiva.api.buildkit.shared import FRONTEND, SCHEME, repository
from estiva.api.buildkit.sources import Sources
from estiva.api.buildkit.status import Progress
from estiva.engine.builds import build as builds
from estiva.errors import EngineError, EstivaError, oneline

if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.api.buildkit.session import Session
    from estiva.api.buildkit.shared import Kit, Result
    from estiva.api.builds.uploads import Body


class Build:
    """One call of Control.Solve. `progress` is what Status tells."""

    def __init__(self, kit: Kit, request: dict[str, Any]) -> None:
        self.kit = kit
        self.request = request
        self.progress = Progress(request["ref"])
        self.refs: list[Ref] = []
        self.closing: list[Callable[[], None]] = []
        self.body: Body | None = None  # the context, where it is no session's
        self.logins: dict[str, Any] | None = None  # those of a client without a session
        self._result: asyncio.Future[Result | None] = asyncio.get_running_loop().create_future()

    async def session(self) -> Session:
        return await self.kit.sessions.get(self.request.get("session", ""))

    def returned(self, ref: Result | None, error: RpcError | None) -> None:
        """What the gateway client gives as the build's result."""
        if self._result.done():
            return
        if error is not None:
            self._result.set_exception(error)
        else:
            self._result.set_result(ref)

    async def run(self) -> dict[str, str]:
        """To its end; what buildx' metadata says of it. Raises RpcError."""
        request = self.request
        if request.get("policy"):
            raise RpcError(UNIMPLEMENTED, "source policies are not supported")
        exporters = request.get("exporters") or (
            [{"type": request["exporter"], "attrs": request.get("exporter_attrs", {})}]
            if request.get("exporter")
            else []
        )
        check(exporters)
        ref = self.kit.named(request.get("definition", {}))
        if ref is not None:
            pass
        elif request.get("frontend") == FRONTEND:
            imports = request.get("cache", {}).get("imports", [])
            ref = Ref(self, request.get("attrs", {}), request.get("inputs", {}), imports)
        elif request.get("frontend"):
            name = oneline(request["frontend"])[:100]
            raise RpcError(UNIMPLEMENTED, f"the frontend {name} is not here: there is {FRONTEND}")
        else:
            ref = await self._result
        if ref is None:
            return {}
        return await ref.solve(exporters, request.get("cache", {}).get("exports", []))

    def close(self) -> None:
        if not self._result.done():
            self._result.cancel()
        for close in (*(ref.close for ref in self.refs), *self.closing):
            close()
        self.closing.clear()
        self.progress.close()


class Ref:
    """A result that a gateway client has asked for: it is built when it is exported, or sooner for another
    build whose context it is."""

    def __init__(
        self,
        build: Build,
        attrs: dict[str, str],
        inputs: dict[str, Any],
        imports: list[dict[str, Any]],
    ) -> None:
        self.build = build
        self.name = os.urandom(12).hex()
        self.attrs = attrs
        self.inputs = inputs
        self.imports = imports
        if place := repository(inputs.get("context", {})):  # of a target of a repository's bake file
            self.attrs = {**attrs, "context": place}
            self.inputs = {name: inputs[name] for name in inputs if name not in ("context", "dockerfile")}
        self._evaluated: asyncio.Task[str] | None = None
        build.refs.append(self)

    def close(self) -> None:
        """Nobody waits for it any more."""
        if self._evaluated is not None:
            self._evaluated.cancel()

    @property
    def call(self) -> str:
        """What is asked of the Dockerfile instead of an image: "outline", "targets", "lint"; else ""."""
        return self.attrs.get("requestid", "").removeprefix("frontend.")

    def check(self) -> None:
        """Raises what is wrong with the words alone."""
        asked.options(self.attrs)

    def result(self) -> dict[str, Any]:
        """As the client has it: a name, and a definition that gives that name back to us."""
        source = messages.OP.encode({"source": {"identifier": SCHEME + self.name}})
        digest = "sha256:" + hashlib.sha256(source).hexdigest()
        top = messages.OP.encode({"inputs": [{"digest": digest, "index": 0}]})
        caps = {"source.image": True}
        return {"id": self.name, "def": {"def": [source, top], "metadata": {digest: {"caps": caps}}}}

    async def solve(self, exporters: list[dict[str, Any]], cache_to: list[dict[str, Any]]) -> dict[str, str]:
        """Build and give back. Raises RpcError."""
        return (await self._run(exporters, cache_to))[1]

    async def evaluate(self) -> str:
        """Build it, once; the image's id. Raises RpcError."""
        if self._evaluated is None:
            self._evaluated = asyncio.create_task(self._evaluate())
        return await asyncio.shield(self._evaluated)

    async def _evaluate(self) -> str:
        return (await self._run([], []))[0]

    async def answer(self) -> dict[str, bytes]:
        """What `call` asks for, as a frontend answers. Raises RpcError."""
        from estiva.engine.builds.call import call

        kinds = {"outline": "outline", "targets": "targets", "lint": "check"}
        if self.call not in kinds:
            raise RpcError(UNIMPLEMENTED, f"unsupported request frontend.{oneline(self.call)[:100]}")
        async with AsyncExitStack() as stack:
            options, sources = await self._options(stack)
            for name in ("limits", "attest", "platforms"):
                options.pop(name, None)
            work = self.build.kit.api.work
            try:
                found = await work.long_do(call, self.build.kit.api.engine, kinds[self.call], **options)
            except EstivaError as error:
                raise failures.told(error, sources.name, sources.text) from None
        data = json.dumps(found).encode()
        return {"result.json": data, "result.txt": data, "version": b"1.0.0"}

    async def _options(self, stack: AsyncExitStack) -> tuple[dict[str, Any], Sources]:
        options = asked.options(self.attrs)
        sources = Sources(
            self.build.kit.api, self.build.progress, await self.build.session(), self.attrs, self._inputs()
        )
        sources.body = self.build.body
        stack.push_async_callback(sources.close)
        options |= await sources.bring()
        return options, sources

    def _inputs(self) -> dict[str, Result]:
        """The results of other builds among the contexts."""
        found: dict[str, Result] = {}
        for name, definition in self.inputs.items():
            result = self.build.kit.named(definition)
            if result is None:
                raise RpcError(INVALID, f"the input {oneline(name)[:100]} is empty")
            found[name] = result
        return found

    async def _run(
        self, exporters: list[dict[str, Any]], cache_to: list[dict[str, Any]]
    ) -> tuple[str, dict[str, str]]:
        api, progress = self.build.kit.api, self.build.progress
        async with AsyncExitStack() as stack:
            try:
                options, sources = await self._options(stack)
                options["given"] = self.build.logins or lent.logins(sources.session)
                options["limits"] |= self.build.request.get("limits", {})
                options["cache_from"] = await sources.caches(asked.imports(self.attrs, self.imports))
                options["allow"] = asked.entitlements(self.build.request.get("entitlements", []))
                outputs = Outputs(sources.session, api.work, exporters, sources.workspace)
                options["cache_to"] = outputs.caches(cache_to)
            except EstivaError as error:
                raise failures.told(error, "", "") from None
            if self._evaluated is not None and exporters:
                options["no_cache"], options["no_cache_filter"] = False, []  # its steps have run just now
            for name in asked.unknown(self.attrs):
                progress.warn(f"the option {oneline(name)[:100]} has no effect here")
            metadata: dict[str, Any] = {}
            running = Running(progress)
            words = {**options, "outputs": outputs.words(), "metadata": metadata, "vertexes": True}

            def run() -> str:
                return builds.build(api.engine, progress=running.tell, look=running.look, **words)

            try:
                image = await running.wait(api, run, sources)
                told = await outputs.send(progress)
            except EstivaError as error:
                parsed = bool(progress.failed)
                failure = failures.told(error, sources.name, sources.text, parsed=parsed)
                if image := progress.missed():
                    failure.message = (
                        f"{image}: failed to resolve source metadata for {image}: {failure.message}"
                    )
                progress.fail(failure.message)
                raise failure from None
        self._tell_exports(exporters, image)
        return image, _response({**metadata, **told}, image, exporters)

    def _tell_exports(self, exporters: list[dict[str, Any]], image: str) -> None:
        progress = self.build.progress
        for each in exporters:
            if each.get("type") in ("moby", "image"):
                progress.begin("export", "exporting to image")
                progress.status("export", "exporting layers")
                progress.status("export", f"writing image {image}")
                for name in each.get("attrs", {}).get("name", "").split(","):
                    if name:
                        progress.status("export", f"naming to {asked.named(name)}")
        progress.end("export")


class Running:
    """A build in its thread, which ends soon after nobody waits for it any more."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.cancelled = False

    def look(self) -> None:
        if self.cancelled:
            raise EngineError("the build was cancelled: its client has gone")

    def tell(self, event: dict[str, Any]) -> None:
        self.look()
        self.progress(event)

    async def wait(self, api: Any, run: Callable[[], str], sources: Sources) -> str:
        """What `run` gives; `sources` stay until it has ended."""
        future = api.work.long.submit(run)
        sources.used(future)
        try:
            return await asyncio.shield(asyncio.wrap_future(future))
        except asyncio.CancelledError:
            self.cancelled = True
            future.cancel()
            raise


def _response(metadata: dict[str, Any], image: str, exporters: list[dict[str, Any]]) -> dict[str, str]:
    found = {}
    for key, value in metadata.items():
        text = value if isinstance(value, str) else json.dumps(value)
        packed = key.endswith(".descriptor")
        found[key] = base64.b64encode(text.encode()).decode() if packed else text
    kinds = {each.get("type") for each in exporters}
    if kinds & {"moby", "image"}:
        found.setdefault("containerimage.config.digest", image)
        found.setdefault("containerimage.digest", image)
        names = [each["attrs"]["name"] for each in exporters if each.get("attrs", {}).get("name")]
        if names:
            found["image.name"] = ",".join(asked.whole(name) for name in names[0].split(",") if name)
    return found
