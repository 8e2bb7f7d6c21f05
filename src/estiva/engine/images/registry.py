"""Images from and to registries: pull, push, login, search, referrers."""

from __future__ import annotations

from estiva.engine.images import events, logins
from estiva.engine.images.lookup import resolve
from estiva.errors import IntegrityError, InvalidInput, NotFound
from estiva.oci.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from estiva.engine import Engine
    from estiva.engine.images.logins import Logins
    from estiva.engine.images.lookup import Progress
    from estiva.store.images import Image


def remote_tags(ref: str, *, given: Logins = None) -> list[str]:
    """The names, in familiar form, of all tags that the reference's repository has at its registry.
    `given`: see logins.py.

    Raises NotFound, Denied, Unavailable, and InvalidInput for a reference with a tag.
    """
    from estiva.registry import lookup

    reference = Reference.parse_name(ref)
    found = lookup.tags(reference, config=logins.settings(given))
    if not found:
        raise NotFound(f"{reference.familiar_name} has no tags")
    return [reference.with_tag(tag).familiar for tag in found]


def pull(
    engine: Engine,
    ref: str,
    *,
    platform: str | None = None,
    every: bool = False,
    progress: Progress = None,
    named: Reference | None = None,
    given: Logins = None,
) -> Image:
    """Fetch an image, or with `every` those of all platforms, from its registry.

    Raises Denied, NotFound, Unavailable, IntegrityError. `named`: what it is called here, by default as
    there; without a tag it gets no name. `given`: see logins.py.

    `progress` gets one event for each change of a layer (see estiva.registry.transfer.progress), before
    them one with the status "starting" and after them one with "complete".
    """
    reference = Reference.parse(ref)
    if not platform and not every:
        from estiva.registry.transfer import precheck

        same = precheck.unchanged(engine.store, reference)
        if same is not None:
            events.note(engine, "pull", reference.familiar, reference.familiar_name, same)
            return same
    from estiva.registry import client

    if progress is not None:
        progress({"id": "", "status": "starting", "current": 0, "total": 0, "message": str(reference)})

    try:
        with engine.heap():
            image = client.pull(
                engine.store,
                reference,
                platform=platform,
                every=every,
                name=named,
                progress=progress,
                config=logins.settings(given),
            )
    except (InvalidInput, IntegrityError, NotFound) as error:
        if reference.familiar not in error.message:
            error.message = f"{reference.familiar}: {error.message}"
        raise
    events.note(engine, "pull", reference.familiar, reference.familiar_name, image)
    if progress is not None:
        progress({"id": "", "status": "complete", "current": 0, "total": 0, "message": str(reference)})
    return image


def push(
    engine: Engine,
    ref: str,
    *,
    platform: str | None = None,
    compression: str = "",
    level: int | None = None,
    progress: Progress = None,
    given: Logins = None,
) -> str:
    """Send an image to the registry that its name says; the manifest's digest. A name that means an index
    sends all platforms that are here, unless one is asked for. `given`: see logins.py."""
    reference = Reference.parse(ref)
    image = resolve(engine, ref)
    from estiva.engine.images import platforms
    from estiva.registry import client
    from estiva.store.platforms import index_digest

    index = index_digest(engine.store, image.manifest)
    if platform:
        image, index = platforms.of_platform(engine, image, platform), ""
    how = platforms.packing(compression, level)
    with engine.heap():
        digest = client.push(
            engine.store,
            image,
            reference,
            packing=how,
            index=index,
            progress=progress,
            config=logins.settings(given),
        )
    events.note(engine, "push", reference.familiar, reference.familiar_name, image)
    if progress is not None:
        progress({"id": "", "status": "complete", "current": 0, "total": 0, "message": str(reference)})
    return digest


def login(server: str, user: str, password: str) -> str:
    """Prove credentials to a registry ("" is Docker Hub) and keep them; where. Raises Denied, Unavailable."""
    from estiva.registry import client

    return client.login(server, user, password)


def verify(server: str, login: Mapping[str, Any]) -> None:
    """Prove credentials to a registry ("" is Docker Hub), and keep them nowhere; they are as in logins.py.
    Raises Denied, Unavailable, InvalidInput."""
    from estiva.registry import client

    client.verify(server, logins.credentials(login))


def logout(server: str) -> bool:
    """Forget a registry's credentials. False when there were none."""
    from estiva.registry import client

    return client.logout(server)


def registry_host(server: str) -> str:
    """The canonical name of what a user calls a registry ("" is Docker Hub)."""
    from estiva.registry import client

    return client.registry_host(server)


def referrers(ref: str, artifact_type: str = "") -> tuple[str, list[dict[str, Any]]]:
    """(digest of an image at its registry, descriptors of what refers to it)."""
    from estiva.registry import lookup

    return lookup.referrers(Reference.parse(ref.removeprefix("docker://")), artifact_type)


def described(ref: str, *, given: Logins = None) -> dict[str, Any]:
    """What a registry has under a name, as `GET /distribution` of the Engine API has it: {"Descriptor": of
    the manifest or index, "Platforms": each with os and architecture}. `given`: see logins.py. Raises
    NotFound, Denied, Unavailable."""
    from estiva.registry import lookup

    return lookup.described(Reference.parse(ref), config=logins.settings(given))


def search(term: str, limit: int, official: bool | None, stars: int) -> list[dict[str, Any]]:
    """Images of Docker Hub, or of HOST/TERM's registry, that are called so: see registry.lookup."""
    from estiva.registry import lookup

    return lookup.search(term, limit=limit, official=official, stars=stars)


def manifest_size(engine: Engine, digest: str) -> int:
    """Bytes of a manifest or index that is here, as after a push."""
    return engine.store.content.size(digest)
