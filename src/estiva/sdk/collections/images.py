"""Images of an engine."""

from __future__ import annotations

import functools
import io
import os
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from estiva.engine.images import archive, inspect, lookup, platforms, registry
from estiva.engine.images import copy as copying
from estiva.errors import InvalidInput, NotFound
from estiva.sdk import values
from estiva.sdk.collections import building
from estiva.sdk.collections.building import telling
from estiva.sdk.collections.layers import Layers
from estiva.sdk.collections.work import Work
from estiva.sdk.objects.contents import written
from estiva.sdk.objects.shown import Change, Pruned
from estiva.sdk.run_options import BuildOptions
from estiva.sdk.told import told
from estiva.sdk.typed import shows

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Mapping, Sequence
    from typing import Unpack

    from estiva.engine import Engine
    from estiva.sdk.collections.manifests import Manifests
    from estiva.sdk.dockerfile import Dockerfile
    from estiva.sdk.objects.shown import Progress
    from estiva.view.shapes import Anatomy

    Word = str | os.PathLike[str]
    Heard = Callable[[Progress], object]


@dataclass(frozen=True, slots=True)
class Image:
    """An image: its id, its names, size in bytes, when it was made (epoch seconds)."""

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    size: int
    created: int
    labels: Mapping[str, str]
    engine: Engine = field(repr=False, compare=False)

    @property
    def short_id(self) -> str:
        return self.id.removeprefix("sha256:")[:12]

    @property
    def _begins(self) -> str:  # what a container's image is told by: sdk/running.py
        return self.id

    def _repr_html_(self) -> str:
        from estiva.sdk import html

        return html.image(self)

    @property
    @told
    def attrs(self) -> dict[str, Any]:
        """All that is known of it, in Docker's shape."""
        return inspect.inspect(self.engine, self.id)

    def history(self) -> list[dict[str, Any]]:
        """The steps that made it, newest first, in Docker's shape."""
        return Images(self.engine).history(self.id)

    def layers(self) -> Layers:
        """What each layer adds, changes, removes and wastes, the base first; sizes in bytes."""
        return Images(self.engine).layers(self.id)

    @told
    def anatomy(self) -> Anatomy:
        """Its layers, what it starts, and the containers that are made from it (docs/anatomy.md)."""
        from estiva.view import anatomy

        return anatomy.of_image(self.engine, self.engine.store.images.resolve(self.id))

    def tag(self, name: str) -> None:
        """Give it one more name."""
        Images(self.engine).tag(self.id, name)

    def save(self, target: Word | IO[bytes]) -> None:
        """Write it, with its names, as an archive that Docker, Podman and OCI tools load."""
        Images(self.engine).save(list(self.tags) or self.id, target)

    def remove(self, *, force: bool = False) -> None:
        """Remove it; with `force` also where it has several names."""
        Images(self.engine).remove(self.id, force=force)


class Images:
    """Images of an engine: `estiva.Engine().images`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @told
    def pull(
        self,
        reference: str,
        tag: str | None = None,
        *,
        platform: str | None = None,
        all_platforms: bool = False,
        on_progress: Heard | None = None,
    ) -> Image:
        """Fetch an image from its registry. Raises NotFound also where it has none for the platform.

            image = engine.images.pull("alpine", on_progress=lambda p: print(p.id, p.current, p.total))

        What `on_progress` raises ends the pull. See also `pulling`.
        """
        reference = values.text("reference", reference)
        if tag := values.text("tag", tag):
            reference += ("@" if tag.startswith("sha256:") else ":") + tag
        wanted = None if platform is None else values.text("platform", platform)
        every = values.flag("all_platforms", all_platforms)
        image = registry.pull(
            self.engine, reference, platform=wanted, every=every, progress=telling(on_progress)
        )
        other = platforms.mismatch(image, reference, wanted) if wanted else ""
        if other:
            raise NotFound(other)
        return self.get(image.id)

    def pulling(
        self,
        reference: str,
        tag: str | None = None,
        *,
        platform: str | None = None,
        all_platforms: bool = False,
    ) -> Work[Image]:
        """As `pull`, as an iterator of its progress.

        with engine.images.pulling("alpine") as work:
            for step in work: print(step.id, step.current, step.total)
        image = work.result()
        """
        return Work(
            lambda heard, look: self.pull(
                reference, tag, platform=platform, all_platforms=all_platforms, on_progress=heard
            )
        )

    @told
    def push(
        self,
        reference: str,
        *,
        platform: str | None = None,
        compression: str = "",
        level: int | None = None,
        on_progress: Heard | None = None,
    ) -> str:
        """Send an image to its registry; the digest under which it is there now. `compression`: gzip or zstd,
        with its `level`; as it is unless told so."""
        return registry.push(
            self.engine,
            values.text("reference", reference),
            platform=values.text("platform", platform) or None,
            compression=values.text("compression", compression),
            level=None if level is None else values.whole("level", level),
            progress=telling(on_progress),
        )

    def pushing(
        self, reference: str, *, platform: str | None = None, compression: str = "", level: int | None = None
    ) -> Work[str]:
        """As `push`, as an iterator of its progress."""
        push = functools.partial(
            self.push, reference, platform=platform, compression=compression, level=level
        )
        return Work(lambda heard, look: push(on_progress=heard))

    @told
    def copy(
        self,
        source: str,
        target: str,
        *,
        platform: str | None = None,
        all_platforms: bool = False,
        compression: str = "",
        level: int | None = None,
        on_progress: Heard | None = None,
    ) -> str:
        """Copy an image between registries (docker://NAME, NAME), folders (oci:FOLDER[:TAG]), archives
        (oci-archive:FILE[:TAG], docker-archive:FILE[:NAME]) and this store (store:NAME): its digest there.

        engine.images.copy("registry.example.org/web:1", "oci:web")
        """
        return copying.copy(
            self.engine,
            _place("source", source),
            _place("target", target),
            platform=values.text("platform", platform) or None,
            every=values.flag("all_platforms", all_platforms),
            compression=values.text("compression", compression),
            level=None if level is None else values.whole("level", level),
            progress=telling(on_progress),
        )

    @property
    def manifests(self) -> Manifests:
        """Lists of images of several platforms: create, add, annotate, take, inspect, push, remove, list."""
        from estiva.sdk.collections.manifests import Manifests

        return Manifests(self.engine)

    @told
    @shows(BuildOptions)
    def build(
        self,
        context: Word | IO[bytes] | None = ".",
        *,
        tag: str | Sequence[str] = (),
        dockerfile: Dockerfile | None = None,
        pull: bool | str = False,
        on_progress: Heard | None = None,
        **options: Unpack[BuildOptions],
    ) -> Image:
        """Build an image of a folder, a git address, a URL or an open archive (None: an empty context), as
        estiva.build does.

            image = engine.images.build(".", tag="web:1", build_args={"VERSION": "3"})
        """
        return self.get(
            building.build(self.engine, context, tag, dockerfile, pull, options, telling(on_progress))
        )

    @shows(BuildOptions)
    def building(
        self,
        context: Word | IO[bytes] | None = ".",
        *,
        tag: str | Sequence[str] = (),
        dockerfile: Dockerfile | None = None,
        pull: bool | str = False,
        **options: Unpack[BuildOptions],
    ) -> Work[Image]:
        """As `build`, as an iterator of its progress: with the output of each command.
        for step in engine.images.building("."):
            print(step.step, step.message, step.output.decode(), end="")
        """
        return Work(
            lambda heard, look: self.get(
                building.build(self.engine, context, tag, dockerfile, pull, options, telling(heard), look)
            )
        )

    @told
    def get(self, name: str) -> Image:
        """An image by its name, digest, id or the beginning of that. Raises NotFound."""
        image = lookup.resolve(self.engine, values.text("name", name))
        store = self.engine.store.images
        labels = (image.config.get("config") or {}).get("Labels") or {}
        names, digests = tuple(store.names(image.id)), tuple(store.repo_digests(image.id))
        return Image(image.id, names, digests, image.size, int(image.created), labels, self.engine)

    @told
    def list(
        self, name: str | None = None, *, all: bool = False, filters: Mapping[str, Any] | None = None
    ) -> builtins.list[Image]:
        """Images, newest first; those called `name`, which may be a pattern. Filters are Docker's."""
        wanted = values.filters(filters)
        if name:
            wanted["reference"] = [values.text("name", name)]
        return [
            Image(
                one["Id"],
                tuple(one["RepoTags"]),
                tuple(one["RepoDigests"]),
                one["Size"],
                one["Created"],
                one["Labels"],
                self.engine,
            )
            for one in inspect.listing(self.engine, all=values.flag("all", all), filters=wanted)
        ]

    @told
    def tag(self, source: str, target: str) -> None:
        """Give an image one more name."""
        lookup.tag(self.engine, values.text("source", source), values.text("target", target))

    @told
    def remove(self, name: str, *, force: bool = False) -> builtins.list[str]:
        """Remove a name, and with its last name the image: what was done, in words. Raises Conflict while a
        container uses it."""
        return lookup.remove(self.engine, values.text("name", name), force=values.flag("force", force))

    @told
    def history(self, name: str) -> builtins.list[dict[str, Any]]:
        """The steps that made an image, newest first, in Docker's shape."""
        return inspect.history(self.engine, values.text("name", name))

    @told
    def layers(self, name: str) -> Layers:
        """What each layer of an image adds, changes, removes and wastes, the base first; sizes in bytes."""
        return Layers(inspect.layers(self.engine, values.text("name", name)))

    @told
    def diff(self, first: str, second: str) -> builtins.list[Change]:
        """What the second image has that the first has not ("A"), has otherwise ("C"), or lacks ("D")."""
        found = inspect.diff(self.engine, values.text("first", first), values.text("second", second))
        return [Change(kind, path) for kind, path in found]

    @told
    def save(self, names: str | Sequence[str], target: Word | IO[bytes]) -> None:
        """Write images as one archive that Docker, Podman and OCI tools load."""
        wanted = values.listed("names", names)
        with written(target) as out:
            archive.save(self.engine, wanted, out)

    @told
    def load(self, source: Word | bytes | IO[bytes], *, platform: str | None = None) -> builtins.list[Image]:
        """Read the images of an archive (a path, bytes or a file) of Docker's, or an OCI layout's."""
        wanted = values.text("platform", platform) or None
        with _opened(source) as stream:
            names = archive.load(self.engine, stream, platform=wanted)
        return [self.get(name) for name in names]

    @told
    def import_tar(
        self,
        source: Word | bytes | IO[bytes],
        reference: str | None = None,
        *,
        changes: Sequence[str] = (),
        message: str = "",
        platform: str | None = None,
    ) -> Image:
        """Make an image of one layer out of a tar of a filesystem. `changes` are Dockerfile instructions."""
        with _opened(source) as stream:
            if isinstance(stream, str):
                raise values.wrong("source", "a tar", source)
            made = archive.import_(
                self.engine,
                stream,
                values.text("reference", reference) or None,
                changes=values.listed("changes", changes),
                message=values.text("message", message),
                platform=values.text("platform", platform) or None,
            )
        return self.get(made)

    @told
    def from_host(
        self, programs: str | Sequence[str], *, name: str | None = None, files: Sequence[str] = ()
    ) -> Image:
        """Make an image out of this machine's own programs, with the libraries that they need.

        engine.images.from_host(["sh", "cat"], name="base:host")
        """
        made = archive.from_host(
            self.engine,
            values.listed("programs", programs),
            name=values.text("name", name) or None,
            files=values.listed("files", files),
        )
        return self.get(made)

    @told
    def prune(self, *, all: bool = False, filters: Mapping[str, Any] | None = None) -> Pruned:
        """Remove images that have no name (`all`: that no container uses): what was done, in words."""
        lines, freed = lookup.prune(self.engine, all=values.flag("all", all), filters=values.filters(filters))
        return Pruned(tuple(lines), freed)


def _place(what: str, given: Any) -> str:
    """Raises InvalidInput: there is no stdin and stdout here to copy from and to."""
    text = values.text(what, given)
    if copying.Place.parse(text).where == "-":
        raise InvalidInput(f"{what} must be a file", hint="images.save and images.load take any file")
    return text


def _opened(source: Any) -> Any:
    """A with-block of a file to read from; of a path of a folder, the path."""
    import contextlib

    from estiva.engine.images import outfile

    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source)
    if callable(getattr(source, "read", None)):
        return contextlib.nullcontext(source)
    path = os.path.abspath(values.path("source", source))
    return contextlib.nullcontext(path) if os.path.isdir(path) else outfile.open_source(path)
