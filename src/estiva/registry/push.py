"""Push: an image of the store goes to a registry, blobs first and in parallel, the manifest last.

    blob: HEAD: there? -> mount from a sibling repository? -> POST, PATCH from where the registry is, PUT

The bytes of a pulled image's manifest are pushed as they came, so its digest stays; an image that was built
here gets a manifest made the same way every time.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from aiohttp import hdrs

from estiva.errors import Denied, EngineError, IntegrityError, NotFound
from estiva.oci.reference import Reference
from estiva.registry.plan import AS_IT_CAME, Packing, Plan, plan, plan_index
from estiva.registry.pump import call
from estiva.registry.transport import Broken, Remote, Transport, retrying
from estiva.registry.upload import Upload, cancel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.registry.progress import Progress
    from estiva.registry.settings import Settings
    from estiva.store import Store
    from estiva.store.images import Image


class Push:
    """One push of one image, or of all platforms of an index. `run` returns the manifest's digest."""

    def __init__(
        self,
        store: Store,
        image: Image,
        reference: Reference,
        progress: Progress,
        settings: Settings,
        *,
        packing: Packing = AS_IT_CAME,
        index: str = "",
    ) -> None:
        """`index`: the digest of an index in the store whose images are all to go."""
        self.store = store
        self.packing = packing
        self.index = index
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
            if self.index:
                what = await call(self.pool, plan_index, self.store, self.index, self.packing)
            else:
                what = await call(self.pool, plan, self.store, self.image, self.packing)
            async with Transport(self.settings) as transport:
                remote = await transport.remote(self.reference.registry, self.reference.repository)
                await self._blobs(remote, what)
                for member in what.members:
                    await self._manifest(remote, member, member.digest)
                await self._manifest(remote, what, self.reference.tag or what.digest)
            await call(self.pool, self._remember, what)
            return what.digest
        finally:
            self.pool.shutdown()

    async def _blobs(self, remote: Remote, what: Plan) -> None:
        slots = asyncio.Semaphore(self.settings.parallel)

        async def one(digest: str, size: int) -> None:
            async with slots:
                await self._blob(remote, digest, size, data.get(digest))

        blobs: dict[str, int] = {}
        data: dict[str, bytes] = {}
        for each in (what, *what.members):
            blobs |= each.blobs
            data |= each.data
        tasks = [asyncio.ensure_future(one(digest, size)) for digest, size in blobs.items()]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _blob(self, remote: Remote, digest: str, size: int, data: bytes | None) -> None:
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
        upload = Upload(
            remote,
            self.reference.repository,
            digest,
            size,
            scopes=self.scopes,
            open_blob=lambda: self.store.content.open(digest),
            data=data,
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

    async def _manifest(self, remote: Remote, what: Plan, which: str) -> None:
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
        for each in (*what.members, what):
            if self.store.content.put(each.manifest) != each.digest and each.digest.startswith("sha256:"):
                raise IntegrityError(f"manifest {each.digest} changed while it was pushed")
            image = images.resolve(each.image) if each.image else self.image
            if each.image:
                images.add(image.config_bytes, manifest=each.manifest)
            images.record_digest(reference.name, each.digest, image.id)
        if reference.tag:
            named = images.find(f"{reference.name}:{reference.tag}")
            if named is not None and named.id == self.image.id and (self.index or not self._is_index(named)):
                images.tag(self.image.id, f"{reference.name}:{reference.tag}", what.digest)

    def _is_index(self, image: Image) -> bool:
        from estiva.store.platforms import index_of

        return index_of(self.store, image.manifest) is not None
