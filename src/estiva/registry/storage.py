"""What a registry keeps on disk.

    registry.db                 repositories, links, manifests, tags, upload sessions
    blobs/ALGORITHM/HEX         content by digest: blobs and manifests alike, shared by all repositories
    uploads/UUID                what an upload session has received so far
    lock                        held by the one server of this directory

A file is complete and synced before its row exists, and goes after its last row went; both happen under one
lock, so that an upload and a deletion of the same content can't cross. All calls block: run them in a thread.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from dataclasses import dataclass

from estiva import files
from estiva.errors import Conflict, StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS repositories (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS links (repository TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS links_digest ON links (digest);
CREATE TABLE IF NOT EXISTS manifests (repository TEXT NOT NULL, digest TEXT NOT NULL,
    media_type TEXT NOT NULL, size INTEGER NOT NULL, subject TEXT, artifact_type TEXT, annotations TEXT,
    PRIMARY KEY (repository, digest)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS manifests_digest ON manifests (digest);
CREATE INDEX IF NOT EXISTS manifests_subject ON manifests (repository, subject, digest);
CREATE TABLE IF NOT EXISTS tags (repository TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL,
    PRIMARY KEY (repository, name)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tags_digest ON tags (repository, digest);
CREATE TABLE IF NOT EXISTS uploads (id TEXT PRIMARY KEY, repository TEXT NOT NULL, algorithm TEXT NOT NULL)
    WITHOUT ROWID;
"""

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
    """One registry directory, opened by one process. Raises Conflict if another serves it."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)
        for directory in ("", "/blobs", "/blobs/sha256", "/blobs/sha512", "/uploads"):
            os.makedirs(self.root + directory, mode=0o700, exist_ok=True)
        self.held = files.Lock(self.root + "/lock", blocking=False)
        try:
            self.held.__enter__()
        except BlockingIOError:
            raise Conflict(f"another registry serves {self.root}") from None
        self.lock = threading.RLock()
        try:
            # made here for its mode, which sqlite gives to the log beside it too
            os.close(os.open(self.root + "/registry.db", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self.db = sqlite3.connect(
                self.root + "/registry.db", check_same_thread=False, isolation_level=None, timeout=60
            )
            self.db.execute("PRAGMA journal_mode=WAL")
            self.db.execute("PRAGMA synchronous=NORMAL")
            self.db.executescript(SCHEMA)
        except (sqlite3.Error, OSError) as error:
            self.held.__exit__(None, None, None)
            raise StateError(f"{self.root}/registry.db can't be opened: {error}") from None

    def close(self) -> None:
        with self.lock:
            self.db.close()
            self.held.__exit__(None, None, None)

    def read(self, sql: str, parameters: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        with self.lock:
            return self.db.execute(sql, tuple(parameters)).fetchall()

    def write(self) -> _Transaction:
        """A with-block: BEGIN IMMEDIATE ... COMMIT under the storage's lock, rolled back by an error."""
        return _Transaction(self)

    # ---- content

    def path(self, digest: str) -> str:
        """Where the content of a digest that the grammar has accepted is kept."""
        algorithm, _, encoded = digest.partition(":")
        return f"{self.root}/blobs/{algorithm}/{encoded}"

    def adopt(self, aside: str, digest: str) -> None:
        """Rename a complete, synced and verified file into its place. Call inside `write`."""
        target = self.path(digest)
        os.rename(aside, target)
        files.sync_directory(os.path.dirname(target))

    def _drop_unused(self, digest: str) -> None:
        """Unlink content that no repository holds any more. Under the lock, after the commit."""
        used = self.read(
            "SELECT 1 FROM links WHERE digest=?1 UNION ALL SELECT 1 FROM manifests WHERE digest=?1 LIMIT 1",
            (digest,),
        )
        if not used:
            try:
                os.unlink(self.path(digest))
            except FileNotFoundError:
                pass

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

    def open_blob(self, repository: str, digest: str) -> tuple[int, int] | None:
        """A blob as (fd, size), None when the repository has no such blob."""
        with self.lock:
            size = self.blob_size(repository, digest)
            if size is None:
                return None
            try:
                return os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC), size
            except FileNotFoundError:
                raise StateError(f"the content of {digest} is missing in {self.root}") from None

    def add_blob(self, repository: str, digest: str, size: int, aside: str) -> None:
        """Make the file `aside`, complete and synced, a blob of `repository`."""
        with self.write() as transaction:
            self.adopt(aside, digest)
            transaction.execute("INSERT OR IGNORE INTO repositories VALUES (?)", (repository,))
            transaction.execute("INSERT OR IGNORE INTO links VALUES (?,?,?)", (repository, digest, size))

    def mount_blob(self, repository: str, digest: str, source: str | None) -> bool:
        """Share a blob of `source` (any repository when None) with `repository`; False: there is none."""
        with self.write() as transaction:
            if source is None:
                row = transaction.execute(
                    "SELECT size FROM links WHERE digest=? LIMIT 1", (digest,)
                ).fetchone()
            else:
                row = transaction.execute(
                    "SELECT size FROM links WHERE repository=? AND digest=?", (source, digest)
                ).fetchone()
            if row is None:
                return False
            transaction.execute("INSERT OR IGNORE INTO repositories VALUES (?)", (repository,))
            transaction.execute("INSERT OR IGNORE INTO links VALUES (?,?,?)", (repository, digest, row[0]))
            return True

    def delete_blob(self, repository: str, digest: str) -> bool:
        with self.lock:
            with self.write() as transaction:
                gone = transaction.execute(
                    "DELETE FROM links WHERE repository=? AND digest=?", (repository, digest)
                ).rowcount
            self._drop_unused(digest)
        return gone > 0

    # ---- manifests

    def manifest(self, repository: str, reference: str) -> Manifest | None:
        """A manifest by tag or digest."""
        which = "?2" if ":" in reference else "(SELECT digest FROM tags WHERE repository=?1 AND name=?2)"
        rows = self.read(f"{_SELECT} WHERE repository=?1 AND digest={which}", (repository, reference))
        return Manifest(*rows[0]) if rows else None

    def manifest_bytes(self, digest: str, limit: int) -> bytes:
        return files.read_bounded(self.path(digest), limit)

    def put_manifest(
        self,
        repository: str,
        manifest: Manifest,
        body: bytes,
        tags: Iterable[str],
        missing: Callable[[], list[str]],
    ) -> list[str]:
        """Store a manifest and point `tags` at it, unless `missing()`, asked under the lock, names any."""
        aside = f"{self.root}/uploads/manifest-{os.urandom(8).hex()}"
        files.atomic_write(aside, body)
        try:
            with self.write() as transaction:
                lacking = missing()
                if lacking:
                    return lacking
                self.adopt(aside, manifest.digest)
                transaction.execute("INSERT OR IGNORE INTO repositories VALUES (?)", (repository,))
                transaction.execute(
                    "INSERT OR REPLACE INTO manifests VALUES (?,?,?,?,?,?,?)",
                    (
                        repository,
                        manifest.digest,
                        manifest.media_type,
                        manifest.size,
                        manifest.subject,
                        manifest.artifact_type,
                        manifest.annotations,
                    ),
                )
                for tag in tags:
                    transaction.execute(
                        "INSERT OR REPLACE INTO tags VALUES (?,?,?)", (repository, tag, manifest.digest)
                    )
                return []
        finally:
            try:
                os.unlink(aside)
            except FileNotFoundError:
                pass

    def delete_manifest(self, repository: str, digest: str) -> bool:
        """Delete a manifest and every tag that points at it."""
        with self.lock:
            with self.write() as transaction:
                transaction.execute("DELETE FROM tags WHERE repository=? AND digest=?", (repository, digest))
                gone = transaction.execute(
                    "DELETE FROM manifests WHERE repository=? AND digest=?", (repository, digest)
                ).rowcount
            self._drop_unused(digest)
        return gone > 0

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

    # ---- upload sessions

    def add_upload(self, upload_id: str, repository: str, algorithm: str) -> None:
        with self.write() as transaction:
            transaction.execute("INSERT INTO uploads VALUES (?,?,?)", (upload_id, repository, algorithm))

    def upload(self, upload_id: str) -> tuple[str, str] | None:
        """An upload session's (repository, algorithm)."""
        rows = self.read("SELECT repository, algorithm FROM uploads WHERE id=?", (upload_id,))
        return (rows[0][0], rows[0][1]) if rows else None

    def drop_upload(self, upload_id: str) -> None:
        with self.write() as transaction:
            transaction.execute("DELETE FROM uploads WHERE id=?", (upload_id,))
        try:
            os.unlink(f"{self.root}/uploads/{upload_id}")
        except FileNotFoundError:
            pass

    def idle_uploads(self, seconds: float) -> list[str]:
        """Sessions whose file is gone or has not changed for `seconds`, and such files without a session."""
        known = {row[0] for row in self.read("SELECT id FROM uploads")}
        now = time.time()
        fresh = set()
        with os.scandir(self.root + "/uploads") as entries:
            for entry in entries:
                try:
                    if now - entry.stat(follow_symlinks=False).st_mtime < seconds:
                        fresh.add(entry.name)
                    else:
                        known.add(entry.name)
                except FileNotFoundError:
                    continue
        return sorted(known - fresh)


class _Transaction:
    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def __enter__(self) -> sqlite3.Connection:
        self.storage.lock.acquire()
        try:
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
            self.storage.lock.release()
