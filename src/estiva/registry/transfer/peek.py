"""An image at a registry, looked at and read from by hand (registry/http/minimal.py): a build's cache.

    manifest -> (index -> the platform's manifest) -> config;   later: those layers that are wanted

Nothing counts before its digest is proven. What can't be had like this is Declined; lazy.py is the one that
can have it, and that knows what to say where nobody can.
"""

from __future__ import annotations

from _thread import allocate_lock

from estiva.errors import EstivaError
from estiva.oci import digest as digests
from estiva.oci import image as documents
from estiva.oci.platform import Platform, select
from estiva.registry.http.minimal import Connection, Declined, may_ask
from estiva.registry.transfer.precheck import TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.oci.reference import Reference
    from estiva.store import Store

LITTLE = 1 << 20  # bytes of a layer that is read by hand
CONFIG_LIMIT = 8 << 20  # as grammar.py has it, which compiles what nobody needs here


class Peek:
    """One image. `open` it first; `fetch` is for several threads. Close it: that ends what is being read."""

    config: dict[str, Any]
    layers: dict[str, Any]  # their descriptors by diff_id

    def __init__(self, store: Store, reference: Reference, platform: Platform) -> None:
        self.store = store
        self.reference = reference
        self.platform = platform
        self.closed = False
        self.declined = False
        self._lock = allocate_lock()
        self._idle: list[Connection] = []
        self._busy: list[Connection] = []

    def open(self) -> None:
        """Look at it. Raises Declined."""
        if not may_ask(self.reference.registry):
            raise Declined(f"{self.reference.registry} needs more than a question")
        try:
            document = self._document(self.reference.digest or self.reference.tag, None)
            if documents.is_index(document):
                chosen = select(document, self.platform)
                document = self._document(chosen["digest"], chosen)
                if documents.is_index(document):
                    raise Declined("an index of indexes")
            descriptor = document["config"]
            self.config = documents.parse_config(self._config(descriptor["digest"], descriptor["size"]))
            documents.check_layers(document, self.config)
        except EstivaError as error:
            raise Declined(str(error)) from error
        diff_ids = self.config["rootfs"]["diff_ids"]
        self.layers = dict(zip(diff_ids, document["layers"], strict=True))

    def fetch(self, diff_id: str) -> bool:
        """Bring a layer into the store; False if the client has to."""
        layer = self.layers[diff_id]
        digest, size = layer["digest"], layer["size"]
        if size > LITTLE or self.declined:
            return False
        try:
            with self.store.layers.ingest(digest, size, layer["mediaType"], diff_id) as ingest:
                if not ingest.complete:
                    ingest.feed(self._blob(digest, size)[ingest.offset :])
                    ingest.commit()
                return True
        except (Declined, EstivaError):
            self.declined = True  # a slow one would take its time for each
            return False

    def close(self) -> None:
        with self._lock:
            self.closed = True
            for connection in (*self._idle, *self._busy):
                connection.close()

    def _document(self, which: str, descriptor: dict[str, Any] | None) -> dict[str, Any]:
        """A manifest or an index, by a tag or by its digest."""
        most = documents.DOCUMENT_LIMIT
        body, headers = self._get(f"manifests/{which}", TYPES, most)
        wanted = which if ":" in which else headers.get("docker-content-digest", "")
        if wanted:
            _prove(body, wanted)
        if descriptor is not None:
            if len(body) != descriptor["size"]:
                raise Declined("a manifest of another size")
            return documents.parse_document(body, descriptor["mediaType"])
        kind = headers.get("content-type", "").partition(";")[0].strip()
        known = kind in documents.MANIFEST_TYPES + documents.INDEX_TYPES
        return documents.parse_document(body, kind if known else "")

    def _config(self, digest: str, size: int) -> bytes:
        if size > CONFIG_LIMIT:
            raise Declined("a config that is too large")
        return self._blob(digest, size)

    def _blob(self, digest: str, size: int) -> bytes:
        body, _ = self._get(f"blobs/{digest}", "", size)
        if len(body) != size:
            raise Declined("a blob of another size")
        _prove(body, digest)
        return body

    def _get(self, what: str, accept: str, limit: int) -> tuple[bytes, dict[str, str]]:
        with self._lock:
            if self.closed:
                raise Declined("closed")
            connection = self._idle.pop() if self._idle else Connection(self.reference.registry)
            self._busy.append(connection)
        try:
            return connection.get(f"/v2/{self.reference.repository}/{what}", accept, limit)
        finally:
            with self._lock:
                self._busy.remove(connection)
                self._idle.append(connection)


def _prove(body: bytes, digest: str) -> None:
    """Raises Declined for bytes that are not what their digest says."""
    algorithm, encoded = digests.parse(digest)
    if algorithm == "sha256":
        same = digests.sha256(body) == digest
    else:
        hasher = digests.hasher(algorithm)
        hasher.update(body)
        same = hasher.hexdigest() == encoded
    if not same:
        raise Declined("bytes of another digest")
