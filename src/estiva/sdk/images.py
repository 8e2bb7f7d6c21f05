"""Images from a Python program: `build`, `pull`, `push`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from estiva.errors import InvalidInput, NotFound
from estiva.sdk import values
from estiva.sdk.containers import default_engine
from estiva.sdk.told import told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiva.engine import Engine

PULL = {"missing": False, "always": True, "never": None}


@told
def build(
    context: str | os.PathLike[str] | None = ".",
    *,
    tag: str | Sequence[str] = (),
    dockerfile: str | os.PathLike[str] | None = None,
    pull: bool | str = False,
    engine: Engine | None = None,
    **options: Any,
) -> str:
    """Build an image from the Dockerfile of a folder (None: an empty context); its id.

    `pull`: "missing", "always" or "never" base images; True is "always", False "missing". Other
    options: those of builder.request.Request. Raises EstivaError.
    """
    from estiva.engine import builds

    values.engine(engine)
    if isinstance(pull, bool):
        pull = "always" if pull else "missing"
    if not isinstance(pull, str) or pull not in PULL:
        raise values.wrong("pull", "missing, always or never", pull)
    asked = {
        "context": None if context is None else values.path("context", context),
        "dockerfile": None if dockerfile is None else values.path("dockerfile", dockerfile),
        "tags": values.listed("tag", tag),
        **{name: _option(name, value) for name, value in options.items()},
    }
    return builds.build(engine or default_engine(), pull=pull == "always", fetch=pull != "never", **asked)


def _option(name: str, value: Any) -> Any:
    """An option of a Request, of its type. Raises InvalidInput, also for one that there isn't."""
    if name in ("target", "platform", "dockerfile_text"):
        return None if value is None else values.text(name, value)
    if name == "network":
        return values.text(name, value) or "default"
    if name == "no_cache":
        return values.flag(name, value)
    if name in ("build_args", "build_contexts", "labels", "ssh"):
        return values.table(name, value)
    if name == "secrets":
        if not isinstance(value, dict):
            return values.table(name, value)
        plain = {key: each for key, each in value.items() if not isinstance(each, bytes)}
        return {**value, **values.table(name, plain)}
    if name in ("no_cache_filter", "allow", "cache_from", "cache_to"):
        return values.listed(name, value)
    if name == "source_date_epoch":
        return None if value is None else values.whole(name, value)
    raise InvalidInput(f"unknown option: {values.shown(name)}", hint="the options are in estiva.build's help")


@told
def pull(reference: str, *, platform: str | None = None, engine: Engine | None = None) -> str:
    """Fetch an image from its registry; its id. Raises NotFound also where it has none for the platform."""
    from estiva.engine.images import platforms, registry

    values.engine(engine)
    reference = values.text("reference", reference)
    wanted = None if platform is None else values.text("platform", platform)
    image = registry.pull(engine or default_engine(), reference, platform=wanted)
    other = platforms.mismatch(image, reference, wanted) if wanted else ""
    if other:
        raise NotFound(other)
    return image.id


@told
def push(reference: str, *, engine: Engine | None = None) -> str:
    """Send an image to its registry; the digest under which it is there now. Raises EstivaError."""
    from estiva.engine.images import registry

    values.engine(engine)
    return registry.push(engine or default_engine(), values.text("reference", reference))
