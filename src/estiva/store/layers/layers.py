"""Layers by diffID: how they come in, where they can be read, how they go out.

    ingest             from a registry or an archive: compressed bytes, verified and unpacked as they come
                       (ingest.py)
    apply_tar          from an uncompressed tar: an import; sink and commit: a container's changes
    mount              the lowerdirs of a chain (mounts.py)
    tar, compressed    the layer's stream for export and push
    delete, sweep      the end

A layer depends on nothing below it (DESIGN decision 3). Its files, below layers/HEX and for erofs also the
tar in blobs/, are complete and on the disk before its row is there; whoever dies before that leaves files
in ingest/ that hold no lock, or files without a row, and both are swept.
"""

from __future__ import annotations

import os
import time

from estiva import errors, fastjson, files
from estiva.store.layers import soundness
from estiva.store.layers.layer import Damaged, Layer, layer_name
from estiva.store.layers.mounts import Lowerdirs, Mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import BinaryIO, TypeAlias

    from estiva.paths import Paths
    from estiva.store.content import Content
    from estiva.store.database import Database
    from estiva.store.layers.ingest import LayerIngest
    from estiva.store.layers.sink import TarSink

    Form: TypeAlias = tuple[str, int, str]  # of a blob: digest, size, media type


class Layers:
    """The layers of one store. `driver`: for new layers, before the environment's and the remembered one."""

    def __init__(self, paths: Paths, db: Database, content: Content, driver: str | None = None) -> None:
        self.paths = paths
        self.db = db
        self.content = content
        self.mounts = Mounts(paths, db)
        self._driver = driver
        self._chosen: str | None = None
        self.refetch: Callable[[str], str] | None = None  # gets a layer again; where from, in words
        self.mended: list[str] = []  # what was made again because it was damaged, in words

    @property
    def driver(self) -> str:
        """The driver that new layers are made with."""
        if self._chosen is None:
            from estiva.store.layers.drivers import choose

            self._chosen = choose(self.paths, self.db, self._driver)
        return self._chosen

    # ---- what is there

    def find(self, diff_id: str) -> Layer | None:
        """The layer, or None."""
        return soundness.find(self.db, diff_id)

    def get(self, diff_id: str) -> Layer:
        """The layer. Raises NotFound."""
        found = self.find(diff_id)
        if found is None:
            raise errors.NotFound(f"no layer {diff_id} in the store")
        return found

    def has(self, diff_id: str) -> bool:
        """Whether the layer can be mounted, as far as a look at its files tells."""
        found = self.find(diff_id)
        return found is not None and not soundness.finding(self.paths, found)

    # ---- in

    def ingest(self, blob_digest: str, size: int | None, media_type: str, diff_id: str) -> LayerIngest:
        """Begin, or resume, taking in a compressed layer. Waits while another process takes in the blob."""
        from estiva.store.layers.ingest import LayerIngest

        return LayerIngest(self, blob_digest, size, media_type, diff_id)

    def apply_tar(self, source: int | str, diff_id: str | None = None) -> Layer:
        """Make a layer of an uncompressed tar, read from an fd to its end or from a path.

        Raises LayerError, and IntegrityError when `diff_id` is given and the tar has another.
        """
        fd = source if isinstance(source, int) else os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with self.sink() as sink:
                while piece := os.read(fd, 1 << 20):
                    sink.write(piece)
                return self.commit(sink, expected=diff_id)
        finally:
            if not isinstance(source, int):
                os.close(fd)

    def sink(self) -> TarSink:
        """A place to write an uncompressed tar to, for `commit`."""
        from estiva.store.layers.sink import TarSink

        return TarSink(self.paths.ingest)

    def commit(self, sink: TarSink, *, expected: str | None = None, form: Form | None = None) -> Layer:
        """Make a layer of the tar in `sink`. Raises LayerError, IntegrityError when it is not `expected`.

        `form`: digest, size and media type of the blob in the store that the layer came as. With another than
        the tar a driver that can do without drops the tar. Its row comes with that of the layer: a layer
        without any form could not be sent, compared or made again.
        """
        diff_id = sink.finish()
        if expected is not None and diff_id != expected:
            raise errors.IntegrityError(f"layer has the diffID {diff_id} instead of {expected}")
        if self.has(diff_id):
            return self._known(diff_id, form)
        return self._build(sink, diff_id, form is None or form[0] == diff_id, self.driver, form)

    def _known(self, diff_id: str, form: Form | None) -> Layer:
        if form is not None:
            self.adopt_blob(diff_id, *form)
        return self.get(diff_id)

    def _build(
        self, sink: TarSink, diff_id: str, keep: bool, driver: str, form: Form | None, anew: bool = False
    ) -> Layer:
        """`anew`: also where there is one that looks sound."""
        from estiva.store.layers import drivers
        from estiva.store.layers.sink import Workspace

        with Workspace(self.paths.ingest) as workspace:
            syncing = sink.sync() if driver == "erofs" or keep else None
            try:
                drivers.load(driver).build(sink.tree, sink.fd, sink.size, workspace.path)
            except errors.Unsupported:
                driver = "dir"  # sparse members and the like
                workspace.renew()
                drivers.load(driver).build(sink.tree, sink.fd, sink.size, workspace.path)
            implied = fastjson.dumps(sink.tree.implied())
            summed = soundness.summed(driver, workspace.path)
            if syncing is not None:
                syncing.join()
            with files.Lock(self.paths.lock("layers-commit")):
                if not anew and self.has(diff_id):  # another process made it from another form of it
                    return self._known(diff_id, form)
                keep = keep or driver == "erofs"
                if keep:
                    files.make_room(self.content.path(diff_id))
                    os.rename(sink.path, self.content.path(diff_id))
                    files.sync_directory(f"{self.paths.blobs}/sha256")
                self._place(workspace.path, layer_name(diff_id))
                layer = Layer(diff_id, sink.size, driver, summed)
                self._register(layer, implied, keep, form)
                self.mounts.unmount(layer_name(diff_id))  # of one that was damaged; who runs on it keeps it
        return layer

    def _place(self, directory: str, name: str) -> None:
        """Rename a finished layer directory into place. One that is there has no row, for its maker died, or
        is damaged.
        """
        target = f"{self.paths.layers}/{name}"
        if os.path.lexists(target):
            files.remove_tree(target)
        os.rename(directory, target)
        files.sync_directory(self.paths.layers)

    def _register(self, layer: Layer, implied: str, keep: bool, form: Form | None) -> None:
        now = time.time()
        diff_id = layer.diff_id
        with self.db.write() as transaction:
            if keep:
                transaction.execute(
                    "INSERT OR REPLACE INTO blobs (digest, size, created) VALUES (?, ?, ?)",
                    (diff_id, layer.size, now),
                )
            transaction.execute(
                "INSERT OR REPLACE INTO layers (diff_id, driver, size, implied, created)"
                " VALUES (?, ?, ?, ?, ?)",
                (diff_id, layer.driver, layer.size, implied, now),
            )
            transaction.execute(soundness.SET, (soundness.key(diff_id), layer.sum))
            if form is not None:
                self.adopt_blob(diff_id, *form)  # nested: in this transaction

    def adopt_blob(self, diff_id: str, digest: str, size: int, media_type: str) -> None:
        """Remember that the blob `digest` (in the store) is a form of the layer, of its manifest's type."""
        with self.db.write() as transaction:
            transaction.execute(
                "INSERT OR REPLACE INTO layer_blobs (digest, diff_id, media_type, size) VALUES (?, ?, ?, ?)",
                (digest, diff_id, media_type, size),
            )

    # ---- where it can be read

    def mount(self, diff_ids: Sequence[str]) -> Lowerdirs:
        """The lowerdirs of a chain given base first, topmost first; see mounts.Mounts.mount. A layer that is
        found damaged is made again, or fetched again where that is not enough.
        """
        for _ in diff_ids:
            try:
                return self.mounts.mount(diff_ids)
            except Damaged as error:
                self.mend(error)
        return self.mounts.mount(diff_ids)

    # ---- what is damaged

    def mend(self, damage: Damaged) -> str:
        """Make a damaged layer again from what is here of it, or have it fetched again; what was done, in
        words. Raises the damage where neither can be.
        """
        try:
            done = f"made again from its {self.rebuild(damage.diff_id)}"
        except errors.EstivaError:
            if self.refetch is None:
                raise damage from None
            try:
                done = f"fetched again from {self.refetch(damage.diff_id)}"
            except errors.EstivaError as error:
                raise Damaged(damage.diff_id, f"{damage.why}; it can't be fetched again: {error}") from None
        line = f"layer {damage.diff_id[:19]} was damaged ({damage.why}): {done}"
        self.mended.append(line)
        return line

    def rebuild(self, diff_id: str) -> str:
        """Make the layer again from its tar or a compressed form of it, whichever proves to be sound; which
        it was. Raises IntegrityError where none is, NotFound.
        """
        layer = self.get(diff_id)
        kept = bool(self.db.read("SELECT 1 FROM blobs WHERE digest = ?", (diff_id,)))
        compressed = self.db.read(
            "SELECT digest FROM layer_blobs WHERE diff_id = ? AND digest != diff_id", (diff_id,)
        )
        for digest in (diff_id, *(digest for (digest,) in compressed)):
            try:
                with self.sink() as sink:
                    for piece in self._form(diff_id, digest):
                        sink.write(piece)
                    if sink.finish() == diff_id:
                        self._build(sink, diff_id, kept, layer.driver, None, anew=True)
                        return "tar" if digest == diff_id else f"compressed form {digest[:19]}"
            except (errors.IntegrityError, errors.NotFound):
                continue
            except OSError as error:
                if error.errno in errors.FULL:
                    raise errors.from_os(error) from error
        raise errors.IntegrityError(f"layer {diff_id} can't be made again from what is here")

    def differs(self, diff_id: str) -> str:
        """The first file of a dir layer that is not what its tar says, "" for none; it reads all. Raises what
        reading the tar raises.
        """
        from estiva.store.layers.drivers.dir import differs

        with self.sink() as sink:
            for piece in self.chunks(diff_id):
                sink.write(piece)
            if sink.finish() != diff_id:
                raise errors.IntegrityError(f"layer {diff_id} has a tar of another digest")
            return differs(sink.tree, sink.fd, f"{self.paths.layers}/{layer_name(diff_id)}")

    def sweep(self, keep: Iterable[str] | None = None) -> int:
        """Unmount layers that no container needs now; returns how many.

        `keep`: diffIDs to leave mounted; by default those of the images of containers that are not stopped.
        """
        if keep is None:
            from estiva.store import containers

            found: set[str] = set()
            for config in containers.configs_in_use(self.db):
                found.update((fastjson.loads(config).get("rootfs") or {}).get("diff_ids") or ())
            keep = found
        return self.mounts.sweep(keep)

    def unmount_all(self) -> int:
        """Unmount every layer mount under the run root (tests, uninstall); returns how many."""
        return self.mounts.sweep(())

    # ---- out

    def blobs(self, diff_id: str) -> list[tuple[str, int, str]]:
        """(digest, size, media type) of every form of the layer that is kept, compressed ones first."""
        rows = self.db.read(
            "SELECT layer_blobs.digest, layer_blobs.size, media_type"
            " FROM layer_blobs JOIN blobs USING (digest) WHERE diff_id = ?"
            " ORDER BY layer_blobs.digest = diff_id, layer_blobs.size",
            (diff_id,),
        )
        result = [(digest, size, media) for digest, size, media in rows]
        if not any(digest == diff_id for digest, _, _ in result) and self.content.has(diff_id):
            from estiva.oci.image import OCI_LAYER

            result.append((diff_id, self.content.size(diff_id), OCI_LAYER))
        return result

    def chunks(self, diff_id: str) -> Iterator[bytes]:
        """The layer's uncompressed tar in pieces."""
        self.get(diff_id)
        if self.content.has(diff_id):
            digest = diff_id
        else:
            forms = self.blobs(diff_id)
            if not forms:
                raise errors.NotFound(f"layer {diff_id} has lost its content", hint="pull its image again")
            digest = forms[0][0]
        yield from self._form(diff_id, digest)

    def _form(self, diff_id: str, digest: str) -> Iterator[bytes]:
        """The uncompressed tar in pieces, from one of the blobs that hold it."""
        from estiva.store.layers import codec

        fd = self.content.open(digest)
        try:
            pieces = codec.file_chunks(fd)
            yield from pieces if digest == diff_id else codec.decompress(pieces)
        finally:
            os.close(fd)

    def tar(self, diff_id: str) -> BinaryIO:
        """The layer's uncompressed tar as a readable file; the caller closes it. Raises NotFound."""
        import io
        from typing import cast

        from estiva.store.layers import codec

        self.get(diff_id)
        if self.content.has(diff_id):
            return open(self.content.open(diff_id), "rb")
        return cast("BinaryIO", io.BufferedReader(codec.Stream(self.chunks(diff_id)), 1 << 20))

    def compressed(
        self, diff_id: str, method: str = "gzip", level: int | None = None
    ) -> tuple[str, int, str]:
        """(digest, size, media type) of the layer as "gzip", "zstd" or "tar"; what was pulled is given as
        it came, unless a `level` is asked for.

        Made once and kept in the store. Raises NotFound, InvalidInput for another method.
        """
        from estiva.store.layers import codec

        for digest, size, media_type in self.blobs(diff_id) if level is None else ():
            if codec.method(media_type) == method:
                return digest, size, media_type
        return self._compress(diff_id, method, level)

    def _compress(self, diff_id: str, method: str, level: int | None) -> tuple[str, int, str]:
        from estiva.oci.image import MEDIA_TYPES
        from estiva.store.layers.compress import compress
        from estiva.store.layers.sink import BlobSink

        media_type = MEDIA_TYPES.get(method)
        if media_type is None:
            raise errors.InvalidInput(
                f"layers can't be compressed with {method}", hint="use gzip, zstd or tar"
            )
        with BlobSink(self.paths.ingest) as sink:
            for piece in compress(self.chunks(diff_id), method, level):
                sink.write(piece)
            digest = sink.digest()
            self.content.adopt(sink.path, digest, sink.size)
        self.adopt_blob(diff_id, digest, sink.size, media_type)
        return digest, sink.size, media_type

    # ---- the end

    def strays(self) -> list[str]:
        """Layer directories and fixups that no row speaks of: what processes that died have left."""
        known = {diff_id.rpartition(":")[2] for (diff_id,) in self.db.read("SELECT diff_id FROM layers")}
        return [
            f"{directory}/{name}"
            for directory in (self.paths.layers, self.paths.fixups)
            for name in os.listdir(directory)
            if name not in known and name != "empty"
        ]

    def delete(self, diff_id: str) -> int:
        """Forget the layer, unmount it and remove its files, tar and compressed forms.

        Returns the bytes of blobs freed. The caller has made sure that no image needs it. Deleting what is
        half gone is no error.
        """
        name = layer_name(diff_id)
        digests = {diff_id}
        with self.db.write(freeing=True) as transaction:
            rows = transaction.execute(
                "SELECT digest FROM layer_blobs WHERE diff_id = ?", (diff_id,)
            ).fetchall()
            digests.update(digest for (digest,) in rows)
            transaction.execute("DELETE FROM layers WHERE diff_id = ?", (diff_id,))
            transaction.execute("DELETE FROM layer_blobs WHERE diff_id = ?", (diff_id,))
            transaction.execute("DELETE FROM meta WHERE key = ?", (soundness.key(diff_id),))
        self.mounts.unmount(name)
        for directory in (f"{self.paths.layers}/{name}", f"{self.paths.fixups}/{name}"):
            files.remove_tree(directory)
        return sum(self.content.delete(digest) for digest in digests)
