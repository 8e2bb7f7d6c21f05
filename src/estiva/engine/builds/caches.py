"""`--cache-from` and `--cache-to`: caches of builds in registries, in layout folders, in images themselves.

    registry   type=registry,ref=NAME   or NAME alone
    local      type=local,src=FOLDER[,tag=TAG] to read, dest=FOLDER to write: an OCI image layout
    inline     type=inline to write: in the image that is built, to be read with type=registry

An image that is here under the name and holds a cache is read, and the registry not asked, as with docker's
builder. A cache that can't be had is told, unless an image of the name is here; the build goes on without.
One in a registry is read by hand where that does (registry/transfer/peek.py): the client takes longer to load
than all of a build that is cached.
"""

from __future__ import annotations

from _thread import allocate_lock

from estiva.builder import threads
from estiva.builder.cache import remote as caches
from estiva.builder.fields import cells, pairs
from estiva.builder.once import Promise
from estiva.errors import EstivaError, InvalidInput, NotFound, Stopped, Unsupported, oneline
from estiva.files import nameable
from estiva.oci.platform import Platform
from estiva.oci.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence
    from typing import Any, TypeAlias

    from estiva.builder.cache.remote import Coming, Record
    from estiva.engine import Engine
    from estiva.engine.images.logins import Logins
    from estiva.registry.http.settings import Settings
    from estiva.registry.transfer.lazy import Lazy, Lent
    from estiva.registry.transfer.peek import Peek
    from estiva.store.archive.layout import Folder
    from estiva.store.images import Image

    Progress = Callable[[dict[str, Any]], None] | None
    Opened: TypeAlias = "Peek | Lent"

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
        self.engine = engine
        self.settings: Settings | None = None
        if given is not None:
            from estiva.engine.images import logins

            self.settings = logins.settings(given)
        self.targets = list(targets)
        self.bases = True  # whether registries may be asked for base images
        self.progress = progress
        self.records: dict[str, Record] = {}
        self.lent: dict[str, Opened] = {}
        self.notes: dict[tuple[str, tuple[str, ...]], Record] = {}
        self._lock = allocate_lock()
        self.elsewhere = Elsewhere(engine, progress, self.settings)
        self.warned: set[str] = set()
        self.opening: list[tuple[Place, Promise[Opened]]] = []
        self.built: list[
            Place
        ] = []  # compose files name what was only ever built here: no registry need have it
        if sources:
            wanted = [Platform.parse(each) if each else Platform.host() for each in platforms]
            self._open(sources, wanted)

    def _open(self, sources: Sequence[Place], platforms: Sequence[Platform]) -> None:
        """An index has a cache for each platform; one that is for all is read as often, which is cheap."""
        from estiva.store.archive.layout import Folder

        for place in sources:
            if place.kind == "registry" and len(platforms) == 1 and self._here(place):
                continue
            origin: Any = place.reference if place.kind == "registry" else None
            if origin is None:
                try:
                    folder = Folder(place.fields["src"])
                except EstivaError as error:
                    self._warn(f"no cache from {place.name}: {error.message}")
                    continue
                self.elsewhere.folders.append(folder)
                origin = (folder, place.fields.get("digest") or place.fields.get("tag") or "latest")
            self.opening += [(place, self.elsewhere.open(origin, platform)) for platform in platforms]

    def _here(self, place: Place) -> bool:
        """Whether an image of this name is here and holds a cache, which is known then."""
        image = self.engine.store.images.find(str(place.reference), short=False)
        if image is None:
            return False
        try:
            found = caches.read(image.config)
        except EstivaError as error:
            self._warn(f"no cache from {place.name}: {error.message}")
            return False
        self._add(found)
        if not found:
            self.built.append(place)
        return bool(found)

    def close(self) -> None:
        self.elsewhere.close()

    # --- what the builder asks for ---

    @property
    def whole(self) -> bool:
        return any(target.fields.get("mode") == "max" for target in self.targets)

    def find(self, keys: Sequence[str]) -> Record | None:
        self._load()
        return next((self.records[key] for key in keys if key in self.records), None)

    def fetch(self, record: Record) -> Coming:
        lent = self.lent.get(record.diff_id)
        if lent is None:  # of an image that was here, and has been removed meanwhile
            raise NotFound(f"layer {record.diff_id} of the build cache is not here any more")
        return self.elsewhere.fetch(lent, record.diff_id)

    def config(self, image: str, platform: Platform) -> dict[str, Any] | None:
        if not self.bases:
            return None
        try:
            return self.elsewhere.open(Reference.parse(image), platform).result().config
        except EstivaError:  # whoever pulls it says what is wrong
            return None

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
                    if place not in self.built:
                        self._warn(f"no cache from {place.name}: {error.message}")
                    continue
                for record in found:
                    self.lent.setdefault(record.diff_id, lent)
                self._add(found)

    def _add(self, found: Sequence[Record]) -> None:
        for record in found:
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


class Elsewhere:
    """Images that layers are fetched of, by hand or by the client. Close it: that ends what is under way."""

    MOST = 4  # layers at once, as of a pull

    def __init__(self, engine: Engine, progress: Progress, settings: Settings | None) -> None:
        self.engine = engine
        self.progress = progress
        self.settings = settings
        self.folders: list[Folder] = []
        self.peeks: list[Peek] = []
        self.lazy: Lazy | None = None
        self.closed = False
        self._making = allocate_lock()  # the client
        self._lock = allocate_lock()
        self._waiting: list[tuple[Promise[None], Peek, str]] = []
        self._at_work = 0
        self._threads: list[threading.Thread] = []

    def open(self, origin: Any, platform: Platform) -> Promise[Opened]:
        """Look at the image that a reference or (folder, tag) means."""
        opened: Promise[Opened] = Promise()
        self._begin(lambda: _settle(opened, lambda: self._opened(origin, platform)))
        return opened

    def fetch(self, opened: Opened, diff_id: str) -> Coming:
        """Bring one of its layers into the store."""
        from estiva.registry.transfer.peek import Peek

        if not isinstance(opened, Peek):
            return self._client().fetch(opened, diff_id)
        coming: Promise[None] = Promise()
        with self._lock:
            self._waiting.append((coming, opened, diff_id))
            more = self._at_work < self.MOST
            self._at_work += more
        if more:
            self._begin(self._fetch)
        return coming

    def close(self) -> None:
        with self._making:
            self.closed = True
        for peek in self.peeks:
            peek.close()
        if self.lazy is not None:
            self.lazy.close()
        for thread in self._threads:
            thread.join(1.0)  # one may be waiting for another process that fetches the same
        for folder in self.folders:
            folder.close()

    def _begin(self, work: Callable[[], None]) -> None:
        self._threads.append(threads.start(work, "estiva-cache", daemon=True))

    def _client(self) -> Lazy:
        from estiva.registry.transfer.lazy import Lazy
        from estiva.registry.transfer.progress import Progress as Told

        with self._making:
            if self.closed:
                raise Stopped("the build was stopped")
            if self.lazy is None:
                self.lazy = Lazy(self.engine.store, Told(self.progress), self.settings)
            return self.lazy

    def _opened(self, origin: Any, platform: Platform) -> Opened:
        if isinstance(origin, Reference):
            from estiva.registry.http.minimal import Declined
            from estiva.registry.transfer.peek import Peek

            peek = Peek(self.engine.store, origin, platform)
            self.peeks.append(peek)
            try:
                peek.open()
                return peek
            except Declined:
                pass
        return self._client().open(origin, platform).result()

    def _fetch(self) -> None:
        """Fetch layers until none is waiting."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._at_work -= 1
                    return
                coming, peek, diff_id = self._waiting.pop(0)
            _settle(coming, lambda peek=peek, diff_id=diff_id: self._fetched(peek, diff_id))  # type: ignore[misc]

    def _fetched(self, peek: Peek, diff_id: str) -> None:
        if not peek.fetch(diff_id):
            client = self._client()
            client.fetch(client.lend(peek.reference, peek.config, peek.layers).result(), diff_id).result()
        elif self.progress is not None:
            layer = peek.layers[diff_id]
            short, size = layer["digest"].partition(":")[2][:12], layer["size"]
            self.progress({"id": short, "status": "done", "current": size, "total": size, "message": ""})


def _settle(promise: Promise[Any], make: Callable[[], Any]) -> None:
    try:
        promise.keep(make())
    except BaseException as error:  # told to who waits for it
        promise.fail(error)
