"""Images from a Dockerfile and a build context.

    text -> parser -> instructions -> plan -> executor -> copying | running | state -> image
                                                 ^  cache

The engine passes in the store, how to run a step in a container, and how to find a base image.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.build.executor import build
    from estiva.build.request import BuildFailed, DockerfileError, Request, Step

__all__ = ["BuildFailed", "DockerfileError", "Request", "Step", "build"]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "build":
        return import_module("estiva.build.executor").build
    if name in __all__:
        return getattr(import_module("estiva.build.request"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
