"""Push: an image of the store goes to a registry, blobs first and in parallel, the manifest last.

    blob: HEAD: there? -> mount from a sibling repository? -> POST, PATCH from where the registry is, PUT

The bytes of a pulled image's manifest are pushed as they came, so its digest stays; an image that was built
here gets a manifest made the same way every time.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from estiva.errors import IntegrityError
from estiva.oci.reference import Reference
from estiva.registry.http.offload import call, for_each
from estiva.registry.http.transport import Remote, Transport
from estiva.registry.transfer.destinations import Repository
from estiva.registry.transfer.manifests import Fetched
from estiva.registry.transfer.plan import AS_IT_CAME, Packing, Plan, plan, plan_index
from estiva.registry.transfer.sources import FromStore, Here

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.registry.http.settings import Settings
    from estiva.registry.transfer.progress import Progress
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
        self.pool = ThreadPoolExecutor(settings.parallel + 1, "push")
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
                await self._send(remote, what)
            await call(self.pool, self._remember, what)
            return what.digest
        finally:
            self.pool.shutdown()

    async def _send(self, remote: Remote, what: Plan) -> None:
        source = Here(FromStore(self.store, what), self.pool, self.progress)
        target = Repository(remote, self.reference, self.progress, self.siblings)
        blobs: dict[str, int] = {}
        for each in (what, *what.members):
            blobs |= each.blobs
        await for_each(self.settings.parallel, partial(target.blob, source), blobs.items())
        for member in what.members:
            await target.document(Fetched(member.manifest, member.media_type, member.digest))
        await target.finish(Fetched(what.manifest, what.media_type, what.digest))

    def _remember(self, what: Plan) -> None:
        """The same push again shall say the same; and siblings can mount from here."""
        images, reference = self.store.images, self.reference
        for each in (*what.members, what):
            if self.store.content.put(each.manifest) != each.digest and each.digest.startswith("sha256:"):
                raise IntegrityError(f"manifest {each.digest} changed while it was pushed")
            if not each.image and each is not what:
                continue  # what is said of an image, and is none
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
