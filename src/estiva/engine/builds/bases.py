"""What a build begins with, known before it does: for who shows that, and brings it what it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from estiva.builder.fetch import address
from estiva.builder.files.url import redacted
from estiva.builder.frontend import parser, stages
from estiva.builder.solver import vertexes
from estiva.builder.solver.job import platform_args
from estiva.errors import EstivaError, oneline
from estiva.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping

    from estiva.engine import Engine
    from estiva.store.images import Image

IMAGE = "docker-image://"


class Base(NamedTuple):
    """An image: its whole name, how it is shown (solver/vertexes.py), and whether it is `here`."""

    name: str
    shown: str
    here: bool


def look(
    engine: Engine,
    text: str,
    *,
    build_args: dict[str, str],
    target: str | None,
    platform: str | None,
    several: bool,
    contexts: Mapping[str, str],
) -> tuple[list[Base], bool]:
    """The images of a Dockerfile's target but those that named `contexts` stand for, and whether it may read
    the build context.

    Of a Dockerfile that is wrong, which the build will say, there are none, and it reads nothing.
    """
    try:
        host = Platform.host()
        wanted = Platform.parse(platform) if platform else host
        plan = stages.make(parser.parse(text), build_args, platform_args(wanted, host, target))
        chosen = plan.target(target)
        reads = vertexes.read(plan, chosen)
        found = vertexes.names(plan, chosen, wanted, several=several)
    except EstivaError:
        return [], False
    bases = []
    instead = {vertexes.whole(name): place for name, place in contexts.items()}
    for base in found:
        place = instead.get(base.name, "")
        image = engine.store.images.find(
            vertexes.whole(place.removeprefix(IMAGE)) if place.startswith(IMAGE) else base.name, short=False
        )
        if not place.startswith("local:"):
            reads = reads or image is None or _triggers(image)
        if not place:
            asked = base.asked or bool(platform)
            here = image is not None and (not asked or _is_for(image, base.platform))
            bases.append(Base(base.name, base.shown, here))
    return bases, reads


def source(place: str) -> str:
    """What a build context that is an address is called, without passwords."""
    if address.parse(place, context=True) is None:
        return "remote build context"
    return f"git source {oneline(redacted(place))[:200]}"


def _triggers(image: Image) -> bool:
    """Whether it has instructions for who begins with it, which may read the context."""
    return bool((image.config.get("config") or {}).get("OnBuild"))


def _is_for(image: Image, platform: str) -> bool:
    return Platform.parse(platform).accepts(Platform.of(image.config))
