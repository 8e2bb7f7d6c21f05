"""Push: an image of the store goes to a registry, blobs first and in parallel, the manifest last.

    blob: HEAD: there? -> mount from a sibling repository? -> POST, PATCH from where the registry is, PUT

The bytes of a pulled image's manifest are pushed as they came, so its digest stays; an image that was built
here gets a manifest made the same way every time.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from aiohttp import hdrs

from estiva.errors import Denied, EngineError, IntegrityError, NotFound
from estiva.oci import digest as digests
from estiva.oci import image as documents
from estiva.oci.reference import Reference
from estiva.registry import grammar
from estiva.registry.pump import call
from estiva.registry.transport import Broken, Remote, Transport, retrying
from estiva.registry.upload import Upload, cancel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.registry.progress import Progress
    from estiva.registry.settings import Settings
    from estiva.store import Store
    from estiva.store.images import Image


@dataclass(frozen=True)
class Plan:
    """What a push sends: the manifest's bytes and type, and every blob that it names, by digest."""

    manifest: bytes
    media_type: str
    digest: str
    blobs: dict[str, int]


def plan(store: Store, image: Image) -> Plan:
    """What to push: the manifest that came with the image if all its blobs are here, else one made now."""
    if image.manifest is not None and store.content.has(image.manifest):
        body = store.content.read(image.manifest)
        document = documents.parse_manifest(body)
        blobs = {part["digest"]: part["size"] for part in [document["config"], *document["layers"]]}
        here = all(digest == image.id or store.content.has(digest) for digest in blobs)
        if here and document["config"]["digest"] == image.id:
            kind = document.get("mediaType") or grammar.OCI_MANIFEST
            return Plan(body, kind, image.manifest, blobs)
    layers = []
    for diff_id in image.diff_ids:
        digest, size, media_type = store.layers.compressed(diff_id, "gzip")
        if media_type == documents.DOCKER_LAYER_GZIP:
            media_type = documents.OCI_LAYER_GZIP  # the same bytes; a manifest is of one family
        layers.append(documents.descriptor(media_type, digest, size))
    config = documents.descriptor(documents.OCI_CONFIG, image.id, len(image.config_bytes))
    body = documents.make_manifest(config, layers)
    blobs = {part["digest"]: part["size"] for part in [config, *layers]}
    return Plan(body, documents.OCI_MANIFEST, digests.sha256(body), blobs)


class Push:
    """One push of one image. `run` returns the manifest's digest."""

    def __init__(
        self, store: Store, image: Image, reference: Reference, progress: Progress, settings: Settings
    ) -> None:
        self.store = store
        self.image = image
        self.reference = reference
        self.progress = progress
        self.settings = settings
        self.scopes = frozenset({f"repository:{reference.repository}:pull,push"})
        self.pool = ThreadPoolExecutor(settings.parallel, "push")
        self.siblings = self._siblings()

    def _siblings(self) -> list[str]:
        """Repositories of the same registry that are known to have had this image: blobs may be mounted."""
        names = (Reference.parse_name(text) for text in self.store.images.repo_digests(self.image.id))
        return [
            name.repository
            for name in names
            if name.registry == self.reference.registry and name.repository != self.reference.repository
        ][:3]

    async def run(self) -> str:
        try:
            what = await call(self.pool, plan, self.store, self.image)
            async with Transport(self.settings) as transport:
                remote = await transport.remote(self.reference.registry, self.reference.repository)
                await self._blobs(remote, what)
                await self._manifest(remote, what)
            await call(self.pool, self._remember, what)
            return what.digest
        finally:
            self.pool.shutdown()

    async def _blobs(self, remote: Remote, what: Plan) -> None:
        slots = asyncio.Semaphore(self.settings.parallel)

        async def one(digest: str, size: int) -> None:
            async with slots:
                await self._blob(remote, digest, size)

        tasks = [asyncio.ensure_future(one(digest, size)) for digest, size in what.blobs.items()]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _blob(self, remote: Remote, digest: str, size: int) -> None:
        async def there() -> bool:
            try:
                response = await remote.request(
                    "HEAD", self._path(digest), scopes=self.scopes, subject=digest
                )
            except NotFound:
                return False
            response.release()
            return True

        if await retrying(self.settings, there):
            self.progress.say(digest, "exists", size, size)
            return
        for sibling in self.siblings:
            if await self._mount(remote, digest, sibling):
                self.progress.say(digest, "mounted", size, size)
                return
        blob = self.image.config_bytes if digest == self.image.id else None
        upload = Upload(
            remote,
            self.reference.repository,
            digest,
            size,
            scopes=self.scopes,
            open_blob=lambda: self.store.content.open(digest),
            data=blob,
            pool=self.pool,
            progress=self.progress,
        )
        await upload.run()
        self.progress.say(digest, "done", size, size)

    def _path(self, digest: str) -> str:
        return f"/v2/{self.reference.repository}/blobs/{digest}"

    async def _mount(self, remote: Remote, digest: str, sibling: str) -> bool:
        """end-11. A registry that will not, or an account that may not, gets the bytes instead."""
        url = remote.url(f"/v2/{self.reference.repository}/blobs/uploads/")
        try:
            response = await remote.request(
                "POST",
                url.with_query({"mount": digest, "from": sibling}),
                scopes=self.scopes | {f"repository:{sibling}:pull"},
                subject=f"{digest} in {sibling}",
                expect=(201, 202),
                headers={hdrs.CONTENT_LENGTH: "0"},
            )
            response.release()
            if response.status == 202 and hdrs.LOCATION in response.headers:
                session = remote.resolve(response.url, response.headers[hdrs.LOCATION])
                await cancel(remote, session, self.scopes)
            return response.status == 201
        except (Denied, NotFound, EngineError, Broken):
            return False

    async def _manifest(self, remote: Remote, what: Plan) -> None:
        which = self.reference.tag or what.digest

        async def once() -> None:
            response = await remote.request(
                "PUT",
                f"/v2/{self.reference.repository}/manifests/{which}",
                scopes=self.scopes,
                subject=str(self.reference),
                expect=(200, 201, 202),
                headers={hdrs.CONTENT_TYPE: what.media_type},
                body=lambda: what.manifest,
            )
            response.release()
            got = response.headers.get("Docker-Content-Digest", "")
            if got and got.startswith("sha256:") and got != what.digest:
                raise IntegrityError(f"{remote.host} stored the manifest as {got}, not as {what.digest}")

        await retrying(self.settings, once)
        self.progress.say(what.digest, "done", len(what.manifest), len(what.manifest))

    def _remember(self, what: Plan) -> None:
        """The same push again shall say the same; and siblings can mount from here."""
        images, reference = self.store.images, self.reference
        if self.store.content.put(what.manifest) != what.digest:
            raise IntegrityError(f"manifest {what.digest} changed while it was pushed")
        images.add(self.image.config_bytes, manifest=what.manifest)
        if reference.tag:
            named = images.find(f"{reference.name}:{reference.tag}")
            if named is not None and named.id == self.image.id:
                images.tag(self.image.id, f"{reference.name}:{reference.tag}", what.digest)
        images.record_digest(reference.name, what.digest, self.image.id)
