"""User verbs on images: get, send, name, list, look into, remove. The store and the registry do the work."""

from __future__ import annotations

from estiva.engine.images import events
from estiva.engine.state import eventlog
from estiva.errors import InvalidInput, NotFound
from estiva.oci.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.engine import Engine
    from estiva.store.images import Image

    Progress = Callable[[dict[str, Any]], object] | None


HERE = "`estiva images` shows what is here"


def resolve(engine: Engine, ref: str, *, hint: str = "") -> Image:
    """The image of a name, digest or id. Raises NotFound, with `hint` where a pull is no help."""
    try:
        return engine.store.images.resolve(ref)
    except NotFound as error:
        error.hint = hint or error.hint
        raise


def find(engine: Engine, ref: str) -> Image | None:
    """As `resolve`, but None for an image that isn't here."""
    return engine.store.images.find(ref)


def is_whole(engine: Engine, image: Image) -> bool:
    """Whether all layers of an image are here, and look sound."""
    return all(engine.store.layers.has(diff_id) for diff_id in image.diff_ids)


def is_hidden(engine: Engine, image_id: str) -> bool:
    """Whether it is only there for what builds remember: it has been removed, or never was an image."""
    return engine.store.images.is_hidden(image_id)


def parse(ref: str) -> Reference:
    """The parts of an image's name. Raises InvalidInput."""
    return Reference.parse(ref)


def parse_name(ref: str) -> Reference:
    """As `parse`, but a missing tag stays missing."""
    return Reference.parse_name(ref)


def tags(engine: Engine, ref: str) -> list[str]:
    """The names, in familiar form and sorted, of all images here that are of the reference's repository.

    Raises NotFound when there are none, InvalidInput.
    """
    reference = Reference.parse_name(ref)
    found = engine.store.images.tags(reference.name)
    if not found:
        raise NotFound(f"no such image: {reference.familiar_name}", hint=HERE)
    return found


def names(engine: Engine, image_id: str) -> list[str]:
    """The names of an image, in familiar form."""
    return engine.store.images.names(image_id)


def digests(engine: Engine, image: Image, reference: Reference) -> list[str]:
    """The digests under which the reference's repository has the image."""
    prefix = reference.familiar_name + "@"
    known = engine.store.images.repo_digests(image.id)
    return [text.removeprefix(prefix) for text in known if text.startswith(prefix)]


def tag(engine: Engine, source: str, target: str) -> None:
    """Give an image one more name."""
    image = resolve(engine, source)
    Reference.parse(target)
    engine.store.images.tag(image.id, target, image.manifest)
    events.tagged(engine, image, [target])


def remove(engine: Engine, ref: str, *, force: bool = False) -> list[str]:
    """Remove a name, and with its last name the image; the lines that `rmi` prints."""
    from estiva.store.upkeep import image_removal

    known = engine.store.images.find(ref)
    try:
        lines = image_removal.delete(engine.store, ref, force=force)
    except NotFound as error:
        error.hint = HERE
        raise
    events.removed(engine, lines, {known.id: known} if known is not None else {})
    return lines


def holders(engine: Engine, ref: str) -> dict[str, Any] | None:
    """What keeps an image from being removed: {"image": its id, "named": `ref` is one of its names, "names":
    how many it has, "users": (id, whether it runs) of each container made from it}; None without an image."""
    from estiva.store import containers

    image = find(engine, ref)
    if image is None:
        return None
    known = names(engine, image.id)
    users = [
        (user, status in ("running", "paused", "restarting"))
        for user, _, status in containers.having(engine.db, image.id)
        if status != "snapshot"
    ]
    try:
        named = Reference.parse(ref).familiar in known
    except InvalidInput:
        named = False
    return {"image": image.id, "named": named, "names": len(known), "users": users}


def prune(
    engine: Engine, *, all: bool = False, filters: dict[str, list[str]] | None = None
) -> tuple[list[str], int]:
    """Remove images that have no name (`all`: that no container uses): (`rmi` lines, bytes freed).
    `filters`: see engine/state/prune_filters.py. Raises InvalidInput.
    """
    from estiva.engine.state.prune_filters import Pruned
    from estiva.store.upkeep import image_removal

    wanted = Pruned(filters)

    def fits(image: Image) -> bool:
        return wanted.takes(image.created, (image.config.get("config") or {}).get("Labels"))

    before = store_size(engine)
    known: dict[str, Image | None] = {image.id: image for image in engine.store.images.list(all=True)}
    lines = image_removal.prune(engine.store, all=all, fits=fits)
    freed = max(0, before - store_size(engine))
    events.removed(engine, lines, known)
    eventlog.write(engine.paths, "image", "prune", "", {"reclaimed": str(freed)})
    return lines, freed


def store_size(engine: Engine) -> int:
    """Bytes on the disk of all layers and blobs."""
    from estiva.store.upkeep import usage

    return usage.stored(engine.store)


def _platform(text: str | None) -> Any:
    if not text:
        return None
    from estiva.oci.platform import Platform

    return Platform.parse(text)
