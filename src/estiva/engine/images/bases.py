"""The images that builds begin with."""

from __future__ import annotations

from estiva.errors import EstivaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from estiva.engine import Engine
    from estiva.engine.images.logins import Logins
    from estiva.store.images import Image

    Key = tuple[str, str | None, bool]

    class Shared(Protocol):
        """What several look for, each once for all."""

        def get(self, key: Key, make: Callable[[], Image], /) -> Image: ...


class BaseImages:
    """Finds a base image here, by a name or a whole id as BuildKit does, or pulls it: when it is missing, is
    for another platform, or always."""

    def __init__(
        self,
        engine: Engine,
        progress: Callable[[dict[str, Any]], None] | None,
        fetch: bool = True,
        given: Logins = None,
        shared: Shared | None = None,
    ) -> None:
        """`shared` has what was found, for whoever has it, too."""
        self.shared = shared
        self.given = given
        self.engine = engine
        self.progress = progress
        self.fetch = fetch
        self.found: list[tuple[str, Image]] = []

    def __call__(self, name: str, *, platform: str | None, pull: bool) -> Image:
        if self.shared is None:
            image = self._find(name, platform, pull)
        else:
            image = self.shared.get((name, platform, pull), lambda: self._find(name, platform, pull))
        self.found.append((name, image))
        return image

    def _find(self, name: str, platform: str | None, pull: bool) -> Image:
        known = self.engine.store.images.find(name, short=False)
        if known is not None and (not pull or name == known.id):  # an id says which: none is newer
            if platform is None:
                return known
            from estiva.engine.images import platforms
            from estiva.errors import NotFound

            try:
                return platforms.of_platform(self.engine, known, platform)
            except NotFound:
                pass
        from estiva.engine.images import registry
        from estiva.errors import NotFound
        from estiva.oci.platform import Platform

        if not self.fetch:
            what = f"no such image: {name} for {platform}" if platform else f"no such image: {name}"
            raise NotFound(what, hint=f"`estiva pull {name}` fetches it")
        try:
            if known is not None and platform and not Platform.host().accepts(Platform.parse(platform)):
                return self._beside(name, platform)
            told = self._told(name)
            return registry.pull(self.engine, name, platform=platform, progress=told, given=self.given)
        except EstivaError as error:
            if known is not None and platform:
                error.hint = error.hint or f"the image here is for {Platform.of(known.config)}"
            raise

    def _beside(self, name: str, platform: str) -> Image:
        """The image for another platform than this machine's, whose image keeps the name."""
        from estiva.engine.images import registry
        from estiva.oci.reference import Reference

        reference = Reference.parse(name)
        bare = Reference(reference.registry, reference.repository)
        told = self._told(name)
        return registry.pull(
            self.engine, name, platform=platform, progress=told, named=bare, given=self.given
        )

    def _told(self, name: str) -> Callable[[dict[str, Any]], None] | None:
        """Who hears how the pull goes on, told which image it is of: several may be under way."""
        hears = self.progress
        return None if hears is None else lambda event: hears({"image": name, **event})
