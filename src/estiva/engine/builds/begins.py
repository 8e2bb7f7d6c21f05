"""What a build begins with, known before it does: for who shows that, and brings it what it needs.

And the files of a repository, for who looks for definitions of builds in it.
"""

from __future__ import annotations

import os
import stat
import threading
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from estiva.builder.fetch import address
from estiva.builder.fetch.contexts import Contexts
from estiva.builder.fetch.told import Told
from estiva.builder.files.tree import Missing
from estiva.builder.files.url import redacted
from estiva.builder.files.workspace import Workspace
from estiva.builder.frontend import parser, stages
from estiva.builder.request import Request
from estiva.builder.solver import vertexes
from estiva.builder.solver.job import platform_args
from estiva.errors import EstivaError, InvalidInput, NotFound, brief, oneline
from estiva.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from estiva.builder.files.tree import Tree
    from estiva.engine import Engine
    from estiva.store.images import Image

IMAGE = "docker-image://"
LIMIT = 8 << 20  # bytes of a file of a repository that is read


class Base(NamedTuple):
    """An image: its whole name, how it is shown (solver/vertexes.py), and whether it is `here`."""

    name: str
    shown: str
    here: bool


def look(
    engine: Engine,
    text: str,
    *,
    build_args: dict[str, str],
    target: str | None,
    platform: str | None,
    several: bool,
    contexts: Mapping[str, str],
) -> tuple[list[Base], bool]:
    """The images of a Dockerfile's target but those that named `contexts` stand for, and whether it may read
    the build context.

    Of a Dockerfile that is wrong, which the build will say, there are none, and it reads nothing.
    """
    try:
        host = Platform.host()
        wanted = Platform.parse(platform) if platform else host
        plan = stages.make(parser.parse(text), build_args, platform_args(wanted, host, target))
        chosen = plan.target(target)
        reads = vertexes.read(plan, chosen)
        found = vertexes.names(plan, chosen, wanted, several=several)
    except EstivaError:
        return [], False
    bases = []
    instead = {vertexes.whole(name): place for name, place in contexts.items()}
    for base in found:
        place = instead.get(base.name, "")
        image = engine.store.images.find(
            vertexes.whole(place.removeprefix(IMAGE)) if place.startswith(IMAGE) else base.name, short=False
        )
        if not place.startswith("local:"):
            reads = reads or image is None or _triggers(image)
        if not place:
            asked = base.asked or bool(platform)
            here = image is not None and (not asked or _is_for(image, base.platform))
            bases.append(Base(base.name, base.shown, here))
    return bases, reads


def source(place: str) -> str:
    """What a build context that is an address is called, without passwords."""
    if address.parse(place, context=True) is None:
        return "remote build context"
    return f"git source {oneline(redacted(place))[:200]}"


def _triggers(image: Image) -> bool:
    """Whether it has instructions for who begins with it, which may read the context."""
    return bool((image.config.get("config") or {}).get("OnBuild"))


def _is_for(image: Image, platform: str) -> bool:
    return Platform.parse(platform).accepts(Platform.of(image.config))


def is_repository(place: str) -> bool:
    """Whether a place is the address of one. Raises InvalidInput for one that is malformed."""
    return address.parse(place) is not None


class Remote:
    """The repository at an address, fetched by the first who asks; `close` it."""

    def __init__(self, engine: Engine, place: str, look: Callable[[], None]) -> None:
        self.engine = engine
        self.place = place
        self.look = look
        self._workspace: Workspace | None = None
        self._tree: Tree | None = None
        self._turn = threading.RLock()  # who closes it waits for who reads

    def open(self) -> Tree:
        """Raises InvalidInput, Unavailable."""
        self.look()
        if self._tree is None:
            if self._workspace is None:
                self._workspace = Workspace(self.engine.store.paths)
            request = Request(context=self.place)
            self._tree = Contexts(
                request, self.engine.store, self._workspace, self.look, partial(Told, lambda event: None)
            ).main()
        return self._tree

    def stat(self, path: str) -> os.stat_result:
        """Of what a path leads to. Raises NotFound, InvalidInput."""
        with self._turn:
            return self.open().stat(self._resolved(path))

    def _resolved(self, path: str) -> str:
        try:
            return self.open().resolve(path)
        except Missing:
            raise NotFound(f"{brief(path, 200)}: no such file or directory") from None

    def read(self, path: str) -> bytes:
        """A file. Raises NotFound, InvalidInput."""
        with self._turn:
            there = self.stat(path)
            if not stat.S_ISREG(there.st_mode):
                raise NotFound(f"{brief(path, 200)} is no file")
            if there.st_size > LIMIT:
                raise InvalidInput(f"{brief(path, 200)} is larger than {LIMIT >> 20} MiB")
            with open(self.open().open(self._resolved(path)), "rb") as file:
                return file.read(LIMIT)

    def close(self) -> None:
        with self._turn:
            if self._tree is not None:
                self._tree.close()
            if self._workspace is not None:
                self._workspace.close()
