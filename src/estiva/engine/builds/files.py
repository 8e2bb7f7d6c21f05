"""A build's root filesystem as files: in a folder (type=local), or as a tar (type=tar)."""

from __future__ import annotations

import os

from estiva.engine.images.outfile import Output as OutFile
from estiva.engine.mounts.terms import FOLDER, Terms
from estiva.engine.mounts.trees import Copy
from estiva.errors import InvalidInput, from_os, oneline
from estiva.store.layers.pack import Packer
from estiva.store.tar import writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from estiva.builder.exporters.output import Output
    from estiva.engine.builds.attesting import Attesting
    from estiva.engine.builds.built import Built
    from estiva.engine.images.outfile import Standard
    from estiva.store import Store


class FileExport:
    """One output of files; of several platforms each has a folder, linux_arm64."""

    def __init__(
        self,
        store: Store,
        built: Sequence[Built],
        output: Output,
        attesting: Attesting,
        warn: Callable[[str], None],
        standard: Standard | None,
    ) -> None:
        self.store, self.built, self.output = store, built, output
        self.attesting = attesting
        self.warn, self.standard = warn, standard
        self.split = output.split if output.split is not None else len(built) > 1

    def run(self) -> None:
        (self._tar if self.output.kind == "tar" else self._local)()

    def _root(self, each: Built) -> int:
        """The folder of a platform's root filesystem; the caller closes it."""
        view = self.store.snapshots.view(each.image.diff_ids)
        try:
            return os.open(".", FOLDER, dir_fd=view)
        finally:
            os.close(view)

    def _epoch(self, each: Built) -> int | None:
        return each.epoch if self.output.epoch is None else self.output.epoch

    def _folder(self, each: Built) -> str:
        return "_".join(each.platform.written().values()) if self.split else ""

    def _local(self) -> None:
        """All is the caller's, without setuid, setgid, capabilities and devices (K21); what is there stays,
        or is replaced by name, and no link in it is followed (K14)."""
        dest = self.output.dest
        try:
            os.makedirs(dest, exist_ok=True)
            target = os.open(dest, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileExistsError, NotADirectoryError):
            raise InvalidInput(f"{oneline(dest)} is not a folder") from None
        except OSError as error:
            raise from_os(error) from None
        try:
            for each in self.built:
                self._copy(each, target)
        finally:
            os.close(target)

    def _copy(self, each: Built, target: int) -> None:
        epoch = self._epoch(each)
        when = None if epoch is None else epoch * 10**9
        terms = Terms(fifos=True, merge=True, plain=True, chown=False, time=when)
        copy = Copy(terms)
        source = self._root(each)
        try:
            name = self._folder(each)
            inner = terms.enter(name, target) if name else os.dup(target)
            try:
                copy.contents(source, inner)
                for file, data in self.attesting.files(each, source, self.output):
                    _write(inner, file, data, when)
                if name:
                    os.fchmod(inner, 0o755)
                    if when is not None:
                        os.utime(inner, ns=(when, when))
            finally:
                os.close(inner)
        except OSError as error:
            raise from_os(error) from None
        finally:
            os.close(source)
        if copy.omitted:
            path, why = copy.left_out[0]
            more = f" and {copy.omitted - 1} more" if copy.omitted > 1 else ""
            self.warn(f"left out of {oneline(self.output.dest)}: {oneline(path)}{more} ({why})")

    def _tar(self) -> None:
        """The tree with owners, modes and attributes, its root itself left out."""
        roots: list[int] = []
        try:
            for each in self.built:
                roots.append(self._root(each))
                Packer(_Nothing(), None).measure(roots[-1])
            with OutFile(self.output.dest, self.standard) as out:
                for each, root in zip(self.built, roots, strict=True):
                    packer = Packer(out, None, mtime=self._epoch(each))
                    name = self._folder(each).encode()
                    if name:
                        packer.empty(name)
                    said = self.attesting.files(each, root, self.output)
                    # in the place of theirs: of two with one name the first may be a link that leads out
                    packer.below(root, name, {file.encode() for file, _ in said})
                    for file, data in said:
                        inside = f"{name.decode()}/{file}" if name else file
                        packer.data(inside.encode(), data, each.finished // 10**9)
                out.write(writer.END)
        finally:
            for root in roots:
                os.close(root)


def _write(folder: int, name: str, data: bytes, when: int | None) -> None:
    """A file of ours alone in a folder, in place of what is there: written aside, so never through a link."""
    aside = f".{os.urandom(8).hex()}.estiva"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(aside, flags, 0o600, dir_fd=folder)
    try:
        with open(fd, "wb") as file:
            file.write(data)
        if when is not None:
            os.utime(aside, ns=(when, when), dir_fd=folder, follow_symlinks=False)
        os.rename(aside, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(aside, dir_fd=folder)
        raise


class _Nothing:
    def write(self, data: bytes, /) -> None:
        """What only measures writes nothing."""
