"""What `system df` says, measured on the disk: what it calls reclaimable is what a prune frees.

Images and the build cache are counted in the blocks that their files take, as du(1) counts them: for each
layer its tar or folder, the index, and every compressed form that is kept, and the manifests. `per_image` has
the layers' own sizes, which is what `images` shows.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from estiva.oci import digest as digests
from estiva.store import containers, platforms

if TYPE_CHECKING:
    from collections.abc import Iterable

    from estiva.store import Store

BLOCK = 512  # bytes of st_blocks, whatever the filesystem's own are


def disk(path: str) -> int:
    """Bytes that a file, or a folder with all in it, takes on the disk; 0 if it isn't there."""
    try:
        at = os.lstat(path)
    except FileNotFoundError:
        return 0
    total = at.st_blocks * BLOCK
    folders = [path] if stat.S_ISDIR(at.st_mode) else []
    seen: set[int] = set()
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    found = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif found.st_nlink > 1:
                        if found.st_ino in seen:
                            continue
                        seen.add(found.st_ino)
                    total += found.st_blocks * BLOCK
        except FileNotFoundError:
            continue  # removed meanwhile
    return total


def stored(store: Store) -> int:
    """Bytes on the disk of all layers and blobs."""
    return sum(
        disk(entry.path)
        for folder in (f"{store.paths.blobs}/sha256", f"{store.paths.blobs}/sha512", store.paths.layers,
                       store.paths.fixups)
        for entry in _entries(folder)
    )  # fmt: skip


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return [entry for entry in entries if entry.name != "empty"]


class _Measure:
    """Sizes on the disk, each looked up once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.forms: dict[str, set[str]] = {}
        for digest, diff_id in store.db.read("SELECT digest, diff_id FROM layer_blobs"):
            self.forms.setdefault(diff_id, set()).add(digest)
        self.layers: dict[str, int] = {}

    def layer(self, diff_id: str) -> int:
        if diff_id not in self.layers:
            paths = self.store.paths
            name = digests.parse(diff_id)[1]
            blobs = self.forms.get(diff_id, set()) | {diff_id}
            self.layers[diff_id] = (
                disk(f"{paths.layers}/{name}")
                + disk(f"{paths.fixups}/{name}")
                + sum(disk(self.store.content.path(digest)) for digest in blobs)
            )
        return self.layers[diff_id]

    def all(self, diff_ids: Iterable[str]) -> int:
        return sum(self.layer(diff_id) for diff_id in diff_ids)


def usage(store: Store) -> dict[str, Any]:
    """Sizes in bytes: images, containers, volumes, build_cache, and snapshots where there are any: each
    {"count", "active", "size", "reclaimable"}; `per_image` maps an image's id to {"size", "shared", "unique",
    "containers"}, `per_container` an id to bytes, `per_volume` a name to {"size", "links"}, and `per_step`
    lists what builds remember, the oldest first: {"key", "created", "used" (epoch seconds), "size",
    "shared"}.
    """
    db = store.db
    users = containers.images(db)
    steps = db.read("SELECT key, image, created, used FROM build_cache ORDER BY created, key")
    cached = {image for _, image, _, _ in steps}
    listed = {image.id: image.diff_ids for image in store.images.list()}
    every = {image.id: image.diff_ids for image in store.images.list(all=True)}
    shown = {diff_id for diff_ids in listed.values() for diff_id in diff_ids}
    needed = {diff_id for image in users for diff_id in every.get(image, [])}
    only_cached = {d for image in cached for d in every.get(image, [])} - shown
    measure = _Measure(store)
    cache = measure.all(only_cached)
    size = stored(store) - cache
    kept = measure.all(needed - only_cached) + _documents(store, set(users))
    per_container, per_volume = _per_container(store), _per_volume(store)
    return {
        "images": {
            "count": len(listed),
            "active": sum(1 for image in listed if image in users),
            "size": size,
            "reclaimable": max(0, size - kept),
        },
        "containers": _containers_usage(store, per_container),
        "volumes": _volumes_usage(per_volume),
        "build_cache": {
            "count": len(cached),
            "active": 0,
            "size": cache,
            "reclaimable": measure.all(only_cached - needed),
        },
        **_snapshots_usage(store),
        "per_image": _per_image(store, listed, users),
        "per_container": per_container,
        "per_volume": per_volume,
        "per_step": _per_step(measure, steps, every, only_cached),
    }


def steps(store: Store) -> list[dict[str, Any]]:
    """`per_step` of `usage` alone."""
    rows = store.db.read("SELECT key, image, created, used FROM build_cache ORDER BY created, key")
    every = {image.id: image.diff_ids for image in store.images.list(all=True)}
    shown = {diff_id for image in store.images.list() for diff_id in image.diff_ids}
    only_cached = {d for _, image, _, _ in rows for d in every.get(image, [])} - shown
    return _per_step(_Measure(store), rows, every, only_cached)


def per_image(store: Store) -> dict[str, dict[str, int]]:
    """`per_image` of `usage` alone."""
    listed = {image.id: image.diff_ids for image in store.images.list()}
    return _per_image(store, listed, containers.images(store.db))


def _documents(store: Store, images: set[str]) -> int:
    """Bytes on the disk of the manifests and indexes by which images came."""
    found: set[str] = set()
    for image, digest in store.db.read(
        "SELECT id, manifest FROM images UNION SELECT image, manifest FROM names"
        " UNION SELECT image, digest FROM repo_digests"
    ):
        if image in images and digest:
            found.add(digest)
            found.update(manifest for manifest, _ in platforms.members(store, digest))
    return sum(disk(store.content.path(digest)) for digest in found)


def _per_image(
    store: Store, listed: dict[str, list[str]], users: dict[str, int]
) -> dict[str, dict[str, int]]:
    sizes: dict[str, int] = dict(store.db.read("SELECT diff_id, size FROM layers"))
    count: dict[str, int] = {}
    for diff_ids in listed.values():
        for diff_id in set(diff_ids):
            count[diff_id] = count.get(diff_id, 0) + 1
    found = {}
    for image_id, diff_ids in listed.items():
        total = sum(sizes.get(d, 0) for d in set(diff_ids))
        shared = sum(sizes.get(d, 0) for d in set(diff_ids) if count[d] > 1)
        found[image_id] = {
            "size": total,
            "shared": shared,
            "unique": total - shared,
            "containers": users.get(image_id, 0),
        }
    return found


def _per_step(
    measure: _Measure, steps: list[Any], every: dict[str, list[str]], only_cached: set[str]
) -> list[dict[str, Any]]:
    """Each step with the layers that no earlier one has; shared if all of its layers are an image's too."""
    found, counted = [], set[str]()
    for key, image, created, used in steps:
        layers = {layer for layer in every.get(image, []) if layer in only_cached}
        size = measure.all(layers - counted)
        counted |= layers
        found.append({"key": key, "created": created, "used": used, "size": size, "shared": not layers})
    return found


def _per_container(store: Store) -> dict[str, int]:
    from estiva.store.volumes import tree_size

    every = containers.statuses(store.db)
    return {container: tree_size(store.paths.container(container) + "/upper") for container in every}


def _per_volume(store: Store) -> dict[str, dict[str, int]]:
    links: dict[str, int] = {}
    for _, volume in containers.volume_of_each(store.db):
        links[volume] = links.get(volume, 0) + 1
    return {
        volume.name: {"size": store.volumes.size(volume.name), "links": links.get(volume.name, 0)}
        for volume in store.volumes.list()
    }


def _containers_usage(store: Store, sizes: dict[str, int]) -> dict[str, int]:
    busy = {
        container
        for container, status in containers.statuses(store.db).items()
        if status in ("running", "paused", "restarting")
    }
    return {
        "count": len(sizes),
        "active": len(busy & sizes.keys()),
        "size": sum(sizes.values()),
        "reclaimable": sum(size for container, size in sizes.items() if container not in busy),
    }


def _snapshots_usage(store: Store) -> dict[str, dict[str, int]]:
    """Of what snapshots hold themselves. What only a container stands on is counted, and goes with it."""
    from estiva.store import states

    every = states.every(store.db, all=True)
    if not every:
        return {}
    sizes = {state.id: disk(states.folder(store.paths, state.id)) for state in every}
    used = {state.id for state in every if states.users(store.db, state.id)}
    return {
        "snapshots": {
            "count": len(every),
            "active": len(used),
            "size": sum(sizes.values()),
            "reclaimable": sum(size for state, size in sizes.items() if state not in used),
        }
    }


def _volumes_usage(volumes: dict[str, dict[str, int]]) -> dict[str, int]:
    return {
        "count": len(volumes),
        "active": sum(1 for each in volumes.values() if each["links"]),
        "size": sum(each["size"] for each in volumes.values()),
        "reclaimable": sum(each["size"] for each in volumes.values() if not each["links"]),
    }
