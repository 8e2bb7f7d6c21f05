"""Where a build's steps read files: contexts, stages and images, each opened once, whichever stage asks."""

from __future__ import annotations

from estiva.builder.files.tree import Tree
from estiva.builder.files.workspace import Workspace
from estiva.builder.once import Once
from estiva.builder.request import Request, ResolveImage
from estiva.builder.steps.context import Source
from estiva.builder.steps.written import Layer, Stand
from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.store import Store
    from estiva.store.images import Image


class Sources:
    """The trees of one build, kept open until `close`; `context` is that of the build context, empty without
    one.
    """

    def __init__(
        self, request: Request, store: Store, workspace: Workspace, resolve_image: ResolveImage
    ) -> None:
        self.request = request
        self.store = store
        self.resolve_image = resolve_image
        self.trees: Once[str, Tree] = Once()
        self.stands: Once[str, Stand] = Once()
        self.images: Once[str, Image] = Once()
        self.context = self._folder("", request.context or workspace.directory())

    def close(self) -> None:
        for tree in self.trees.values():
            tree.close()
        for stand in self.stands.values():
            stand.close()

    def find(self, name: str) -> Source:
        """A named context or an image, as COPY --from or a mount names it. Raises NotFound, InvalidInput."""
        folder = self.request.build_contexts.get(name)
        if folder and not folder.startswith("docker-image://"):
            return Source(self._folder(name, folder), None)
        if self.is_scratch(name):
            return self.view("scratch", [])
        image = self.image(name, self.request.platform)
        return self.view(image.id, list(image.diff_ids))

    def is_scratch(self, name: str) -> bool:
        """Whether a name means nothing at all, by itself or by a named context."""
        return "scratch" in (name, self.request.build_contexts.get(name, "").removeprefix("docker-image://"))

    def view(self, key: str, layers: list[Layer], *, stage: bool = False) -> Source:
        """The rootfs of layers; `key` is the same for the same ones."""
        stand = self.stands.get(key, lambda: Stand(layers))
        tree = self.trees.get(key, lambda: Tree(stand.view(self.store), owners=True))
        return Source(tree, layers, stage)

    def image(self, name: str, platform: str | None) -> Image:
        """An image by its name, or by that of a named context. Raises NotFound, InvalidInput."""
        named = self.request.build_contexts.get(name, "")
        if named.startswith("docker-image://"):
            name = named.removeprefix("docker-image://")
        elif named:
            raise InvalidInput(f"the named context {name} is a directory, which FROM can't take")
        pull = self.request.pull
        return self.images.get(
            f"{platform}\0{name}", lambda: self.resolve_image(name, platform=platform, pull=pull)
        )

    def _folder(self, name: str, folder: str) -> Tree:
        if "://" in folder:
            raise InvalidInput(f"the build context {folder} is not a directory")
        return self.trees.get(f"context {name}", lambda: Tree.context(folder))
