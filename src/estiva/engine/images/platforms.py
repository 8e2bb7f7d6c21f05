"""Images for one platform of several."""

from __future__ import annotations

from estiva.errors import InvalidInput, NotFound, oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.registry.transfer.plan import Packing
    from estiva.store.images import Image


def packing(compression: str = "", level: int | None = None) -> Packing:
    """How layers are to be compressed. Raises InvalidInput."""
    from estiva.registry.transfer.plan import METHODS, Packing
    from estiva.store.layers.compress import check_level

    if compression and compression not in METHODS:
        raise InvalidInput(
            f"no compression {oneline(compression)}", hint=f"one of {', '.join(sorted(METHODS))}"
        )
    method = METHODS.get(compression, "")
    if level is not None and not method:
        method = "gzip"
    check_level(method, level)
    return Packing(method, level)


def mismatch(image: Image, ref: str, platform: str | None) -> str:
    """What there is to tell, in Docker's words, of an image that is not for the platform that was asked for,
    or not for this machine's where none was; "" where it is. Raises InvalidInput for a word that is no
    platform."""
    from estiva.oci.platform import Platform

    wanted, actual = Platform.parse(platform) if platform else Platform.host(), Platform.of(image.config)
    if wanted.accepts(actual) or not actual.architecture:
        return ""
    if platform:
        return (
            f"image with reference {ref} was found but does not match the specified platform: "
            f"wanted {platform}, actual: {actual}"
        )
    return (
        f"the requested image's platform ({actual}) does not match the detected host platform ({wanted}) "
        "and no specific platform was requested"
    )


def of_platform(engine: Engine, image: Image, platform: str) -> Image:
    """The image for a platform among those that an image's name stands for. Raises NotFound."""
    from estiva.oci.platform import Platform
    from estiva.store.platforms import members

    wanted = Platform.parse(platform)
    found = [image]
    for manifest, image_id in members(engine.store, image.manifest or ""):
        member = engine.store.images.resolve(image_id)
        member.manifest = manifest
        found.append(member)
    for choice in wanted.fallbacks():
        for each in reversed(found):
            if Platform.of(each.config) == choice:
                return each
    raise NotFound(f"there is no image for {wanted} here", hint="estiva pull --all-platforms fetches all")
