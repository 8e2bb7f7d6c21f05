"""Asking registries: who refers to an image, what is there, what is called so."""

from __future__ import annotations

import asyncio
import contextlib
import functools

from yarl import URL

from estiva import fastjson
from estiva.errors import (
    Denied,
    EngineError,
    EstivaError,
    IntegrityError,
    InvalidInput,
    NotFound,
    Unavailable,
    Unsupported,
)
from estiva.oci import digest as digests
from estiva.oci import image as documents
from estiva.oci.platform import Platform, select
from estiva.oci.reference import DEFAULT_REGISTRY, Reference
from estiva.registry import grammar
from estiva.registry.http.errors import Broken, read_small
from estiva.registry.http.settings import Settings
from estiva.registry.http.transport import Remote, Transport, retrying
from estiva.registry.transfer.manifests import Fetched, get_manifest, pull_scopes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

HUB_SEARCH = "https://index.docker.io/v1/search"
ANSWER_LIMIT = 4 << 20
PAGES = 100  # of one list; a registry may name a next page for ever
SEARCH_LIMIT = 100


def _ask(reference: Reference, question: Callable[[Remote], Awaitable[T]], config: Settings | None) -> T:
    async def run() -> T:
        async with Transport(config or Settings.from_environment()) as transport:
            return await question(await transport.remote(reference.registry, reference.repository))

    return asyncio.run(run())


def manifest(reference: Reference, *, config: Settings | None = None) -> Fetched:
    """The manifest or index of a reference at its registry, proven. Raises NotFound, Denied, Unavailable."""
    return _ask(reference, lambda remote: get_manifest(remote, reference), config)


def images(
    reference: Reference, *, every: bool = False, config: Settings | None = None
) -> list[dict[str, Any]]:
    """Descriptors, each with its platform, of the image that a reference means for this machine, or of all
    of its index. Raises NotFound, Denied, Unavailable."""

    async def question(remote: Remote) -> list[dict[str, Any]]:
        top = await get_manifest(remote, reference)
        document = documents.parse_document(top.body, top.media_type)
        if documents.is_index(document):
            known = [m for m in document["manifests"] if m["mediaType"] in documents.MANIFEST_TYPES]
            return known if every else [select(document, Platform.host())]
        kind = top.media_type or document.get("mediaType") or documents.OCI_MANIFEST
        platform = Platform.of(await _config(remote, reference, document)).document()
        return [documents.descriptor(kind, top.digest, len(top.body), platform=platform)]

    return _ask(reference, question, config)


def described(reference: Reference, *, config: Settings | None = None) -> dict[str, Any]:
    """{"Descriptor": mediaType, digest and size of what a reference means, "Platforms": those of its index,
    or the one of its image}. Mirrors are asked first, as by a pull. Raises NotFound, Denied, Unavailable."""
    config = config or Settings.from_environment()
    for host, prefix in config.rule(reference.registry).mirrors:
        repository = f"{prefix}/{reference.repository}" if prefix else reference.repository
        place = Reference(host, repository, reference.tag, reference.digest)
        with contextlib.suppress(EstivaError, Broken):
            return _ask(place, functools.partial(_describe, place), config)
    return _ask(reference, functools.partial(_describe, reference), config)


async def _describe(place: Reference, remote: Remote) -> dict[str, Any]:
    top = await get_manifest(remote, place)
    document = documents.parse_document(top.body, top.media_type)
    if documents.is_index(document):
        platforms = [each.get("platform") or {} for each in document["manifests"]]
    else:
        platforms = [Platform.of(await _config(remote, place, document)).document()]
    kind = top.media_type or document.get("mediaType") or documents.OCI_MANIFEST
    about = {"mediaType": kind, "digest": top.digest, "size": len(top.body)}
    return {"Descriptor": about, "Platforms": platforms}


def config_of(
    reference: Reference, platform: Platform | None = None, *, config: Settings | None = None
) -> dict[str, Any]:
    """The config of the image that a reference means for a platform, or this machine, without its layers.
    Raises NotFound, Denied, Unavailable, IntegrityError."""

    async def question(remote: Remote) -> dict[str, Any]:
        top = await get_manifest(remote, reference)
        document = documents.parse_document(top.body, top.media_type)
        if documents.is_index(document):
            chosen = select(document, platform or Platform.host())["digest"]
            top = await get_manifest(remote, reference, chosen)
            document = documents.parse_document(top.body, top.media_type)
            if documents.is_index(document):
                raise IntegrityError(f"{reference} is an index of indexes")
        return await _config(remote, reference, document)

    return _ask(reference, question, config)


async def _config(remote: Remote, reference: Reference, manifest: dict[str, Any]) -> dict[str, Any]:
    """The config that a manifest names, proven."""
    named = manifest["config"]
    config, _ = await remote.document(
        f"/v2/{reference.repository}/blobs/{named['digest']}",
        scopes=pull_scopes(reference),
        subject=f"the config of {reference}",
        limit=min(named["size"], ANSWER_LIMIT),
        headers={},
    )
    if digests.sha256(config) != named["digest"]:
        raise IntegrityError(f"the config of {reference} is not what its digest says")
    return documents.parse_config(config)


def tags(reference: Reference, *, config: Settings | None = None) -> list[str]:
    """The tags of a repository, as its registry sorts them: the distribution-spec's "Listing Tags". Raises
    NotFound, Denied, Unavailable."""

    async def question(remote: Remote) -> list[str]:
        what = f"{remote.host}'s list of the tags of {reference.repository}"
        path: URL | str | None = remote.url(f"/v2/{reference.repository}/tags/list").with_query({"n": "1000"})
        found: dict[str, None] = {}
        for _ in range(PAGES):
            assert path is not None
            body, path = await _page(remote, path, reference)
            answer = fastjson.loads(body, what=what)
            names = answer.get("tags") or [] if isinstance(answer, dict) else None  # some say null for none
            if not isinstance(names, list) or not all(
                isinstance(n, str) and grammar.is_tag(n) for n in names
            ):
                raise IntegrityError(f"{what} is none")
            found.update(dict.fromkeys(names))
            if path is None:
                return list(found)
        raise EngineError(f"{what} has more than {PAGES} pages")

    return _ask(reference, question, config)


def referrers(
    reference: Reference, artifact_type: str = "", *, config: Settings | None = None
) -> tuple[str, list[dict[str, Any]]]:
    """(digest of the reference, descriptors of what refers to it): the distribution-spec's "Listing
    Referrers", with the tag schema where the registry has no such list. Raises NotFound, Denied."""

    async def question(remote: Remote) -> tuple[str, list[dict[str, Any]]]:
        digest = reference.digest or (await get_manifest(remote, reference)).digest
        found = await _referrers(remote, reference, digest)
        wanted = [item for item in found if artifact_type in ("", item.get("artifactType", ""))]
        return digest, wanted

    return _ask(reference, question, config)


async def _referrers(remote: Remote, reference: Reference, digest: str) -> list[dict[str, Any]]:
    path: URL | str = f"/v2/{reference.repository}/referrers/{digest}"
    found: list[dict[str, Any]] = []
    for _ in range(PAGES):
        try:
            body, following = await _page(remote, path, reference, documents.OCI_INDEX)
            found += documents.parse_index(body)["manifests"]
        except NotFound:
            return await _by_tag(remote, reference, digest)
        if following is None:
            return found
        path = following
    raise EngineError(f"{remote.host} names more than {PAGES} pages of referrers")


async def _by_tag(remote: Remote, reference: Reference, digest: str) -> list[dict[str, Any]]:
    """Referrers Tag Schema: an index under a tag that is made of the digest."""
    algorithm, encoded = digests.parse(digest)
    try:
        index = await get_manifest(remote, reference, f"{algorithm}-{encoded}"[:128])
    except NotFound:
        return []
    parsed: list[dict[str, Any]] = documents.parse_index(index.body)["manifests"]
    return parsed


async def _page(
    remote: Remote, path: URL | str, reference: Reference, accept: str = ""
) -> tuple[bytes, URL | None]:
    """A page of a list and where the next one is (RFC 5988 Link)."""

    async def once() -> tuple[bytes, URL | None]:
        response = await remote.request(
            "GET",
            path,
            scopes=pull_scopes(reference) if reference.repository else frozenset({"registry:catalog:*"}),
            subject=str(path) if isinstance(path, str) else path.path,
            headers={"Accept": accept} if accept else {},
        )
        link = response.headers.get("Link", "")
        body = await read_small(response, ANSWER_LIMIT)
        following = None
        if 'rel="next"' in link and link.startswith("<"):
            following = remote.resolve(response.url, link[1:].partition(">")[0])
            if following.origin() != remote.base.origin():
                raise Denied(f"{remote.host} names a next page on another host")
        return body, following

    return await retrying(remote.settings, once)


def search(
    term: str,
    *,
    limit: int = 25,
    official: bool | None = None,
    stars: int = 0,
    config: Settings | None = None,
) -> list[dict[str, Any]]:
    """Images whose name (at Docker Hub: or description) has `term`, which may begin with a registry's HOST/.

    Each has Name, Description, StarCount, IsOfficial. Raises Unsupported where a registry has no list of its
    repositories, InvalidInput, Unavailable.
    """
    if not 1 <= limit <= SEARCH_LIMIT:
        raise InvalidInput(f"the limit {limit} is not between 1 and {SEARCH_LIMIT}")
    if not term or not term.isprintable() or len(term) > 255:
        raise InvalidInput("nothing to search for")
    first, slash, rest = term.partition("/")
    host = first if slash and ("." in first or ":" in first or first == "localhost") else DEFAULT_REGISTRY
    settings = config or Settings.from_environment()
    if host in (DEFAULT_REGISTRY, "index.docker.io"):
        found = asyncio.run(_search_hub(rest if host == first else term, limit, settings))
    else:
        Reference.parse(f"{host}/x")
        found = asyncio.run(_search_catalog(host, rest, limit, settings))
    wanted = [
        item
        for item in found
        if item["StarCount"] >= stars and (official is None or item["IsOfficial"] == official)
    ]
    return wanted[:limit]


async def _search_hub(term: str, limit: int, settings: Settings) -> list[dict[str, Any]]:
    async with Transport(settings) as transport:
        url = URL(HUB_SEARCH).with_query({"q": term, "n": str(limit)})
        status, body = await retrying(settings, lambda: transport.small(url, {}, None, limit=ANSWER_LIMIT))
    if status != 200:
        raise Unavailable(f"Docker Hub answers the search with HTTP {status}")
    answer = fastjson.loads(body, what="Docker Hub's answer")
    results = answer.get("results") if isinstance(answer, dict) else None
    if not isinstance(results, list):
        raise Unavailable("Docker Hub's answer to the search is none")
    return [
        {
            "Name": str(item.get("name", "")),
            "Description": str(item.get("description") or ""),
            "StarCount": int(item["star_count"]) if isinstance(item.get("star_count"), int) else 0,
            "IsOfficial": item.get("is_official") is True,
        }
        for item in results
        if isinstance(item, dict)
    ]


async def _search_catalog(host: str, term: str, limit: int, settings: Settings) -> list[dict[str, Any]]:
    """Registries of the distribution spec have no search, many have the list of their repositories."""
    found: list[dict[str, Any]] = []
    nowhere = Reference(host, "")
    async with Transport(settings) as transport:
        remote = await transport.remote(host)
        path: URL | str | None = remote.url("/v2/_catalog").with_query({"n": "1000"})
        for _ in range(PAGES):
            assert path is not None
            try:
                body, path = await _page(remote, path, nowhere)
            except Denied:
                raise
            except (NotFound, EngineError) as error:
                raise Unsupported(
                    f"{host} has no list of its repositories ({_brief(error)})",
                    hint="ask for an image by its name: estiva pull",
                ) from None
            answer = fastjson.loads(body, what=f"{host}'s list of repositories")
            names = answer.get("repositories") if isinstance(answer, dict) else None
            if names is not None and not isinstance(names, list):
                raise Unavailable(f"{host}'s list of repositories is none")
            for name in names or []:
                if isinstance(name, str) and term in name:
                    found.append(
                        {"Name": f"{host}/{name}", "Description": "", "StarCount": 0, "IsOfficial": False}
                    )
            if path is None or len(found) >= limit:
                return found
    return found


def _brief(error: EstivaError) -> str:
    return error.message[:200]
