"""The COPY and ADD steps: their sources, what those amount to (for the cache), how they are copied."""

from __future__ import annotations

import os
import posixpath
import stat
import time

from estiva.builder.files import url
from estiva.builder.files.destination import Destination
from estiva.builder.files.record import Record
from estiva.builder.files.tree import Missing
from estiva.builder.frontend import ignore, patterns, values
from estiva.builder.frontend.errors import bad
from estiva.builder.steps import missing, users
from estiva.builder.steps.remotes import Remotes
from estiva.builder.steps.state import expander
from estiva.builder.steps.written import diff_ids, known, soon
from estiva.builder.struct import struct
from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.builder.files.tree import Tree
    from estiva.builder.frontend.instructions import Copy
    from estiva.builder.frontend.syntax import Heredoc
    from estiva.builder.steps.context import StepContext
    from estiva.builder.steps.state import State
    from estiva.store.layers.sink import TarSink

_WORTH = 1000  # paths whose files take longer to make and remove than the layers below to be packed
_SOON = 0.05  # seconds that a few files are worth: most RUNs write little, which is packed at once


@struct
class Item:
    """One source: a path of the tree, its name in a destination directory, and for --parents its base."""

    path: str
    name: str
    base: str = ""
    relative: str = ""


class CopyStep:
    """One COPY or ADD, its words expanded against the state before it."""

    def __init__(self, context: StepContext, state: State, typed: Copy) -> None:
        self.context = context
        self.state = state
        self.typed = typed
        expand = expander(state, typed)
        self.sources = [expand.word(source) for source in typed.sources]
        self.destination = expand.word(typed.destination)
        self.chown = expand.word(typed.chown)
        self.chmod = expand.word(typed.chmod)
        self.link = typed.link and not self.chmod  # as docker has it: existing directories keep their mode
        self.checksum = expand.word(typed.checksum)
        self.exclude = ignore.Matcher([expand.word(pattern) for pattern in typed.exclude])
        self.documents = [(doc, expand.text(doc.text) if doc.expand else doc.text) for doc in typed.heredocs]
        self.path = state.absolute(self.destination)
        if self.chmod:
            values.mode_change(self.chmod, 0o644, False)
        self.many = 0  # paths that were looked at
        self.files: dict[str, list[str]] = {}  # what was copied, as files/record.py lists it
        self._owner: tuple[int, int] | None = None
        self.remotes = Remotes(context, typed, self.sources, self.checksum)

    def run(self) -> bool:
        """Copy, or find the layer in the cache: whether it was cached."""
        try:
            return self._run()
        finally:
            self.remotes.close()
            self.context.workspace.release()

    def _run(self) -> bool:
        context, state = self.context, self.state
        source = context.source(self.typed.from_)
        created_by = self.created_by()

        def defined(below: list[str]) -> list[str]:
            """By what the stage is to become, which need not be built then."""
            definition = source.definition if self.sources else None
            return (
                [] if definition is None else [context.key("defined-copy", self._inputs(below, definition))]
            )

        def whole(below: list[str]) -> list[str]:
            """By all of the image or stage, which need not be looked at then."""
            if source.layers is None or not self.sources:
                return []
            return [*defined(below), context.key("copy-from", self._inputs(below, diff_ids(source.layers)))]

        if source.definition is not None and context.reuse(
            state, defined, created_by, alone=self.link, last=False
        ):
            return True
        fixed = source.layers is not None and bool(self.sources) and known(source.layers) is not None
        if fixed and context.reuse(state, whole, created_by, alone=self.link, last=False):
            return True
        if len(self.remotes) or any("**" in source for source in self.sources):
            context.busy()
        tree = source.tree
        items = self._gather(tree)
        if len(items) > _WORTH or any(tree.is_much(item.path) for item in items):
            context.busy()
        self.remotes.resolve()
        seen = [self._look(tree, item) for item in items]
        remote = self.remotes.contents()

        def found(below: list[str]) -> list[str]:
            return [*defined(below), self._key(below, seen, remote)]

        if context.reuse(state, found, created_by, alone=self.link):
            return True
        copied: list[list[Any]] = []

        def keys(below: list[str]) -> list[str]:
            # they tell what was copied, whatever a folder held when it was looked at (K20)
            read = copied if source.folder else seen
            return [*whole(below), self._key(below, read, remote)]

        told = {**self._inputs([], []), "contents": "", "from": self.typed.from_, "addresses": remote}
        if not self.link:
            del told["below"]  # which is for those who know it
        told = {**told, "files": self.files}
        if self._is_one(tree, items) and (self.many > _WORTH or soon(state.layers, _SOON)):
            from estiva.builder.files.direct import Inherited

            try:
                context.add(
                    state,
                    keys,
                    created_by,
                    told,
                    lambda rootfd, sink: copied.append(self._direct(tree, items[0], rootfd, sink)),
                    alone=self.link,
                )
            except Inherited:
                self.files.clear()
            else:
                return False
        context.write(
            state,
            keys,
            created_by,
            told,
            lambda rootfd, upper: copied.extend(self._copy(tree, items, rootfd, upper)),
            alone=self.link,
        )
        return False

    def _key(self, below: list[str], contents: list[list[Any]], remote: list[Any]) -> str:
        return self.context.key("copy", self._inputs(below, [*contents, *remote]))

    def created_by(self) -> str:
        """The line in the image's history."""
        words = [self.typed.name]
        words += ["--parents"] if self.typed.parents else []
        words += [f"--chown={self.chown}"] if self.chown else []
        words += [f"--chmod={self.chmod}"] if self.chmod else []
        words += [
            *map(url.redacted, self.sources),
            *("<<" + doc.name for doc, _ in self.documents),
            self.destination,
        ]
        return " ".join(words) + " # buildkit"

    def _inputs(self, below: list[str], contents: Any) -> dict[str, Any]:
        """All that the layer depends on, as the cache key covers it."""
        link = self.link
        return {
            "below": [] if link else below,
            "owner": list(self.owner) if link and self.chown else self.chown,
            "add": self.typed.name == "ADD",
            "sources": [*self.remotes.local, *self.remotes.names()],
            "contents": contents,
            "documents": [[doc.name, text] for doc, text in self.documents],
            "path": self.path,
            "chmod": self.chmod,
            "exclude": [("!" if p.negated else "") + p.text for p in self.exclude.patterns],
            "flags": [link, self.typed.parents, self.typed.unpack],
        }

    @property
    def owner(self) -> tuple[int, int]:
        """The numeric owner of a --link copy: its layer does not depend on the rootfs, but names do."""
        if self._owner is None:
            with self.context.view(self.state.layers) as fd:
                self._owner = users.owner(fd, self.chown)
        return self._owner

    def _gather(self, tree: Tree) -> list[Item]:
        items: list[Item] = []
        for source in self.remotes.local:
            items += self._parents(tree, source) if self.typed.parents else self._plain(tree, source)
        self._check_many(tree, items)
        return items

    def _check_many(self, tree: Tree, items: list[Item]) -> None:
        """Several sources need a directory, which a directory or an archive that comes first makes one."""
        given = len(self.sources) + len(self.documents)
        count = len(items) + len(self.documents) + len(self.remotes)
        if count < 2 or self.typed.parents or self.path.endswith("/") or self._is_directory():
            return
        if items and self._is_folder(tree, items[0]):
            return
        name = self.typed.name
        which = (
            f"when {name} has more than one source,"
            if given > 1
            else f"{self.sources[0]} matches {count} sources, so"
        )
        hint = f"end it with a slash: {self.destination}/"
        raise bad(self.typed.source, f"{which} the destination must be a directory", hint)

    def _is_folder(self, tree: Tree, item: Item) -> bool:
        """Whether a source is a directory, or an archive that is to be unpacked."""
        if stat.S_ISDIR(tree.stat(item.path).st_mode):
            return True
        archive = self._archive(tree, item)
        if archive >= 0:
            os.close(archive)
        return archive >= 0

    def _is_directory(self) -> bool:
        with self.context.view(self.state.layers) as fd:
            return Destination(fd).is_directory(self.path)

    def _plain(self, tree: Tree, source: str) -> list[Item]:
        return [
            Item(self._resolve(tree, path, source), posixpath.basename(path)) for path in tree.glob(source)
        ]

    def _parents(self, tree: Tree, source: str) -> list[Item]:
        """--parents: sources keep their path below the context, or below a `/./` in them; no `..` leads out.
        Links that a wildcard comes by are not followed, and one that is copied stays a link.
        """
        base, pivot, pattern = source.partition("/./")
        if not pivot:
            base, pattern = "", source
        pattern = posixpath.normpath("/" + pattern).lstrip("/")
        items: list[Item] = []
        for start in tree.glob(base) if base else [""]:
            top = self._resolve(tree, start, source)
            prefix = top + "/" if top else ""
            names = [ignore.unescape(pattern)]
            if ignore.has_wildcard(pattern):
                names = self._matching(tree, top, pattern)
            for name in names:
                resolved = self._resolve(tree, prefix + name, source, last=False)
                items.append(Item(resolved, posixpath.basename(name), top, name))
        return items

    def _matching(self, tree: Tree, top: str, pattern: str) -> list[str]:
        """The paths below `top` that match; what is in a directory that does comes with it."""
        match = patterns.path(pattern).match
        strip = len(top) + 1 if top else 0
        found: list[str] = []
        for path in tree.walk(top):
            name = path[strip:]
            if not (found and name.startswith(found[-1] + "/")) and match(name):
                found.append(name)
        return found

    def _resolve(self, tree: Tree, path: str, source: str, *, last: bool = True) -> str:
        try:
            return tree.resolve(path, last=last)
        except Missing:
            name = self.typed.name
            message = (
                f"{name} failed: file not found in build context (or excluded by .dockerignore): {source}"
            )
            if self.typed.from_:
                message = f"{name} failed: file not found in {self.typed.from_}: {source}"
            raise bad(self.typed.source, message, missing.likely(tree, path, source)) from None

    @property
    def _unpacks(self) -> bool:
        return self.typed.name == "ADD" if self.typed.unpack is None else self.typed.unpack

    def _exclude(self, item: Item, directory: bool) -> ignore.Matcher:
        """What --exclude leaves out of a source; with --parents its patterns are for whole paths."""
        above = item.relative if directory else posixpath.dirname(item.relative)
        return self.exclude.below(above + "/") if above else self.exclude

    def _look(self, tree: Tree, item: Item) -> list[Any]:
        """What a source is now, for the search in the cache: name, content, whether it is unpacked."""
        total = Record(tree.owners)
        directory = stat.S_ISDIR(tree.stat(item.path).st_mode)
        for parent in tree.above(item.base, _branch(item, directory)):
            total.add(parent, tree.stat(tree.resolve(parent)))
        exclude = self._exclude(item, directory)
        if directory or not exclude.excluded(item.name):
            # a file with holes may be larger than any disk: it is not read for hours before that fails
            disk = os.statvfs(self.context.store.paths.ingest)
            most = disk.f_blocks * disk.f_frsize
            directory = tree.look(item.path, total, exclude=exclude, most=most)
        archive = self._archive(tree, item)
        if archive >= 0:
            os.close(archive)
        self.many += total.paths
        return ["" if directory else item.name, item.relative, total.digest(), archive >= 0]

    def _archive(self, tree: Tree, item: Item) -> int:
        """An fd of a source that is to be unpacked, -1 for one that is to be copied."""
        if item.relative or not self._unpacks or not stat.S_ISREG(tree.stat(item.path).st_mode):
            return -1
        from estiva.builder.files import untar

        fd = tree.open(item.path)
        if untar.is_archive(fd):
            return fd
        os.close(fd)
        return -1

    def _is_one(self, tree: Tree, items: list[Item]) -> bool:
        """Whether it is one file or directory that is copied."""
        if len(items) != 1 or len(self.remotes) or self.documents or self.typed.parents:
            return False
        archive = self._archive(tree, items[0])
        if archive >= 0:
            os.close(archive)
        return archive < 0

    def _direct(self, tree: Tree, item: Item, rootfd: int, sink: TarSink) -> list[Any]:
        """As `_copy`, of one."""
        from estiva.builder.files.direct import Direct

        total = Record(tree.owners, self.files, item.path)
        copier = Direct(tree, self._destination(rootfd), sink, exclude=self.exclude)
        directory = copier.copy(item.path, item.name, self.path, total)
        copier.finish()
        return ["" if directory else item.name, "", total.digest(), False]

    def _destination(self, rootfd: int, upper: int = -1) -> Destination:
        owner = None
        if self.chown:
            owner = self.owner if self.link else users.owner(rootfd, self.chown)
        return Destination(rootfd, owner=owner, chmod=self.chmod, upper=upper)

    def _copy(self, tree: Tree, items: list[Item], rootfd: int, upper: int) -> list[list[Any]]:
        """Do all of it; for every source what `_look` tells, of what was copied."""
        from estiva.builder.files.copier import Copier

        to = self._destination(rootfd, upper)
        copier = Copier(tree, to, exclude=self.exclude)
        copied: list[list[Any]] = []
        if self.typed.parents and not items:
            os.close(to.directory(self.path))
        for item in items:
            total = Record(tree.owners, self.files, item.path)
            archive = self._archive(tree, item)
            if archive >= 0:
                self._unpack(tree, archive, to, total)
                copied.append([item.name, item.relative, total.digest(), True])
                continue
            path = self.path
            if item.relative:
                directory = stat.S_ISDIR(tree.stat(item.path).st_mode)
                branch = _branch(item, directory)
                copier.exclude = self._exclude(item, directory)
                path = copier.parents(item.base, branch, path, total)
            directory = copier.copy(item.path, item.name, path, total)
            if item.relative:
                copier.date(item.base, self.path)
            copied.append(["" if directory else item.name, item.relative, total.digest(), False])
        self.remotes.copy(to, self.path, self.exclude)
        for document, text in self.documents:
            self._write_document(document, text, to)
        return copied

    def _unpack(self, tree: Tree, fd: int, to: Destination, into: Record) -> None:
        """Unpack an archive out of a copy of it, so that what was unpacked is what the record tells."""
        from estiva.builder.files import untar
        from estiva.builder.files.copier import take

        own = self.context.workspace.file()
        try:
            copied = take(fd, own, owners=tree.owners, keyed=True, look=tree.going)
        finally:
            os.close(fd)
        into.add("", copied.info, copied.content)
        if not untar.is_archive(own):
            raise InvalidInput("the archive changed while it was copied")
        untar.extract(own, self.context.workspace.file(), self.path, to, self.context.look)

    def _write_document(self, document: Heredoc, text: str, to: Destination) -> None:
        data = text.encode("utf-8", "replace")
        name = posixpath.basename(document.name)
        to.write(self.path, name, data, mode=0o644, mtime_ns=time.time_ns())


def _branch(item: Item, directory: bool) -> str:
    """What of a --parents source is made on the way: a directory is that itself."""
    return item.relative + "/." if item.relative and directory else item.relative
