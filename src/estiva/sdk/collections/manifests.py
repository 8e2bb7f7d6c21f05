"""Manifest lists of an engine: one name for images of several platforms, put together here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from estiva.engine.images import manifest_lists
from estiva.errors import InvalidInput
from estiva.sdk import values
from estiva.sdk.collections.building import telling
from estiva.sdk.told import told

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Mapping, Sequence

    from estiva.engine import Engine
    from estiva.sdk.objects.shown import Progress


class Manifests:
    """Manifest lists: `estiva.Engine().images.manifests`.

        lists = engine.images.manifests
        lists.create("registry.example.org/web:1", ["web:amd64", "web:arm64"])
        lists.push("registry.example.org/web:1")

    An image is one of the store, or a registry's: docker://NAME says that it is that.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @told
    def create(
        self,
        name: str,
        images: str | Sequence[str] = (),
        *,
        amend: bool = False,
        all_platforms: bool = False,
    ) -> str:
        """Make a list of these images; its whole name. Raises Conflict where there is one, unless it is to
        `amend` that."""
        return manifest_lists.create(
            self.engine,
            values.text("name", name),
            values.listed("images", images),
            amend=values.flag("amend", amend),
            every=values.flag("all_platforms", all_platforms),
        )

    @told
    def add(
        self,
        name: str,
        image: str,
        *,
        platform: str | None = None,
        os_version: str = "",
        annotations: Mapping[str, str] | None = None,
        all_platforms: bool = False,
    ) -> builtins.list[str]:
        """Add an image, or with `all_platforms` each that it stands for: their digests. `platform`, such as
        "linux/arm/v7", is what the list says of it."""
        return manifest_lists.add(
            self.engine,
            values.text("name", name),
            values.text("image", image),
            every=values.flag("all_platforms", all_platforms),
            platform=_platform(platform, os_version),
            annotations=values.table("annotations", annotations),
        )

    @told
    def annotate(
        self,
        name: str,
        image: str,
        *,
        platform: str | None = None,
        os_version: str = "",
        annotations: Mapping[str, str] | None = None,
    ) -> str:
        """Change what a list says of one of its images, by digest or as it was added: its digest."""
        wanted, notes = _platform(platform, os_version), values.table("annotations", annotations)
        if not wanted and not notes:
            raise InvalidInput("nothing to annotate", hint="give platform, os_version or annotations")
        return manifest_lists.annotate(
            self.engine, values.text("name", name), values.text("image", image), wanted, notes
        )

    @told
    def take(self, name: str, image: str) -> str:
        """Take one image out of a list: its digest."""
        return manifest_lists.take(self.engine, values.text("name", name), values.text("image", image))

    @told
    def inspect(self, name: str) -> dict[str, Any]:
        """A list as the index that it becomes, else a manifest or index at its registry."""
        return manifest_lists.inspect(self.engine, values.text("name", name))

    @told
    def exists(self, name: str) -> bool:
        """Whether there is a list of that name here."""
        return manifest_lists.find(self.engine, values.text("name", name)) is not None

    @told
    def list(self) -> builtins.list[str]:
        """The names of all lists here."""
        return manifest_lists.names(self.engine)

    @told
    def remove(self, name: str) -> str:
        """Forget a list: its whole name. Its images stay. Raises NotFound."""
        return manifest_lists.remove(self.engine, values.text("name", name))

    @told
    def push(
        self, name: str, target: str = "", *, on_progress: Callable[[Progress], object] | None = None
    ) -> str:
        """Send a list's images, then the list, to the registry that its name, or `target`, says: the digest
        under which it is there now."""
        name, target = values.text("name", name), values.text("target", target)
        return manifest_lists.push(self.engine, name, target, progress=telling(on_progress))


def _platform(platform: Any, os_version: Any) -> dict[str, str]:
    """As a descriptor has it. Raises InvalidInput."""
    found = {}
    if text := values.text("platform", platform):
        system, _, rest = text.partition("/")
        architecture, _, variant = rest.partition("/")
        found = {"os": system, "architecture": architecture, **({"variant": variant} if variant else {})}
    if version := values.text("os_version", os_version):
        found["os.version"] = version
    for value in found.values():
        if not value.isascii() or not value.isprintable() or " " in value or "/" in value:
            raise InvalidInput(f"invalid platform {value!r}", hint="write it as linux/amd64 or linux/arm/v7")
    return found
