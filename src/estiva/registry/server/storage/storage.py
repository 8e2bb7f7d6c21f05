"""What a registry keeps on disk.

    registry.db                 repositories, links, manifests, tags, upload sessions
    blobs/ALGORITHM/HEX         content by digest: blobs and manifests alike, shared by all repositories
    uploads/UUID                what an upload session has received so far
    lock                        held by the one server of this directory
    control                     the socket that `estiva registry gc` speaks to a running server by

Content (content.py) is complete and synced before its row exists, and goes after its last row went. A digest
is pinned while its content comes, and marked while it goes, so that an upload and a deletion of the same
content can't cross, and neither holds up the rest. All calls block: run them in a thread.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from dataclasses import dataclass

from estiva import files
from estiva.errors import Conflict, StateError
from estiva.registry.server.storage import content as contents
from estiva.registry.server.storage import schema

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType
    from typing import Any

_SELECT = "SELECT digest, media_type, size, subject, artifact_type, annotations FROM manifests"


@dataclass(frozen=True)
class Manifest:
    """A manifest's row. `annotations` is JSON text; `subject` the digest it refers to."""

    digest: str
    media_type: str
    size: int
    subject: str | None = None
    artifact_type: str | None = None
    annotations: str | None = None


class Storage:
    """One registry directory, opened by one process. `storage` is the table that content.make takes.

    Raises Conflict if another process serves the directory.
    """

    def __init__(self, root: str, storage: Mapping[str, str] | None = None) -> None:
        self.root = os.path.abspath(root)
        files.refuse_others(self.root)
        for directory in ("", "/uploads"):
            os.makedirs(self.root + directory, mode=0o700, exist_ok=True)
        files.refuse_others(self.root)  # another may have been first
        self.held = files.Lock(self.root + "/lock", blocking=False)
        try:
            self.held.__enter__()
        except BlockingIOError:
            raise Conflict(f"another registry serves {self.root}") from None
        self.lock = threading.RLock()
        self.settled = threading.Condition(self.lock)
        self.pins: dict[str, int] = {}  # what is coming, and how many times
        self.going: set[str] = set()
        try:
            self.content = contents.make(self.root, storage)
            # made here for its mode, which sqlite gives to the log beside it too
            os.close(os.open(self.root + "/registry.db", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self.db = sqlite3.connect(
                self.root + "/registry.db", check_same_thread=False, isolation_level=None, timeout=60
            )
            self.db.execute("PRAGMA journal_mode=WAL")
            self.db.execute("PRAGMA synchronous=NORMAL")
            schema.prepare(self.db, self._references)
        except BaseException as error:
            self.held.__exit__(None, None, None)
            if not isinstance(error, (sqlite3.Error, OSError)):
                raise
            raise StateError(f"{self.root}/registry.db can't be opened: {error}") from None

    def close(self) -> None:
        with self.lock:
            self.db.close()
            self.held.__exit__(None, None, None)

    def read(self, sql: str, parameters: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        with self.lock:
            return self.db.execute(sql, tuple(parameters)).fetchall()

    def write(self, *, durable: bool = False) -> _Transaction:
        """A with-block: BEGIN IMMEDIATE ... COMMIT under the storage's lock, rolled back by an error.

        A `durable` one is on the disk when it ends, with all that came before it: what was acknowledged
        stays when the power fails.
        """
        return _Transaction(self, durable)

    # ---- content

    @contextlib.contextmanager
    def arriving(self, digest: str) -> Iterator[None]:
        """While the content of `digest` comes and until its row is there, nobody removes it."""
        with self.settled:
            self.settled.wait_for(lambda: digest not in self.going)
            self.pins[digest] = self.pins.get(digest, 0) + 1
        try:
            yield
        finally:
            with self.settled:
                self.pins[digest] -= 1
                if not self.pins[digest]:
                    del self.pins[digest]

    def drop_unused(self, digest: str) -> int:
        """Remove content that no repository holds any more. Returns its bytes, 0 if it stays."""
        with self.settled:
            used = digest in self.pins or digest in self.going or self.read(schema.USED, (digest,))
            if used:
                return 0
            self.going.add(digest)
        try:
            return self.content.remove(digest)
        finally:
            with self.settled:
                self.going.discard(digest)
                self.settled.notify_all()

    def _references(self, digest: str, media_type: str) -> Iterable[str]:
        """What a stored manifest refers to, for databases that did not yet say so."""
        from estiva.registry.server.storage import documents

        return documents.inspect(self.content.read(digest, 64 << 20), media_type).references()

    # ---- repositories

    def has_repository(self, name: str) -> bool:
        return bool(self.read("SELECT 1 FROM repositories WHERE name=?", (name,)))

    def catalog(self, last: str, limit: int) -> list[str]:
        """Up to `limit` repository names after `last`, in byte order."""
        rows = self.read("SELECT name FROM repositories WHERE name>? ORDER BY name LIMIT ?", (last, limit))
        return [row[0] for row in rows]

    # ---- blobs

    def blob_size(self, repository: str, digest: str) -> int | None:
        rows = self.read("SELECT size FROM links WHERE repository=? AND digest=?", (repository, digest))
        return int(rows[0][0]) if rows else None

    def touch_blob(self, repository: str, digest: str, older: float) -> None:
        """A client was told that the blob is here: for the garbage collection it is as new. `older`: seconds
        that must have passed since the last time, to write seldom."""
        now = time.time()
        row = (now, repository, digest, now - older)
        if self.read("SELECT 1 FROM links WHERE repository=?2 AND digest=?3 AND touched<?4", row):
            with self.write() as transaction:
                transaction.execute(
                    "UPDATE links SET touched=?1 WHERE repository=?2 AND digest=?3 AND touched<?4", row
                )

    def open_blob(self, repository: str, digest: str) -> tuple[int | None, int] | None:
        """A blob as (fd, size); the fd is None where content is no file. None when there is no such blob."""
        with self.lock:
            size = self.blob_size(repository, digest)
            return None if size is None else (self.content.open(digest), size)

    def add_blob(self, repository: str, digest: str, size: int, aside: str) -> None:
        """Make the file `aside`, complete and synced, a blob of `repository`."""
        with self.arriving(digest):
            self.content.adopt(aside, digest)
            with self.write() as transaction:
                transaction.execute("INSERT OR IGNORE INTO repositories VALUES (?)", (repository,))
                transaction.execute(schema.ADD_LINK, (repository, digest, size, time.time()))

    def mount_blob(
        self, repository: str, digest: str, source: str | None, readable: Callable[[str], bool] | None = None
    ) -> bool:
        """Share a blob of `source`, or of any repository that is `readable`, with `repository`."""
        with self.write() as transaction:
            rows = transaction.execute(
                "SELECT repository, size FROM links WHERE digest=?1 AND (?2 IS NULL OR repository=?2)",
                (digest, source),
            )
            size = next((size for name, size in rows if readable is None or readable(name)), None)
            if size is None:
                return False
            transaction.execute("INSERT OR IGNORE INTO repositories VALUES (?)", (repository,))
            transaction.execute(schema.ADD_LINK, (repository, digest, size, time.time()))
            return True

    def delete_blob(self, repository: str, digest: str) -> bool:
        with self.write() as transaction:
            gone = transaction.execute(
                "DELETE FROM links WHERE repository=? AND digest=?", (repository, digest)
            ).rowcount
        self.drop_unused(digest)
        return gone > 0

    # ---- manifests

    def manifest(self, repository: str, reference: str) -> Manifest | None:
        """A manifest by tag or digest."""
        which = "?2" if ":" in reference else "(SELECT digest FROM tags WHERE repository=?1 AND name=?2)"
        rows = self.read(f"{_SELECT} WHERE repository=?1 AND digest={which}", (repository, reference))
        return Manifest(*rows[0]) if rows else None

    def touch_manifest(self, repository: str, reference: str, older: float) -> None:
        """As touch_blob, for a manifest that was pulled through."""
        manifest = self.manifest(repository, reference)
        if manifest is None:
            return
        now = time.time()
        row = (now, repository, manifest.digest, now - older)
        if self.read("SELECT 1 FROM manifests WHERE repository=?2 AND digest=?3 AND touched<?4", row):
            with self.write() as transaction:
                transaction.execute(
                    "UPDATE manifests SET touched=?1 WHERE repository=?2 AND digest=?3 AND touched<?4", row
                )

    def manifest_bytes(self, digest: str, limit: int) -> bytes:
        return self.content.read(digest, limit)

    def put_manifest(
        self,
        repository: str,
        manifest: Manifest,
        body: bytes,
        tags: Iterable[str],
        references: Iterable[str],
        missing: Callable[[], list[str]],
    ) -> list[str]:
        """Store a manifest that refers to the digests `references` and point `tags` at it, unless
        `missing()`, asked under the lock, names any."""
        if lacking := missing():
            return lacking
        aside = f"{self.root}/uploads/manifest-{os.urandom(8).hex()}"
        files.atomic_write(aside, body)
        try:
            with self.arriving(manifest.digest):
                self.content.adopt(aside, manifest.digest)
                with self.write(durable=True) as transaction:
                    lacking = missing()
                    if not lacking:
                        self._add_manifest(transaction, repository, manifest, tags, references)
            if lacking:
                self.drop_unused(manifest.digest)
            return lacking
        finally:
            try:
                os.unlink(aside)
            except FileNotFoundError:
                pass

    def _add_manifest(
        self,
        transaction: sqlite3.Connection,
        repository: str,
        manifest: Manifest,
        tags: Iterable[str],
        references: Iterable[str],
    ) -> None:
        digest = manifest.digest
        transaction.execute("INSERT OR IGNORE INTO repositories VALUES (?)", (repository,))
        transaction.execute(
            "INSERT OR REPLACE INTO manifests VALUES (?,?,?,?,?,?,?,?)",
            (
                repository,
                digest,
                manifest.media_type,
                manifest.size,
                manifest.subject,
                manifest.artifact_type,
                manifest.annotations,
                time.time(),
            ),
        )
        transaction.executemany(
            "INSERT OR IGNORE INTO refs VALUES (?,?,?)", [(repository, digest, other) for other in references]
        )
        transaction.executemany(
            "INSERT OR REPLACE INTO tags VALUES (?,?,?)", [(repository, tag, digest) for tag in tags]
        )

    def delete_manifest(self, repository: str, digest: str) -> bool:
        """Delete a manifest and every tag that points at it."""
        with self.write() as transaction:
            gone = schema.delete_manifest(transaction, repository, digest)
        self.drop_unused(digest)
        return gone

    def delete_tag(self, repository: str, tag: str) -> bool:
        """Delete one tag only; the manifest and its other tags stay."""
        with self.write() as transaction:
            return (
                transaction.execute(
                    "DELETE FROM tags WHERE repository=? AND name=?", (repository, tag)
                ).rowcount
                > 0
            )

    def tags(self, repository: str, last: str, limit: int) -> list[str]:
        """Up to `limit` tags after `last`, in byte order."""
        rows = self.read(
            "SELECT name FROM tags WHERE repository=? AND name>? ORDER BY name LIMIT ?",
            (repository, last, limit),
        )
        return [row[0] for row in rows]

    def referrers(
        self, repository: str, subject: str, artifact_type: str | None, last: str, limit: int
    ) -> list[Manifest]:
        """Up to `limit` manifests whose subject is `subject`, after the digest `last`."""
        rows = self.read(
            f"{_SELECT} WHERE repository=?1 AND subject=?2 AND digest>?3 AND (?4 IS NULL OR artifact_type=?4)"
            " ORDER BY digest LIMIT ?5",
            (repository, subject, last, artifact_type, limit),
        )
        return [Manifest(*row) for row in rows]

    def gauges(self) -> list[tuple[str, str, float]]:
        """(name, help, value) of how much there is."""
        ((repositories, manifests, tags, uploads),) = self.read(
            "SELECT (SELECT count(*) FROM repositories), (SELECT count(*) FROM manifests),"
            " (SELECT count(*) FROM tags), (SELECT count(*) FROM uploads)"
        )
        ((blobs, size),) = self.read(
            "SELECT count(*), coalesce(sum(size), 0) FROM (SELECT max(size) size FROM links GROUP BY digest)"
        )
        return [
            ("repositories", "Repositories.", repositories),
            ("manifests", "Manifests in repositories.", manifests),
            ("tags", "Tags.", tags),
            ("uploads_open", "Upload sessions.", uploads),
            ("blobs", "Different blobs.", blobs),
            ("blob_bytes", "Bytes of the different blobs.", size),
        ]


class _Transaction:
    def __init__(self, storage: Storage, durable: bool) -> None:
        self.storage = storage
        self.durable = durable

    def __enter__(self) -> sqlite3.Connection:
        self.storage.lock.acquire()
        try:
            if self.durable:  # one fsync of the log, which holds the earlier transactions too
                self.storage.db.execute("PRAGMA synchronous=FULL")
            self.storage.db.execute("BEGIN IMMEDIATE")
        except BaseException:
            self.storage.lock.release()
            raise
        return self.storage.db

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.storage.db.execute("COMMIT" if kind is None else "ROLLBACK")
        finally:
            if self.durable:
                self.storage.db.execute("PRAGMA synchronous=NORMAL")
            self.storage.lock.release()
