"""Registries, as an engine knows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from estiva.engine.images import registry
from estiva.sdk import values
from estiva.sdk.told import told

if TYPE_CHECKING:
    from estiva.engine import Engine


class Registry:
    """Registries: `estiva.Engine().registry`. Pulls and pushes are the images'."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @told
    def login(self, username: str, password: str, registry: str = "") -> str:
        """Prove credentials to a registry ("" is Docker Hub) and keep them in Docker's config file: where.
        Raises Denied, Unavailable."""
        server, user = values.text("registry", registry), values.text("username", username)
        return _registry.login(server, user, values.text("password", password))

    @told
    def logout(self, registry: str = "") -> bool:
        """Forget a registry's credentials; False when there were none."""
        return _registry.logout(values.text("registry", registry))

    @told
    def search(
        self, term: str, *, limit: int = 25, official: bool | None = None, stars: int = 0
    ) -> list[dict[str, Any]]:
        """Images of Docker Hub, or of the registry in HOST/TERM, that are called so."""
        official = None if official is None else values.flag("official", official)
        return _registry.search(
            values.text("term", term), values.whole("limit", limit), official, values.whole("stars", stars)
        )

    @told
    def tags(self, repository: str) -> list[str]:
        """The names of all tags of a repository at its registry. Raises NotFound."""
        return _registry.remote_tags(values.text("repository", repository))

    @told
    def referrers(self, reference: str, *, artifact_type: str = "") -> list[dict[str, Any]]:
        """Descriptors of what refers to an image at its registry: signatures, attestations and the like."""
        wanted = values.text("artifact_type", artifact_type)
        return _registry.referrers(values.text("reference", reference), wanted)[1]


_registry = registry  # by its own name a parameter is meant
