"""What befalls images, for the event log, with Docker's names and attributes."""

from __future__ import annotations

from estiva.engine.state import eventlog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from estiva.engine import Engine
    from estiva.store.images import Image


def note(engine: Engine, action: str, actor: str, name: str, image: Image | None = None) -> None:
    """`actor` is what Docker says it is: an image's id, or of pull and push its reference."""
    labels = ((image.config.get("config") or {}).get("Labels") or {}) if image is not None else {}
    eventlog.write(engine.paths, "image", action, actor, {**labels, "name": name})


def tagged(engine: Engine, image: Image, names: Iterable[str]) -> None:
    """An image has got names."""
    for name in names:
        note(engine, "tag", image.id, familiar(name), image)


def removed(engine: Engine, lines: Iterable[str], images: dict[str, Image | None]) -> None:
    """What `rmi` and prune have done, by the lines that they tell; `images` are those that were there, by id,
    of which alone a line "Deleted" is an image's. A name is told of before its image is."""
    names: list[str] = []
    for line in lines:
        what, _, subject = line.partition(": ")
        if what == "Untagged":
            names.append(subject)
        elif subject in images:
            _untag(engine, subject, names)
            names = []
            note(engine, "delete", subject, subject)
    if names and images:
        _untag(engine, next(iter(images)), names)  # the image has kept another


def _untag(engine: Engine, image_id: str, names: list[str]) -> None:
    for name in names:
        if "@" not in name:
            note(engine, "untag", image_id, image_id)  # as Docker's


def familiar(name: str) -> str:
    """alpine:latest of docker.io/library/alpine:latest."""
    from estiva.oci.reference import Reference

    return Reference.parse(name).familiar
