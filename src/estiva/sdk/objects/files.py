"""The files of a container, by Container.files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from estiva.engine.containers.cp import files, program
from estiva.errors import EstivaError
from estiva.sdk import steps, values
from estiva.sdk.objects.shown import FileInfo
from estiva.sdk.told import told

if TYPE_CHECKING:
    import builtins
    from collections.abc import Iterator

    from estiva.engine import Engine

    Word = str | os.PathLike[str]

LIMIT = 256 << 20  # bytes that `read` gives at most, unless told otherwise


class Files:
    """The files of a container, also of one that does not run. Paths are those inside, from its root; links
    lead nowhere else. What is written is root's. What is the kernel's own, as in /proc, is refused.

        box.files.write("/etc/app.conf", "debug = yes\\n")
        for folder, folders, names in box.files.walk("/etc"): ...
    """

    def __init__(self, engine: Engine, container_id: str) -> None:
        self.engine = engine
        self.id = container_id

    @told
    def read(self, path: Word, *, limit: int = LIMIT) -> bytes:
        """The bytes of a file. Raises NotFound, and InvalidInput for one of more than `limit` bytes."""
        return files.read(self.engine, self.id, values.path("path", path), values.whole("limit", limit))

    def read_text(
        self, path: Word, *, limit: int = LIMIT, encoding: str = "utf-8", errors: str = "strict"
    ) -> str:
        """The same as text."""
        return self.read(path, limit=limit).decode(encoding, errors)

    @told
    def write(self, path: Word, data: bytes | bytearray | memoryview | str, *, mode: int = 0o644) -> None:
        """Make, or replace, a file: it is there whole or not at all. Missing parents are made."""
        plain = values.data(data, "data")
        if plain is None:
            raise values.wrong("data", "bytes or text", data)
        mode = values.whole("mode", mode, 0, 0o10000)
        files.write(self.engine, self.id, values.path("path", path), plain, mode)

    @told
    def list(self, path: Word = "/") -> list[FileInfo]:
        """What a folder holds, by name."""
        return [FileInfo(**one) for one in files.listing(self.engine, self.id, values.path("path", path))]

    @told
    def stat(self, path: Word, *, follow: bool = True) -> FileInfo:
        """What is at a path; without `follow` of a symlink itself. Raises NotFound."""
        follow = values.flag("follow", follow)
        return FileInfo(**files.look(self.engine, self.id, values.path("path", path), follow=follow))

    @told
    def exists(self, path: Word) -> bool:
        """Whether something is there; a symlink to nothing, or to itself, is not."""
        return files.exists(self.engine, self.id, values.path("path", path))

    @told
    def mkdir(self, path: Word, *, mode: int = 0o755, parents: bool = False) -> None:
        """Make a folder; with `parents` those above it too, and one that is there is fine."""
        mode = values.whole("mode", mode, 0, 0o10000)
        parents = values.flag("parents", parents)
        files.mkdir(self.engine, self.id, values.path("path", path), mode, parents=parents)

    @told
    def remove(self, path: Word, *, recursive: bool = False) -> None:
        """Remove a file, a symlink or an empty folder; with `recursive` a folder with all that it holds."""
        recursive = values.flag("recursive", recursive)
        files.remove(self.engine, self.id, values.path("path", path), recursive=recursive)

    def walk(self, top: Word = "/") -> Iterator[tuple[str, builtins.list[str], builtins.list[str]]]:
        """As os.walk: (folder, names of folders, names of files) of each, from the top down. Symlinks are
        files, and what can't be listed is passed over, but for the top."""
        return steps.items(walking(self, top))

    @told
    def upload(self, source: Word, path: Word) -> None:
        """Copy a file or folder of the host to `path`; a folder goes into one that is there."""
        program.put(self.engine, self.id, values.path("source", source), values.path("path", path), 0)

    @told
    def download(self, path: Word, target: Word) -> None:
        """Copy a file or folder to the host: the caller's own, without setuid, setgid and capabilities."""
        program.get(self.engine, self.id, values.path("path", path), values.path("target", target))


def walking(files: Files, top: Word) -> steps.Stream[tuple[str, list[str], list[str]]]:
    """See Files.walk."""
    waiting = [os.path.normpath("/" + values.path("top", top).lstrip("/"))]
    first = True
    while waiting:
        folder = waiting.pop()
        try:
            found = files.list(folder)
        except EstivaError:
            if first:
                raise
            continue
        first = False
        folders = [one.name for one in found if one.is_dir]
        yield folder, folders, [one.name for one in found if not one.is_dir]
        waiting += [os.path.join(folder, name) for name in reversed(folders)]
