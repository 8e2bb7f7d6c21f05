"""Images from one place to another as they are: same bytes, same digests, nothing sent that is there.

    top -> (index -> the platform's manifest, or all of them) -> blobs, in parallel -> documents, the top last

Registries, layout folders and archives in any combination, and the store as a source; what comes from a
registry streams through, and goes on by Range when it breaks.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from estiva.errors import IntegrityError, InvalidInput, NotFound
from estiva.oci import image as documents
from estiva.oci.platform import Platform, select
from estiva.oci.reference import Reference
from estiva.registry import grammar
from estiva.registry.http.offload import for_each
from estiva.registry.http.settings import Settings
from estiva.registry.http.transport import Transport
from estiva.registry.transfer.destinations import Repository, ToArchive, ToFolder
from estiva.registry.transfer.manifests import Fetched
from estiva.registry.transfer.progress import Progress
from estiva.registry.transfer.sources import FromLayout, FromStore, Here, There

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO, Any, TypeAlias

    from estiva.registry.transfer.plan import Plan
    from estiva.registry.transfer.progress import Callback
    from estiva.store import Store
    from estiva.store.archive.layout import Folder
    from estiva.store.archive.load import Archive

    Target: TypeAlias = Repository | ToFolder | ToArchive
    Source: TypeAlias = Here | There
    # where from: a registry's reference, (folder or archive, tag), or (store, plan)
    Origin: TypeAlias = Reference | tuple[Archive | Folder, str] | tuple[Store, Plan]
    # where to: a registry's reference, a folder with a tag, or a stream with a tag
    Goal: TypeAlias = Reference | tuple[str, str] | tuple[IO[bytes], str]

NESTING = 3


def copy(
    origins: Sequence[tuple[Origin, Goal]],
    *,
    platform: str | None = None,
    every: bool = False,
    top: tuple[Fetched, Reference] | None = None,
    progress: Callback | None = None,
    config: Settings | None = None,
) -> list[str]:
    """Copy images; the digest of what each became. `every`: all that an index names, attestations included.
    `top`: an index over them to put into a registry at the end.

    Raises as pull and push do.
    """
    if every and platform:
        raise InvalidInput("one platform and all of them can't be asked for at once")
    settings = config or Settings.from_environment()
    return asyncio.run(_Copying(Progress(progress), settings, platform, every).all(origins, top))


class _Copying:
    def __init__(self, progress: Progress, settings: Settings, platform: str | None, every: bool) -> None:
        self.progress, self.settings, self.every = progress, settings, every
        self.asked = bool(platform)
        self.platform = Platform.parse(platform) if platform else Platform.host()
        self.pool = ThreadPoolExecutor(settings.parallel + 2, "copy")
        self.archive: ToArchive | None = None

    async def all(
        self, pairs: Sequence[tuple[Origin, Goal]], top: tuple[Fetched, Reference] | None
    ) -> list[str]:
        try:
            async with Transport(self.settings) as transport:
                found = []
                for origin, goal in pairs:
                    source = await self._source(transport, origin)
                    found.append(await self._one(source, await self._target(transport, goal)))
                if self.archive is not None:
                    self.archive.end()
                if top is not None:
                    await (await self._target(transport, top[1])).finish(top[0])
                return found
        finally:
            self.pool.shutdown()

    async def _source(self, transport: Transport, origin: Origin) -> Source:
        if isinstance(origin, Reference):
            remote = await transport.remote(origin.registry, origin.repository)
            return There(remote, origin, self.pool, self.progress)
        first, second = origin
        if isinstance(second, str):
            return Here(FromLayout(first, second), self.pool, self.progress)  # type: ignore[arg-type]
        return Here(FromStore(first, second), self.pool, self.progress)  # type: ignore[arg-type]

    async def _target(self, transport: Transport, goal: Goal) -> Target:
        if isinstance(goal, Reference):
            remote = await transport.remote(goal.registry, goal.repository)
            return Repository(remote, goal, self.progress)
        where, tag = goal
        if isinstance(where, str):
            return ToFolder(where, tag, self.pool, self.progress)
        if self.archive is None:
            self.archive = ToArchive(where, self.pool, self.progress)
        self.archive.tag = tag
        return self.archive

    async def _one(self, source: Source, target: Target) -> str:
        top = await source.top()
        if not self.every:
            top = await self._choose(source, top)
        blobs: dict[str, int] = {}
        below = await self._collect(source, top, blobs, 0)
        parallel = min(target.parallel, self.settings.parallel)
        await for_each(parallel, partial(target.blob, source), blobs.items())
        for document in below:
            await target.document(document)
        await target.finish(top)
        return top.digest

    async def _choose(self, source: Source, top: Fetched) -> Fetched:
        for _ in range(NESTING):
            document = self._parse(top)
            if not documents.is_index(document):
                if self.asked:
                    await self._check(source, document["config"])
                return top
            if isinstance(source, Here) and isinstance(source.local, FromStore):
                return top  # planned already
            top = await source.document(select(document, self.platform))
        raise IntegrityError("an index leads to no manifest")

    async def _check(self, source: Source, config: dict[str, Any]) -> None:
        """A manifest that no index led to is for the platform that was asked for. Raises NotFound."""
        digest, size = config["digest"], config["size"]
        if config["mediaType"] not in documents.CONFIG_TYPES:
            return  # an artifact has none
        if size > grammar.CONFIG_LIMIT:
            raise IntegrityError(f"config {digest} has {size} bytes, the limit is {grammar.CONFIG_LIMIT}")
        body = b"".join([piece async for piece in source.stream(digest, size, 0)])
        actual = Platform.of(documents.parse_config(body))
        if actual.architecture and not self.platform.accepts(actual):
            raise NotFound(
                f"the image is for {actual}, not for {self.platform}",
                hint="without --platform it is copied as it is",
            )

    def _parse(self, what: Fetched) -> dict[str, Any]:
        if what.media_type in documents.MANIFEST_TYPES:
            return documents.parse_manifest(what.body, what.media_type, artifact=True)
        return documents.parse_index(what.body, what.media_type)

    async def _collect(
        self, source: Source, what: Fetched, blobs: dict[str, int], depth: int
    ) -> list[Fetched]:
        """The documents below `what`, the deepest first; the blobs that they name go into `blobs`."""
        document = self._parse(what)
        if not documents.is_index(document):
            for part in [document["config"], *document["layers"]]:
                if part["mediaType"] in documents.COMPRESSION or "foreign" not in part["mediaType"]:
                    blobs[part["digest"]] = part["size"]
            return []
        if depth >= NESTING:
            raise IntegrityError("indexes are nested too deeply")
        found: list[Fetched] = []
        for item in document["manifests"]:
            if item["mediaType"] in documents.MANIFEST_TYPES + documents.INDEX_TYPES:
                below = await source.document(item)
                found += await self._collect(source, below, blobs, depth + 1)
                found.append(below)
            else:
                blobs[item["digest"]] = item["size"]
        return found
