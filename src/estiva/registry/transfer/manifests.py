"""Manifests and indexes from a registry, each proven by its digest."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import hdrs

from estiva.errors import IntegrityError
from estiva.oci import digest as digests
from estiva.oci.reference import Reference
from estiva.registry import grammar
from estiva.registry.http.transport import Remote, retrying

ACCEPT = ", ".join((*grammar.MANIFEST_TYPES, *grammar.INDEX_TYPES))


@dataclass(frozen=True)
class Fetched:
    """A manifest or index whose digest is proven."""

    body: bytes
    media_type: str
    digest: str
    annotations: dict[str, str] | None = None  # of the descriptor that a layout's index.json has of it


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
