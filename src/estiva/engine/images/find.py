"""The image that a container is to be made of: here already, or pulled."""

from __future__ import annotations

import os

from estiva.errors import Denied, InvalidInput, NotFound, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.engine import Engine
    from estiva.store.images import Image

    Progress = Callable[[dict[str, Any]], object] | None


def allow_refetch(engine: Engine) -> None:
    """From now on, a layer that is damaged, and can't be made again from what is here, is fetched again."""

    def refetch(diff_id: str) -> str:
        from estiva.engine.images import repair

        return repair.fetch_layer(engine, diff_id)

    engine.store.layers.refetch = refetch


def find_beginning(engine: Engine, ref: str, pull: str, platform: str | None, progress: Progress) -> Image:
    """What a container begins with: an image as `find_image` has it, or a snapshot, by its name where no
    image here has that, or by its id. Then `states` and the config are those of the snapshot."""
    if os.path.isdir(engine.paths.states) and (pull != "always" or len(ref) == 64):
        from estiva.engine.images import standing

        found = standing.find(engine, ref) if engine.store.images.find(ref) is None else None
        if found is not None:
            return found
    return find_image(engine, ref, pull, platform, progress)


def find_image(engine: Engine, ref: str, pull: str, platform: str | None, progress: Progress) -> Image:
    """The image of a run. `pull`: missing, always or never. Raises NotFound and what a pull raises."""
    if pull not in ("missing", "always", "never"):
        raise InvalidInput(f"invalid --pull: {pull}", hint="always, missing or never")
    image = engine.store.images.find(ref) if pull != "always" else None
    other = ""  # what to tell of an image that is here, for another platform
    if image is not None and platform:
        from estiva.engine.images import platforms

        other = platforms.mismatch(image, ref, platform)
    if image is None or other:
        if pull == "never" and other:
            raise NotFound(
                other, hint=f"`estiva pull --platform {platform} {ref}` fetches it, if there is one"
            )
        if pull == "never":
            message = f"no such image: {ref} for {platform}" if platform else f"no such image: {ref}"
            ask = f"--platform {platform} {ref}" if platform else ref
            raise NotFound(message, hint=f"`estiva pull {ask}` fetches it")
        from estiva.engine.images import registry

        try:
            image = registry.pull(engine, ref, platform=platform, progress=progress)
        except (NotFound, Denied, Unavailable) as error:
            what = f"image {ref}" if pull == "always" else f"image {ref} is not here and"
            what = f"{other}, and it" if other else what
            error.message = f"{what} can't be pulled: {error.message}"
            raise
        if platform:
            from estiva.engine.images import platforms

            other = platforms.mismatch(image, ref, platform)
            if other:
                raise NotFound(other, hint="leave out --platform to run it as it is")
    return image
