"""Removing images, by the rules of `docker rmi` and `docker image prune`.

- By name: the name goes; the image goes with its last name.
- By id: an image of several names is refused, unless forced.
- What a container was made from, or has mounted, stays: the last name or the image itself is refused.
  Forced, the names go, and the image stays under its id while the container is there; while one runs, not
  by id.
- An image that the build cache needs is only hidden; its layers go when the cache is pruned.
- Layers and blobs that nothing else uses go at once.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from estiva import files
from estiva.errors import Conflict, InvalidInput
from estiva.oci import digest as digests
from estiva.oci.reference import Reference, familiar
from estiva.store import containers, platforms
from estiva.store.upkeep import gc

if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.store import Store
    from estiva.store.database import Transaction
    from estiva.store.images import Image, Images

FRESH = 60.0  # seconds
RUNNING = ("running", "paused", "restarting")


def delete(store: Store, ref: str, *, force: bool = False) -> list[str]:
    """Remove a name, and with its last name the image; what `rmi` prints, a line each: "Untagged: name",
    "Deleted: digest". Raises NotFound, Conflict.
    """
    lines: list[str] = []
    with store.db.write(freeing=True) as transaction:
        image = store.images.resolve(ref)
        reference = _named(transaction, ref)
        users = containers.having(transaction, image.id)
        indexes = _indexes(transaction, image.id)
        candidates = _documents(transaction, image.id)
        if reference is not None:
            _untag(transaction, image, reference, bool(users) and not force, users, lines)
        else:
            _refuse(store.images, image, users, force)
            lines += _untag_all(transaction, image.id)
        if not users and not _references(transaction, image.id):
            candidates |= _drop(transaction, image, lines)
        candidates |= _drop_platforms(transaction, store, indexes, lines)
    return lines + _reclaim(store, candidates)
    return lines


def prune(store: Store, *, all: bool = False, fits: Callable[[Image], bool] | None = None) -> list[str]:
    """Remove images without a name, with `all` any, that no container uses, of those that fit; the same
    lines.

    While another process pulls or builds, an image younger than FRESH seconds may be its own, not yet named.
    """
    lines: list[str] = []
    candidates: set[str] = set()
    before = time.time() - (FRESH if _writers(store) else 0.0)
    with store.db.write(freeing=True) as transaction:
        rows = transaction.read(
            "SELECT id FROM images WHERE hidden = 0 AND added <= ? AND id NOT IN"
            f" ({containers.IMAGES_IN_USE})"
            " AND (? OR id NOT IN (SELECT image FROM names))",
            (before, all),
        )
        spared = platforms.held(store, transaction) if not all else set()
        for (image_id,) in rows:
            if image_id in spared:
                continue
            image = store.images.resolve(image_id)
            if fits is not None and not fits(image):
                continue
            candidates |= _documents(transaction, image.id)
            lines += _untag_all(transaction, image.id)
            candidates |= _drop(transaction, image, lines)
    return lines + _reclaim(store, candidates)


def _indexes(transaction: Transaction, image_id: str) -> set[str]:
    """The digests that an image's names came by and that are not its own manifest's."""
    rows = transaction.read(
        "SELECT DISTINCT n.manifest FROM names n JOIN images i ON i.id = n.image"
        " WHERE n.image = ? AND n.manifest IS NOT NULL AND n.manifest IS NOT i.manifest",
        (image_id,),
    )
    return {digest for (digest,) in rows}


def _documents(transaction: Transaction, image_id: str) -> set[str]:
    """The manifests and indexes by which an image came; those that others need too, `reclaim` keeps."""
    rows = transaction.read(
        "SELECT manifest FROM names WHERE image = ?1 AND manifest IS NOT NULL"
        " UNION SELECT digest FROM repo_digests WHERE image = ?1",
        (image_id,),
    )
    return {digest for (digest,) in rows}


def _drop_platforms(transaction: Transaction, store: Store, indexes: set[str], lines: list[str]) -> set[str]:
    """The images of the other platforms go with the last name of their index; what they may leave behind."""
    candidates: set[str] = set()
    for digest in sorted(indexes):
        if transaction.read("SELECT 1 FROM names WHERE manifest = ?", (digest,)):
            continue
        spared = platforms.held(store, transaction)
        for _, image_id in platforms.members(store, digest):
            if f"Deleted: {image_id}" in lines:
                continue
            if image_id in spared or containers.having(transaction, image_id):
                continue
            if transaction.read("SELECT 1 FROM names WHERE image = ?", (image_id,)):
                continue
            candidates |= _documents(transaction, image_id)
            lines += _untag_all(transaction, image_id)
            candidates |= _drop(transaction, store.images.resolve(image_id), lines)
        candidates |= {digest} | platforms.documents_of(store, digest)
    return candidates


def _writers(store: Store) -> bool:
    """Whether any process holds `Store.writing`."""
    try:
        with files.Lock(store.paths.root + "/writing.lock", blocking=False):
            return False
    except BlockingIOError:
        return True


def _named(transaction: Transaction, ref: str) -> Reference | None:
    """The reference, if `ref` found its image by a name or a name@digest rather than by an id."""
    if digests.valid(ref) or (len(ref) == 64 and digests.is_hex(ref)):
        return None
    try:
        reference = Reference.parse(ref)
    except InvalidInput:
        return None
    if reference.digest:
        return reference
    return reference if transaction.read("SELECT 1 FROM names WHERE name = ?", (str(reference),)) else None


def _references(transaction: Transaction, image_id: str) -> int:
    rows = transaction.read(
        "SELECT (SELECT count(*) FROM names WHERE image = ?1)"
        " + (SELECT count(*) FROM repo_digests WHERE image = ?1)",
        (image_id,),
    )
    return int(rows[0][0])


def _untag(
    transaction: Transaction,
    image: Image,
    reference: Reference,
    held: bool,
    users: list[tuple[str, str, str]],
    lines: list[str],
) -> None:
    """Take one name, and with a repository's last tag its digests, from an image."""
    if reference.digest:
        transaction.execute(
            "DELETE FROM repo_digests WHERE name = ? AND digest = ?", (reference.name, reference.digest)
        )
    else:
        transaction.execute("DELETE FROM names WHERE name = ?", (str(reference),))
    lines.append(f"Untagged: {reference.familiar}")
    prefix = reference.name + ":"
    names = transaction.read("SELECT name FROM names WHERE image = ?", (image.id,))
    if not any(name.startswith(prefix) for (name,) in names):
        rows = transaction.read(
            "SELECT digest FROM repo_digests WHERE image = ? AND name = ? ORDER BY digest",
            (image.id, reference.name),
        )
        for (digest,) in rows:
            lines.append(f"Untagged: {reference.with_digest(digest).familiar}")
        transaction.execute(
            "DELETE FROM repo_digests WHERE image = ? AND name = ?", (image.id, reference.name)
        )
    if held and not _references(transaction, image.id):
        raise Conflict(
            f"image {reference.familiar} is in use by {_who(users)}",
            hint=f"remove the {_kind(users)} first, or use --force to take only the name away",
        )


def _who(users: list[tuple[str, str, str]]) -> str:
    shown = ", ".join(f"{name} ({user[:12]})" if name else user[:12] for user, name, _ in users[:3])
    return f"{_kind(users)} {shown}" + (f" and {len(users) - 3} more" if len(users) > 3 else "")


def _kind(users: list[tuple[str, str, str]]) -> str:
    return "snapshot" if users[0][2] == "snapshot" else "container"


def _refuse(images: Images, image: Image, users: list[tuple[str, str, str]], force: bool) -> None:
    """Whether an image may be removed by its id."""
    names = images.names(image.id)
    if len(names) > 1 and not force:
        raise Conflict(
            f"image {digests.short(image.id)} has several names: {', '.join(names)}",
            hint="remove it by name, or use --force to remove it with all its names",
        )
    running = any(status in RUNNING for _, _, status in users)
    if users and (not force or not names or running):
        raise Conflict(
            f"image {digests.short(image.id)} is in use by {_who(users)}",
            hint=f"remove the {_kind(users)} first",
        )


def _untag_all(transaction: Transaction, image_id: str) -> list[str]:
    lines = []
    for (name,) in transaction.read("SELECT name FROM names WHERE image = ? ORDER BY name", (image_id,)):
        lines.append(f"Untagged: {familiar(name)}")
    rows = transaction.read(
        "SELECT name, digest FROM repo_digests WHERE image = ? ORDER BY name, digest", (image_id,)
    )
    lines += [f"Untagged: {familiar(f'{name}@{digest}')}" for name, digest in rows]
    transaction.execute("DELETE FROM names WHERE image = ?", (image_id,))
    transaction.execute("DELETE FROM repo_digests WHERE image = ?", (image_id,))
    return lines


def _drop(transaction: Transaction, image: Image, lines: list[str]) -> set[str]:
    """Delete an image's row, or hide it from all but the build cache.

    Returns the content that may go with it.
    """
    lines.append(f"Deleted: {image.id}")
    if transaction.read("SELECT 1 FROM build_cache WHERE image = ? LIMIT 1", (image.id,)):
        transaction.execute("UPDATE images SET hidden = 1 WHERE id = ?", (image.id,))
        return set()
    transaction.execute("DELETE FROM images WHERE id = ?", (image.id,))
    candidates = set(image.diff_ids)
    for diff_id in image.diff_ids:
        rows = transaction.read("SELECT digest FROM layer_blobs WHERE diff_id = ?", (diff_id,))
        candidates.update(digest for (digest,) in rows)
    if image.manifest:
        candidates.add(image.manifest)
    return candidates


def _reclaim(store: Store, candidates: set[str]) -> list[str]:
    """Delete what of the candidates nothing else needs; a line for each layer that went."""
    if not candidates:
        return []
    return [f"Deleted: {diff_id}" for diff_id in gc.reclaim(store, only=candidates)["layers"]]
