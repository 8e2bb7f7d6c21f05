"""Reading images: a docker-archive or an OCI archive, plain or compressed, from a file or a pipe; and the
folder of an OCI layout.

An archive is as untrusted as a registry (K19). It is one seekable tar here: the file itself where it is a
plain one, else a nameless copy in the store. Its members are a table of names and offsets; names are looked
up in the table and never become paths, links are followed inside the table. Whatever is named by a digest
must have that digest, and a layer must have its diffID, before anything refers to it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any

from estiva import fastjson, files
from estiva.errors import (
    FREE_SPACE,
    FULL,
    IntegrityError,
    InvalidInput,
    LayerError,
    NotFound,
    Unavailable,
    Unsupported,
)
from estiva.oci import digest as digests
from estiva.oci import image as documents
from estiva.oci.platform import Platform, select
from estiva.oci.reference import Reference
from estiva.store.archive import compression, layout
from estiva.store.layers import codec
from estiva.store.tar.entry import Entry, clean, shown
from estiva.store.tar.scanner import Scanner

if TYPE_CHECKING:
    from estiva.store import Store
    from estiva.store.images import Image

CHUNK = 1 << 20
MEMBERS_LIMIT = 100_000
IMAGES_LIMIT = 1000
LINKS_LIMIT = 8


def load(
    store: Store,
    source: IO[bytes] | layout.Folder,
    *,
    platform: Platform | None = None,
    progress: Callable[[dict[str, Any]], object] | None = None,
) -> list[str]:
    """Load every image of an archive or a layout's folder: its familiar name, or its id if it has none.
    `progress` is told of layers as of a pull's: status "loading", bytes as stored. Raises InvalidInput for
    what is no image archive, LayerError and IntegrityError for one that lies."""
    with store.writing():
        archive = source if isinstance(source, layout.Folder) else open_archive(store, source)
        try:
            loader = Loader(store, archive, platform or Platform.host())
            loader.progress = progress
            return loader.docker() if "manifest.json" in archive else loader.oci()
        finally:
            archive.close()


def open_archive(store: Store, stream: IO[bytes]) -> Archive:
    """The members of an image archive. Raises InvalidInput for what is none."""
    archive = Archive(store, stream)
    try:
        check_kind(archive)
    except BaseException:
        archive.close()
        raise
    return archive


def check_kind(archive: Archive | layout.Folder) -> None:
    """Raises InvalidInput, Unsupported for what holds no images that can be read."""
    if "manifest.json" in archive or "index.json" in archive:
        return
    if "repositories" in archive:
        raise Unsupported("the archive is of docker 1.9 or older", hint="save it with a newer docker")
    raise InvalidInput(
        "this holds no images: it has neither manifest.json nor index.json",
        hint="'estiva import' makes an image of the tar of a filesystem",
    )


def spool(store: Store, stream: IO[bytes]) -> int:
    """The uncompressed bytes of a stream as a nameless file in the store; returns its fd, at offset 0."""
    fd = _nameless(store.paths.ingest)
    try:
        for data in compression.decompress(iter(lambda: stream.read(CHUNK), b"")):
            files.write_all(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
    except OSError as error:
        os.close(fd)
        if error.errno in FULL:
            raise Unavailable(f"no space left in {store.paths.ingest}", hint=FREE_SPACE) from error
        raise
    except BaseException:
        os.close(fd)
        raise
    return fd


def _nameless(directory: str) -> int:
    """A file that is gone when its last fd is, however the process ends (open(2), O_TMPFILE)."""
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:  # not every filesystem has it
        fd, path = files.new_file(directory, ".spool")
        os.unlink(path)
        return fd


class Archive:
    """The members of a tar by name."""

    def __init__(self, store: Store, stream: IO[bytes]) -> None:
        self.fd = _plain_file(stream)
        if self.fd < 0:
            self.fd = spool(store, stream)
        self.members: dict[str, Entry] = {}
        try:
            scanner = Scanner(self._add, max_entries=MEMBERS_LIMIT)
            for data in codec.file_chunks(self.fd):
                scanner.feed(data)
            scanner.close()
        except BaseException as error:
            self.close()
            if isinstance(error, LayerError) and not self.members:  # text, say, or an image of a disk
                raise InvalidInput(
                    "this is no archive: it does not begin as a tar does",
                    hint="'estiva save' and 'docker save' write archives of images",
                ) from None
            raise

    def _add(self, entry: Entry) -> None:
        if entry.kind == stat.S_IFDIR:
            return
        name = entry.name.decode("utf-8", "surrogateescape")
        if name in self.members:
            raise LayerError(f"the archive has {shown(entry.name)} twice")
        self.members[name] = entry

    def __contains__(self, name: str) -> bool:
        return name in self.members

    def find(self, name: str) -> Entry:
        """The regular file of a name, through links. Raises InvalidInput."""
        wanted = name
        for _ in range(LINKS_LIMIT):
            entry = self.members.get(wanted)
            if entry is None or entry.sparse is not None:
                break
            if entry.kind == stat.S_IFREG:
                return entry
            if entry.kind == stat.S_IFLNK and not entry.link.startswith(b"/"):
                target = entry.name.rpartition(b"/")[0] + b"/" + entry.link
            elif entry.kind == 0:
                target = entry.link
            else:
                break
            wanted = clean(target).decode("utf-8", "surrogateescape")
        raise InvalidInput(f"the archive has no file {shown(name.encode('utf-8', 'surrogateescape'))}")

    def chunks(self, entry: Any, start: int = 0) -> Iterator[bytes]:
        """A member's data from `start` on."""
        return codec.file_chunks(self.fd, entry.stored - start, entry.offset + start)

    def read(self, name: str, limit: int = documents.DOCUMENT_LIMIT) -> bytes:
        """The whole of a small member."""
        entry = self.find(name)
        if entry.stored > limit:
            raise InvalidInput(f"{shown(entry.name)} in the archive is larger than {limit} bytes")
        return b"".join(self.chunks(entry))

    def close(self) -> None:
        os.close(self.fd)


def _plain_file(stream: IO[bytes]) -> int:
    """A new fd of the file behind `stream`, if it is a regular, uncompressed one at its start; else -1."""
    try:
        fd = os.dup(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return -1
    try:
        regular = stat.S_ISREG(os.fstat(fd).st_mode) and stream.tell() == 0
        head = os.pread(fd, compression.HEAD, 0) if regular else b""
        if regular and not head.startswith(compression.MAGIC) and codec.kind(head.ljust(4, b"\0")) == "tar":
            return fd
    except (OSError, ValueError):
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return -1


class Loader:
    """Images of an archive or folder on their way into the store; `hidden` as a build's own ones."""

    progress: Callable[[dict[str, Any]], object] | None = None

    def __init__(
        self, store: Store, archive: Archive | layout.Folder, platform: Platform, *, hidden: bool = False
    ) -> None:
        self.hidden = hidden
        self.store = store
        self.archive = archive
        self.platform = platform

    # ---- docker-archive: manifest.json lists config and layers by member name

    def docker(self) -> list[str]:
        found: list[str] = []
        for item in self._items():
            found += self._docker_image(item)
        return found

    def _items(self) -> list[Any]:
        items = fastjson.loads(self.archive.read("manifest.json"), what="manifest.json", strict=True)
        if not isinstance(items, list) or len(items) > IMAGES_LIMIT:
            raise InvalidInput("the archive's manifest.json is not a list of images")
        return items

    def _docker_image(self, item: Any) -> list[str]:
        if not isinstance(item, dict):
            raise InvalidInput("the archive's manifest.json is not a list of images")
        names, layers = _texts(item.get("RepoTags")), _texts(item.get("Layers"))
        references = [Reference.parse(name) for name in names]
        if not isinstance(item.get("Config"), str):
            raise InvalidInput("the archive's manifest.json has an image without config")
        config = self.archive.read(item["Config"])
        _check_named(item["Config"], config)
        document = documents.parse_config(config)
        diff_ids = document["rootfs"]["diff_ids"]
        if len(diff_ids) != len(layers):
            raise IntegrityError(f"an image has {len(layers)} layers, its config {len(diff_ids)}")
        for member, diff_id in zip(layers, diff_ids, strict=True):
            self._docker_layer(member, diff_id)
        return self._finish(config, None, references)

    def _docker_layer(self, member: str, diff_id: str) -> None:
        if self.store.layers.has(diff_id):
            return
        entry = self.archive.find(member)
        head = next(self.archive.chunks(entry), b"")[:4].ljust(4, b"\0")
        kind = codec.kind(head)
        if kind == "tar":
            self._layer(entry, diff_id, documents.OCI_LAYER, diff_id)
            return
        hasher = digests.hasher("sha256")
        for data in self.archive.chunks(entry):
            hasher.update(data)
        media_type = documents.OCI_LAYER_GZIP if kind == "gzip" else documents.OCI_LAYER_ZSTD
        self._layer(entry, "sha256:" + hasher.hexdigest(), media_type, diff_id)

    # ---- OCI image layout: index.json lists manifests by digest

    def oci(self) -> list[str]:
        index = documents.parse_index(self.archive.read("index.json"))
        wanted = [item for item in index["manifests"] if not documents.is_attestation(item)]
        named = [item for item in wanted if _names(item)]
        rest = [item for item in wanted if not _names(item)]
        if len(rest) > 1 and any(item.get("platform") for item in rest):
            rest = [select({"manifests": rest}, self.platform)]
        found: list[str] = []
        for item in named + rest:
            found += self._oci_image(item)
        if not found:
            raise NotFound("the archive holds no image")
        return found

    def one(self, tag: str, *, every: bool = False) -> Image:
        """The one image that `tag` picks (layout.pick; a RepoTag in a docker-archive), without a name.
        `every`: with the images of all platforms of its index; its `manifest` is then the index's digest."""
        if "index.json" not in self.archive:
            return self._one_of_docker(tag)
        chosen = layout.pick(documents.parse_index(self.archive.read("index.json")), tag)
        body = self._blob(chosen)
        document = documents.parse_document(body, chosen["mediaType"])
        if not every or not documents.is_index(document):
            return self.store.images.resolve(self._oci_image(chosen, named=False)[0])
        images = {}
        for item in document["manifests"]:
            if not documents.is_attestation(item):
                (image_id,) = self._oci_image(item, named=False)
                images[item["digest"]] = image_id
        try:
            mine = select(document, self.platform)["digest"]
        except NotFound:
            mine = next(iter(images), "")
        if mine not in images:
            raise NotFound("the index has no image")
        image = self.store.images.resolve(images[mine])
        image.manifest = self.store.content.put(body)
        return image

    def _one_of_docker(self, tag: str) -> Image:
        items = self._items()
        if tag:
            wanted = str(Reference.parse(tag))
            items = [
                item
                for item in items
                if isinstance(item, dict)
                and wanted in [str(Reference.parse(name)) for name in _texts(item.get("RepoTags"))]
            ]
        if len(items) != 1:
            raise NotFound(f"it holds {len(items)} images" + (f" called {tag}" if tag else ""))
        (image_id,) = self._docker_image({**items[0], "RepoTags": None})
        return self.store.images.resolve(image_id)

    def _oci_image(self, item: dict[str, Any], *, named: bool = True) -> list[str]:
        manifest = self._blob(item)
        document = documents.parse_document(manifest, item["mediaType"])
        for _ in range(3):
            if not documents.is_index(document):
                break
            chosen = select(document, self.platform)
            manifest = self._blob(chosen)
            document = documents.parse_document(manifest, chosen["mediaType"])
        else:
            raise InvalidInput("the archive has indexes inside indexes")
        config = self._blob(document["config"])
        parsed = documents.parse_config(config)
        documents.check_layers(document, parsed)
        for layer, diff_id in zip(document["layers"], parsed["rootfs"]["diff_ids"], strict=True):
            documents.compression(layer["mediaType"])  # refuses foreign and unknown types
            if not self.store.layers.has(diff_id):
                entry = self.archive.find(layout.place(layer["digest"]))
                if entry.stored != layer["size"]:
                    raise IntegrityError(
                        f"blob {layer['digest']} is {entry.stored} bytes, not {layer['size']}"
                    )
                self._layer(entry, layer["digest"], layer["mediaType"], diff_id)
        references = [Reference.parse(name) for name in _names(item)] if named else []
        return self._finish(config, manifest, references)

    def _blob(self, descriptor: dict[str, Any]) -> bytes:
        """A small blob by descriptor, size and digest proven."""
        data = self.archive.read(layout.place(descriptor["digest"]))
        algorithm, encoded = digests.parse(descriptor["digest"])
        hasher = digests.hasher(algorithm)
        hasher.update(data)
        if len(data) != descriptor["size"] or hasher.hexdigest() != encoded:
            raise IntegrityError(f"blob {descriptor['digest']} in the archive is not what its digest says")
        return data

    # ---- both

    def _layer(self, entry: Any, digest: str, media_type: str, diff_id: str) -> None:
        ingest = self.store.layers.ingest(digest, entry.stored, media_type, diff_id)
        try:
            done = ingest.offset
            for data in self.archive.chunks(entry, done):
                ingest.feed(data)
                done += len(data)
                if self.progress is not None:
                    told = {"id": digests.short(diff_id), "status": "loading", "current": done}
                    self.progress({**told, "total": entry.stored})
            ingest.commit()
        finally:
            ingest.close()

    def _finish(self, config: bytes, manifest: bytes | None, references: list[Reference]) -> list[str]:
        names = [str(reference) for reference in references]
        image = self.store.images.add(config, manifest=manifest, names=names, hidden=self.hidden)
        return [reference.familiar for reference in references] or [image.id]


def _texts(value: Any) -> list[str]:
    value = value or []
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise InvalidInput("the archive's manifest.json has a list that is none of names")
    return value


def _check_named(name: str, data: bytes) -> None:
    """A file that is named by 64 hex digits must have them as its sha256."""
    stem = name.rpartition("/")[2].removesuffix(".json")
    if len(stem) == 64 and digests.is_hex(stem) and digests.sha256(data) != "sha256:" + stem:
        raise IntegrityError(f"the archive's {stem}.json has another digest than its name")


def _names(item: dict[str, Any]) -> list[str]:
    """The image names in a descriptor's annotations. A tag alone names no repository, so it is none."""
    annotations = item.get("annotations") or {}
    for key in ("io.containerd.image.name", "org.opencontainers.image.ref.name"):
        name = annotations.get(key, "")
        if "/" in name or ":" in name:
            return [name]
    return []
