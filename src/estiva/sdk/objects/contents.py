"""The files of a container: single ones, all of them, and what has changed."""

from __future__ import annotations

import contextlib
import io
import os
from typing import IO, TYPE_CHECKING, Any

from estiva.sdk import values
from estiva.sdk.objects import shown
from estiva.sdk.told import told

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from estiva.engine import Engine
    from estiva.sdk.objects.files import Files

    Word = str | os.PathLike[str]


class Contents:
    """That half of a Container which is about its files."""

    engine: Engine
    id: str

    @property
    def files(self) -> Files:
        """Its files: read, write, list, stat, remove, walk, upload, download; also while it does not run.

        box.files.write("/etc/motd", "hello\\n"); print(box.files.list("/etc")[0].name)
        """
        from estiva.sdk.objects.files import Files

        return Files(self.engine, self.id)

    @told
    def put(self, source: Word | bytes | bytearray | memoryview, path: Word, *, mode: int = 0o644) -> None:
        """Put bytes, or a file or folder of the host, at `path` in the container; parents are made.

        A folder goes into one that is there, and replaces the files of the same names, as `docker cp
        FOLDER/.` does. `mode` is that of a file of bytes. Raises EstivaError.
        """
        from estiva.engine.containers.cp import program

        plain = bytes(source) if isinstance(source, (bytes, bytearray, memoryview)) else None
        where = values.path("path", path)
        mode = values.whole("mode", mode, 0, 0o10000)
        program.put(
            self.engine, self.id, values.path("source", source) if plain is None else plain, where, mode
        )

    @told
    def get(self, path: Word, target: Word | None = None) -> bytes:
        """The bytes of a file in the container; with `target`, a file or folder is copied there instead, a
        folder into one that is there. Raises EstivaError.
        """
        from estiva.engine.containers.cp import program

        there = None if target is None else values.path("target", target)
        return program.get(self.engine, self.id, values.path("path", path), there)

    @told
    def put_archive(self, path: Word, data: bytes | IO[bytes]) -> None:
        """Unpack a tar, plain or compressed, into a folder that is there. Its names and links lead nowhere
        but below that folder."""
        from estiva.engine.containers.cp import archive

        stream = io.BytesIO(data) if isinstance(data, (bytes, bytearray, memoryview)) else data
        if not callable(getattr(stream, "read", None)):
            raise values.wrong("data", "bytes or a file", data)
        archive.unpack(self.engine, self.id, values.path("path", path), stream)

    @told
    def get_archive(self, path: Word, target: Word | IO[bytes]) -> None:
        """Write a file or folder of it, as a tar, to a file."""
        from estiva.engine.containers.cp import archive

        with written(target) as out:
            archive.pack(self.engine, self.id, values.path("path", path), out)

    @told
    def export(self, target: Word | IO[bytes]) -> None:
        """Write its whole filesystem, as a tar, to a file."""
        from estiva.engine.containers import changes

        with written(target) as out:
            changes.export(self.engine, self.id, out)

    @told
    def diff(self) -> list[shown.Change]:
        """What it has changed of its image's files."""
        from estiva.engine.containers import changes

        return [shown.Change(kind, path) for kind, path in changes.diff(self.engine, self.id)]

    @told
    def commit(
        self,
        reference: str | None = None,
        *,
        author: str = "",
        message: str = "",
        changes: Sequence[str] | None = None,
        pause: bool = True,
    ) -> str:
        """A new image out of what the container is now; its id. `changes` are Dockerfile instructions. Raises
        EstivaError.
        """
        from estiva.engine.containers import changes as committing

        return committing.commit(
            self.engine,
            self.id,
            values.text("reference", reference) or None,
            author=values.text("author", author),
            message=values.text("message", message),
            changes=values.listed("changes", changes),
            pause=values.flag("pause", pause),
        )


@contextlib.contextmanager
def written(target: Any) -> Iterator[IO[bytes]]:
    """A file to write to: the caller's own, or one by its path, which takes its place when it is whole and is
    its owner's alone."""
    if callable(getattr(target, "write", None)):
        yield target
        return
    from estiva.engine.images.outfile import Output

    with Output(os.path.abspath(values.path("target", target))) as out:
        yield out
