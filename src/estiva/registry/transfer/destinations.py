"""Where a copy goes to: a registry's repository, a layout's folder, or an archive written in one go."""

from __future__ import annotations

import hashlib
from concurrent.futures import Executor

from aiohttp import hdrs

from estiva.errors import Denied, EngineError, IntegrityError, NotFound
from estiva.oci import digest as digests
from estiva.oci import image as documents
from estiva.oci.reference import Reference
from estiva.registry.http.errors import Broken
from estiva.registry.http.offload import call
from estiva.registry.http.transport import Remote, retrying
from estiva.registry.transfer.download import open_sink
from estiva.registry.transfer.manifests import Fetched
from estiva.registry.transfer.upload import Upload, cancel
from estiva.store.archive import layout
from estiva.store.tar import writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO, Any, TypeAlias

    from estiva.registry.transfer.progress import Progress
    from estiva.registry.transfer.sources import Here, There

    Source: TypeAlias = Here | There


class Repository:
    """A registry's repository. `siblings`: others of the same registry that blobs may be mounted from."""

    def __init__(
        self,
        remote: Remote,
        reference: Reference,
        progress: Progress,
        siblings: Sequence[str] = (),
    ) -> None:
        self.siblings = siblings
        self.remote, self.reference, self.progress = remote, reference, progress
        self.parallel = remote.settings.parallel
        self.scopes = frozenset({f"repository:{reference.repository}:pull,push"})

    async def blob(self, source: Source, digest: str, size: int) -> None:
        """Bring a blob there: it is there, or can be mounted, or is streamed."""
        if await self._there(digest):
            self.progress.say(digest, "exists", size, size)
            return
        siblings = list(self.siblings)
        if source.remote and source.remote.base == self.remote.base:
            siblings.append(source.repository)
        for sibling in dict.fromkeys(siblings):
            if sibling != self.reference.repository and await self.mount(digest, sibling):
                self.progress.say(digest, "mounted", size, size)
                return
        upload = Upload(
            self.remote,
            self.reference.repository,
            digest,
            size,
            scopes=self.scopes,
            stream=lambda offset: source.stream(digest, size, offset),
            progress=self.progress,
        )
        await upload.run()
        self.progress.say(digest, "done", size, size)

    async def _there(self, digest: str) -> bool:
        async def once() -> bool:
            try:
                response = await self.remote.request(
                    "HEAD",
                    f"/v2/{self.reference.repository}/blobs/{digest}",
                    scopes=self.scopes,
                    subject=digest,
                )
            except NotFound:
                return False
            response.release()
            return True

        return await retrying(self.remote.settings, once)

    async def mount(self, digest: str, sibling: str) -> bool:
        """end-11. A registry that will not, or an account that may not, gets the bytes instead."""
        url = self.remote.url(f"/v2/{self.reference.repository}/blobs/uploads/")
        try:
            response = await self.remote.request(
                "POST",
                url.with_query({"mount": digest, "from": sibling}),
                scopes=self.scopes | {f"repository:{sibling}:pull"},
                subject=f"{digest} in {sibling}",
                expect=(201, 202),
                headers={hdrs.CONTENT_LENGTH: "0"},
            )
            response.release()
            if response.status == 202 and hdrs.LOCATION in response.headers:
                session = self.remote.resolve(response.url, response.headers[hdrs.LOCATION])
                await cancel(self.remote, session, self.scopes)
            return response.status == 201
        except (Denied, NotFound, EngineError, Broken):
            return False

    async def document(self, what: Fetched, which: str = "") -> None:
        """Put a manifest or index under its digest, or under `which`."""
        which = which or what.digest

        async def once() -> None:
            response = await self.remote.request(
                "PUT",
                f"/v2/{self.reference.repository}/manifests/{which}",
                scopes=self.scopes,
                subject=str(self.reference),
                expect=(200, 201, 202),
                headers={hdrs.CONTENT_TYPE: what.media_type},
                body=lambda: what.body,
            )
            response.release()
            got = response.headers.get("Docker-Content-Digest", "")
            if got and got.startswith("sha256:") and got != what.digest:
                raise IntegrityError(f"{self.remote.host} stored the manifest as {got}, not as {what.digest}")

        await retrying(self.remote.settings, once)
        self.progress.say(what.digest, "done", len(what.body), len(what.body))

    async def finish(self, top: Fetched) -> None:
        await self.document(top, self.reference.tag or top.digest)


class ToFolder:
    """A layout's folder."""

    parallel = 4

    def __init__(self, path: str, tag: str, pool: Executor, progress: Progress) -> None:
        self.path, self.tag, self.pool, self.progress = path, tag, pool, progress
        layout.prepare(path)

    async def blob(self, source: Source, digest: str, size: int) -> None:
        sink = await open_sink(lambda: layout.BlobFile(self.path, digest, size))
        try:
            if sink.complete:
                self.progress.say(digest, "exists", size, size)
                return
            await source.into(digest, size, sink)
        finally:
            await call(self.pool, sink.close)
        self.progress.say(digest, "done", size, size)

    async def document(self, what: Fetched) -> None:
        def work() -> None:
            sink = layout.BlobFile(self.path, what.digest, len(what.body))
            try:
                if not sink.complete:
                    sink.rewind()
                    sink.feed(what.body)
                    sink.commit()
            finally:
                sink.close()

        await call(self.pool, work)

    async def finish(self, top: Fetched) -> None:
        await self.document(top)
        descriptor = _described(top)
        await call(self.pool, layout.add, self.path, descriptor, self.tag)


class _Entry:
    """A blob as the next member of a tar: a sink that goes back to its start only in a file."""

    complete = False

    def __init__(self, out: IO[bytes], digest: str, size: int) -> None:
        self.out, self.digest, self.size = out, digest, size
        self.algorithm, self.hex = digests.parse(digest)
        self.hash = hashlib.new(self.algorithm)
        self.offset = 0
        out.write(writer.header(writer.Member(layout.place(digest).encode(), b"0", size=size)))
        self.start = out.tell() if out.seekable() else -1

    def feed(self, data: bytes) -> None:
        if self.offset + len(data) > self.size:
            raise IntegrityError(f"blob {self.digest} is larger than its {self.size} bytes")
        self.out.write(data)
        self.hash.update(data)
        self.offset += len(data)

    def rewind(self) -> None:
        if self.start < 0:
            raise IntegrityError(f"blob {self.digest} came with wrong bytes, and a pipe can't be taken back")
        self.out.seek(self.start)
        self.out.truncate()
        self.offset, self.hash = 0, hashlib.new(self.algorithm)

    def commit(self) -> None:
        if self.hash.hexdigest() != self.hex:
            got = f"{self.algorithm}:{self.hash.hexdigest()}"
            raise IntegrityError(f"blob {self.digest} has the digest {got}")
        self.out.write(writer.padding(self.size))

    def close(self) -> None:
        pass


def _described(top: Fetched) -> dict[str, Any]:
    extra = {"annotations": top.annotations} if top.annotations else {}
    return documents.descriptor(top.media_type, top.digest, len(top.body), **extra)


class ToArchive:
    """A layout in a tar. Several images may go into one; `end` writes what closes it."""

    parallel = 1

    def __init__(self, out: IO[bytes], pool: Executor, progress: Progress) -> None:
        self.out, self.pool, self.progress = out, pool, progress
        self.tag = ""
        self.there: set[str] = set()
        self.manifests: list[dict[str, Any]] = []
        self._file("oci-layout", layout.VERSION)

    def _file(self, name: str, data: bytes) -> None:
        self.out.write(writer.header(writer.Member(name.encode(), b"0", size=len(data))))
        self.out.write(data)
        self.out.write(writer.padding(len(data)))

    async def blob(self, source: Source, digest: str, size: int) -> None:
        if digest in self.there:
            return
        sink = await call(self.pool, _Entry, self.out, digest, size)
        await source.into(digest, size, sink)
        self.there.add(digest)
        self.progress.say(digest, "done", size, size)

    async def document(self, what: Fetched) -> None:
        if what.digest not in self.there:
            self.there.add(what.digest)
            await call(self.pool, self._file, layout.place(what.digest), what.body)

    async def finish(self, top: Fetched) -> None:
        await self.document(top)
        descriptor = _described(top)
        self.manifests = layout.place_in(self.manifests, descriptor, self.tag)

    def end(self) -> None:
        """The index, and the end of the tar."""
        self._file("index.json", documents.make_index(self.manifests))
        self.out.write(writer.END)
        self.out.flush()
