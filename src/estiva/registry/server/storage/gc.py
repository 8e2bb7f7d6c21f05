"""Garbage collection of the registry server, while it serves.

What goes, if no client had reason to count on it within the grace period:

    sessions     uploads that nothing came for
    manifests    with `untagged`: without a tag, in no index, and no referrer of something that is here;
                 of an upstream with `keep`: not pulled for that long
    blobs        that no manifest of their repository refers to
    content      that no repository holds (left by a server that was killed)

Every step is a short transaction, so pushes and pulls go on beside it. A push that is under way is safe: its
blobs are younger than the grace period, or were made so when the client asked for them.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass

from estiva.registry.server.storage import schema

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from estiva.registry.server.storage.storage import Storage
    from estiva.registry.server.storage.uploads import Uploads

GRACE = 24 * 3600.0  # seconds
BATCH = 200

_UNTAGGED = """
SELECT repository, digest FROM manifests m WHERE touched < ?1 AND (repository, digest) > (?2, ?3)
    AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.repository = m.repository AND t.digest = m.digest)
    AND NOT EXISTS (SELECT 1 FROM refs r WHERE r.repository = m.repository AND r.digest = m.digest
        AND r.manifest <> m.digest)
    AND (subject IS NULL OR NOT EXISTS
        (SELECT 1 FROM manifests s WHERE s.repository = m.repository AND s.digest = m.subject))
    AND (?4 IS NULL OR (repository >= ?4 || '/' AND repository < ?4 || '0'))
ORDER BY repository, digest LIMIT ?5
"""
_UNREFERENCED = """
SELECT repository, digest FROM links l WHERE touched < ?1 AND (repository, digest) > (?2, ?3)
    AND NOT EXISTS (SELECT 1 FROM refs r WHERE r.repository = l.repository AND r.digest = l.digest)
ORDER BY repository, digest LIMIT ?4
"""
_STALE_TAGS = """
DELETE FROM tags WHERE repository >= ?2 || '/' AND repository < ?2 || '0'
    AND EXISTS (SELECT 1 FROM manifests m
        WHERE m.repository = tags.repository AND m.digest = tags.digest AND m.touched < ?1)
"""


@dataclass
class Report:
    """What went, or with `dry_run` would go, in numbers; `bytes` of content."""

    sessions: int = 0
    manifests: int = 0
    blobs: int = 0
    content: int = 0
    bytes: int = 0

    def values(self) -> dict[str, int]:
        return asdict(self)


class Collection:
    """One run. `keep` has prefix -> seconds that what came from an upstream stays without being pulled."""

    def __init__(
        self,
        storage: Storage,
        *,
        grace: float = GRACE,
        untagged: bool = False,
        keep: Mapping[str, float] | None = None,
        dry_run: bool = False,
    ) -> None:
        self.storage = storage
        self.now = time.time()
        self.cutoff = self.now - grace
        self.untagged = untagged
        self.keep = keep or {}
        self.dry_run = dry_run
        self.report = Report()

    def run(self, uploads: Uploads | None = None) -> Report:
        if uploads is not None and not self.dry_run:
            self.report.sessions = uploads.expire()
        for prefix, seconds in self.keep.items():
            before = min(self.cutoff, self.now - seconds)
            if not self.dry_run:
                with self.storage.write() as transaction:
                    transaction.execute(_STALE_TAGS, (before, prefix))
            self._manifests(before, prefix)
        if self.untagged:
            self._manifests(self.cutoff, None)
        self._blobs()
        self._content()
        return self.report

    def _manifests(self, before: float, prefix: str | None) -> None:
        """Again and again: an index that goes leaves its manifests, a subject its referrers."""
        while self._manifests_once(before, prefix) and not self.dry_run:
            pass

    def _manifests_once(self, before: float, prefix: str | None) -> int:
        place, found = ("", ""), 0
        while rows := self.storage.read(_UNTAGGED, (before, *place, prefix, BATCH)):
            place = (rows[-1][0], rows[-1][1])
            found += len(rows)
            self.report.manifests += len(rows)
            if self.dry_run:
                continue
            for repository, digest in rows:
                with self.storage.write() as transaction:
                    # may have been tagged or put into an index since
                    again = transaction.execute(
                        _UNTAGGED.replace("(repository, digest) >", "(repository, digest) ="),
                        (before, repository, digest, prefix, 1),
                    ).fetchone()
                    if again is None:
                        self.report.manifests -= 1
                        continue
                    schema.delete_manifest(transaction, repository, digest)
                self.report.bytes += self.storage.drop_unused(digest)
        return found

    def _blobs(self) -> None:
        place = ("", "")
        would: Counter[str] = Counter()
        while rows := self.storage.read(_UNREFERENCED, (self.cutoff, *place, BATCH)):
            place = (rows[-1][0], rows[-1][1])
            for repository, digest in rows:
                if self.dry_run:
                    would[digest] += 1
                else:
                    with self.storage.write() as transaction:
                        again = transaction.execute(
                            _UNREFERENCED.replace("(repository, digest) >", "(repository, digest) ="),
                            (self.cutoff, repository, digest, 1),
                        ).fetchone()
                        if again is None:
                            continue
                        transaction.execute(
                            "DELETE FROM links WHERE repository=? AND digest=?", (repository, digest)
                        )
                    self.report.bytes += self.storage.drop_unused(digest)
                self.report.blobs += 1
        for digest, count in would.items():
            ((links, size),) = self.storage.read(
                "SELECT count(*), max(size) FROM links WHERE digest=?", (digest,)
            )
            if links == count:
                self.report.bytes += size

    def _content(self) -> None:
        for digest, size, came in self.storage.content.everything():
            if came >= self.cutoff or self.storage.read(schema.USED, (digest,)):
                continue
            if not self.dry_run:
                size = self.storage.drop_unused(digest)
                if not size:
                    continue
            self.report.content += 1
            self.report.bytes += size
