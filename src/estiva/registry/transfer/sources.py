"""Where a copy comes from: a registry's repository, or documents and blobs that are on this machine."""

from __future__ import annotations

from concurrent.futures import Executor

from estiva.errors import IntegrityError
from estiva.oci import digest as digests
from estiva.oci import image as documents
from estiva.oci.reference import Reference
from estiva.registry.http.offload import call
from estiva.registry.transfer.download import Download
from estiva.registry.transfer.manifests import Fetched, get_manifest
from estiva.registry.transfer.plan import Plan
from estiva.store.archive import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from typing import Any, Protocol

    from estiva.registry.http.transport import Remote
    from estiva.registry.transfer.download import Sink
    from estiva.registry.transfer.progress import Progress
    from estiva.store import Store
    from estiva.store.archive.load import Archive

    class Local(Protocol):
        """Documents and blobs on this machine. May block."""

        def top(self) -> Fetched: ...
        def document(self, descriptor: dict[str, Any]) -> Fetched: ...
        def chunks(self, digest: str, size: int, start: int) -> Iterator[bytes]: ...


class FromLayout:
    """One image of a layout's folder or archive; `tag` picks it (store.layout.pick)."""

    def __init__(self, archive: Archive | layout.Folder, tag: str) -> None:
        self.archive = archive
        index = documents.parse_index(archive.read("index.json"))
        self.chosen = layout.pick(index, tag)

    def top(self) -> Fetched:
        return self.document(self.chosen)

    def document(self, descriptor: dict[str, Any]) -> Fetched:
        digest = descriptor["digest"]
        body = self.archive.read(layout.place(digest))
        algorithm, encoded = digests.parse(digest)
        hasher = digests.hasher(algorithm)
        hasher.update(body)
        if hasher.hexdigest() != encoded or len(body) != descriptor["size"]:
            raise IntegrityError(f"blob {digest} is not what its digest says")
        return Fetched(body, descriptor["mediaType"], digest)

    def chunks(self, digest: str, size: int, start: int) -> Iterator[bytes]:
        member = self.archive.find(layout.place(digest))
        if member.stored != size:
            raise IntegrityError(f"blob {digest} is {member.stored} bytes, not {size}")
        yield from self.archive.chunks(member, start)


class FromStore:
    """What a plan of the store sends."""

    def __init__(self, store: Store, what: Plan) -> None:
        self.store = store
        self.what = what
        self.documents = {each.digest: each for each in (what, *what.members)}
        self.data = {key: data for each in self.documents.values() for key, data in each.data.items()}

    def top(self) -> Fetched:
        what = self.what
        return Fetched(what.manifest, what.media_type, what.digest, what.annotations)

    def document(self, descriptor: dict[str, Any]) -> Fetched:
        found = self.documents[descriptor["digest"]]
        return Fetched(found.manifest, found.media_type, found.digest)

    def chunks(self, digest: str, size: int, start: int) -> Iterator[bytes]:
        import os

        from estiva.store.layers import codec

        if digest in self.data:
            yield self.data[digest][start:]
            return
        fd = self.store.content.open(digest)
        try:
            yield from codec.file_chunks(fd, size - start, start)
        finally:
            os.close(fd)


class Here:
    """A Local as a source of a copy."""

    remote: Remote | None = None
    repository = ""

    def __init__(self, local: Local, pool: Executor, progress: Progress) -> None:
        self.local, self.pool, self.progress = local, pool, progress

    async def top(self) -> Fetched:
        return await call(self.pool, self.local.top)

    async def document(self, descriptor: dict[str, Any]) -> Fetched:
        return await call(self.pool, self.local.document, descriptor)

    async def into(self, digest: str, size: int, sink: Sink) -> None:
        def work() -> None:
            for piece in self.local.chunks(digest, size, sink.offset):
                sink.feed(piece)
            if sink.offset != size:
                raise IntegrityError(f"blob {digest} ended after {sink.offset} of {size} bytes")
            sink.commit()

        await call(self.pool, work)

    async def stream(self, digest: str, size: int, offset: int) -> AsyncIterator[bytes]:
        """The bytes from `offset` on; wrong ones are told before the last piece, if it is all of them."""
        hasher = digests.hasher(digest.partition(":")[0])
        pieces = iter(self.local.chunks(digest, size, offset))
        held = b""
        while (piece := await call(self.pool, next, pieces, None)) is not None:
            await call(self.pool, hasher.update, piece)
            if held:
                yield held
            held = piece
        if not offset and hasher.hexdigest() != digest.partition(":")[2]:
            got = f"{digest.partition(':')[0]}:{hasher.hexdigest()}"
            raise IntegrityError(f"blob {digest} has the digest {got} here")
        if held:
            yield held


class There:
    """A registry's repository as a source of a copy."""

    def __init__(self, remote: Remote, reference: Reference, pool: Executor, progress: Progress) -> None:
        self.remote: Remote | None = remote
        self.at = remote
        self.reference = reference
        self.repository = reference.repository
        self.pool, self.progress = pool, progress

    async def top(self) -> Fetched:
        found = await get_manifest(self.at, self.reference)
        if found.media_type:
            return found
        index = documents.is_index(documents.parse_document(found.body))
        return Fetched(found.body, documents.OCI_INDEX if index else documents.OCI_MANIFEST, found.digest)

    async def document(self, descriptor: dict[str, Any]) -> Fetched:
        found = await get_manifest(self.at, self.reference, descriptor["digest"])
        if len(found.body) != descriptor["size"]:
            raise IntegrityError(
                f"manifest {found.digest} has {len(found.body)} bytes, not {descriptor['size']}"
            )
        return Fetched(found.body, descriptor["mediaType"], found.digest)

    def _download(self, digest: str, size: int) -> Download:
        return Download(self.at, self.repository, digest, size, pool=self.pool, progress=self.progress)

    async def into(self, digest: str, size: int, sink: Sink) -> None:
        await self._download(digest, size).into(sink)

    def stream(self, digest: str, size: int, offset: int) -> AsyncIterator[bytes]:
        return self._download(digest, size).stream(offset)
