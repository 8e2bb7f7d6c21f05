"""A layer on its way in from a registry or an archive: verified, kept and unpacked while its bytes come.

    feed ->  queue -> [keep]    hash and append to ingest/DIGEST.part, from where a later process goes on
         \\-> queue -> [expand]  decompress -> queue -> [unpack]  hash as diffID, scan headers, write the tar

Three threads over bounded queues; each spends its time in C without the interpreter's lock. A layer of one
piece needs none: `commit` does it all. Nothing of the layer can be seen before `commit` has proven size,
digest and diffID. An uncompressed one is its own tar.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import queue
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from estiva.errors import IntegrityError, Unavailable
from estiva.store.layers import codec
from estiva.store.layers.layer import layer_name
from estiva.store.layers.sink import TarSink

if TYPE_CHECKING:
    from typing import Protocol

    from estiva.paths import Paths
    from estiva.store.content import Content, Ingest
    from estiva.store.layers.layer import Layer

    class Layers(Protocol):
        """Where a layer comes in: the part of store/layers/layers.py, which imports this, that is used."""

        paths: Paths
        content: Content

        def has(self, diff_id: str) -> bool: ...
        def get(self, diff_id: str) -> Layer: ...
        def commit(self, sink: TarSink, *, expected: str | None, form: tuple[str, int, str]) -> Layer: ...


PIECE = 1 << 18  # small feeds are gathered to so much before threads are woken
DEPTH = 8


class _Stopped(Exception):
    """The pipeline is being thrown away."""


class _Pipe:
    """A bounded queue of pieces, ended by None; its reader empties it in any case: its writer never hangs."""

    def __init__(self) -> None:
        self.queue: queue.Queue[bytes | None] = queue.Queue(DEPTH)
        self.ended = False

    def put(self, piece: bytes | None) -> None:
        self.queue.put(piece)

    def __iter__(self) -> Iterator[bytes]:
        while not self.ended:
            piece = self.queue.get()
            if piece is None:
                self.ended = True
            else:
                yield piece

    def drain(self) -> None:
        for _ in self:
            pass


class LayerIngest:
    """One layer coming in. `feed` what follows byte `offset` of the blob, then `commit`; `close` in any
    case (or use a with-block): without a commit, what came stays on the disk for a later resume.

    complete: the layer is in the store already, nothing needs to be fed
    offset: bytes of the blob that are here; what an earlier process left is fed again by the pipeline itself

    Raises IntegrityError (LayerError for the tar itself) from feed and commit; the part is thrown away
    then, and `rewind` begins anew. Blocking: where an event loop runs, call it in a thread.
    """

    def __init__(
        self, layers: Layers, blob_digest: str, size: int | None, media_type: str, diff_id: str
    ) -> None:
        self.layers = layers
        self.digest = blob_digest
        self.diff_id = diff_id
        self.media_type = media_type
        self.size = size
        layer_name(diff_id)
        self.complete = layers.has(diff_id)
        self.offset = size or 0
        self._threads: list[threading.Thread] = []
        self._error: BaseException | None = None
        self._sink: TarSink | None = None
        self._small = bytearray()
        self._abandoned = False
        self._blob: Ingest | None = None
        if self.complete:
            return
        self._blob = self._open()
        if layers.has(diff_id):  # whoever held the lock has made it
            self.complete = True
            self._blob.close()
            return
        self._start()

    def _open(self) -> Ingest:
        return self.layers.content.ingest(self.digest, self.size, limit=codec.MAX_OUTPUT, hashing=False)

    # ---- the pipeline

    def _start(self) -> None:
        """Begin with what is on the disk."""
        assert self._blob is not None
        self._at_start = self.offset = self._blob.offset
        self._error = None
        self._abandoned = False
        self._small.clear()
        self._hash = hashlib.new(self._blob.algorithm)
        try:
            self._sink = TarSink(self.layers.paths.ingest)
            if self.size is not None and self.size <= PIECE and not self._at_start:
                return  # see _at_once
            self._to_keep, self._to_expand, self._to_unpack = _Pipe(), _Pipe(), _Pipe()
            self._threads = [
                self._thread("keep", self._keep, self._to_keep),
                self._thread("expand", self._expand, self._to_expand),
                self._thread("unpack", self._unpack, self._to_unpack),
            ]
        except BaseException:
            self._blob.close()
            raise

    def _thread(self, name: str, work: Callable[[], None], pipe: _Pipe) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except _Stopped:
                pass
            except BaseException as error:  # told to the caller by the next feed, or by commit
                if self._error is None:
                    self._error = error
            finally:
                if pipe is self._to_expand:
                    self._to_unpack.put(None)
                pipe.drain()

        thread = threading.Thread(target=run, name=f"layer-{name}", daemon=True)
        thread.start()
        return thread

    def _stored(self) -> Iterator[bytes]:
        """The bytes that were there at the start."""
        if not self._at_start:
            return
        assert self._blob is not None
        fd = self.layers.content.open(self.digest) if self._blob.exists else os.dup(self._blob.fd)
        try:
            yield from codec.file_chunks(fd, self._at_start)
        finally:
            os.close(fd)

    def _keep(self) -> None:
        assert self._blob is not None
        for piece in self._stored():
            self._hash.update(piece)
        for piece in self._to_keep:
            self._blob.write(piece)
            self._hash.update(piece)

    def _expand(self) -> None:
        for piece in codec.decompress(itertools.chain(self._stored(), self._to_expand), codec.Bound()):
            if self._error is not None or self._abandoned:
                raise _Stopped
            self._to_unpack.put(piece)

    def _unpack(self) -> None:
        assert self._sink is not None
        for piece in self._to_unpack:
            if self._abandoned:
                raise _Stopped
            self._sink.write(piece)

    def _at_once(self) -> None:
        """The three parts of a layer of one piece, after each other."""
        assert self._blob is not None and self._sink is not None
        piece = bytes(self._small)
        self._small.clear()
        try:
            self._blob.write(piece)
            self._hash.update(piece)
            if len(piece) == self.size and not self._abandoned:
                for expanded in codec.decompress(iter([piece]), codec.Bound()):
                    self._sink.write(expanded)
        except BaseException as error:
            self._error = error

    def _send(self, piece: bytes) -> None:
        self._to_keep.put(piece)
        self._to_expand.put(piece)

    def _flush(self) -> None:
        self._send(bytes(self._small))
        self._small.clear()

    def _finish(self) -> None:
        """Let the threads do what they were given, and end."""
        if not self._threads:
            if self._small and self._error is None:
                self._at_once()
            return
        if self._small:
            self._flush()
        self._to_keep.put(None)
        self._to_expand.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []

    # ---- the caller's side

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """The next bytes of the blob. Blocks while the disk is behind."""
        if self.complete:
            return
        if self._error is not None:
            self._raise()
        if self.size is not None and self.offset + len(data) > self.size:
            raise IntegrityError(f"layer {self.digest} is larger than the {self.size} bytes it should have")
        self.offset += len(data)
        if self._threads and not self._small and len(data) >= PIECE and type(data) is bytes:
            self._send(data)  # as it is: nobody can change it
            return
        self._small += data
        if self._threads and len(self._small) >= PIECE:
            self._flush()

    def commit(self) -> Layer:
        """Prove size, digest and diffID, then make the blob and the layer part of the store.

        A blob that ended early stays for a resume; one that is wrong is thrown away.
        """
        if self.complete:
            return self.layers.get(self.diff_id)
        blob, sink = self._blob, self._sink
        assert blob is not None and sink is not None
        self._finish()
        if self.size is not None and self.offset < self.size:
            self._error = None
            raise IntegrityError(f"layer {self.digest} ended after {self.offset} of {self.size} bytes")
        if self._error is not None and not isinstance(self._error, IntegrityError):
            self._raise()
        if self._hash.hexdigest() != blob.hex:
            self._error = IntegrityError(
                f"layer {self.digest} has the digest {blob.algorithm}:{self._hash.hexdigest()}"
            )
        if self._error is not None:
            self._raise()
        try:
            diff_id = sink.finish()
            if diff_id != self.diff_id:
                raise IntegrityError(
                    f"layer {self.digest} has the diffID {diff_id} instead of {self.diff_id}"
                )
            layer = self._store(blob, sink)
        except (IntegrityError, Unavailable) as error:
            self._error = error
            raise
        self.complete = True
        self.close()
        return layer

    def _store(self, blob: Ingest, sink: TarSink) -> Layer:
        """Blob, then layer with what joins them; the blob's lock is held until all is there, so that a
        process that waits for it finds the layer.
        """
        plain = self.digest == self.diff_id  # came uncompressed: the tar is the blob
        lock = os.dup(blob.fd) if blob.fd >= 0 else -1
        try:
            if not plain and not blob.exists:
                blob.commit(verified=True)
            form = (self.digest, self.offset, self.media_type)
            layer = self.layers.commit(sink, expected=self.diff_id, form=form)
            if plain and not blob.exists:
                blob.rewind()
        finally:
            if lock >= 0:
                os.close(lock)
        return layer

    def _raise(self) -> None:
        error = self._error
        assert error is not None
        raise error

    def rewind(self) -> None:
        """Throw away what came and begin again at offset 0."""
        if self.complete or self._blob is None:
            return
        self._abandon()
        if self._blob.exists:
            self.layers.content.delete(self.digest)
            self._blob = self._open()
        self._blob.rewind()
        self._start()

    def _abandon(self) -> None:
        self._abandoned = True
        self._finish()
        if self._sink is not None:
            self._sink.close()
            self._sink = None

    def close(self) -> None:
        """Let go. Without a commit what came stays for a resume, unless it is wrong or the disk is full."""
        self._abandon()
        if self._blob is None:
            return
        if isinstance(self._error, (IntegrityError, Unavailable)) and self._blob.fd >= 0:
            self._blob.rewind()
        self._error = None
        self._blob.close()

    def __enter__(self) -> LayerIngest:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
