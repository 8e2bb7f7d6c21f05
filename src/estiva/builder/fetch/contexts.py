"""The build context and the named ones: what the caller names, as trees to read or as images to begin with.

    a folder                                    as it is, less what its .dockerignore leaves out
    a git address, an http or https URL         fetched into the workspace
    an open file                                of a tar archive: the build context alone
    docker-image://NAME, oci-layout://FOLDER[:TAG][@DIGEST]     an image: named contexts alone

A named context stands for the stage and the image of its name, in FROM, COPY --from and RUN --mount; names of
images are told apart as a registry does: alpine is docker.io/library/alpine:latest.
"""

from __future__ import annotations

import os

from estiva.builder.cache import local
from estiva.builder.files import url
from estiva.builder.files.record import Record
from estiva.builder.files.tree import Tree
from estiva.builder.frontend import parser
from estiva.builder.frontend.source import patterns, read_dockerfile
from estiva.errors import EstivaError, InvalidInput, NotFound, Unsupported, oneline
from estiva.oci import config as configs
from estiva.oci import digest as digests
from estiva.oci.platform import Platform
from estiva.oci.reference import Reference
from estiva.store.images import Image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.builder.fetch.address import GitAddress
    from estiva.builder.fetch.folders import Fetching
    from estiva.builder.files.workspace import Workspace
    from estiva.builder.frontend import ignore
    from estiva.builder.frontend.stages import Plan
    from estiva.builder.frontend.syntax import Dockerfile
    from estiva.builder.once import Once
    from estiva.builder.request import Readable, Request
    from estiva.store import Store
    from estiva.store.archive.load import Loader

IMAGE, LAYOUT, TARGET = "docker-image://", "oci-layout://", "target:"


def canonical(name: str) -> str:
    """A name of a context as all ways to write it have it: without docker.io/library/ and :latest; "" for
    what no context can be called.
    """
    try:
        reference = Reference.parse_name(name)
    except InvalidInput:
        return ""
    if reference.tag == "latest" and not reference.digest:
        reference.tag = ""
    return reference.familiar


class Contexts:
    """Those of one build. Raises InvalidInput for a name or a place that can't be one.

    `look` is called while something is fetched: what it raises ends that. `fetching` makes who tells of it.
    """

    def __init__(
        self,
        request: Request,
        store: Store,
        workspace: Workspace,
        look: Callable[[], None],
        fetching: Fetching,
    ) -> None:
        self.look = look
        self.fetching = fetching
        self.request = request
        self.store = store
        self.workspace = workspace
        self.named: dict[str, str] = {}
        for name, place in request.build_contexts.items():
            known = canonical(name)
            if not known:
                message = f"invalid name of a build context: {name!r}"
                raise InvalidInput(message, hint="it is written as an image's is")
            if place.startswith(TARGET):
                raise Unsupported(
                    f"the build context {name}={place} is a target of a bake file",
                    hint="`estiva bake` builds those",
                )
            self.named[known] = place
        self.fetched: Once[str, tuple[Tree, bytes | None]] | None = None  # where others have it, too
        self.text: bytes | None = None  # of the Dockerfile, where a URL gave that and no more
        self.inside = False  # the Dockerfile is one of the context, not the caller's

    # -- the build context

    def main(self) -> Tree:
        """The build context; an empty one without any. Raises NotFound, InvalidInput, Unavailable."""
        place = self.request.context
        if place is None:
            return Tree.context(self.workspace.directory())
        if isinstance(place, str) and os.path.isdir(place):
            return Tree.context(place)
        if isinstance(place, str) and self._address(place) is None and not url.is_http(place):
            return Tree.context(place)
        self.inside = True
        tree, self.text = self._once("", lambda: self._fetch(place))
        return tree

    def _address(self, place: str) -> GitAddress | None:
        from estiva.builder.fetch import address as addresses

        return addresses.parse(place, context=True)

    def _fetch(self, place: str | Readable) -> tuple[Tree, bytes | None]:
        """(files, the Dockerfile where a URL gave that and no more)."""
        from estiva.builder.fetch import folders

        if not isinstance(place, str):
            return folders.unpacked(self.workspace, folders.of_stream(place), self.look), None
        address = self._address(place)
        if address is not None:
            return self._checkout(address), None
        tree, archive = self._of_url(place, unpack=True)
        if archive:
            return tree, None
        with open(tree.open(folders.NAME), "rb") as file:
            return tree, file.read(parser.LIMIT + 1)

    def _of_url(self, place: str, *, unpack: bool) -> tuple[Tree, bool]:
        from estiva.builder.fetch import folders

        return folders.of_url(self.request, self.workspace, place, self.look, self.fetching, unpack=unpack)

    def _once(self, key: str, make: Callable[[], tuple[Tree, bytes | None]]) -> tuple[Tree, bytes | None]:
        """What is fetched, once for all that are built together: each has a tree of its own."""
        if self.fetched is None:
            return make()
        tree, text = self.fetched.get(key, make)
        return Tree(os.dup(tree.rootfd), owners=tree.owners), text

    def dockerfile(self, context: Tree) -> tuple[Dockerfile, ignore.Matcher]:
        """The parsed Dockerfile and what the context leaves out, see frontend.source.read_dockerfile."""
        request = self.request
        data, name = self.text, "Dockerfile"
        if data is None and request.dockerfile and url.is_http(request.dockerfile):
            from estiva.builder.fetch import folders

            data = folders.text_of(request, self.workspace, request.dockerfile, self.look, parser.LIMIT)
            name = url.name_of(request.dockerfile)
        if request.dockerfile_text is None and data is not None:
            if len(data) > parser.LIMIT:
                raise InvalidInput(f"the Dockerfile is larger than {parser.LIMIT >> 20} MiB")
            return parser.parse(data, name=name), patterns(context.rootfd, None)
        if request.dockerfile_folder is not None:
            fd = os.open(request.dockerfile_folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                return read_dockerfile(fd, "", path=request.dockerfile, text=None, inside=True)
            finally:
                os.close(fd)
        place = request.context
        shown = url.redacted(place) if isinstance(place, str) else "the archive" if place else ""
        return read_dockerfile(
            context.rootfd if place is not None else None,
            shown,
            path=request.dockerfile,
            text=request.dockerfile_text,
            inside=self.inside,
        )

    def _checkout(self, address: GitAddress) -> Tree:
        from estiva.builder.fetch.address import TRUE

        args = self.request.build_args
        keep = address.keep_git_dir or args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR", "") in TRUE
        mtime = address.mtime == "commit" or (
            not address.mtime and (self.request.source_date_epoch is not None or "SOURCE_DATE_EPOCH" in args)
        )
        return self._repository(address, keep=keep, mtime=mtime)

    def _repository(self, address: GitAddress, *, keep: bool, mtime: bool) -> Tree:
        from estiva.builder.fetch import folders

        with self.fetching("git", str(address)) as told:
            found = folders.repository(self.request, self.workspace, address, self.look, told)
            try:
                commit = folders.resolve(self.request, found)
                self.request.note(str(address), commit.commit or commit.object)
                return folders.checkout(self.workspace, found, commit, keep=keep, mtime=mtime)
            finally:
                found.close()

    # -- named contexts

    def place(self, name: str) -> str:
        """What the context of a name is, as the caller said; "" where there is none."""
        return self.named.get(canonical(name), "") if self.named else ""

    def image_of(self, name: str) -> str:
        """The image that a named context stands for, as docker-image:// has it; "" for any other."""
        place = self.place(name)
        return place.removeprefix(IMAGE) if place.startswith(IMAGE) else ""

    def replace(self, plan: Plan) -> None:
        """Put the named contexts in the place of the stages of their names: nothing of those is done."""
        for stage in plan.stages:
            if stage.alias and self.place(stage.alias):
                stage.image, stage.base = stage.alias, None
                stage.steps, stage.needs = [], []

    def tree(self, name: str, place: str) -> Tree:
        """The files of a named context that is no image."""
        from estiva.builder.fetch import address as addresses

        try:
            address = None if os.path.isdir(place) else addresses.parse(place)
            if address is not None:
                keep, mtime = address.keep_git_dir is True, address.mtime == "commit"
                return self._once(place, lambda: (self._repository(address, keep=keep, mtime=mtime), None))[0]
            if url.is_http(place):
                return self._once(place, lambda: (self._of_url(place, unpack=False)[0], None))[0]
            if "://" in place:
                raise InvalidInput(
                    f"{url.redacted(oneline(place))[:200]} is no place of a build context",
                    hint="a folder, docker-image://, oci-layout://, a repository or an http URL",
                )
            tree = Tree.context(place)
        except EstivaError as error:
            error.message = f"the build context {name}: {error.message.removeprefix('the build context ')}"
            raise
        tree.exclude = patterns(tree.rootfd, None)
        return tree

    def from_layout(self, name: str, place: str, platform: str | None) -> Image:
        """The image of an oci-layout:// place, in the store from now on. Raises NotFound, InvalidInput."""
        folder, digest = place.removeprefix(LAYOUT), ""
        head, at, tail = folder.rpartition("@")
        if at and ":" in tail:
            digests.parse(tail)
            folder, digest = head, tail
        head, colon, tail = folder.rpartition(":")
        tag = ""
        if colon and "/" not in tail:
            folder, tag = head, tail
        wanted = Platform.parse(platform) if platform else Platform.host()
        from estiva.store.archive import layout
        from estiva.store.archive.load import Loader, check_kind

        try:
            opened = layout.Folder(folder)
            try:
                check_kind(opened)
                return _pick(Loader(self.store, opened, wanted, hidden=True), digest, tag)
            finally:
                opened.close()
        except EstivaError as error:
            error.message = f"the build context {name}, {oneline(folder)[:200]}: {error.message}"
            raise

    def base(self, name: str, tree: Tree, platform: str | None) -> Image:
        """The image that FROM makes of a named context's files: one layer of them, and the empty config."""
        cache = local.Cache(self.store)
        keys = [local.key("context", {"contents": tree.digest("")})]
        known = cache.layer(keys)
        wanted = Platform.parse(platform) if platform else Platform.host()
        config = configs.new(wanted.architecture, wanted.os, wanted.variant)
        if known is None:
            diff_id, content = self._layer(tree)
            created = local.timestamp(None)
            keys = [local.key("context", {"contents": content})]  # of what was copied (K20)
            platform_of = {"architecture": wanted.architecture, "os": wanted.os}
            cache.keep_layer(keys, diff_id, created, f"FROM {name}", platform_of)
        else:
            diff_id, created = known.diff_id, known.created
        config["config"] = {"Env": [f"PATH={configs.DEFAULT_PATH}"], "WorkingDir": "/"}
        config["rootfs"] = {"type": "layers", "diff_ids": [diff_id]}
        config["history"] = [{"created": created, "created_by": f"FROM {name}"}]
        config["created"] = created
        data = local.encode(config)
        return Image(digests.sha256(data), data.decode(), None, 0, 0.0)  # to begin with, and in no list

    def _layer(self, tree: Tree) -> tuple[str, str]:
        """(diff_id of a layer of a tree's files, what they are)."""
        from estiva.builder.files.copier import Copier
        from estiva.builder.files.destination import Destination

        total = Record(tree.owners)
        snapshot = self.store.snapshots.prepare([])
        try:
            root = snapshot.mount()
            try:
                Copier(tree, Destination(root)).copy("", "", "/", total)
            finally:
                os.close(root)
            return str(snapshot.commit(self.look).diff_id), total.digest()
        finally:
            snapshot.discard()


def _pick(loader: Loader, digest: str, tag: str) -> Image:
    """By digest or tag; without a tag the one called latest, else the only one, as docker has it."""
    if digest or tag:
        return loader.one(digest or tag)
    try:
        return loader.one("latest")
    except NotFound:
        return loader.one("")
