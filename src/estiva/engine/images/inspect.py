"""What is shown of images: lists, history, inspect, layers, what differs between two."""

from __future__ import annotations

from estiva.engine.images.lookup import resolve
from estiva.errors import EstivaError
from estiva.store import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine import Engine
    from estiva.store.images import Image


ZERO_TIME = "0001-01-01T00:00:00Z"


def listing(
    engine: Engine,
    *,
    all: bool = False,
    filters: dict[str, list[str]] | None = None,
    parents: bool = False,
) -> list[dict[str, Any]]:
    """Images as `GET /images/json` of the Docker Engine API has them, newest first.

    Filters: reference (a pattern), dangling, label, before, since (an image), until (a time: made before it).
    `parents`: with what each was made from here, where that is still here.
    """
    from estiva.engine.images import filters as image_filters

    filters = filters or {}
    image_filters.check(filters)
    store = engine.store
    bounds = {
        key: resolve(engine, value).created for key in ("before", "since") for value in filters.get(key, ())
    }
    users = containers.images(engine.db)
    entries = []
    family = Family(engine) if parents else None
    for image in store.images.list(all=all):
        if "before" in bounds and image.created >= bounds["before"]:
            continue
        if "since" in bounds and image.created <= bounds["since"]:
            continue
        entry = {
            "Id": image.id,
            "ParentId": family.parent(image) if family is not None else "",
            "RepoTags": store.images.names(image.id),
            "RepoDigests": store.images.repo_digests(image.id),
            "Created": int(image.created),
            "Size": image.size,
            "SharedSize": -1,
            "Labels": (image.config.get("config") or {}).get("Labels") or {},
            "Containers": users.get(image.id, 0),
        }
        if image_filters.matches(entry, filters):
            entries.append(entry)
    return entries


def history(engine: Engine, ref: str) -> list[dict[str, Any]]:
    """The steps that made an image, newest first, as the Docker Engine API has them."""
    from estiva.timestamps import seconds_of_document

    image = resolve(engine, ref)
    names = engine.store.images.names(image.id)
    entries = []
    for number, step in enumerate(engine.store.images.history(image)):
        entries.append(
            {
                "Id": image.id if number == 0 else "<missing>",
                "Created": int(seconds_of_document(step["created"])),
                "CreatedBy": step["created_by"],
                "Size": step["size"],
                "Comment": step["comment"],
                "Tags": names if number == 0 else None,
            }
        )
    return entries


def inspect(engine: Engine, ref: str) -> dict[str, Any]:
    """All that is known of an image, in the shape of `docker image inspect`."""
    image = resolve(engine, ref)
    document = image.config
    store = engine.store
    used = engine.db.read("SELECT max(updated) FROM names WHERE image = ?", (image.id,))[0][0]
    result: dict[str, Any] = {
        "Id": image.id,
        "RepoTags": store.images.names(image.id),
        "RepoDigests": store.images.repo_digests(image.id),
        "Parent": Family(engine, image).parent(image),
        "Comment": ((document.get("history") or [{}])[-1]).get("comment") or "",
        "Created": document.get("created") or ZERO_TIME,
        "DockerVersion": document.get("docker_version") or "",
        "Author": document.get("author") or "",
        "Config": {**EMPTY_CONFIG, **(document.get("config") or {})},
        "Architecture": document.get("architecture") or "",
        "Os": document.get("os") or "",
        "Size": image.size,
        "GraphDriver": {"Data": {}, "Name": "estiva"},
        "RootFS": {"Type": "layers", "Layers": image.diff_ids},
        "Metadata": {"LastTagTime": _moment(used) if used else ZERO_TIME},
    }
    for key, name in (("variant", "Variant"), ("os.version", "OsVersion")):
        if document.get(key):
            result[name] = document[key]
    if image.manifest:
        result["Descriptor"] = _descriptor(engine, image.manifest)
    return result


EMPTY_CONFIG: dict[str, Any] = {
    "Hostname": "",
    "Domainname": "",
    "User": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Env": None,
    "Cmd": None,
    "Image": "",
    "Volumes": None,
    "WorkingDir": "",
    "Entrypoint": None,
    "OnBuild": None,
    "Labels": None,
}


def _descriptor(engine: Engine, digest: str) -> dict[str, Any]:
    """Of the manifest or index by which an image came."""
    from estiva.oci import image as documents

    try:
        data = engine.store.content.read(digest)
        kind = documents.parse_document(data, "").get("mediaType") or documents.OCI_MANIFEST
    except EstivaError:
        return {"digest": digest}
    return {"mediaType": kind, "digest": digest, "size": len(data)}


class Family:
    """What images were made from: the image that has all of their history but the end, and the layers of
    that. Of images that came from elsewhere nothing is told, as docker knows nothing of them."""

    def __init__(self, engine: Engine, child: Image | None = None) -> None:
        """Of all, or of who could be the parent of `child`: the lowest layer is the same."""
        self.by_layers: dict[tuple[str, ...], list[Image]] = {}
        base = child.diff_ids[0] if child is not None and child.diff_ids else ""
        alone = child is not None and (not base or bool(child.manifest))
        for image in [] if alone else engine.store.images.list(having=base):
            self.by_layers.setdefault(tuple(image.diff_ids), []).append(image)

    def parent(self, image: Image) -> str:
        """An image's id, or ""."""
        if image.manifest:
            return ""
        history = image.config.get("history") or []
        found, length = "", 0
        for count in range(len(image.diff_ids), 0, -1):
            for other in self.by_layers.get(tuple(image.diff_ids[:count]), ()):
                made = other.config.get("history") or []
                if length < len(made) < len(history) and history[: len(made)] == made:
                    found, length = other.id, len(made)
        return found


def _moment(timestamp: float) -> str:
    from estiva.timestamps import rfc3339

    return rfc3339(int(timestamp * 1e9))


def layers(engine: Engine, ref: str) -> list[dict[str, Any]]:
    """What each layer of an image adds, changes, removes and wastes: see store.inspect.layers."""
    from estiva.store import inspect as looking

    return looking.layers(engine.store, resolve(engine, ref))


def diff(engine: Engine, first: str, second: str) -> list[tuple[str, str]]:
    """What the second image has that the first has not ("A"), otherwise ("C"), or not any more ("D")."""
    from estiva.store import inspect as looking

    one, two = resolve(engine, first), resolve(engine, second)
    return list(looking.diff(engine.store, one.diff_ids, two.diff_ids))
