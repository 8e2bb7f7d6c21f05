"""Pull-through caching: repositories below a prefix are those of a registry elsewhere, kept once pulled.

    [[upstream]]
    prefix = "docker.io"              # docker.io/library/alpine here is library/alpine there
    registry = "docker.io"

    GET manifest -> fresh enough? -> HEAD upstream -> GET, verified, kept     one at a time for each name
                                        `- can't be asked: what is kept is served
    GET blob     -> kept? else Fetch: one download, however many clients; they read along while it comes

Nothing is kept, and no client gets the last byte of a blob, before its digest is proven.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from dataclasses import dataclass, replace

from estiva.errors import EstivaError, IntegrityError, NotFound
from estiva.registry import grammar
from estiva.registry.http.errors import Broken, broken
from estiva.registry.http.offload import Gather, call
from estiva.registry.http.settings import Settings
from estiva.registry.http.transport import Transport, pause
from estiva.registry.server.storage.documents import inspect
from estiva.registry.server.storage.storage import Manifest
from estiva.registry.transfer.manifests import ACCEPT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from io import FileIO
    from typing import Any

    import aiohttp

    from estiva.registry.http.transport import Remote
    from estiva.registry.server.metrics import Metrics
    from estiva.registry.server.storage.storage import Storage
    from estiva.registry.server.storage.uploads import Upload, Uploads

FRESH = 300.0  # seconds that a tag is believed without asking again
FETCHES = 16  # downloads at once
REMEMBERED = 10_000
TOUCH = 3600.0


@dataclass(frozen=True)
class Upstream:
    """`registry` is HOST[:PORT], `auth` a file like ~/.docker/config.json, `keep` the seconds that what was
    not pulled stays (None: for ever)."""

    prefix: str
    registry: str
    auth: str | None = None
    fresh: float = FRESH
    keep: float | None = None

    def repository(self, name: str) -> str | None:
        """What `name` is called there; None if it is not below the prefix."""
        if not name.startswith(self.prefix + "/"):
            return None
        rest = name[len(self.prefix) + 1 :]
        return f"library/{rest}" if self.registry == "docker.io" and "/" not in rest else rest


class Fetch:
    """One blob on its way from upstream. `size` is known once `started` is set, unless it failed."""

    def __init__(self) -> None:
        self.size: int | None = None
        self.received = 0
        self.verified = False
        self.error: EstivaError | None = None
        self.file: FileIO | None = None
        self.started = asyncio.Event()
        self.moved = asyncio.Event()

    @property
    def available(self) -> int:
        """How many bytes may be sent: all but one, until the digest is proven."""
        if self.verified or self.size is None:
            return self.received
        return min(self.received, self.size - 1)

    async def more(self, than: int) -> int:
        """Wait until more than `than` bytes may be sent. Raises what ended the download."""
        while self.available <= than and not self.verified and self.error is None:
            await self.moved.wait()
        if self.error is not None:
            raise self.error
        return self.available

    def tell(self) -> None:
        """Wake who waits. In the event loop."""
        self.moved.set()
        self.moved = asyncio.Event()

    def reader(self) -> int | None:
        """An fd of one's own to what has come, None when it is over."""
        return None if self.file is None or self.file.closed else os.dup(self.file.fileno())


class Mirrors:
    """The upstreams of one server, as an async with-block. `pool` has the threads for what blocks."""

    def __init__(
        self,
        upstreams: list[Upstream],
        settings: Settings,
        storage: Storage,
        uploads: Uploads,
        pool: Executor,
        metrics: Metrics,
    ) -> None:
        # the longest prefix first: docker.io/private may have another upstream than docker.io
        self.upstreams = sorted(upstreams, key=lambda upstream: -len(upstream.prefix))
        self.settings = settings
        self.storage, self.uploads = storage, uploads
        self.pool, self.metrics = pool, metrics
        self.transports: dict[str | None, Transport] = {}
        self.remotes: dict[tuple[str, str], Remote] = {}
        self.checked: dict[tuple[str, str], float] = {}
        self.locks: dict[tuple[str, str], asyncio.Lock] = {}
        self.fetches: dict[tuple[str, str], Fetch] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.slots = asyncio.Semaphore(FETCHES)
        self.stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Mirrors:
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.stack.aclose()

    def find(self, name: str) -> Upstream | None:
        return next((one for one in self.upstreams if one.repository(name) is not None), None)

    async def _remote(self, upstream: Upstream, repository: str) -> Remote:
        key = (upstream.prefix, repository)
        remote = self.remotes.get(key)
        if remote is None:
            transport = self.transports.get(upstream.auth)
            if transport is None:
                settings = replace(self.settings, auth_file=upstream.auth) if upstream.auth else self.settings
                transport = await self.stack.enter_async_context(Transport(settings))
                self.transports[upstream.auth] = transport
            remote = await transport.remote(upstream.registry, repository)
            _bound(self.remotes)
            self.remotes[key] = remote
        return remote

    async def _ask(
        self, upstream: Upstream, repository: str, method: str, what: str, **named: Any
    ) -> aiohttp.ClientResponse:
        remote = await self._remote(upstream, repository)
        try:
            return await remote.request(
                method,
                f"/v2/{repository}/{what}",
                scopes=frozenset({f"repository:{repository}:pull"}),
                subject=f"{upstream.registry}/{repository}",
                **named,
            )
        except Broken as failure:
            raise failure.error from None

    # ---- manifests

    async def manifest(self, upstream: Upstream, name: str, reference: str) -> None:
        """See to it that a manifest is here, and for a tag that it is the one upstream has now.

        Raises NotFound and the like when there is none to be had.
        """
        key, storage = (name, reference), self.storage
        lock = self.locks.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                have = await call(self.pool, storage.manifest, name, reference)
                by_digest = grammar.is_digest(reference)
                fresh = time.monotonic() - self.checked.get(key, -1e9) < upstream.fresh
                if have is None or not (by_digest or fresh):
                    try:
                        await self._update(upstream, name, reference, have)
                    except NotFound:
                        if have is not None:
                            await call(self.pool, storage.delete_tag, name, reference)
                        raise
                    except EstivaError:
                        if have is None:
                            raise
                    _bound(self.checked)
                    self.checked[key] = time.monotonic()
                else:
                    self.metrics.mirror["hit"] += 1
        finally:
            if not lock.locked() and not getattr(lock, "_waiters", None):
                self.locks.pop(key, None)
        await call(self.pool, storage.touch_manifest, name, reference, TOUCH)

    async def _update(self, upstream: Upstream, name: str, reference: str, have: Manifest | None) -> None:
        repository = upstream.repository(name)
        assert repository is not None
        what, headers = f"manifests/{reference}", {"Accept": ACCEPT}
        if have is not None:
            response = await self._ask(upstream, repository, "HEAD", what, headers=headers)
            response.release()
            if response.headers.get("Docker-Content-Digest") == have.digest:
                self.metrics.mirror["hit"] += 1
                return
        remote = await self._remote(upstream, repository)
        body, answer = await remote.document(
            f"/v2/{repository}/{what}",
            scopes=frozenset({f"repository:{repository}:pull"}),
            subject=f"{upstream.registry}/{repository}",
            limit=grammar.MANIFEST_LIMIT,
            headers=headers,
        )
        claimed = reference if grammar.is_digest(reference) else answer.get("Docker-Content-Digest", "")
        algorithm = claimed.partition(":")[0] if grammar.is_digest(claimed) else "sha256"
        digest = f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"
        if claimed and digest != claimed:
            raise IntegrityError(
                f"{upstream.registry} sent a manifest of digest {digest}, not {claimed[:140]}"
            )
        document = inspect(body, grammar.bare_type(answer.get("Content-Type", "")))
        manifest = Manifest(
            digest,
            document.media_type,
            len(body),
            document.subject,
            document.artifact_type,
            document.annotations,
        )
        tags = [] if grammar.is_digest(reference) else [reference]
        put = self.storage.put_manifest
        await call(self.pool, put, name, manifest, body, tags, document.references(), list)
        self.metrics.mirror["miss"] += 1

    # ---- blobs

    async def size(self, upstream: Upstream, name: str, digest: str) -> int:
        """How large a blob is that is not here."""
        repository = upstream.repository(name)
        assert repository is not None
        response = await self._ask(upstream, repository, "HEAD", f"blobs/{digest}")
        response.release()
        length = response.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            raise NotFound(f"{upstream.registry} does not tell the size of {digest}")
        return int(length)

    async def fetch(self, upstream: Upstream, name: str, digest: str) -> Fetch:
        """The download of a blob that is not here, whoever began it; it has started, or failed."""
        key = (name, digest)
        fetch = self.fetches.get(key)
        if fetch is None:
            fetch = self.fetches[key] = Fetch()
            task = asyncio.create_task(self._fetch(fetch, upstream, name, digest))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        await fetch.started.wait()
        return fetch

    async def _fetch(self, fetch: Fetch, upstream: Upstream, name: str, digest: str) -> None:
        uploads, upload = self.uploads, None
        try:
            async with self.slots:
                upload = await call(self.pool, uploads.start, name, digest.partition(":")[0])
                fetch.file = open(uploads.path(upload.id), "rb", buffering=0)
                async with upload.lock:
                    await self._download(fetch, upstream, name, digest, upload)
                    await call(self.pool, uploads.finish, upload, digest)
            fetch.verified = True
            self.metrics.mirror["miss"] += 1
            self.metrics.mirror_bytes += fetch.received
        except EstivaError as error:
            fetch.error = error
        except OSError as error:
            fetch.error = EstivaError(f"can't keep {digest}: {error.strerror}")
        finally:
            self.fetches.pop((name, digest), None)
            if not fetch.verified and fetch.error is None:
                fetch.error = EstivaError("the registry stops")
            if upload is not None and not fetch.verified:
                uploads.cancel(upload)
            if fetch.file is not None:
                fetch.file.close()
            fetch.started.set()
            fetch.tell()

    async def _download(
        self, fetch: Fetch, upstream: Upstream, name: str, digest: str, upload: Upload
    ) -> None:
        """Read the blob into the upload, again from where it broke."""
        repository = upstream.repository(name)
        assert repository is not None
        attempt = 0
        while True:
            before = upload.offset
            try:
                await self._read(fetch, upstream, repository, digest, upload)
                return
            except Broken as failure:
                attempt = 1 if upload.offset > before else attempt + 1
                if attempt >= self.settings.attempts:
                    raise failure.error from None
                await pause(self.settings, attempt, failure.after)

    async def _read(
        self, fetch: Fetch, upstream: Upstream, repository: str, digest: str, upload: Upload
    ) -> None:
        start = upload.offset
        headers = {"Range": f"bytes={start}-"} if start else {}
        remote = await self._remote(upstream, repository)
        response = await remote.request(
            "GET",
            f"/v2/{repository}/blobs/{digest}",
            scopes=frozenset({f"repository:{repository}:pull"}),
            subject=f"{digest} at {upstream.registry}",
            expect=(200, 206) if start else (200,),
            headers=headers,
        )
        skip = start if response.status == 200 else 0  # no ranges there: read over what is here already
        total = start
        pump = Gather(_appender(fetch, upload, asyncio.get_running_loop()), self.pool)
        try:
            length = response.content_length
            if not start:
                fetch.size = length
                fetch.started.set()
            try:
                while chunk := await response.content.readany():
                    part = chunk[skip:]
                    skip -= len(chunk) - len(part)
                    total += len(part)
                    if fetch.size is not None and total > fetch.size:
                        raise IntegrityError(f"{upstream.registry} sent more of {digest} than it announced")
                    if part:
                        await pump.put(part)
                await pump.drain()
            except _network_errors() as error:
                await pump.drain()
                raise broken(error, upstream.registry, None) from None
            except BaseException:
                await pump.settle()
                raise
            if fetch.size is not None and upload.offset < fetch.size:
                raise broken(ConnectionResetError(), upstream.registry, None)
        finally:
            response.close()


def _appender(fetch: Fetch, upload: Upload, loop: asyncio.AbstractEventLoop) -> Callable[[list[bytes]], None]:
    def append(chunks: list[bytes]) -> None:
        upload.append(chunks)
        fetch.received = upload.offset
        loop.call_soon_threadsafe(fetch.tell)

    return append


def _network_errors() -> tuple[type[Exception], ...]:
    import aiohttp

    return (aiohttp.ClientError, TimeoutError, ConnectionError)


def _bound(table: dict[Any, Any]) -> None:
    if len(table) >= REMEMBERED:
        table.clear()
