"""Blobs and upload sessions (distribution-spec end-2, end-4 to end-6, end-10, end-11, end-13, end-14)."""

from __future__ import annotations

import os

from aiohttp import web

from estiva.errors import IntegrityError
from estiva.registry import grammar
from estiva.registry.server.context import Context
from estiva.registry.server.http import (
    FileSource,
    GrowingSource,
    PieceSource,
    Refusal,
    Route,
    receive,
    send,
    upstream_errors,
    want_digest,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.registry.server.http import Source
    from estiva.registry.server.storage.uploads import Upload


TOUCH = 3600.0  # seconds


async def get_blob(context: Context, request: web.BaseRequest, route: Route) -> web.StreamResponse:
    """end-2, GET and HEAD, with Range (RFC 9110, section 14) and the digest as a strong ETag."""
    digest = want_digest(route.reference)
    etag = f'"{digest}"'
    known = etag in request.headers.get("If-None-Match", "")
    if known and await context.call(context.storage.blob_size, route.name, digest) is not None:
        return web.Response(status=304, headers={"Docker-Content-Digest": digest, "ETag": etag})
    source, size = await _open(context, request, route.name, digest)
    headers = {
        "Docker-Content-Digest": digest,
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
        "Cache-Control": "max-age=31536000",
    }
    offset, count, status = 0, size, 200
    asked = request.headers.get("Range", "")
    if asked and request.headers.get("If-Range", etag) == etag:
        try:
            part = grammar.byte_range(asked, size)
        except ValueError:
            source.close()
            raise Refusal(
                416, "SIZE_INVALID", "the range can't be satisfied", {"Content-Range": f"bytes */{size}"}
            ) from None
        if part is not None:
            offset, count = part
            status = 206
            headers["Content-Range"] = f"bytes {offset}-{offset + count - 1}/{size}"
    response = web.StreamResponse(status=status, headers=headers)
    return await send(request, response, source, offset, count, context.metrics)


async def _open(context: Context, request: web.BaseRequest, name: str, digest: str) -> tuple[Source, int]:
    """What to send a blob from, and its size; from upstream if it is not here."""
    storage, mirrors = context.storage, context.mirrors
    found = await context.call(storage.open_blob, name, digest)
    upstream = mirrors.find(name) if found is None and mirrors is not None else None
    if upstream is not None:
        assert mirrors is not None
        with upstream_errors("BLOB_UNKNOWN"):
            if request.method == "HEAD":
                return _pieces(context, digest), await mirrors.size(upstream, name, digest)
            fetch = await mirrors.fetch(upstream, name, digest)
            fd = fetch.reader()
            if fd is not None and fetch.size is not None:
                return GrowingSource(fd, fetch), fetch.size
            if fd is not None:  # of unknown size: when it is here
                os.close(fd)
            while not fetch.verified:
                await fetch.more(fetch.available)
        found = await context.call(storage.open_blob, name, digest)
    if found is None:
        raise Refusal(404, "BLOB_UNKNOWN", f"{name} has no blob {digest}")
    if request.method == "HEAD":
        await context.call(storage.touch_blob, name, digest, TOUCH)
    fd, size = found
    return (_pieces(context, digest) if fd is None else FileSource(fd)), size


def _pieces(context: Context, digest: str) -> PieceSource:
    return PieceSource(context.storage.content, digest, context.pool)


async def delete_blob(context: Context, request: web.BaseRequest, route: Route) -> web.StreamResponse:
    """end-10."""
    digest = want_digest(route.reference)
    if not await context.call(context.storage.delete_blob, route.name, digest):
        raise Refusal(404, "BLOB_UNKNOWN", f"{route.name} has no blob {digest}")
    return web.Response(status=202)


def _created(name: str, digest: str) -> web.Response:
    headers = {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest}
    return web.Response(status=201, headers=headers)


def _session_headers(upload: Upload) -> dict[str, str]:
    return {
        "Location": f"/v2/{upload.repository}/blobs/uploads/{upload.id}",
        "Range": f"0-{max(upload.offset - 1, 0)}",
        "Docker-Upload-UUID": upload.id,
    }


async def start_upload(context: Context, request: web.BaseRequest, route: Route) -> web.StreamResponse:
    """end-4a to end-4c and end-11: a session; or the blob at once, mounted or from the body."""
    query = request.query
    if "mount" in query:
        digest, source = want_digest(query["mount"]), query.get("from")
        if source is not None and not grammar.is_name(source):
            raise Refusal(400, "NAME_INVALID", "invalid repository name in from")
        principal, auth = context.principal(request), context.auth
        if source is not None and "pull" not in auth.allowed(principal, source):
            auth.offer(principal, route.name, source)
            source = route.name  # as if there were no such blob, which is what the spec has for it

        def readable(name: str) -> bool:
            return "pull" in auth.allowed(principal, name)

        if await context.call(context.storage.mount_blob, route.name, digest, source, readable):
            return _created(route.name, digest)
    whole = want_digest(query["digest"]) if "digest" in query else ""
    algorithm = query.get("digest-algorithm") or whole.partition(":")[0] or "sha256"
    if algorithm not in ("sha256", "sha512"):
        raise Refusal(400, "DIGEST_INVALID", "the digest algorithm is not supported")
    upload = await context.call(context.uploads.start, route.name, algorithm)
    if not whole:
        return web.Response(status=202, headers=_session_headers(upload))
    async with upload.lock:
        try:
            await receive(request, upload.append, context.pool, context.metrics)
        except BaseException:
            await context.call(context.uploads.cancel, upload)
            raise
        return await _finish(context, upload, whole)


async def _session(context: Context, route: Route) -> Upload:
    upload = None
    if grammar.UPLOAD.fullmatch(route.reference):
        upload = await context.call(context.uploads.get, route.name, route.reference)
    if upload is None:
        raise Refusal(404, "BLOB_UPLOAD_UNKNOWN", "no such upload")
    return upload


def _alive(upload: Upload) -> None:
    """Whether the session outlived the wait for its lock."""
    if upload.fd < 0:
        raise Refusal(404, "BLOB_UPLOAD_UNKNOWN", "no such upload")


def _check_chunk(request: web.BaseRequest, upload: Upload) -> None:
    """A chunk must begin where the last one ended, and be as long as it says."""
    header = request.headers.get("Content-Range")
    if header is None:
        return
    chunk = grammar.chunk_range(header)
    if chunk is None or chunk[0] != upload.offset:
        raise Refusal(
            416,
            "BLOB_UPLOAD_INVALID",
            f"the chunk does not start at byte {upload.offset}",
            _session_headers(upload),
        )
    if request.content_length is not None and request.content_length != chunk[1] - chunk[0] + 1:
        raise Refusal(400, "SIZE_INVALID", "Content-Range and Content-Length differ")


async def patch_upload(context: Context, request: web.BaseRequest, route: Route) -> web.StreamResponse:
    """end-5: one chunk, or with no Content-Range a stream that goes to the end of what is there."""
    upload = await _session(context, route)
    async with upload.lock:
        _alive(upload)
        _check_chunk(request, upload)
        await receive(request, upload.append, context.pool, context.metrics)
        return web.Response(status=202, headers=_session_headers(upload))


async def put_upload(context: Context, request: web.BaseRequest, route: Route) -> web.StreamResponse:
    """end-6: the last chunk, if any, and the digest of the whole."""
    digest = want_digest(request.query.get("digest", ""))
    upload = await _session(context, route)
    async with upload.lock:
        _alive(upload)
        _check_chunk(request, upload)
        await receive(request, upload.append, context.pool, context.metrics)
        return await _finish(context, upload, digest)


async def _finish(context: Context, upload: Upload, digest: str) -> web.Response:
    try:
        await context.call(context.uploads.finish, upload, digest)
    except IntegrityError as error:
        raise Refusal(400, "DIGEST_INVALID", error.message) from None
    return _created(upload.repository, digest)


async def upload_status(context: Context, request: web.BaseRequest, route: Route) -> web.StreamResponse:
    """end-13. Waits for a running chunk of a broken connection, whose bytes count."""
    upload = await _session(context, route)
    async with upload.lock:
        _alive(upload)
        return web.Response(status=204, headers=_session_headers(upload))


async def cancel_upload(context: Context, request: web.BaseRequest, route: Route) -> web.StreamResponse:
    """end-14."""
    upload = await _session(context, route)
    async with upload.lock:
        _alive(upload)
        await context.call(context.uploads.cancel, upload)
    return web.Response(status=204)
