"""Manifest lists that are put together here: `manifest create`, `add`, `annotate`, `inspect`, `push`, `rm`.

A list is a small file below the state root, manifests/SHA256-OF-NAME.json: its name, and for each image a
descriptor with a platform, and where it comes from: a registry's reference, or an image of the store by id.
It becomes an index when it is pushed.
"""

from __future__ import annotations

import os

from estiva import fastjson, files
from estiva.errors import Conflict, InvalidInput, NotFound, oneline
from estiva.oci.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from estiva.engine import Engine

    Progress = Callable[[dict[str, Any]], object] | None

LIMIT = 4 << 20
PLATFORM = ("os", "architecture", "variant", "os.version")


def _path(engine: Engine, name: str) -> str:
    from estiva.oci.digest import sha256

    return f"{engine.paths.manifests}/{sha256(str(Reference.parse(name)).encode())[7:]}.json"


def find(engine: Engine, name: str) -> dict[str, Any] | None:
    """The list of that name as it is kept, or None."""
    try:
        data = files.read_bounded(_path(engine, name), LIMIT)
    except FileNotFoundError:
        return None
    found: dict[str, Any] = fastjson.loads(data, what=f"the list {name}")
    return found


def get(engine: Engine, name: str) -> dict[str, Any]:
    """As `find`. Raises NotFound."""
    found = find(engine, name)
    if found is None:
        raise NotFound(f"no such manifest list: {oneline(name)}", hint="`estiva manifest create` makes one")
    return found


def names(engine: Engine) -> list[str]:
    """The names of all lists, sorted."""
    folder = engine.paths.manifests
    found = []
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if name.endswith(".json"):
            data = files.read_bounded(f"{folder}/{name}", LIMIT)
            found.append(str(fastjson.loads(data, what="a manifest list")["name"]))
    return sorted(found)


def _keep(engine: Engine, document: dict[str, Any]) -> None:
    os.makedirs(engine.paths.manifests, mode=0o700, exist_ok=True)
    files.atomic_write(_path(engine, document["name"]), fastjson.dumps(document).encode())


def _locked(engine: Engine) -> files.Lock:
    engine.paths.prepare()
    return files.Lock(engine.paths.lock("manifests"))


def create(
    engine: Engine, name: str, images: Sequence[str] = (), *, amend: bool = False, every: bool = False
) -> str:
    """Make a list, of these images if any; its canonical name. Raises Conflict where there is one."""
    reference = Reference.parse(name)
    if reference.digest:
        raise InvalidInput(f"{oneline(name)} has a digest, which can't be given as a name")
    members = [member for image in images for member in _members(engine, image, every)]
    with _locked(engine):
        document = find(engine, name)
        if document is not None and not amend:
            raise Conflict(
                f"there is a manifest list {reference.familiar}",
                hint="--amend adds to it, `manifest rm` removes it",
            )
        document = document or {"name": str(reference), "manifests": []}
        _join(document, members)
        _keep(engine, document)
    return str(reference)


def add(
    engine: Engine,
    name: str,
    image: str,
    *,
    every: bool = False,
    platform: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
) -> list[str]:
    """Add an image, or with `every` those of all platforms of an index; their digests."""
    members = _members(engine, image, every)
    if platform and len(members) > 1:
        raise InvalidInput(f"{oneline(image)} has several platforms, which can't all be called one")
    with _locked(engine):
        document = get(engine, name)
        for member in members:
            _describe(member["descriptor"], platform or {}, annotations or {})
        _join(document, members)
        _keep(engine, document)
    return [member["descriptor"]["digest"] for member in members]


def annotate(
    engine: Engine, name: str, which: str, platform: dict[str, str], annotations: dict[str, str]
) -> str:
    """Change what the list says of one image, named by digest or as it was added; the digest."""
    with _locked(engine):
        document = get(engine, name)
        member = _pick(document, which)
        _describe(member["descriptor"], platform, annotations)
        _keep(engine, document)
    return str(member["descriptor"]["digest"])


def take(engine: Engine, name: str, which: str) -> str:
    """Take one image out of a list; its digest."""
    with _locked(engine):
        document = get(engine, name)
        member = _pick(document, which)
        document["manifests"].remove(member)
        _keep(engine, document)
    return str(member["descriptor"]["digest"])


def remove(engine: Engine, name: str) -> str:
    """Forget a list; its name. Raises NotFound."""
    with _locked(engine):
        document = get(engine, name)
        os.unlink(_path(engine, name))
    return str(document["name"])


def index(document: dict[str, Any]) -> bytes:
    """The bytes of the index that a list stands for."""
    from estiva.oci import image

    return image.make_index([member["descriptor"] for member in document["manifests"]])


def inspect(engine: Engine, ref: str) -> dict[str, Any]:
    """A list as an index, an index that was built here, or the manifest or index that the registry has."""
    document = built = None
    if not ref.startswith("docker://"):
        document = find(engine, ref)
        built = _built(engine, ref) if document is None else None
    if document is not None:
        body = index(document)
    elif built is not None:
        body = built
    else:
        from estiva.registry import lookup

        body = lookup.manifest(Reference.parse(ref.removeprefix("docker://"))).body
    found: dict[str, Any] = fastjson.loads(body, what="the manifest")
    return found


def _built(engine: Engine, ref: str) -> bytes | None:
    """The index of an image that no registry has, as far as is known here."""
    from estiva.store.platforms import index_digest

    found = engine.store.images.find(ref)
    if found is None or engine.store.images.repo_digests(found.id):
        return None
    digest = index_digest(engine.store, found.manifest)
    return engine.store.content.read(digest) if digest else None


def push(engine: Engine, name: str, target: str = "", *, progress: Progress = None) -> str:
    """Send a list's images and then their index to the registry that `target` (by default the name) says;
    the index's digest. Raises InvalidInput for an empty list, Denied, Unavailable, NotFound."""
    from estiva.engine.images import copy
    from estiva.registry.transfer import copy as copying
    from estiva.registry.transfer.manifests import Fetched

    document = get(engine, name)
    reference = Reference.parse((target or document["name"]).removeprefix("docker://"))
    if not document["manifests"]:
        raise InvalidInput(f"the manifest list {name} has no images", hint="`estiva manifest add` adds one")
    pairs: list[Any] = []
    for member in document["manifests"]:
        there = Reference(reference.registry, reference.repository)
        if "image" in member:
            image = engine.store.images.resolve(member["image"])
            image.manifest = member["manifest"]  # by id it could be that of another name: another digest
            pairs.append(((engine.store, copy.plan_of(engine, image, "")), there))
        else:
            origin = Reference.parse_name(member["from"]).with_digest(member["descriptor"]["digest"])
            pairs.append((origin, there))
    with engine.store.writing():
        from estiva.oci.digest import sha256
        from estiva.oci.image import OCI_INDEX

        body = index(document)
        top = Fetched(body, OCI_INDEX, sha256(body))
        copying.copy(pairs, every=True, top=(top, reference), progress=progress)
    return top.digest


def _members(engine: Engine, text: str, every: bool) -> list[dict[str, Any]]:
    """What an image stands for in a list: one of the store if it is there and not meant as docker://."""
    if not text.startswith("docker://"):
        from estiva.engine.images import lookup as image_lookup

        found = image_lookup.find(engine, text)
        if found is not None:
            return _local(engine, text, every)
    reference = Reference.parse(text.removeprefix("docker://"))
    from estiva.registry import lookup

    return [
        {"from": str(reference), "descriptor": descriptor}
        for descriptor in lookup.images(reference, every=every)
    ]


def _local(engine: Engine, text: str, every: bool) -> list[dict[str, Any]]:
    from estiva.engine.images import copy
    from estiva.engine.images import lookup as image_lookup
    from estiva.oci.platform import Platform
    from estiva.store.platforms import members

    store = engine.store
    image = image_lookup.resolve(engine, text)
    chosen = [image]
    if every and image.manifest:
        chosen = [store.images.resolve(found) for _, found in members(store, image.manifest)] or [image]
    return [
        {
            "image": each.id,
            "manifest": each.manifest,
            "name": text,
            "descriptor": copy.plan_of(engine, each, "").descriptor(
                platform=Platform.of(each.config).document()
            ),
        }
        for each in chosen
    ]


def _join(document: dict[str, Any], members: list[dict[str, Any]]) -> None:
    """Put members into a list, in place of those with their digests."""
    new = {member["descriptor"]["digest"] for member in members}
    kept = [member for member in document["manifests"] if member["descriptor"]["digest"] not in new]
    document["manifests"] = kept + members


def _describe(descriptor: dict[str, Any], platform: dict[str, str], annotations: dict[str, str]) -> None:
    if platform:
        descriptor["platform"] = {**descriptor.get("platform", {}), **platform}
    if annotations:
        descriptor["annotations"] = {**descriptor.get("annotations", {}), **annotations}


def _pick(document: dict[str, Any], which: str) -> dict[str, Any]:
    """The member of a digest (or the start of one) or of the name by which it was added."""
    text = which.removeprefix("docker://")
    canonical = ""
    try:
        canonical = str(Reference.parse(text))
    except InvalidInput:
        pass
    found: list[dict[str, Any]] = [
        member
        for member in document["manifests"]
        if text in (member["descriptor"]["digest"], member.get("from"), member.get("name"))
        or canonical == member.get("from")
        or (len(text) >= 12 and member["descriptor"]["digest"].removeprefix("sha256:").startswith(text))
    ]
    if not found:
        raise NotFound(f"the manifest list has no image {oneline(which)}")
    if len(found) > 1:
        raise InvalidInput(
            f"{oneline(which)} stands for {len(found)} images of the list", hint="use a digest"
        )
    return found[0]
