"""The tables of a registry's database, and the statements that more than one module uses.

`touched` is when a client last had reason to count on a row: garbage collection leaves alone what is newer
than its grace period. `refs` has what each manifest refers to.
"""

from __future__ import annotations

from estiva.errors import EstivaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable

VERSION = 2

TABLES = """
CREATE TABLE IF NOT EXISTS repositories (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS links (repository TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL,
    touched REAL NOT NULL DEFAULT 0, PRIMARY KEY (repository, digest)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS links_digest ON links (digest);
CREATE TABLE IF NOT EXISTS manifests (repository TEXT NOT NULL, digest TEXT NOT NULL,
    media_type TEXT NOT NULL, size INTEGER NOT NULL, subject TEXT, artifact_type TEXT, annotations TEXT,
    touched REAL NOT NULL DEFAULT 0, PRIMARY KEY (repository, digest)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS manifests_digest ON manifests (digest);
CREATE INDEX IF NOT EXISTS manifests_subject ON manifests (repository, subject, digest);
CREATE TABLE IF NOT EXISTS tags (repository TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL,
    PRIMARY KEY (repository, name)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tags_digest ON tags (repository, digest);
CREATE TABLE IF NOT EXISTS refs (repository TEXT NOT NULL, manifest TEXT NOT NULL, digest TEXT NOT NULL,
    PRIMARY KEY (repository, manifest, digest)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS refs_digest ON refs (repository, digest);
CREATE TABLE IF NOT EXISTS uploads (id TEXT PRIMARY KEY, repository TEXT NOT NULL, algorithm TEXT NOT NULL)
    WITHOUT ROWID;
"""

USED = "SELECT 1 FROM links WHERE digest=?1 UNION ALL SELECT 1 FROM manifests WHERE digest=?1 LIMIT 1"
ADD_LINK = (
    "INSERT INTO links VALUES (?,?,?,?)"
    " ON CONFLICT (repository, digest) DO UPDATE SET touched=excluded.touched"
)


def prepare(db: sqlite3.Connection, references: Callable[[str, str], Iterable[str]]) -> None:
    """Make the tables, or bring those of an earlier version up to date.

    `references` tells what the stored manifest of a digest and media type refers to.
    """
    known = db.execute("SELECT 1 FROM sqlite_master WHERE name='manifests'").fetchone()
    before = db.execute("PRAGMA user_version").fetchone()[0]
    if known and before < VERSION:
        for table in ("links", "manifests"):
            columns = {row[1] for row in db.execute(f"PRAGMA table_info({table})")}
            if "touched" not in columns:
                db.execute(f"ALTER TABLE {table} ADD COLUMN touched REAL NOT NULL DEFAULT 0")
    db.executescript(TABLES)
    if known and before < VERSION:
        rows = []
        manifests = db.execute("SELECT repository, digest, media_type FROM manifests").fetchall()
        for repository, digest, media_type in manifests:
            try:
                rows += [(repository, digest, other) for other in references(digest, media_type)]
            except EstivaError:
                continue  # unreadable: nobody can pull it, so it holds nothing
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT OR IGNORE INTO refs VALUES (?,?,?)", rows)
        db.execute("COMMIT")
    db.execute(f"PRAGMA user_version={VERSION}")


def delete_manifest(transaction: sqlite3.Connection, repository: str, digest: str) -> bool:
    """Delete a manifest's rows and its tags; its content stays to be dropped."""
    for table in ("tags WHERE repository=? AND digest=?", "refs WHERE repository=? AND manifest=?"):
        transaction.execute(f"DELETE FROM {table}", (repository, digest))
    gone = transaction.execute(
        "DELETE FROM manifests WHERE repository=? AND digest=?", (repository, digest)
    ).rowcount
    return gone > 0
