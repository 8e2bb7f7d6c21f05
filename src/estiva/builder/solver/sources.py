"""Where a build's steps read files: contexts, stages and images, each opened once, whichever stage asks."""

from __future__ import annotations

from estiva.builder.fetch.contexts import IMAGE, LAYOUT, Contexts
from estiva.builder.files.tree import Tree
from estiva.builder.once import Once
from estiva.builder.steps.context import Source
from estiva.builder.steps.written import Stand
from estiva.errors import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.builder.fetch.folders import Fetching
    from estiva.builder.files.workspace import Workspace
    from estiva.builder.request import Request, ResolveImage
    from estiva.builder.steps.together import Together
    from estiva.builder.steps.written import Layer
    from estiva.store import Store
    from estiva.store.images import Image


class Sources:
    """The trees of one build, kept open until `close`; `context` is that of the build context, empty without
    one.
    """

    def __init__(
        self,
        request: Request,
        store: Store,
        workspace: Workspace,
        resolve_image: ResolveImage,
        look: Callable[[], None],
        fetching: Fetching,
        busy: Callable[[], None],
        together: Together | None = None,
    ) -> None:
        self.request = request
        self.store = store
        self.resolve_image = resolve_image
        self.look = look
        self.trees: Once[str, Tree] = Once()
        self.stands: Once[str, Stand] = Once()
        self.images: Once[str, Image] = Once()
        self.busy = busy
        self.contexts = Contexts(request, store, workspace, look, fetching)
        if together is not None:
            self.contexts.workspace, self.contexts.fetched = together.workspace, together.contexts
        self.context = self._tree("context", self.contexts.main)

    def close(self) -> None:
        for tree in self.trees.values():
            tree.close()
        for stand in self.stands.values():
            stand.close()

    def find(self, name: str) -> Source:
        """A named context or an image, as COPY --from or a mount names it. Raises NotFound, InvalidInput."""
        place = self.contexts.place(name)
        if place and not place.startswith((IMAGE, LAYOUT)):
            tree = self._folder(name, place)
            return Source(lambda: tree, None)
        if self.is_scratch(name):
            return self.view("scratch", [])
        image = self.image(name, self.request.platform)
        return self.view(image.id, list(image.diff_ids))

    def is_scratch(self, name: str) -> bool:
        """Whether a name means nothing at all, by itself or by a named context."""
        return (self.contexts.image_of(name) or name) == "scratch"

    def view(self, key: str, layers: list[Layer], *, stage: bool = False) -> Source:
        """The rootfs of layers; `key` is the same for the same ones."""

        def open() -> Tree:
            stand = self.stands.get(key, lambda: Stand(layers))
            return self._tree(key, lambda: Tree(stand.view(self.store), owners=True))

        return Source(open, layers, stage)

    def image(self, name: str, platform: str | None) -> Image:
        """An image by its name, or what a named context gives. Raises NotFound, InvalidInput."""
        place, pull = self.contexts.place(name), self.request.pull
        key = f"{platform}\0{place or name}"
        if place.startswith(LAYOUT):
            return self.images.get(key, lambda: self.contexts.from_layout(name, place, platform))
        if place and not place.startswith(IMAGE):
            tree = self._folder(name, place)
            return self.images.get(key, lambda: self.contexts.base(name, tree, platform))
        wanted = self.contexts.image_of(name) or name
        return self.images.get(key, lambda: self._resolved(wanted, platform, pull))

    def _resolved(self, name: str, platform: str | None, pull: bool) -> Image:
        if pull or platform or self.store.images.find(name, short=False) is None:
            self.busy()
        try:
            return self.resolve_image(name, platform=platform, pull=pull)
        except Unavailable as error:  # of a registry, which may not be what the Dockerfile's line shows
            if name not in error.message:
                error.message = f"the image {name} is not to be had: {error.message}"
            raise

    def known(self, name: str, platform: str | None) -> Image | None:
        """The same, if it was asked for and found already."""
        return self.images.found(f"{platform or None}\0{self.contexts.place(name) or name}")

    def _folder(self, name: str, place: str) -> Tree:
        self.busy()
        return self._tree(f"context {place}", lambda: self.contexts.tree(name, place))

    def _tree(self, key: str, make: Callable[[], Tree]) -> Tree:
        """A tree that is made once; who reads it looks whether the build goes on."""

        def made() -> Tree:
            tree = make()
            tree.going = self.look
            return tree

        return self.trees.get(key, made)
