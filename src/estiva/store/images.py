"""Images by name and id. The id is the digest of the config; names, digests and containers point at it.

`resolve` is on the path of every run: one query for a name, and the config is parsed on use. Names are kept
in canonical form (docker.io/library/alpine:latest) and shown in familiar form (alpine:latest).
"""

from __future__ import annotations

import time

from estiva import fastjson
from estiva.errors import InvalidInput, NotFound
from estiva.oci import digest as digests
from estiva.oci.reference import Reference, familiar
from estiva.timestamps import seconds_of_document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from estiva.store.content import Content
    from estiva.store.database import Database

COLUMNS = "i.id, i.config, i.manifest, i.size, i.created"


class Image:
    """One image. `id` and `manifest` are digests, `created` is in seconds since 1970 (0.0 if the config has
    none), `size` is the sum of its layers' uncompressed tars in bytes.
    """

    __slots__ = ("id", "manifest", "size", "created", "text", "states", "memory", "_config")

    def __init__(self, id: str, text: str, manifest: str | None, size: int, created: float) -> None:
        self.id = id
        self.text = text
        self.states: list[str] = []  # of what stands on a snapshot: those above the layers, the lowest first
        self.memory = ""  # the snapshot with whose processes a container of it begins
        self.manifest = manifest
        self.size = size
        self.created = created
        self._config: dict[str, Any] | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The parsed config. Shared: copy it before changing it."""
        if self._config is None:
            self._config = fastjson.stored(self.text, what=f"the config of image {self.id}")
        assert self._config is not None
        return self._config

    @property
    def config_bytes(self) -> bytes:
        """The config exactly as its digest covers it."""
        return self.text.encode()

    @property
    def diff_ids(self) -> list[str]:
        """The layers, base first."""
        return list((self.config.get("rootfs") or {}).get("diff_ids") or [])

    @property
    def chain(self) -> list[str]:
        """All that a container made from it stands on, base first: the layers, and the states above them."""
        return [*self.diff_ids, *self.states]

    def __repr__(self) -> str:
        return f"Image({self.id!r})"


def unstored(config: bytes) -> Image:
    """An image that is not in the store, though its layers are."""
    return Image(digests.sha256(config), config.decode(), None, 0, 0.0)


class Images:
    """The images of one store. Removing them: store/upkeep/image_removal.py."""

    def __init__(self, db: Database, content: Content) -> None:
        self.db = db
        self.content = content

    def resolve(self, ref: str) -> Image:
        """The image of a name, a name@digest, an id or the start of one. Raises NotFound, InvalidInput."""
        image = self.find(ref)
        if image is None:
            from estiva.errors import Missing, oneline

            raise Missing("image", ref, hint=f"`estiva pull {oneline(ref)}` fetches it")
        return image

    def find(self, ref: str, *, short: bool = True) -> Image | None:
        """As `resolve`, but None for an image that isn't here. Without `short` the beginning of an id is none
        of its names."""
        if digests.valid(ref) or (len(ref) == 64 and digests.is_hex(ref)):
            return self._by_id(ref if ":" in ref else "sha256:" + ref)
        prefix = ref[7:] if ref.startswith("sha256:") else ref
        try:
            reference = Reference.parse(ref)
        except InvalidInput:
            if short and digests.is_hex(prefix):
                return self._by_prefix(prefix)
            raise
        found = self._by_digest(reference) if reference.digest else self._by_name(str(reference))
        if found is None and short and digests.is_hex(prefix) and len(prefix) < 64:
            return self._by_prefix(prefix)
        return found

    def _one(self, sql: str, *params: str) -> Image | None:
        rows = self.db.read(sql, params)
        return Image(*rows[0]) if rows else None

    def _by_name(self, name: str) -> Image | None:
        return self._one(
            "SELECT i.id, i.config, coalesce(n.manifest, i.manifest), i.size, i.created"
            " FROM names n JOIN images i ON i.id = n.image WHERE n.name = ?",
            name,
        )

    def _by_id(self, image_id: str) -> Image | None:
        return self._one(f"SELECT {COLUMNS} FROM images i WHERE i.id = ?", image_id)

    def _by_digest(self, reference: Reference) -> Image | None:
        return self._one(
            f"SELECT {COLUMNS} FROM repo_digests r JOIN images i ON i.id = r.image"
            " WHERE r.name = ? AND r.digest = ?",
            reference.name,
            reference.digest,
        )

    def _by_prefix(self, prefix: str) -> Image | None:
        rows = self.db.read(
            f"SELECT {COLUMNS} FROM images i WHERE i.id >= ? AND i.id < ? LIMIT 2",
            (f"sha256:{prefix}", f"sha256:{prefix}g"),
        )
        if len(rows) > 1:
            raise InvalidInput(f"the image id {prefix} is ambiguous", hint="give more of its digits")
        return Image(*rows[0]) if rows else None

    def names(self, image_id: str) -> list[str]:
        """The image's names in familiar form, sorted: ["alpine:latest"]."""
        rows = self.db.read("SELECT name FROM names WHERE image = ? ORDER BY name", (image_id,))
        return [familiar(name) for (name,) in rows]

    def is_hidden(self, image_id: str) -> bool:
        """Whether it is not listed, as only the build cache needs it."""
        sql = "SELECT hidden FROM images WHERE id = ?1 AND id NOT IN (SELECT image FROM names)"
        return any(hidden for (hidden,) in self.db.read(sql, (image_id,)))

    def all_names(self) -> list[str]:
        """Every name here, in familiar form, sorted."""
        return sorted(familiar(name) for (name,) in self.db.read("SELECT name FROM names"))

    def tags(self, repository_name: str) -> list[str]:
        """The names here that are of a repository (its canonical name), in familiar form, sorted."""
        rows = self.db.read(
            "SELECT name FROM names WHERE name > ? AND name < ? ORDER BY name",
            (f"{repository_name}:", f"{repository_name};"),  # the character after the colon
        )
        return [familiar(name) for (name,) in rows]

    def repo_digests(self, image_id: str) -> list[str]:
        """Under which digests repositories have it, in familiar form: ["alpine@sha256:..."]."""
        rows = self.db.read(
            "SELECT name, digest FROM repo_digests WHERE image = ? ORDER BY name, digest", (image_id,)
        )
        return [familiar(f"{name}@{digest}") for name, digest in rows]

    def add(
        self,
        config: bytes,
        *,
        manifest: bytes | None = None,
        names: Sequence[str] = (),
        hidden: bool = False,
    ) -> Image:
        """Make an image of a config whose layers are in the store; the same config again is the same image.

        It gets `names` in the same transaction, so that no prune ever sees it without. `manifest` is kept as
        a blob, so that a push can say the same again. `hidden` marks a build's intermediate image.

        Raises InvalidInput for a bad config, NotFound for a layer that isn't here.
        """
        from estiva.oci.image import parse_config

        document = parse_config(config)
        image_id = digests.sha256(config)
        kept = self.content.put(manifest) if manifest is not None else None
        with self.db.write() as transaction:
            size = 0
            for diff_id in document["rootfs"]["diff_ids"]:
                rows = transaction.read("SELECT size FROM layers WHERE diff_id = ?", (diff_id,))
                if not rows:
                    raise NotFound(
                        f"layer {diff_id} of image {image_id} is not in the store", hint="try again"
                    )
                size += rows[0][0]
            transaction.execute(
                "INSERT INTO images (id, config, manifest, size, created, added, hidden)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
                " manifest = coalesce(excluded.manifest, manifest), hidden = min(hidden, excluded.hidden),"
                " added = excluded.added",
                (
                    image_id,
                    config.decode(),
                    kept,
                    size,
                    seconds_of_document(document.get("created")),
                    time.time(),
                    int(hidden),
                ),
            )
            for name in names:
                self.tag(image_id, name, kept)
            return self._known(image_id)

    def _known(self, image_id: str) -> Image:
        image = self._by_id(image_id)
        if image is None:
            raise NotFound(f"no such image: {image_id}")
        return image

    def tag(self, image_id: str, name: str, manifest: str | None = None) -> None:
        """Give an image a name, taking it from the image that had it. `manifest` is the digest it came by."""
        reference = Reference.parse(name)
        if reference.digest:
            raise InvalidInput(f"{name} has a digest, which can't be given as a name", hint="use NAME:TAG")
        if reference.familiar_name in digests.LENGTHS:  # sha256:TAG would read like an image's id
            raise InvalidInput(f"{name} can't be given as a name: it looks like a digest")
        with self.db.write() as transaction:
            if not transaction.read("SELECT 1 FROM images WHERE id = ?", (image_id,)):
                raise NotFound(f"no such image: {image_id}")
            transaction.execute(
                "INSERT OR REPLACE INTO names (name, image, manifest, updated) VALUES (?, ?, ?, ?)",
                (str(reference), image_id, manifest, time.time()),
            )
            transaction.execute("UPDATE images SET hidden = 0 WHERE id = ? AND hidden = 1", (image_id,))

    def untag(self, name: str) -> None:
        """Take a name away; its image stays, if only under its id. Raises NotFound."""
        with self.db.write() as transaction:
            cursor = transaction.execute("DELETE FROM names WHERE name = ?", (str(Reference.parse(name)),))
            if not cursor.rowcount:
                raise NotFound(f"no such image: {name}")

    def record_digest(self, repository_name: str, digest: str, image_id: str) -> None:
        """Note that a repository (with or without tag) has the image under a manifest's or index's digest."""
        digests.parse(digest)
        name = Reference.parse_name(repository_name).name
        with self.db.write() as transaction:
            transaction.execute(
                "INSERT OR REPLACE INTO repo_digests (name, digest, image) VALUES (?, ?, ?)",
                (name, digest, image_id),
            )

    def history(self, image: Image) -> list[dict[str, Any]]:
        """The steps that made an image, the newest first.

        Each has created (text), created_by, comment, author, empty (bool), size (bytes), diff_id ("": empty).
        """
        diff_ids = image.diff_ids
        steps: list[dict[str, Any]] = [dict(step) for step in image.config.get("history") or []]
        missing = len(diff_ids) - sum(1 for step in steps if not step.get("empty_layer"))
        steps = [{} for _ in range(missing)] + steps
        rest = iter(diff_ids)
        result: list[dict[str, Any]] = []
        for step in steps:
            diff_id = "" if step.get("empty_layer") else next(rest, "")
            rows = self.db.read("SELECT size FROM layers WHERE diff_id = ?", (diff_id,)) if diff_id else []
            result.append(
                {
                    **{key: step.get(key) or "" for key in ("created", "created_by", "comment", "author")},
                    "empty": not diff_id,
                    "size": rows[0][0] if rows else 0,
                    "diff_id": diff_id,
                }
            )
        return result[::-1]

    def list(self, *, all: bool = False, having: str = "") -> list[Image]:
        """The images, the newest first; `all` shows intermediate results of builds too. With `having`, a diff
        id, only those whose config says it anywhere, found without a look at what the others are."""
        rows = self.db.read(
            f"SELECT {COLUMNS} FROM images i WHERE (i.hidden = 0 OR ? OR i.id IN (SELECT image FROM names))"
            " AND i.config GLOB ? ORDER BY i.created DESC, i.id",
            (all, f"*{having}*" if having else "*"),
        )
        return [Image(*row) for row in rows]
