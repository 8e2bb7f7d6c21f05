"""Images between registries, layout folders, archives and the store, and how places are written:

docker://REFERENCE, REFERENCE     a registry
oci:FOLDER[:TAG]                  the folder of an OCI image layout
oci-archive:FILE[:TAG]            the same as a tar; FILE may be - (stdin, stdout)
docker-archive:FILE[:REFERENCE]   what docker save writes and docker load reads
store:REFERENCE                   this machine's images
"""

from __future__ import annotations

from estiva.engine.images import events
from estiva.engine.images.outfile import Output, open_source
from estiva.engine.images.platforms import mismatch, of_platform, packing
from estiva.errors import InvalidInput, NotFound, oneline
from estiva.oci.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from estiva.engine import Engine
    from estiva.engine.images.outfile import Standard
    from estiva.registry.transfer.plan import Packing, Plan
    from estiva.store.images import Image

    Progress = Callable[[dict[str, Any]], object] | None

KINDS = ("docker", "oci", "oci-archive", "docker-archive", "store")
FORMATS = ("docker-archive", "oci-archive", "oci-dir")


class Place:
    """One end of a copy. `where` is a path or a reference's text, `tag` what follows the path."""

    standard: Standard | None = None  # what its stream is where it is "-"

    def __init__(self, kind: str, where: str, tag: str = "") -> None:
        self.kind, self.where, self.tag = kind, where, tag

    @classmethod
    def parse(cls, text: str) -> Place:
        """Raises InvalidInput."""
        kind, colon, rest = text.partition(":")
        if kind == "docker" and rest.startswith("//"):
            Reference.parse(rest[2:])
            return cls("docker", rest[2:])
        if kind == "store" and colon:
            Reference.parse(rest)
            return cls("store", rest)
        if colon and kind in ("oci", "oci-archive", "docker-archive"):
            where, _, tag = rest.partition(":")
            if not where:
                raise InvalidInput(f"{oneline(text)} names no {'folder' if kind == 'oci' else 'file'}")
            if tag and kind == "docker-archive":
                tag = str(Reference.parse(tag))
            return cls(kind, where, tag)
        try:
            Reference.parse(text)
        except InvalidInput as error:
            error.hint = error.hint or "places are docker://NAME, oci:FOLDER, oci-archive:FILE, store:NAME"
            raise
        return cls("docker", text)

    @property
    def reference(self) -> Reference:
        return Reference.parse(self.where)


def copy(
    engine: Engine,
    source: str,
    target: str,
    *,
    platform: str | None = None,
    every: bool = False,
    compression: str = "",
    level: int | None = None,
    progress: Progress = None,
    standard: Standard | None = None,
) -> str:
    """Copy one image, or with `every` those of all platforms; the digest of its manifest or index (its id
    where the target is the store or a docker-archive).

    What both ends keep as it is goes directly, blob by blob; the rest by way of the store.
    Raises InvalidInput, NotFound, Denied, Unavailable, IntegrityError.
    """
    origin, goal = Place.parse(source), Place.parse(target)
    origin.standard = goal.standard = standard
    how = packing(compression, level)
    direct = (
        origin.kind in ("docker", "oci", "oci-archive")
        and goal.kind in ("docker", "oci", "oci-archive")
        and not how.method
    )
    if direct:
        return _direct(engine, origin, goal, platform, every, progress)
    image, new = None, False
    try:
        with engine.store.writing():
            image, new = _take(engine, origin, platform, every, progress)
            other = mismatch(image, source, platform) if platform and not every else ""
            if other:
                raise NotFound(other, hint="without --platform it is copied as it is")
            return _give(engine, image, goal, every, how, progress)
    finally:
        if image is not None and new:  # what has a name stays
            _forget(engine, image)


def _direct(
    engine: Engine, origin: Place, goal: Place, platform: str | None, every: bool, progress: Progress
) -> str:
    from estiva.registry.transfer import copy as copying
    from estiva.store.archive import layout, load

    archive: Any = None
    start: Any = origin.reference if origin.kind == "docker" else None
    try:
        if origin.kind == "oci":
            archive = layout.Folder(origin.where)
            load.check_kind(archive)
        elif origin.kind == "oci-archive":
            with open_source(origin.where, origin.standard) as stream:
                archive = load.open_archive(engine.store, stream)
        start = start or (archive, origin.tag)

        def run(end: Any) -> str:
            return copying.copy([(start, end)], platform=platform, every=every, progress=progress)[0]

        if goal.kind == "docker":
            return run(goal.reference)
        if goal.kind == "oci":
            return run((goal.where, goal.tag))
        with Output(goal.where, goal.standard) as out:
            return run((out, goal.tag))
    finally:
        if archive is not None:
            archive.close()


def _take(
    engine: Engine, origin: Place, platform: str | None, every: bool, progress: Progress
) -> tuple[Image, bool]:
    """The image in the store, and whether it was not there before."""
    store = engine.store
    if origin.kind == "store":
        from estiva.engine.images import lookup

        image = lookup.resolve(engine, origin.where)
        return of_platform(engine, image, platform) if platform and not every else image, False
    known = {image.id for image in store.images.list(all=True)}
    if origin.kind == "docker":
        from estiva.registry import client

        here = origin.reference
        name = Reference(here.registry, here.repository)  # no tag: only what arrived well is named
        image = client.pull(store, here, platform=platform, every=every, name=name, progress=progress)
        return image, image.id not in known
    from estiva.oci.platform import Platform
    from estiva.store.archive import layout, load

    if origin.kind == "oci":
        archive: Any = layout.Folder(origin.where)
    else:
        with open_source(origin.where, origin.standard) as stream:
            archive = load.open_archive(store, stream)
    try:
        load.check_kind(archive)
        wanted = Platform.parse(platform) if platform else Platform.host()
        image = load.Loader(store, archive, wanted).one(origin.tag, every=every)
    finally:
        archive.close()
    return image, image.id not in known


def _give(engine: Engine, image: Image, goal: Place, every: bool, how: Packing, progress: Progress) -> str:
    """Send an image of the store to its goal."""
    from estiva.store.platforms import index_digest

    store = engine.store
    if goal.kind == "store":
        if goal.reference.digest:
            raise InvalidInput(f"{goal.where} has a digest, which can't be given as a name")
        store.images.tag(image.id, str(goal.reference), image.manifest)
        events.tagged(engine, image, [str(goal.reference)])
        return image.id
    index = index_digest(store, image.manifest) if every else ""
    if goal.kind == "docker":
        from estiva.registry import client

        return client.push(store, image, goal.reference, packing=how, index=index, progress=progress)
    if goal.kind == "docker-archive":
        from estiva.store.archive import save as saving

        with Output(goal.where, goal.standard) as out:
            saving.save_images(store, [(image, [goal.tag] if goal.tag else [])], out)
        return image.id
    plan = plan_of(engine, image, index, how)
    return export(engine, [(plan, goal.tag)], goal.kind, goal.where, progress, goal.standard)[0]


def plan_of(engine: Engine, image: Image, index: str, how: Packing | None = None) -> Plan:
    """What an image is as documents and blobs; with `index` all that this index names."""
    from estiva.registry.transfer import plan

    how = how or plan.AS_IT_CAME
    if index:
        return plan.plan_index(engine.store, index, how)
    return plan.plan(engine.store, image, how)


def export(
    engine: Engine,
    plans: Sequence[tuple[Plan, str]],
    kind: str,
    path: str,
    progress: Progress = None,
    standard: Standard | None = None,
) -> list[str]:
    """Write planned images, each under its tag, into a layout's folder ("oci") or archive."""
    from estiva.registry.transfer import copy as copying

    if kind == "oci":
        pairs: Any = [((engine.store, plan), (path, tag)) for plan, tag in plans]
        return copying.copy(pairs, every=True, progress=progress)
    with Output(path, standard) as out:
        pairs = [((engine.store, plan), (out, tag)) for plan, tag in plans]
        return copying.copy(pairs, every=True, progress=progress)


def save(engine: Engine, refs: Sequence[str], form: str, path: str, standard: Standard | None = None) -> None:
    """`save --format oci-archive` and `oci-dir`: images as they came, compressed, all platforms that a name
    means."""
    from estiva.store.archive.save import choose
    from estiva.store.platforms import index_digest

    plans = []
    for image, names in choose(engine.store, refs):
        for name in names or [""]:
            if name:
                image = engine.store.images.resolve(name)
            index = index_digest(engine.store, image.manifest)
            plans.append((plan_of(engine, image, index), name))
    export(engine, plans, "oci" if form == "oci-dir" else "oci-archive", path, standard=standard)


def _forget(engine: Engine, image: Image) -> None:
    """Take away what only the copy needed, unless somebody has named or used it meanwhile."""
    from estiva.errors import EstivaError
    from estiva.store.upkeep import image_removal

    try:
        if not engine.store.images.names(image.id):
            image_removal.delete(engine.store, image.id, force=True)
    except EstivaError:
        pass  # in use by now: `image prune` takes it
