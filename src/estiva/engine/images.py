"""User verbs on images: get, send, name, list, look into, remove. The store and the registry do the work."""

from __future__ import annotations

import os

from estiva.errors import IntegrityError, InvalidInput, NotFound
from estiva.oci.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO, Any

    from estiva.engine import Engine
    from estiva.store.images import Image

    Progress = Callable[[dict[str, Any]], object] | None

ZERO_TIME = "0001-01-01T00:00:00Z"


def resolve(engine: Engine, ref: str) -> Image:
    """The image of a name, digest or id. Raises NotFound."""
    return engine.store.images.resolve(ref)


def find(engine: Engine, ref: str) -> Image | None:
    """As `resolve`, but None for an image that isn't here."""
    return engine.store.images.find(ref)


def parse(ref: str) -> Reference:
    """The parts of an image's name. Raises InvalidInput."""
    return Reference.parse(ref)


def parse_name(ref: str) -> Reference:
    """As `parse`, but a missing tag stays missing."""
    return Reference.parse_name(ref)


def tags(engine: Engine, ref: str) -> list[str]:
    """The names, in familiar form and sorted, of all images here that are of the reference's repository.

    Raises NotFound when there are none, InvalidInput.
    """
    reference = Reference.parse_name(ref)
    found = engine.store.images.tags(reference.name)
    if not found:
        raise NotFound(f"no such image: {reference.familiar_name}", hint="`estiva images` shows what is here")
    return found


def remote_tags(ref: str) -> list[str]:
    """The names, in familiar form, of all tags that the reference's repository has at its registry.

    Raises NotFound, Denied, Unavailable, and InvalidInput for a reference with a tag.
    """
    from estiva.registry import lookup

    reference = Reference.parse_name(ref)
    found = lookup.tags(reference)
    if not found:
        raise NotFound(f"{reference.familiar_name} has no tags")
    return [reference.with_tag(tag).familiar for tag in found]


def names(engine: Engine, image_id: str) -> list[str]:
    """The names of an image, in familiar form."""
    return engine.store.images.names(image_id)


def digests(engine: Engine, image: Image, reference: Reference) -> list[str]:
    """The digests under which the reference's repository has the image."""
    prefix = reference.familiar_name + "@"
    known = engine.store.images.repo_digests(image.id)
    return [text.removeprefix(prefix) for text in known if text.startswith(prefix)]


def pull(
    engine: Engine, ref: str, *, platform: str | None = None, every: bool = False, progress: Progress = None
) -> Image:
    """Fetch an image, or with `every` those of all platforms, from its registry.

    Raises Denied, NotFound, Unavailable, IntegrityError.

    `progress` gets one event for each change of a layer (see estiva.registry.progress), before them one with
    the status "starting" and after them one with "complete".
    """
    reference = Reference.parse(ref)
    if not platform and not every:
        from estiva.registry import glance

        same = glance.unchanged(engine.store, reference)
        if same is not None:
            return same
    from estiva.registry import client

    if progress is not None:
        progress({"id": "", "status": "starting", "current": 0, "total": 0, "message": str(reference)})

    try:
        with engine.heap():
            image = client.pull(engine.store, reference, platform=platform, every=every, progress=progress)
    except (InvalidInput, IntegrityError, NotFound) as error:
        if reference.familiar not in error.message:
            error.message = f"{reference.familiar}: {error.message}"
        raise
    if progress is not None:
        progress({"id": "", "status": "complete", "current": 0, "total": 0, "message": str(reference)})
    return image


def push(
    engine: Engine,
    ref: str,
    *,
    platform: str | None = None,
    compression: str = "",
    level: int | None = None,
    progress: Progress = None,
) -> str:
    """Send an image to the registry that its name says; the manifest's digest. A name that means an index
    sends all platforms that are here, unless one is asked for."""
    reference = Reference.parse(ref)
    image = resolve(engine, ref)
    from estiva.engine import copies
    from estiva.registry import client
    from estiva.store.platforms import index_digest

    index = index_digest(engine.store, image.manifest)
    if platform:
        image, index = copies.of_platform(engine, image, platform), ""
    how = copies.packing(compression, level)
    with engine.heap():
        digest = client.push(engine.store, image, reference, packing=how, index=index, progress=progress)
    if progress is not None:
        progress({"id": "", "status": "complete", "current": 0, "total": 0, "message": str(reference)})
    return digest


def login(server: str, user: str, password: str) -> str:
    """Prove credentials to a registry ("" is Docker Hub) and keep them; where. Raises Denied, Unavailable."""
    from estiva.registry import client

    return client.login(server, user, password)


def logout(server: str) -> bool:
    """Forget a registry's credentials. False when there were none."""
    from estiva.registry import client

    return client.logout(server)


def registry_host(server: str) -> str:
    """The canonical name of what a user calls a registry ("" is Docker Hub)."""
    from estiva.registry import client

    return client.registry_host(server)


def tag(engine: Engine, source: str, target: str) -> None:
    """Give an image one more name."""
    image = resolve(engine, source)
    Reference.parse(target)
    engine.store.images.tag(image.id, target, image.manifest)


def remove(engine: Engine, ref: str, *, force: bool = False) -> list[str]:
    """Remove a name, and with its last name the image; the lines that `rmi` prints."""
    return engine.store.images.delete(ref, force=force)


def prune(engine: Engine, *, all: bool = False) -> tuple[list[str], int]:
    """Remove images that have no name (`all`: that no container uses): (`rmi` lines, bytes freed)."""
    before = store_size(engine)
    lines = engine.store.images.prune(all=all)
    return lines, max(0, before - store_size(engine))


def store_size(engine: Engine) -> int:
    """Bytes on the disk of all layers and blobs."""
    from estiva.store import usage

    return usage.stored(engine.store)


def save(engine: Engine, refs: Sequence[str], out: IO[bytes]) -> None:
    """Write images as one archive that Docker, Podman and OCI tools load. Others: engine.copies.save."""
    for ref in refs:
        resolve(engine, ref)
    from estiva.store import archive

    archive.save(engine.store, refs, out)


def load(engine: Engine, source: IO[bytes] | str, *, platform: str | None = None) -> list[str]:
    """Read images of a docker-archive, an oci-archive, or the folder (its path) of an OCI layout; their
    names, or ids where they have none."""
    from estiva.store import archive_load, layout

    if isinstance(source, str):
        folder = layout.Folder(source)
        archive_load.check_kind(folder)
        return archive_load.load(engine.store, folder, platform=_platform(platform))
    return archive_load.load(engine.store, source, platform=_platform(platform))


def import_(
    engine: Engine,
    source: IO[bytes],
    reference: str | None = None,
    *,
    changes: Sequence[str] = (),
    message: str = "",
    platform: str | None = None,
) -> str:
    """Make an image of one layer out of a tar of a filesystem; its id."""
    if reference:
        Reference.parse(reference)
    from estiva.store import archive

    image = archive.import_tar(engine.store, source, changes, message, platform=_platform(platform))
    if reference:
        engine.store.images.tag(image.id, reference)
    return image.id


def _platform(text: str | None) -> Any:
    if not text:
        return None
    from estiva.oci.platform import Platform

    return Platform.parse(text)


def from_host(
    engine: Engine,
    programs: Sequence[str],
    *,
    name: str | None = None,
    files: Sequence[str] = (),
    platform: str | None = None,
) -> str:
    """Make an image out of this machine's own programs (see estiva.engine.from_host); its id."""
    from estiva.engine import from_host as maker

    return maker.make(engine.store, programs, tag=name, extra_files=files, platform=platform).id


def listing(
    engine: Engine, *, all: bool = False, filters: dict[str, list[str]] | None = None
) -> list[dict[str, Any]]:
    """Images as `GET /images/json` of the Docker Engine API has them, newest first.

    Filters: reference (a pattern), dangling, label, before, since (an image), until is refused.
    """
    from estiva.engine import image_filters

    filters = filters or {}
    image_filters.check(filters)
    store = engine.store
    bounds = {
        key: resolve(engine, value).created for key in ("before", "since") for value in filters.get(key, ())
    }
    users: dict[str, int] = dict(
        engine.db.read("SELECT image, count(*) FROM containers WHERE image IS NOT NULL GROUP BY image")
    )
    entries = []
    for image in store.images.list(all=all):
        if "before" in bounds and image.created >= bounds["before"]:
            continue
        if "since" in bounds and image.created <= bounds["since"]:
            continue
        entry = {
            "Id": image.id,
            "ParentId": "",
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
    from estiva.oci.config import seconds

    image = resolve(engine, ref)
    names = engine.store.images.names(image.id)
    entries = []
    for number, step in enumerate(engine.store.images.history(image)):
        entries.append(
            {
                "Id": image.id if number == 0 else "<missing>",
                "Created": int(seconds(step["created"])),
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
        "Parent": "",
        "Comment": ((document.get("history") or [{}])[-1]).get("comment") or "",
        "Created": document.get("created") or ZERO_TIME,
        "Author": document.get("author") or "",
        "Config": {**_EMPTY_CONFIG, **(document.get("config") or {})},
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
        result["Descriptor"] = {"digest": image.manifest}
    return result


_EMPTY_CONFIG: dict[str, Any] = {
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


def _moment(timestamp: float) -> str:
    from estiva.engine.clock import rfc3339

    return rfc3339(int(timestamp * 1e9))


def open_source(path: str) -> IO[bytes]:
    """A file to read an archive from; "-" is standard input. Raises NotFound."""
    if path == "-":
        return os.fdopen(os.dup(0), "rb")
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise NotFound(f"no such file: {path}") from None
    except IsADirectoryError:
        raise InvalidInput(f"{path} is a folder, not an archive") from None


def layers(engine: Engine, ref: str) -> list[dict[str, Any]]:
    """What each layer of an image adds, changes, removes and wastes: see store.inspect.layers."""
    from estiva.store import inspect as looking

    return looking.layers(engine.store, resolve(engine, ref))


def diff(engine: Engine, first: str, second: str) -> list[tuple[str, str]]:
    """What the second image has that the first has not ("A"), otherwise ("C"), or not any more ("D")."""
    from estiva.store import inspect as looking

    one, two = resolve(engine, first), resolve(engine, second)
    return list(looking.diff(engine.store, one.diff_ids, two.diff_ids))
