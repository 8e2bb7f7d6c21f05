"""What a Dockerfile is asked instead of being built."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine import Engine


def call(engine: Engine, what: str, **options: Any) -> dict[str, Any]:
    """The answer to "check", "outline" or "targets", as BuildKit's document of it; `options` are those of
    builder.request.Request. Nothing is built, and of a base image that is not here the config alone is
    fetched. Raises EstivaError.
    """
    from estiva.builder.request import Request
    from estiva.builder.solver.call import call as ask

    return ask(what, Request(**options), store=engine.store, resolve_config=_Configs(engine))


class _Configs:
    """Finds the config of a base image here, or at its registry."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def __call__(self, name: str, *, platform: str | None) -> dict[str, Any]:
        from estiva.oci.platform import Platform

        found = self.engine.store.images.find(name, short=False)
        if found is not None and (
            platform is None or Platform.parse(platform).accepts(Platform.of(found.config))
        ):
            return found.config
        from estiva.oci.reference import Reference
        from estiva.registry import lookup

        return lookup.config_of(Reference.parse(name), Platform.parse(platform) if platform else None)
