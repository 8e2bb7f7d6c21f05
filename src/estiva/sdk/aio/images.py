"""Images in asyncio: `build`, `pull`, `push`, and the collection."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from estiva.sdk import values
from estiva.sdk.aio.bridge import Around, Field, Looked, copied, each, later
from estiva.sdk.aio.work import Work
from estiva.sdk.collections import images as plain
from estiva.sdk.collections.building import build as work_of
from estiva.sdk.collections.building import telling
from estiva.sdk.collections.manifests import Manifests as PlainManifests
from estiva.sdk.engine import chosen
from estiva.sdk.run_options import BuildOptions
from estiva.sdk.told import told_later
from estiva.sdk.typed import shows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Unpack

    from estiva.engine import Engine
    from estiva.sdk.collections.images import Heard, Word
    from estiva.sdk.dockerfile import Dockerfile

Plain = plain.Images
R = TypeVar("R")


class Image(Around[plain.Image]):
    """An image: its id, its names, size in bytes, when it was made (epoch seconds)."""

    id = Field[str]("id")
    short_id = Field[str]("short_id")
    tags = Field[tuple[str, ...]]("tags")
    digests = Field[tuple[str, ...]]("digests")
    size = Field[int]("size")
    created = Field[int]("created")
    labels = Field[Mapping[str, str]]("labels")
    attrs = Looked[dict[str, Any]]("attrs", plain.Image)

    history = later(plain.Image.history)
    layers = later(plain.Image.layers)
    anatomy = later(plain.Image.anatomy)
    tag = later(plain.Image.tag)
    save = copied(plain.Image.save)
    remove = later(plain.Image.remove)


class Manifests(Around[PlainManifests]):
    """Manifest lists: `engine.images.manifests`."""

    create = copied(PlainManifests.create)
    add = copied(PlainManifests.add)
    annotate = later(PlainManifests.annotate)
    take = later(PlainManifests.take)
    inspect = later(PlainManifests.inspect)
    exists = later(PlainManifests.exists)
    list = later(PlainManifests.list)
    remove = later(PlainManifests.remove)
    push = copied(PlainManifests.push)


class Images(Around[Plain]):
    """Images of an engine: `estiva.aio.Engine().images`."""

    get = later(Plain.get, Image)
    list = later(Plain.list, each(Image))
    tag = later(Plain.tag)
    remove = later(Plain.remove)
    history = later(Plain.history)
    layers = later(Plain.layers)
    diff = copied(Plain.diff)
    save = copied(Plain.save)
    load = copied(Plain.load, each(Image))
    import_tar = copied(Plain.import_tar, Image)
    from_host = copied(Plain.from_host, Image)
    copy = copied(Plain.copy)
    prune = copied(Plain.prune)

    @property
    def manifests(self) -> Manifests:
        """create, add, annotate, take, inspect, push, remove, list, exists."""
        return Manifests(self._plain.manifests)

    def pulling(
        self,
        reference: str,
        tag: str | None = None,
        *,
        platform: str | None = None,
        all_platforms: bool = False,
    ) -> Work[Image]:
        """As `pull`, as an iterator of its progress.

        async with engine.images.pulling("alpine") as work:
            async for step in work: print(step.id, step.current, step.total)
        """
        pull = partial(self._plain.pull, reference, tag, platform=platform, all_platforms=all_platforms)
        return Work(lambda heard, look: Image(pull(on_progress=heard)))

    async def pull(
        self,
        reference: str,
        tag: str | None = None,
        *,
        platform: str | None = None,
        all_platforms: bool = False,
        on_progress: Heard | None = None,
    ) -> Image:
        """Fetch an image from its registry: see estiva.Engine().images.pull. Cancelling ends the pull."""
        work = self.pulling(reference, tag, platform=platform, all_platforms=all_platforms)
        return await _done(work, on_progress)

    def pushing(
        self, reference: str, *, platform: str | None = None, compression: str = "", level: int | None = None
    ) -> Work[str]:
        """As `push`, as an iterator of its progress."""
        push = partial(self._plain.push, reference, platform=platform, compression=compression, level=level)
        return Work(lambda heard, look: push(on_progress=heard))

    async def push(
        self,
        reference: str,
        *,
        platform: str | None = None,
        compression: str = "",
        level: int | None = None,
        on_progress: Heard | None = None,
    ) -> str:
        """Send an image to its registry; the digest under which it is there now."""
        work = self.pushing(reference, platform=platform, compression=compression, level=level)
        return await _done(work, on_progress)

    @shows(BuildOptions)
    def building(
        self,
        context: Word | None = ".",
        *,
        tag: str | Sequence[str] = (),
        dockerfile: Dockerfile | None = None,
        pull: bool | str = False,
        **options: Unpack[BuildOptions],
    ) -> Work[Image]:
        """As `build`, as an iterator of its progress: with the output of each command."""
        engine, found = self._plain.engine, self._plain.get
        build = partial(work_of, engine, context, tag, dockerfile, pull, options)
        return Work(lambda heard, look: Image(found(build(telling(heard), look))))

    @shows(BuildOptions)
    async def build(
        self,
        context: Word | None = ".",
        *,
        tag: str | Sequence[str] = (),
        dockerfile: Dockerfile | None = None,
        pull: bool | str = False,
        on_progress: Heard | None = None,
        **options: Unpack[BuildOptions],
    ) -> Image:
        """Build an image from the Dockerfile of a folder: see estiva.build. Cancelling ends the build, and
        the command that it is at."""
        work = self.building(context, tag=tag, dockerfile=dockerfile, pull=pull, **options)
        return await _done(work, on_progress)


@told_later
async def _done(work: Work[R], heard: Callable[..., object] | None) -> R:
    values.function("on_progress", heard)
    async with work:
        async for step in work:
            if heard is not None:
                heard(step)
        return await work.result()


@shows(BuildOptions)
async def build(
    context: Word | None = ".",
    *,
    tag: str | Sequence[str] = (),
    dockerfile: Dockerfile | None = None,
    pull: bool | str = False,
    on_progress: Heard | None = None,
    engine: Engine | None = None,
    **options: Unpack[BuildOptions],
) -> str:
    """Build an image from the Dockerfile of a folder; its id: see estiva.build."""
    images = Images(Plain(chosen(engine)))
    made = await images.build(
        context, tag=tag, dockerfile=dockerfile, pull=pull, on_progress=on_progress, **options
    )
    return made.id


async def pull(
    reference: str,
    *,
    platform: str | None = None,
    on_progress: Heard | None = None,
    engine: Engine | None = None,
) -> str:
    """Fetch an image from its registry; its id: see estiva.pull."""
    images = Images(Plain(chosen(engine)))
    return (await images.pull(reference, platform=platform, on_progress=on_progress)).id


async def push(reference: str, *, on_progress: Heard | None = None, engine: Engine | None = None) -> str:
    """Send an image to its registry; the digest under which it is there now: see estiva.push."""
    return await Images(Plain(chosen(engine))).push(reference, on_progress=on_progress)
