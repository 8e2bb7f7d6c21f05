"""`--cache-from` and `--cache-to`: caches of builds in registries, in layout folders, in images themselves.

    registry   type=registry,ref=NAME   or NAME alone
    local      type=local,src=FOLDER[,tag=TAG] to read, dest=FOLDER to write: an OCI image layout
    inline     type=inline to write: in the image that is built, to be read with type=registry

A cache that can't be had is told, and the build goes on without it.
"""

from __future__ import annotations

import threading

from estiva.builder.cache import remote as caches
from estiva.builder.fields import cells, pairs
from estiva.errors import EstivaError, InvalidInput, Unsupported, oneline
from estiva.files import nameable
from estiva.oci.platform import Platform
from estiva.oci.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future
    from typing import Any

    from estiva.builder.cache.remote import Record
    from estiva.engine import Engine
    from estiva.engine.images.logins import Logins
    from estiva.registry.transfer.lazy import Lazy, Lent
    from estiva.store.archive.layout import Folder
    from estiva.store.images import Image

    Progress = Callable[[dict[str, Any]], None] | None

FROM = {"registry": ("ref",), "local": ("src", "tag", "digest")}
PACKED = ("mode", "compression", "compression-level", "force-compression", "oci-mediatypes", "ignore-error")
TO = {
    "registry": ("ref", "image-manifest", *PACKED),
    "local": ("dest", "tag", "image-manifest", *PACKED),
    "inline": (),
}
YES, NO = ("true", "1"), ("false", "0")
METHODS = {"gzip": "gzip", "zstd": "zstd", "uncompressed": "tar"}


class Place:
    """One cache, as an option names it: `kind`, and the other fields of the option."""

    def __init__(self, option: str, word: str, known: dict[str, tuple[str, ...]]) -> None:
        """Raises InvalidInput, and Unsupported for kinds that other builders have."""
        self.option, self.word = option, oneline(word)
        texts = cells(word, self._wrong)
        if len(texts) == 1 and "=" not in texts[0]:
            texts = ["type=registry", f"ref={texts[0]}"]
        fields = {key: value.strip() for key, value in pairs(texts, self._wrong).items()}
        self.kind = fields.pop("type", "")
        if self.kind not in known:
            if self.kind in ("gha", "s3", "azblob"):
                raise Unsupported(
                    f"--{option}: caches of type {self.kind} are not supported",
                    hint="registry, local or inline",
                )
            raise self._wrong(f"unknown type {self.kind!r}")
        for key in fields:
            if key not in known[self.kind]:
                raise self._wrong(f"unknown field {key!r}")
        self.fields = fields
        needed = known[self.kind][:1]
        for key in needed:
            if not fields.get(key):
                raise self._wrong(f"it needs {key}=")
        if self.kind == "registry":
            self.reference = Reference.parse(fields["ref"])
        for key in ("src", "dest"):
            if not nameable(fields.get(key, "")):
                raise self._wrong(f"{key} is no path")
        self._judge()

    def _wrong(self, what: str) -> InvalidInput:
        folder = "src" if self.option == "cache-from" else "dest"
        return InvalidInput(
            f"invalid --{self.option} '{self.word}': {what}",
            hint=f"NAME, type=registry,ref=NAME or type=local,{folder}=FOLDER",
        )

    def _judge(self) -> None:
        if self.fields.get("mode", "min") not in ("min", "max"):
            raise self._wrong("mode is min or max")
        if self.fields.get("compression", "gzip") not in METHODS:
            raise self._wrong("compression is gzip, zstd or uncompressed")
        level = self.fields.get("compression-level", "0")
        if not (level.isascii() and level.isdecimal() and len(level) < 3):
            raise self._wrong("compression-level is a number up to 22")
        for key in ("force-compression", "oci-mediatypes", "image-manifest", "ignore-error"):
            if key in self.fields and self.fields[key].lower() not in YES + NO:
                raise self._wrong(f"{key} is true or false")
        for key in ("oci-mediatypes", "image-manifest"):
            if key in self.fields and self.fields[key].lower() in NO:
                raise Unsupported(f"--{self.option}: {key}=false is not supported", hint="leave it out")

    @property
    def name(self) -> str:
        return self.fields.get("ref") or self.fields.get("src") or self.fields.get("dest") or self.kind

    def flag(self, key: str) -> bool:
        return self.fields.get(key, "").lower() in YES


def parse(option: str, words: Sequence[str]) -> list[Place]:
    """The places of `--cache-from` or `--cache-to`. Raises InvalidInput, Unsupported."""
    return [Place(option, word, FROM if option == "cache-from" else TO) for word in words]


class Caches:
    """Those of one build, for all its platforms (None: this machine's): a `builder.cache.remote.Remote`.
    Close it. `given`: see engine/images/logins.py."""

    def __init__(
        self,
        engine: Engine,
        sources: Sequence[Place],
        targets: Sequence[Place],
        platforms: Sequence[str | None],
        progress: Progress,
        given: Logins = None,
    ) -> None:
        from estiva.engine.images import logins

        self.engine = engine
        self.settings = logins.settings(given)
        self.targets = list(targets)
        self.progress = progress
        self.records: dict[str, Record] = {}
        self.lent: dict[str, Lent] = {}
        self.notes: dict[tuple[str, tuple[str, ...]], Record] = {}
        self._lock = threading.Lock()
        self.lazy: Lazy | None = None
        self.folders: list[Folder] = []
        self.warned: set[str] = set()
        self.opening: list[tuple[Place, Future[Lent]]] = []
        if sources:
            wanted = [Platform.parse(each) if each else Platform.host() for each in platforms]
            self._open(sources, wanted)

    def _open(self, sources: Sequence[Place], platforms: Sequence[Platform]) -> None:
        """An index has a cache for each platform; one that is for all is read as often, which is cheap."""
        from estiva.registry.transfer.lazy import Lazy
        from estiva.registry.transfer.progress import Progress as Told
        from estiva.store.archive.layout import Folder

        self.lazy = Lazy(self.engine.store, Told(self.progress), self.settings)
        for place in sources:
            if place.kind == "registry":
                origin: Any = place.reference
            else:
                try:
                    folder = Folder(place.fields["src"])
                except EstivaError as error:
                    self._warn(f"no cache from {place.name}: {error.message}")
                    continue
                self.folders.append(folder)
                tag = place.fields.get("digest") or place.fields.get("tag") or "latest"
                origin = (folder, tag)
            self.opening += [(place, self.lazy.open(origin, platform)) for platform in platforms]

    def close(self) -> None:
        if self.lazy is not None:
            self.lazy.close()
        for folder in self.folders:
            folder.close()

    # --- what the builder asks for ---

    def find(self, keys: Sequence[str]) -> Record | None:
        self._load()
        return next((self.records[key] for key in keys if key in self.records), None)

    def fetch(self, record: Record) -> Future[None]:
        assert self.lazy is not None
        return self.lazy.fetch(self.lent[record.diff_id], record.diff_id)

    def note(self, record: Record) -> None:
        if self.targets:
            with self._lock:
                self.notes.setdefault((record.diff_id, record.keys), record)

    def inline(self, diff_ids: Sequence[str]) -> dict[str, Any] | None:
        """What the config of the image itself is to hold."""
        if not any(target.kind == "inline" for target in self.targets):
            return None
        return caches.field(sorted(self.notes.values(), key=lambda note: note.keys), diff_ids)

    def _load(self) -> None:
        """Wait for the caches' records, the first time."""
        with self._lock:
            while self.opening:
                place, opened = self.opening.pop(0)
                try:
                    lent = opened.result()
                    found = caches.read(lent.config)
                    if not found:
                        self._warn(f"{place.name} holds no build cache")
                except EstivaError as error:
                    self._warn(f"no cache from {place.name}: {error.message}")
                    continue
                for record in found:
                    self.lent.setdefault(record.diff_id, lent)
                    for key in record.keys:
                        self.records.setdefault(key, record)

    def _warn(self, message: str) -> None:
        if self.progress is not None and message not in self.warned:
            self.warned.add(message)
            self.progress({"status": "warning", "message": message})

    # --- afterwards ---

    def write(self, images: Sequence[Image]) -> None:
        """Write the caches that were asked for, of a build that gave these images: one cache for all of them.
        Raises as a push does."""
        for target in self.targets:
            if target.kind == "inline":
                continue
            try:
                self._write(target, images)
            except EstivaError as error:
                if not target.flag("ignore-error"):
                    error.message = f"writing the cache {target.name} failed: {error.message}"
                    raise
                self._warn(f"the cache {target.name} was not written: {error.message}")

    def _write(self, target: Place, images: Sequence[Image]) -> None:
        from estiva.registry.transfer import copy as copying
        from estiva.registry.transfer.plan import Packing, plan
        from estiva.store.images import unstored

        notes = list(self.notes.values())
        if target.fields.get("mode", "min") == "min":
            kept = {diff_id for image in images for diff_id in image.diff_ids}
            notes = [note for note in notes if note.diff_id in kept]
        level = target.fields.get("compression-level")
        method = METHODS[target.fields["compression"]] if "compression" in target.fields else ""
        packing = Packing(method, int(level) if level else None)
        platform = Platform.of(images[0].config).document()
        with self.engine.store.writing():
            what = plan(self.engine.store, unstored(caches.document(notes, platform)), packing)
            goal: Any = target.reference if target.kind == "registry" else None
            if goal is None:
                goal = (target.fields["dest"], target.fields.get("tag") or "latest")
            origins = [((self.engine.store, what), goal)]
            copying.copy(origins, progress=self.progress, config=self.settings)
