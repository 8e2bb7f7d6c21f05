"""TODO docstring."""

from __future__ import annotations

from estiva.errors import InvalidInput
from estiva.store.layers.sink import BlobSink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.store.layers.layers import Layers


def compress(layers: Layers, diff_id: str, method: str, level: int | None = None) -> tuple[str, int, str]:
    """Compress a layer into the store: (digest, size, media type)."""
    from estiva.oci.image import MEDIA_TYPES
    from estiva.store.layers import compress as packing

    media_type = MEDIA_TYPES.get(method)
    if media_type is None:
        raise InvalidInput(f"layers can't be compressed with {method}", hint="use gzip, zstd or tar")
    with BlobSink(layers.paths.ingest) as sink:
        for piece in packing.compress(layers.chunks(diff_id), method, level):
            sink.write(piece)
        digest = sink.digest()
        layers.content.adopt(sink.path, digest, sink.size)
    layers.adopt_blob(diff_id, digest, sink.size, media_type)
    return digest, sink.size, media_type
