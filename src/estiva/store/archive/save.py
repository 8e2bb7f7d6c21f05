"""Images as one file: `save`, and `import_tar` for a bare root filesystem. Reading: store/archive/load.py.

What `save` writes is a docker-archive and an OCI image layout at once, as docker 25 and later do:
`manifest.json` for docker load and podman, `oci-layout` and `index.json` for all that reads OCI, and each
blob once, by digest. Layers go out uncompressed, under their diffID. The same images give the same bytes.
"""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, Any

from estiva.errors import IntegrityError, InvalidInput
from estiva.oci import config as configs
from estiva.oci import digest as digests
from estiva.oci import image as documents
from estiva.oci.platform import Platform
from estiva.oci.reference import Reference, familiar
from estiva.store.archive.load import spool
from estiva.store.tar import writer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from estiva.store import Store
    from estiva.store.images import Image

CHUNK = 1 << 20


def save(store: Store, refs: Sequence[str], out: IO[bytes]) -> None:
    """Write images to `out`, which needs no seek. A repository without tag means all its tags.

    Raises NotFound before anything is written; IntegrityError when a layer on the disk is damaged.
    """
    save_images(store, choose(store, refs), out)


def save_images(store: Store, chosen: Sequence[tuple[Image, list[str]]], out: IO[bytes]) -> None:
    """Write images, each with the canonical names it gets in the archive."""
    blobs: dict[str, bytes] = {}
    layers: dict[str, int] = {}
    entries: list[dict[str, Any]] = []
    descriptors: list[dict[str, Any]] = []
    for image, names in chosen:
        for diff_id in image.diff_ids:
            layers[diff_id] = store.layers.get(diff_id).size
        config = image.config_bytes
        manifest = documents.make_manifest(
            documents.descriptor(documents.OCI_CONFIG, image.id, len(config)),
            [documents.descriptor(documents.OCI_LAYER, d, layers[d]) for d in image.diff_ids],
        )
        digest = digests.sha256(manifest)
        blobs[image.id] = config
        blobs[digest] = manifest
        entries.append(
            {
                "Config": _place(image.id),
                "RepoTags": [familiar(name) for name in names] or None,
                "Layers": [_place(diff_id) for diff_id in image.diff_ids],
            }
        )
        platform = {"os": "linux", "architecture": "", **_platform(image)}
        plain = documents.descriptor(documents.OCI_MANIFEST, digest, len(manifest), platform=platform)
        descriptors += [{**plain, "annotations": _annotations(name)} for name in names] or [plain]
    _file(out, "oci-layout", documents.encode({"imageLayoutVersion": "1.0.0"}))
    _file(out, "index.json", documents.make_index(descriptors))
    _file(out, "manifest.json", documents.encode(entries))
    for directory in ("blobs", "blobs/sha256", "blobs/sha512"):
        if directory != "blobs/sha512" or any(digest.startswith("sha512:") for digest in layers):
            out.write(writer.header(writer.Member(directory.encode() + b"/", b"5", mode=0o755)))
    for digest in sorted(blobs):
        _file(out, _place(digest), blobs[digest])
    for diff_id in sorted(layers):
        _layer(store, out, diff_id, layers[diff_id])
    out.write(writer.END)


def choose(store: Store, refs: Sequence[str]) -> list[tuple[Image, list[str]]]:
    """Each image once, with the canonical names that it is saved under."""
    images: dict[str, Image] = {}
    names: dict[str, set[str]] = {}
    for ref in refs:
        for name in _names(store, ref):
            image = store.images.resolve(name or ref)
            images[image.id] = image
            names.setdefault(image.id, set()).update({name} if name else ())
    return [(image, sorted(names[image_id])) for image_id, image in images.items()]


def _names(store: Store, ref: str) -> list[str]:
    """The names that `ref` stands for; [""] if it is an id or has a digest."""
    try:
        reference = Reference.parse_name(ref)
    except InvalidInput:
        return [""]
    if reference.digest:
        return [""]
    if reference.tag:
        wanted = str(reference)
        return [wanted] if store.db.read("SELECT 1 FROM names WHERE name = ?", (wanted,)) else [""]
    prefix = reference.name + ":"
    rows = store.db.read("SELECT name FROM names WHERE substr(name, 1, ?) = ?", (len(prefix), prefix))
    return sorted(name for (name,) in rows) or [""]


def _platform(image: Image) -> dict[str, str]:
    return {key: str(image.config[key]) for key in ("os", "architecture", "variant") if image.config.get(key)}


def _annotations(name: str) -> dict[str, str]:
    tag = Reference.parse_name(name).tag
    return {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag}


def _place(digest: str) -> str:
    algorithm, encoded = digests.parse(digest)
    return f"blobs/{algorithm}/{encoded}"


def _file(out: IO[bytes], name: str, data: bytes) -> None:
    out.write(writer.header(writer.Member(name.encode(), b"0", size=len(data))))
    out.write(data)
    out.write(writer.padding(len(data)))


def _layer(store: Store, out: IO[bytes], diff_id: str, size: int) -> None:
    """One layer's tar, hashed on the way: a damaged one must not leave this machine under a sound digest."""
    out.write(writer.header(writer.Member(_place(diff_id).encode(), b"0", size=size)))
    algorithm, encoded = digests.parse(diff_id)
    hasher = digests.hasher(algorithm)
    left = size
    with store.layers.tar(diff_id) as stream:
        while data := stream.read(CHUNK):
            left -= len(data)
            if left < 0:
                break
            hasher.update(data)
            out.write(data)
    if left or hasher.hexdigest() != encoded:
        raise IntegrityError(f"layer {diff_id} is damaged on the disk", hint="pull or build its image again")
    out.write(writer.padding(size))


def import_tar(
    store: Store,
    stream: IO[bytes],
    message: str = "",
    *,
    change: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    names: Sequence[str] = (),
    platform: Platform | None = None,
) -> Image:
    """An image of one layer from the tar of a root filesystem, plain, gzip or zstd.

    `change` makes the image's config out of an empty one. Raises InvalidInput, LayerError.
    """
    platform = platform or Platform.host()
    base = configs.new(platform.architecture, platform.os, platform.variant)
    if change is not None:
        base = change(base)
    with store.writing():
        fd = spool(store, stream)
        try:
            layer = store.layers.apply_tar(fd)
        finally:
            os.close(fd)
        document = configs.derive(base, layer.diff_id, comment=message or "Imported from -")
        return store.images.add(documents.encode(document), names=names)
