"""Images from a Python program: `build`, `pull`, `push`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from estiva.sdk.collections.images import Images
from estiva.sdk.engine import chosen
from estiva.sdk.run_options import BuildOptions
from estiva.sdk.told import told
from estiva.sdk.typed import shows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Unpack

    from estiva.engine import Engine
    from estiva.sdk.dockerfile import Dockerfile
    from estiva.sdk.objects.shown import Progress


@told
@shows(BuildOptions)
def build(
    context: str | os.PathLike[str] | None = ".",
    *,
    tag: str | Sequence[str] = (),
    dockerfile: Dockerfile | None = None,
    pull: bool | str = False,
    on_progress: Callable[[Progress], object] | None = None,
    engine: Engine | None = None,
    **options: Unpack[BuildOptions],
) -> str:
    """Build an image from the Dockerfile of a folder (None: an empty context), or from `dockerfile`: a path,
    the text, an open file, or its instructions as a list (sdk/dockerfile.py); its id.

        estiva.build("folder", tag="web:1", build_args={"VERSION": "3"})
        estiva.build(None, dockerfile=["FROM debian:13", ("CMD", ["cat", "/etc/motd"])])

    `pull`: "missing", "always" or "never" base images; True is "always", False "missing". `on_progress` gets
    each Progress. Raises BuildError, with the output, where a command of it fails, and other EstivaErrors.
    """
    images = Images(chosen(engine))
    return images.build(
        context, tag=tag, dockerfile=dockerfile, pull=pull, on_progress=on_progress, **options
    ).id


@told
def pull(
    reference: str,
    *,
    platform: str | None = None,
    on_progress: Callable[[Progress], object] | None = None,
    engine: Engine | None = None,
) -> str:
    """Fetch an image from its registry; its id. Raises NotFound also where it has none for the platform.

    estiva.pull("alpine")
    """
    return Images(chosen(engine)).pull(reference, platform=platform, on_progress=on_progress).id


@told
def push(
    reference: str,
    *,
    on_progress: Callable[[Progress], object] | None = None,
    engine: Engine | None = None,
) -> str:
    """Send an image to its registry; the digest under which it is there now. Raises EstivaError.

    estiva.push("registry.example.org/web:1")
    """
    return Images(chosen(engine)).push(reference, on_progress=on_progress)
