"""A RUN's bind mounts: what each shows, and what the cache's key tells of it.

They are handed over as fds, never by a name that somebody may give to something else meanwhile. A stage or an
image can't change, so its own files are shown. A folder of the host's can: it is mounted itself where a
change would be seen afterwards (files/witness.py), so that the result is not kept under a key that tells of
other files. Else, and where it must not be shown as it is (what `.dockerignore` leaves out, other owners than
root, sockets), the command sees a copy, and the key tells what is in the copy (K20).
"""

from __future__ import annotations

import os
import posixpath
import stat

from estiva.builder.files import frozen
from estiva.builder.files.witness import Witness
from estiva.builder.steps.written import diff_ids, known

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.builder.frontend.run_mounts import Mount
    from estiva.builder.steps.context import Source, StepContext


class Bind:
    """One of them. `layers` and `content` are what the key tells: of a stage or an image the layers that it
    is made of (None while they are being made), and of anything what is mounted, once `open` was called.
    Close it after the command.

    `resolve` finds what is mounted, and raises for what is not there: of a folder at once, of a stage or an
    image only when its files are looked at.
    """

    def __init__(
        self, context: StepContext, mount: Mount, source: Source, resolve: Callable[[], str]
    ) -> None:
        self.workspace = context.workspace
        self.store = context.store
        self.mount = mount
        self.source = source
        self._resolve = resolve
        self._resolved: str | None = None
        self.witness: Witness | None = None
        self._content: list[str] | None = None
        self._written = ""  # the directory of what the command writes
        if source.folder:
            copied = self.workspace.frozen.found((source.tree, self.resolved))
            read = source.tree.digest(self.resolved, firm=True) if copied is None else copied.digest
            self._content = [read]

    @property
    def resolved(self) -> str:
        if self._resolved is None:
            self._resolved = self._resolve()
        return self._resolved

    @property
    def layers(self) -> list[str] | None:
        return self._content if self.source.folder else known(self.source.layers or [])

    @property
    def definition(self) -> list[str] | None:
        """What the key tells of a stage that need not be built, if that is known; of others their layers."""
        return self.source.definition if self.source.stage else self.layers

    @property
    def content(self) -> list[str]:
        """Of a whole image its layers: reading all of it takes longer than most commands."""
        if self._content is None:
            assert self.source.layers is not None
            if self.source.stage or self.resolved:
                self._content = [self.source.tree.digest(self.resolved)]
            else:
                self._content = diff_ids(self.source.layers)
        return self._content

    @property
    def name(self) -> str:
        return self.mount.from_ or "the build context"

    def close(self) -> None:
        if self.witness is not None:
            self.witness.tree.close()
            self.witness = None
        if self._written:
            self.workspace.drop(self._written)
            self._written = ""

    def open(self) -> int:
        """The fd of a detached mount of it. Raises OSError, InvalidInput, Unsupported."""
        fd = self._itself()
        if fd < 0:
            fd = self._copy()
        if fd >= 0 and self.mount.writable:
            self._written = self.workspace.directory()
            fd = frozen.over(fd, self._written)
        if fd >= 0:
            return fd
        self.close()
        copied = frozen.Copied(self.source.tree, self.resolved, self.workspace.directory())
        try:
            if self.source.folder:
                self._content = [copied.digest]
            return copied.mount(writable=self.mount.writable)
        finally:
            copied.close()

    def changed(self) -> str | None:
        """A path of what was mounted that is not as the key tells any more, if there is one."""
        path = None if self.witness is None else self.witness.changed()
        return path if path is None else posixpath.join(self.resolved, path).rstrip("/") or "."

    def _itself(self) -> int:
        """A mount of the very files; -1 if it might show what the key does not tell."""
        tree = self.source.tree
        if not self.source.folder:
            return frozen.detached(tree.open(self.resolved, os.O_PATH))
        if self.workspace.frozen.begun((tree, self.resolved)) or (tree.exclude and self._is_directory()):
            return -1
        fd = frozen.detached(tree.open(self.resolved, os.O_PATH))
        if fd < 0:
            return -1
        shown = tree.through(os.dup(fd))
        try:
            witness = Witness(shown)
        except BaseException:
            shown.close()
            os.close(fd)
            raise
        if witness.doubt or self.content != [witness.digest]:
            shown.close()
            os.close(fd)
            return -1
        self.witness = witness
        return fd

    def _copy(self) -> int:
        """A mount of a copy that is made once in a build, -1 if there can't be one."""
        key = tree, path = self.source.tree, self.resolved
        make: type[frozen.Frozen]
        if self.source.folder and self.store.layers.driver == "erofs" and self._is_directory():
            make = frozen.Packed
        elif not self.mount.writable or self.workspace.frozen.begun(key):
            make = frozen.Copied
        else:
            return -1
        copy = self.workspace.frozen.get(key, lambda: make(tree, path, self.workspace.directory()))
        if self.source.folder:
            self._content = [copy.digest]
        return copy.mount()

    def _is_directory(self) -> bool:
        return stat.S_ISDIR(self.source.tree.stat(self.resolved).st_mode)
