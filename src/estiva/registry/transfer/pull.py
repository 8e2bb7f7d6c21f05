"""Pull: a reference becomes an image in the store.

    manifest by tag or digest -> (index -> the platform's manifest) -> config -> layers, in parallel -> image

Layers are keyed by diffID, so those that are here are skipped, and one that breaks is fetched again alone.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from estiva.errors import EstivaError, IntegrityError, InvalidInput, NotFound
from estiva.oci import digest as digests
from estiva.oci import image as documents
from estiva.oci.platform import Platform, select
from estiva.oci.reference import Reference
from estiva.registry import grammar
from estiva.registry.http.errors import Broken
from estiva.registry.http.offload import call, for_each
from estiva.registry.http.settings import Settings
from estiva.registry.http.transport import Remote, Transport
from estiva.registry.transfer.download import Download, open_sink
from estiva.registry.transfer.manifests import Fetched, get_manifest, head_digest, pull_scopes
from estiva.registry.transfer.progress import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from estiva.store import Store
    from estiva.store.images import Image

NESTING = 3  # an index may point at an index, but not for ever
MANY = 64  # images of one index


@dataclass(frozen=True)
class Found:
    """One image at the registry: its manifest as bytes and parsed, and the platform its index gives it."""

    manifest: Fetched
    document: dict[str, Any]
    platform: dict[str, Any] | None = None


class Pull:
    """One pull. `run` is all of it, in the order of the module's picture."""

    def __init__(
        self,
        store: Store,
        reference: Reference,
        platform: str | None,
        progress: Progress,
        settings: Settings,
        *,
        every: bool = False,
        name: Reference | None = None,
    ) -> None:
        """`every`: the images of all platforms of an index. `name`: what the image is called here (by
        default as there)."""
        if every and platform:
            raise InvalidInput("one platform and all of them can't be asked for at once")
        self.store = store
        self.reference = reference
        self.place = reference  # where it is asked for: a mirror's name for it, or its own
        self.name = name or reference
        self.every = every
        self.explicit = platform is not None
        self.platform = Platform.parse(platform) if platform else Platform.host()
        self.progress = progress
        self.settings = settings
        self.content, self.layers, self.images = store.content, store.layers, store.images
        self.pool = ThreadPoolExecutor(settings.parallel, "pull")

    async def run(self) -> Image:
        try:
            async with Transport(self.settings) as transport:
                for host, prefix in self.settings.rule(self.reference.registry).mirrors:
                    image = await self._from_mirror(transport, host, prefix)
                    if image is not None:
                        return image
                return await self._from(transport, self.reference)
        finally:
            self.pool.shutdown()

    async def _from_mirror(self, transport: Transport, host: str, prefix: str) -> Image | None:
        """The image from a mirror; None, and a word about why, if it can't give it. What it gave of a layer
        stays, so that the next in line is asked for the rest only."""
        there = self.reference
        repository = f"{prefix}/{there.repository}" if prefix else there.repository
        try:
            return await self._from(transport, Reference(host, repository, there.tag, there.digest))
        except (EstivaError, Broken) as error:
            self.progress.say("", "retrying", message=f"mirror {host}: {error}")
            return None

    async def _from(self, transport: Transport, place: Reference) -> Image:
        self.place = place
        remote = await transport.remote(place.registry, place.repository)
        image = await self._unchanged(remote)
        return image if image is not None else await self._fetch(remote)

    async def _unchanged(self, remote: Remote) -> Image | None:
        """The image as it is here, if the registry still means this one: a HEAD in place of a GET."""
        reference = self.reference
        digest = reference.digest
        if not digest and self.images.find(str(reference)) is not None:
            digest = await head_digest(remote, self.place)
        image = self.images.find(f"{reference.name}@{digest}") if digest else None
        if image is None or not self.platform.accepts(Platform.of(image.config)):
            return None
        if self.explicit and self.platform != Platform.of(image.config):
            return None
        if self.every and not self._all_here(digest):
            return None
        if not all(self.layers.has(diff_id) for diff_id in image.diff_ids):
            return None  # one is gone or damaged: it alone is fetched again
        if image.manifest and not self.content.has(image.manifest):
            return None
        if self.name.tag:
            named = self.images.find(str(self.name))
            every = self.every or (named is not None and named.manifest == digest)
            kept = digest if every else image.manifest
            self.images.tag(image.id, f"{self.name.name}:{self.name.tag}", kept)
        self.progress.say(digest, "exists")
        return image

    def _all_here(self, digest: str) -> bool:
        """Whether an index, or the one manifest that a name means, is here with all its images."""
        from estiva.store.platforms import members

        if not self.content.has(digest):
            return False
        document = documents.parse_document(self.content.read(digest))
        if not documents.is_index(document):
            return True
        here = {manifest for manifest, _ in members(self.store, digest)}
        return all(item["digest"] in here for item in _images_of(document))

    async def _fetch(self, remote: Remote) -> Image:
        top = await get_manifest(remote, self.place)
        document = documents.parse_document(top.body, top.media_type)
        if self.every and documents.is_index(document):
            return await self._fetch_all(remote, top, document)
        found = await self._choose(remote, top, document)
        config, diff_ids = await self._check(remote, found.document)
        await self._layers(remote, found.document["layers"], diff_ids)
        return await call(self.pool, self._keep, config, top, found.manifest)

    async def _choose(self, remote: Remote, manifest: Fetched, document: dict[str, Any]) -> Found:
        """Down the indexes to the manifest for the platform."""
        for _ in range(NESTING):
            if not documents.is_index(document):
                return Found(manifest, document)
            chosen = select(document, self.platform)
            manifest, document = await self._member(remote, chosen)
        raise IntegrityError(f"the index of {self.reference} leads to no manifest")

    async def _member(self, remote: Remote, descriptor: dict[str, Any]) -> tuple[Fetched, dict[str, Any]]:
        """What an index points at, with the size it says."""
        manifest = await get_manifest(remote, self.place, descriptor["digest"])
        if len(manifest.body) != descriptor["size"]:
            raise IntegrityError(
                f"manifest {manifest.digest} has {len(manifest.body)} bytes, not the {descriptor['size']} of"
                " its index"
            )
        return manifest, documents.parse_document(manifest.body, descriptor["mediaType"])

    async def _check(self, remote: Remote, document: dict[str, Any]) -> tuple[bytes, list[str]]:
        """(config, diffIDs) of a manifest that can be pulled."""
        config = await self._config(remote, document["config"])
        parsed = documents.parse_config(config)
        documents.check_layers(document, parsed)
        for layer in document["layers"]:
            documents.compression(layer["mediaType"])  # before a byte is fetched: foreign or unknown types
        return config, parsed["rootfs"]["diff_ids"]

    async def _fetch_all(self, remote: Remote, top: Fetched, index: dict[str, Any]) -> Image:
        """Every image of an index; the name means the one for this machine, or the first."""
        members = _images_of(index)
        if not members or len(members) > MANY:
            raise IntegrityError(f"the index of {self.reference} has {len(members)} images")
        found: list[tuple[bytes, list[str], Found]] = []
        for descriptor in members:
            manifest, document = await self._member(remote, descriptor)
            if documents.is_index(document):
                raise IntegrityError(f"the index of {self.reference} has indexes inside")
            config, diff_ids = await self._check(remote, document)
            found.append((config, diff_ids, Found(manifest, document, descriptor.get("platform"))))
        layers: dict[str, dict[str, Any]] = {}
        for _, diff_ids, each in found:
            for diff_id, layer in zip(diff_ids, each.document["layers"], strict=True):
                layers.setdefault(diff_id, layer)
        await self._layers(remote, list(layers.values()), list(layers))
        return await call(self.pool, self._keep_all, found, top, index)

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
                f"/v2/{self.place.repository}/blobs/{digest}",
                scopes=pull_scopes(self.place),
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
        wanted = dict(zip(diff_ids, layers, strict=True))
        for diff_id, layer in wanted.items():
            self.progress.say(
                layer["digest"], "exists" if self.layers.has(diff_id) else "waiting", 0, layer["size"]
            )
        missing = [item for item in wanted.items() if not self.layers.has(item[0])]
        await for_each(self.settings.parallel, partial(self._layer, remote), missing)

    async def _layer(self, remote: Remote, diff_id: str, layer: Mapping[str, Any]) -> None:
        digest, size = layer["digest"], layer["size"]
        sink = await open_sink(lambda: self.layers.ingest(digest, size, layer["mediaType"], diff_id))
        try:
            if sink.complete:
                self.progress.say(digest, "exists", size, size)
                return
            download = Download(
                remote, self.place.repository, digest, size, pool=self.pool, progress=self.progress
            )
            await download.into(sink)
        except NotFound as error:
            raise IntegrityError(f"{self.reference} is incomplete at the registry: {error}") from None
        finally:
            await call(self.pool, sink.close)
        self.progress.say(digest, "done", size, size)

    def _keep(self, config: bytes, top: Fetched, manifest: Fetched) -> Image:
        """Make the image of what is in the store, and note under which names and digests it came."""
        image = self.images.add(config, manifest=manifest.body)
        if self.name.tag:
            self.images.tag(image.id, f"{self.name.name}:{self.name.tag}", digests.sha256(manifest.body))
        self._note(image, top, manifest)
        return image

    def _note(self, image: Image, *fetched: Fetched) -> None:
        for digest in dict.fromkeys(each.digest for each in fetched):
            self.images.record_digest(self.reference.name, digest, image.id)

    def _keep_all(
        self, found: list[tuple[bytes, list[str], Found]], top: Fetched, index: dict[str, Any]
    ) -> Image:
        """The images of an index, and the index itself, which is what the name means."""
        kept = {
            each.manifest.digest: self.images.add(config, manifest=each.manifest.body)
            for config, _, each in found
        }
        try:
            mine = select(index, self.platform)["digest"]
        except NotFound:
            mine = found[0][2].manifest.digest
        image = kept.get(mine) or kept[found[0][2].manifest.digest]
        digest = self.content.put(top.body)
        if self.name.tag:
            self.images.tag(image.id, f"{self.name.name}:{self.name.tag}", digest)
        for _, _, each in found:
            self._note(kept[each.manifest.digest], each.manifest)
        self._note(image, top)
        return image


def _images_of(index: dict[str, Any]) -> list[dict[str, Any]]:
    """An index's descriptors of images, without attestations and what else is for no platform."""
    return [
        item
        for item in index["manifests"]
        if item["mediaType"] in documents.MANIFEST_TYPES + documents.INDEX_TYPES
        and Platform.of(item.get("platform") or {}).os != "unknown"
        and not documents.is_attestation(item)
    ]
