"""Images elsewhere whose layers are fetched one by one, once they are wanted: a build's caches.

An event loop in a thread of its own, for as long as it is open: the layers come over connections that are
there, and whoever asked waits for no other.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from estiva.errors import IntegrityError
from estiva.oci import digest as digests
from estiva.oci import image as documents
from estiva.oci.platform import Platform, select
from estiva.oci.reference import Reference
from estiva.registry import grammar
from estiva.registry.http.offload import call
from estiva.registry.http.settings import Settings
from estiva.registry.http.transport import Transport
from estiva.registry.transfer.download import open_sink
from estiva.registry.transfer.progress import Progress
from estiva.registry.transfer.sources import FromLayout, Here, There

if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from estiva.store import Store
    from estiva.store.archive.layout import Folder

    Origin: TypeAlias = "Reference | tuple[Folder, str]"


class Lazy:
    """Reads from registries and layout folders; `close` it. Its calls are for other threads."""

    def __init__(self, store: Store, progress: Progress, settings: Settings | None = None) -> None:
        self.store = store
        self.progress = progress
        self.settings = settings or Settings.from_environment()
        self.pool = ThreadPoolExecutor(self.settings.parallel + 2, "lazy")
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="estiva-lazy", daemon=True)
        self.thread.start()
        self.transport: Transport | None = None
        self.slots: asyncio.Semaphore | None = None

    def open(self, origin: Origin, platform: Platform) -> Future[Lent]:
        """Look at an image: of an index that for `platform`. Raises as a pull does, from the future."""
        return asyncio.run_coroutine_threadsafe(self._open(origin, platform), self.loop)

    def lend(self, reference: Reference, config: dict[str, Any], layers: dict[str, Any]) -> Future[Lent]:
        """One at a registry that was looked at already."""
        return asyncio.run_coroutine_threadsafe(self._lend(reference, config, layers), self.loop)

    def fetch(self, lent: Lent, diff_id: str) -> Future[None]:
        """Bring one of its layers into the store."""
        return asyncio.run_coroutine_threadsafe(self._fetch(lent, diff_id), self.loop)

    def close(self) -> None:
        """Stop what is still being fetched."""
        asyncio.run_coroutine_threadsafe(self._end(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        self.pool.shutdown()

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self.transport is not None:
            await self.transport.__aexit__(None, None, None)

    async def _open(self, origin: Origin, platform: Platform) -> Lent:
        source: There | Here
        if isinstance(origin, Reference):
            source = await self._there(origin)
        else:
            source = Here(FromLayout(*origin), self.pool, self.progress)
        top = await source.top()
        document = documents.parse_document(top.body, top.media_type)
        if documents.is_index(document):
            top = await source.document(select(document, platform))
            document = documents.parse_document(top.body, top.media_type)
            if documents.is_index(document):
                raise IntegrityError("it is an index of indexes")
        config = document["config"]
        if config["size"] > grammar.CONFIG_LIMIT:
            raise IntegrityError(f"its config is larger than {grammar.CONFIG_LIMIT} bytes")
        kept = _Small(config["digest"], config["size"])
        await source.into(config["digest"], config["size"], kept)
        parsed = documents.parse_config(bytes(kept.data))
        documents.check_layers(document, parsed)
        return Lent(source, parsed, dict(zip(parsed["rootfs"]["diff_ids"], document["layers"], strict=True)))

    async def _there(self, reference: Reference) -> There:
        if self.transport is None:
            self.transport = Transport(self.settings)
            await self.transport.__aenter__()
        remote = await self.transport.remote(reference.registry, reference.repository)
        return There(remote, reference, self.pool, self.progress)

    async def _lend(self, reference: Reference, config: dict[str, Any], layers: dict[str, Any]) -> Lent:
        return Lent(await self._there(reference), config, layers)

    async def _fetch(self, lent: Lent, diff_id: str) -> None:
        if self.slots is None:
            self.slots = asyncio.Semaphore(self.settings.parallel)
        layer = lent.layers[diff_id]
        digest, size = layer["digest"], layer["size"]
        async with self.slots:
            sink = await open_sink(
                lambda: self.store.layers.ingest(digest, size, layer["mediaType"], diff_id)
            )
            try:
                if not sink.complete:
                    await lent.source.into(digest, size, sink)
            finally:
                await call(self.pool, sink.close)
        self.progress.say(digest, "done", size, size)


class Lent:
    """An image elsewhere: its config, and its layers' descriptors by their diff_ids."""

    def __init__(self, source: There | Here, config: dict[str, Any], layers: dict[str, Any]) -> None:
        self.source, self.config, self.layers = source, config, layers


class _Small:
    """A sink in memory, for a config."""

    complete = False

    def __init__(self, digest: str, size: int) -> None:
        self.digest, self.size = digest, size
        self.algorithm, self.hex = digests.parse(digest)
        self.data = bytearray()

    @property
    def offset(self) -> int:
        return len(self.data)

    def feed(self, data: bytes) -> None:
        self.data += data
        if self.offset > self.size:
            raise IntegrityError(f"blob {self.digest} is larger than its {self.size} bytes")

    def rewind(self) -> None:
        self.data.clear()

    def commit(self) -> None:
        hasher = digests.hasher(self.algorithm)
        hasher.update(self.data)
        if hasher.hexdigest() != self.hex or self.offset != self.size:
            raise IntegrityError(f"blob {self.digest} is not what its digest says")

    def close(self) -> None:
        """Nothing is open."""
