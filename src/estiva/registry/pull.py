"""Pull: a reference becomes an image in the store.

    manifest by tag or digest -> (index -> the platform's manifest) -> config -> layers, in parallel -> image

Layers are keyed by diffID, so those that are here are skipped, and one that breaks is fetched again alone.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from aiohttp import hdrs

from estiva.errors import IntegrityError, NotFound
from estiva.oci import digest as digests
from estiva.oci import image as documents
from estiva.oci.platform import Platform, select
from estiva.oci.reference import Reference
from estiva.registry import grammar
from estiva.registry.download import Download, open_sink
from estiva.registry.progress import Progress
from estiva.registry.pump import call
from estiva.registry.settings import Settings
from estiva.registry.transport import Remote, Transport, retrying

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from estiva.store import Store
    from estiva.store.images import Image

ACCEPT = ", ".join((*grammar.MANIFEST_TYPES, *grammar.INDEX_TYPES))
NESTING = 3  # an index may point at an index, but not for ever


@dataclass(frozen=True)
class Fetched:
    """A manifest or index whose digest is proven."""

    body: bytes
    media_type: str
    digest: str


async def get_manifest(remote: Remote, reference: Reference, which: str = "") -> Fetched:
    """A manifest or index by `which` (a tag or digest, by default the reference's), its bytes verified."""
    which = which or reference.digest or reference.tag
    body, headers = await remote.document(
        f"/v2/{reference.repository}/manifests/{which}",
        scopes=pull_scopes(reference),
        subject=str(reference) if which in (reference.tag, reference.digest) else f"{reference.name}@{which}",
        limit=grammar.MANIFEST_LIMIT,
        headers={hdrs.ACCEPT: ACCEPT},
    )
    wanted = which if ":" in which else headers.get("Docker-Content-Digest", "")
    if wanted and not digests.valid(wanted):
        raise IntegrityError(f"{reference}: the registry calls its manifest {wanted[:100]!r}")
    algorithm = wanted.partition(":")[0] or "sha256"
    hasher = digests.hasher(algorithm)
    hasher.update(body)
    digest = f"{algorithm}:{hasher.hexdigest()}"
    if wanted and digest != wanted:
        raise IntegrityError(f"the manifest of {reference} has digest {digest}, not {wanted}")
    content_type = grammar.bare_type(headers.get(hdrs.CONTENT_TYPE, ""))
    known = content_type in grammar.MANIFEST_TYPES + grammar.INDEX_TYPES
    return Fetched(body, content_type if known else "", digest)


async def head_digest(remote: Remote, reference: Reference) -> str:
    """The digest that a tag has at the registry now, "" if the registry does not say."""

    async def once() -> str:
        response = await remote.request(
            "HEAD",
            f"/v2/{reference.repository}/manifests/{reference.tag}",
            scopes=pull_scopes(reference),
            subject=str(reference),
            headers={hdrs.ACCEPT: ACCEPT},
        )
        response.release()
        digest = response.headers.get("Docker-Content-Digest", "")
        return digest if digests.valid(digest) else ""

    return await retrying(remote.settings, once)


def pull_scopes(reference: Reference) -> frozenset[str]:
    return frozenset({f"repository:{reference.repository}:pull"})


class Pull:
    """One pull. `run` is all of it, in the order of the module's picture."""

    def __init__(
        self, store: Store, reference: Reference, platform: str | None, progress: Progress, settings: Settings
    ) -> None:
        self.store = store
        self.reference = reference
        self.explicit = platform is not None
        self.platform = Platform.parse(platform) if platform else Platform.host()
        self.progress = progress
        self.settings = settings
        self.content, self.layers, self.images = store.content, store.layers, store.images
        self.pool = ThreadPoolExecutor(settings.parallel, "pull")

    async def run(self) -> Image:
        try:
            async with Transport(self.settings) as transport:
                remote = await transport.remote(self.reference.registry, self.reference.repository)
                image = await self._unchanged(remote)
                if image is None:
                    image = await self._fetch(remote)
            return image
        finally:
            self.pool.shutdown()

    async def _unchanged(self, remote: Remote) -> Image | None:
        """The image as it is here, if the registry still means this one: a HEAD in place of a GET."""
        reference = self.reference
        digest = reference.digest
        if not digest and self.images.find(str(reference)) is not None:
            digest = await head_digest(remote, reference)
        image = self.images.find(f"{reference.name}@{digest}") if digest else None
        if image is None or not self.platform.accepts(Platform.of(image.config)):
            return None
        if self.explicit and self.platform != Platform.of(image.config):
            return None
        if not all(self.layers.has(diff_id) for diff_id in image.diff_ids):
            return None
        if reference.tag:
            self.images.tag(image.id, f"{reference.name}:{reference.tag}", image.manifest)
        self.progress.say(digest, "exists")
        return image

    async def _fetch(self, remote: Remote) -> Image:
        top = manifest = await get_manifest(remote, self.reference)
        document = documents.parse_document(manifest.body, manifest.media_type)
        for _ in range(NESTING):
            if not documents.is_index(document):
                break
            chosen = select(document, self.platform)
            manifest = await get_manifest(remote, self.reference, chosen["digest"])
            if len(manifest.body) != chosen["size"]:
                raise IntegrityError(
                    f"manifest {manifest.digest} has {len(manifest.body)} bytes, not the {chosen['size']} of"
                    " its index"
                )
            document = documents.parse_document(manifest.body, chosen["mediaType"])
        else:
            raise IntegrityError(f"the index of {self.reference} leads to no manifest")
        config = await self._config(remote, document["config"])
        parsed = documents.parse_config(config)
        documents.check_layers(document, parsed)
        for layer in document["layers"]:
            documents.compression(layer["mediaType"])  # before a byte is fetched: foreign or unknown types
        await self._layers(remote, document["layers"], parsed["rootfs"]["diff_ids"])
        return await call(self.pool, self._keep, config, top, manifest)

    async def _config(self, remote: Remote, descriptor: dict[str, Any]) -> bytes:
        digest, size = descriptor["digest"], descriptor["size"]
        if self.content.has(digest):
            return self.content.read(digest, grammar.CONFIG_LIMIT)
        if size > grammar.CONFIG_LIMIT:
            raise IntegrityError(
                f"the config of {self.reference} has {size} bytes, the limit is {grammar.CONFIG_LIMIT}"
            )
        body: bytes = b""
        for last in (False, True):
            body, _ = await remote.document(
                f"/v2/{self.reference.repository}/blobs/{digest}",
                scopes=pull_scopes(self.reference),
                subject=f"config {digest} of {self.reference}",
                limit=size,
                headers={},
            )
            hasher = digests.hasher(digest.partition(":")[0])
            hasher.update(body)
            if len(body) == size and hasher.hexdigest() == digest.partition(":")[2]:
                break
            if last:
                got = f"{digest.partition(':')[0]}:{hasher.hexdigest()}"
                raise IntegrityError(f"the config of {self.reference} has digest {got}, not {digest}")
        return body

    async def _layers(self, remote: Remote, layers: list[dict[str, Any]], diff_ids: list[str]) -> None:
        """Every layer that is not here, `parallel` at a time; the first error cancels the others, whose bytes
        stay on the disk."""
        slots = asyncio.Semaphore(self.settings.parallel)
        wanted = dict(zip(diff_ids, layers, strict=True))
        for diff_id, layer in wanted.items():
            self.progress.say(
                layer["digest"], "exists" if self.layers.has(diff_id) else "waiting", 0, layer["size"]
            )
        tasks = [
            asyncio.ensure_future(self._layer(remote, slots, diff_id, layer))
            for diff_id, layer in wanted.items()
            if not self.layers.has(diff_id)
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _layer(
        self, remote: Remote, slots: asyncio.Semaphore, diff_id: str, layer: Mapping[str, Any]
    ) -> None:
        digest, size = layer["digest"], layer["size"]
        async with slots:
            sink = await open_sink(lambda: self.layers.ingest(digest, size, layer["mediaType"], diff_id))
            try:
                if sink.complete:
                    self.progress.say(digest, "exists", size, size)
                    return
                download = Download(
                    remote, self.reference.repository, digest, size, pool=self.pool, progress=self.progress
                )
                await download.into(sink)
            except NotFound as error:
                raise IntegrityError(f"{self.reference} is incomplete at the registry: {error}") from None
            finally:
                await call(self.pool, sink.close)
        self.progress.say(digest, "done", size, size)

    def _keep(self, config: bytes, top: Fetched, manifest: Fetched) -> Image:
        """Make the image of what is in the store, and note under which names and digests it came."""
        reference = self.reference
        image = self.images.add(config, manifest=manifest.body)
        if reference.tag:
            self.images.tag(image.id, f"{reference.name}:{reference.tag}", digests.sha256(manifest.body))
        for digest in dict.fromkeys((top.digest, manifest.digest)):
            self.images.record_digest(reference.name, digest, image.id)
        return image
