"""Manifests, tags, referrers and the catalog (distribution-spec end-3, end-7 to end-9, end-12)."""

from __future__ import annotations

import hashlib

from aiohttp import web

from estiva import fastjson
from estiva.errors import EstivaError
from estiva.registry import grammar
from estiva.registry.server.context import Context
from estiva.registry.server.http import (
    PAGE,
    Refusal,
    Route,
    json_response,
    next_page,
    paging,
    read_body,
    upstream_errors,
    want_digest,
)
from estiva.registry.server.storage.documents import Document, inspect
from estiva.registry.server.storage.storage import Manifest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TAGS_PER_PUT = 100


async def get_manifest(context: Context, request: web.BaseRequest, route: Route) -> web.StreamResponse:
    """end-3, GET and HEAD: the very bytes that were pushed, under the type that they were pushed with."""
    reference = route.reference
    manifest = None
    if grammar.is_digest(reference) or grammar.is_tag(reference):
        upstream = context.mirrors.find(route.name) if context.mirrors is not None else None
        if upstream is not None and context.mirrors is not None:
            with upstream_errors("MANIFEST_UNKNOWN"):
                await context.mirrors.manifest(upstream, route.name, reference)
        manifest = await context.call(context.storage.manifest, route.name, reference)
    if manifest is None:
        raise Refusal(404, "MANIFEST_UNKNOWN", f"{route.name} has no such manifest")
    etag = f'"{manifest.digest}"'
    headers = {"Docker-Content-Digest": manifest.digest, "ETag": etag}
    if etag in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    body = await context.call(context.storage.manifest_bytes, manifest.digest, grammar.MANIFEST_LIMIT)
    return web.Response(body=body, headers=headers, content_type=manifest.media_type)


async def put_manifest(context: Context, request: web.BaseRequest, route: Route) -> web.StreamResponse:
    """end-7a and end-7b."""
    reference = route.reference
    by_digest = grammar.is_digest(reference)
    tags = request.query.getall("tag", []) if by_digest else [reference]
    if len(tags) > TAGS_PER_PUT:
        raise Refusal(414, "UNSUPPORTED", f"more than {TAGS_PER_PUT} tags at once")
    if not all(grammar.is_tag(tag) for tag in tags):
        raise Refusal(400, "MANIFEST_INVALID", "a malformed tag or digest")
    body = await read_body(request, grammar.MANIFEST_LIMIT)
    algorithm = reference.partition(":")[0] if by_digest else "sha256"
    digest = f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"
    if by_digest and digest != reference:
        raise Refusal(400, "DIGEST_INVALID", f"the manifest has digest {digest}")
    try:
        document = inspect(body, grammar.bare_type(request.headers.get("Content-Type", "")))
    except EstivaError as error:
        raise Refusal(400, "MANIFEST_INVALID", error.message) from None
    manifest = Manifest(
        digest,
        document.media_type,
        len(body),
        document.subject,
        document.artifact_type,
        document.annotations,
    )
    lacking = await context.call(
        context.storage.put_manifest,
        route.name,
        manifest,
        body,
        tags,
        document.references(),
        lambda: _missing(context, route.name, document),
    )
    if lacking:
        raise Refusal(404, "MANIFEST_BLOB_UNKNOWN", "; ".join(lacking[:10]))
    response = web.Response(status=201)
    response.headers["Location"] = f"/v2/{route.name}/manifests/{digest}"
    response.headers["Docker-Content-Digest"] = digest
    if document.subject:
        response.headers["OCI-Subject"] = document.subject
    if by_digest:
        for tag in tags:
            response.headers.add("OCI-Tag", tag)
    return response


def _missing(context: Context, name: str, document: Document) -> list[str]:
    """What the manifest refers to and the repository lacks, or has in another size. Called in a thread."""
    lacking = []
    for digest, size in document.blobs.items():
        have = context.storage.blob_size(name, digest)
        if have != size:
            lacking.append(
                f"blob {digest} " + ("is unknown" if have is None else f"has {have} bytes, not {size}")
            )
    for digest, size in document.manifests.items():
        manifest = context.storage.manifest(name, digest)
        if manifest is None:
            lacking.append(f"manifest {digest} is unknown")
        elif manifest.size != size:
            lacking.append(f"manifest {digest} has {manifest.size} bytes, not {size}")
    return lacking


async def delete_manifest(context: Context, request: web.BaseRequest, route: Route) -> web.StreamResponse:
    """end-9: by digest the manifest and its tags, by tag that tag only."""
    reference, gone = route.reference, False
    if grammar.is_digest(reference):
        gone = await context.call(context.storage.delete_manifest, route.name, reference)
    elif grammar.is_tag(reference):
        gone = await context.call(context.storage.delete_tag, route.name, reference)
    if not gone:
        raise Refusal(404, "MANIFEST_UNKNOWN", f"{route.name} has no such manifest")
    return web.Response(status=202)


async def list_tags(context: Context, request: web.BaseRequest, route: Route) -> web.StreamResponse:
    """end-8a and end-8b."""
    limit, last = paging(request)
    if not await context.call(context.storage.has_repository, route.name):
        raise Refusal(404, "NAME_UNKNOWN", f"no repository {route.name}")
    tags = await context.call(context.storage.tags, route.name, last, limit + 1)
    headers = {}
    if len(tags) > limit > 0:
        headers = next_page(request, n=str(limit), last=tags[limit - 1])
    return json_response({"name": route.name, "tags": tags[:limit]}, headers=headers)


async def catalog(context: Context, request: web.BaseRequest, route: Route) -> web.StreamResponse:
    """The repositories, as the Docker registry lists them (not in the distribution-spec)."""
    limit, last = paging(request)
    principal, auth = context.principal(request), context.auth

    def visible() -> list[str]:
        found: list[str] = []
        place = last
        while len(found) <= limit:
            batch = context.storage.catalog(place, PAGE)
            found += [name for name in batch if auth.sees(principal, name)]
            if len(batch) < PAGE:
                break
            place = batch[-1]
        return found[: limit + 1]

    names = await context.call(visible)
    headers = {}
    if len(names) > limit > 0:
        headers = next_page(request, n=str(limit), last=names[limit - 1])
    return json_response({"repositories": names[:limit]}, headers=headers)


async def referrers(context: Context, request: web.BaseRequest, route: Route) -> web.StreamResponse:
    """end-12a and end-12b: an index of the manifests whose subject is the digest."""
    subject = want_digest(route.reference)
    limit, last = paging(request)
    limit = max(limit, 1)
    artifact_type = request.query.get("artifactType")
    rows = await context.call(context.storage.referrers, route.name, subject, artifact_type, last, limit + 1)
    headers: dict[str, str] = {}
    query = {"n": str(limit)}
    if artifact_type is not None:
        headers["OCI-Filters-Applied"] = "artifactType"
        query["artifactType"] = artifact_type
    if len(rows) > limit:
        headers |= next_page(request, **query, last=rows[limit - 1].digest)
    index = {
        "schemaVersion": 2,
        "mediaType": grammar.OCI_INDEX,
        "manifests": [_descriptor(row) for row in rows[:limit]],
    }
    return json_response(index, headers=headers, content_type=grammar.OCI_INDEX)


def _descriptor(manifest: Manifest) -> dict[str, Any]:
    result: dict[str, Any] = {
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": manifest.size,
    }
    if manifest.artifact_type:
        result["artifactType"] = manifest.artifact_type
    if manifest.annotations:
        result["annotations"] = fastjson.loads(manifest.annotations, what="stored annotations")
    return result
