"""What a step gets of its build: the store, the cache, where files come from, how to run a command.

A step is a function of this context, the stage's state and one instruction; it changes the state alone. Who
calls it, and in what order, is the solver's business.
"""

from __future__ import annotations

import os

from estiva.builder.cache import local
from estiva.builder.cache.remote import Record
from estiva.builder.steps.written import Stand, Written, diff_ids, known
from estiva.builder.struct import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from estiva.builder.fetch.folders import Fetching
    from estiva.builder.files.tree import Tree
    from estiva.builder.files.workspace import Scratch
    from estiva.builder.request import Request, RunStep
    from estiva.builder.steps.lookup import Lookup
    from estiva.builder.steps.state import State
    from estiva.builder.steps.together import Sharing
    from estiva.builder.steps.written import Layer
    from estiva.store import Store
    from estiva.store.layers.sink import TarSink
    from estiva.store.snapshots import Snapshot

    Keys = Callable[[list[str]], Iterable[str]]  # of a step's layer, by the diff_ids below it


DEFINED = "definition:"  # a layer of a definition, which is no digest


class Source:
    """A tree to read from; `layers` are what it is made of, or None for a `folder`, which may change at any
    time. `stage`: of a stage, else of an image.

    `open` opens the tree, or gives the one that is open. A step that is found by the layers needs none, and
    they need not even be here. One that is found by the `definition` of a stage needs no layers.
    """

    def __init__(self, open: Callable[[], Tree], layers: Sequence[Layer] | None, stage: bool = False) -> None:
        self.open = open
        self.stage = stage
        self.folder = layers is None and not stage
        self._layers = layers

    @property
    def layers(self) -> Sequence[Layer] | None:
        return self._layers

    @property
    def definition(self) -> list[str] | None:
        """Of a stage, if it is known: see solver/definition.py."""
        return None

    @property
    def tree(self) -> Tree:
        return self.open()


@struct
class StepContext:
    """Made for each stage, as caches and the names of sources are a stage's.

    request     what the caller asked for: secrets, networks, build arguments
    lookup      of what steps have made before
    source      the tree that COPY --from=NAME or a mount's `from` means, "" the build context
    output      takes what a command writes, as bytes
    look        raises when the build is to stop
    go_on       raises when what steps have written is not to be kept any more
    warn        takes a sentence for the user
    place       names the instruction, whatever it says (cache/inputs.py)
    ahead       is told the network of a command that is to be run soon
    busy        is called before what may take long
    missed      is called when there is something to do
    fetching    makes who tells of what is fetched
    sharing     of a build for several platforms: steps that they have in common
    pack        has the layer of what a step has written made, while the next ones run
    """

    request: Request
    store: Store
    lookup: Lookup
    workspace: Scratch
    source: Callable[[str], Source]
    run_step: RunStep
    output: Callable[[bytes], None]
    look: Callable[[], None]
    go_on: Callable[[], None]
    warn: Callable[[str], None]
    pack: Callable[[Written], None]
    place: Callable[[], str]
    busy: Callable[[], None]
    missed: Callable[[], None]
    ahead: Callable[[str], None]
    fetching: Fetching
    sharing: Sharing | None = None

    def key(self, kind: str, inputs: dict[str, Any]) -> str:
        """The cache's name for a step of these inputs."""
        return local.key(kind, inputs)

    def reuse(
        self, state: State, keys: Keys, created_by: str, *, alone: bool = False, last: bool = True
    ) -> bool:
        """Add the layer that is kept under one of `keys`, if there is one. `last`: or the step is to be done.

        There is none on layers that are only being made: those are new. `alone`: nor does it depend on them.
        """
        shared = self.sharing if last else None
        if shared is not None:
            layers: Sequence[Layer] = () if alone else state.layers
            result = shared.find(layers, lambda below: tuple(keys(below)), self.busy)
            if result is not None:
                _define(state, keys)
                state.record(created_by, created=result[1], layer=result[0])
                return True
        below = [] if alone else known(state.layers)
        found = (
            None if below is None else self.lookup.find(keys(below), self.place(), created_by, state.platform)
        )
        if found is None:
            if last:
                self.missed()
            return False
        _define(state, keys)
        state.record(created_by, created=found[1], layer=found[0])
        if shared is not None:
            shared.give(*found)
        return True

    def keep(
        self,
        state: State,
        snapshot: Snapshot,
        stand: Stand,
        keys: Keys,
        created_by: str,
        inputs: Callable[[], Mapping[str, Any]],
        *,
        apart: bool = False,
    ) -> None:
        """Add what was written to a snapshot, and keep its layer under `keys`, once it has been made.

        One without any change has a layer at once, so that what is kept on that is found. So has one that is
        kept `apart`: somebody might still write to its directory, and what stands on that would not be what
        its key says (K20). `inputs` tells what the step was made of but the layers below (cache/inputs.py).
        """
        created = state.clock()
        keep = self._keeper(state, keys, created, created_by, inputs)
        written = Written(snapshot, stand, list(state.layers), keep, self.go_on)
        _define(state, keys)
        if apart or (known(state.layers) is not None and not os.listdir(snapshot.upper)):
            written.pack()
            self._made(state, created_by, created, written.diff_id)
        else:
            if self.sharing is not None:
                self.sharing.together.begin(written)
            self.pack(written)
            self._made(state, created_by, created, written)

    def _made(self, state: State, created_by: str, created: str, layer: Layer) -> None:
        state.record(created_by, created=created, layer=layer)
        if self.sharing is not None:
            self.sharing.give(layer, created)

    def _keeper(
        self,
        state: State,
        keys: Keys,
        created: str,
        created_by: str,
        inputs: Callable[[], Mapping[str, Any]],
    ) -> Callable[[list[str]], None]:
        """What remembers a layer, of the diff_ids up to its own."""
        platform, place = state.platform, self.place()

        def keep(diff_ids: list[str]) -> None:
            below = diff_ids[:-1]
            record = Record(tuple(keys(below)), diff_ids[-1], created, created_by)
            if image := self.lookup.keep(record, platform):
                self.lookup.inputs.made(place, image, {"below": below, **inputs()})

        return keep

    def explain(self, state: State, inputs: Callable[[], Mapping[str, Any]]) -> None:
        """Tell which input of a step that was not in the cache is another, if that is asked for."""
        if not self.request.explain_cache:
            return
        if self.lookup.cache.off:
            lines = ["the cache is not used"]
        else:
            below = [each if isinstance(each, str) else "" for each in state.layers]
            made = [""] * state.base + state.made
            from estiva.builder.cache.inputs import explain

            lines = explain(self.lookup.inputs.last(self.place()), {"below": below, **inputs()}, made)
        for line in lines:
            self.output(f"not cached: {line}\n".encode())

    def write(
        self,
        state: State,
        keys: Keys,
        created_by: str,
        inputs: Mapping[str, Any],
        work: Callable[[int, int], None],
        *,
        alone: bool = False,
    ) -> None:
        """Add what `work` does to a rootfs (by fd) of the layers of `state`, or of none if `alone`. It gets
        the fd of the snapshot's upper directory, too.
        """
        with self.snapshot([] if alone else state.layers) as (snapshot, stand):
            upper = os.open(snapshot.upper, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                with_root(snapshot, lambda rootfd: work(rootfd, upper))
            finally:
                os.close(upper)
            self.explain(state, lambda: inputs)
            self.keep(state, snapshot, stand, keys, created_by, lambda: inputs)

    def add(
        self,
        state: State,
        keys: Keys,
        created_by: str,
        inputs: Mapping[str, Any],
        work: Callable[[int, TarSink], None],
        *,
        alone: bool = False,
    ) -> None:
        """Add the layer whose tar `work` writes, which sees a rootfs (by fd) of the layers of `state`, or of
        none if `alone`. It is there at once, and what lies below is waited for.
        """
        created = state.clock()
        keep = self._keeper(state, keys, created, created_by, lambda: inputs)
        with self.view([] if alone else state.layers) as rootfd, self.store.layers.sink() as sink:
            work(rootfd, sink)
            self.explain(state, lambda: inputs)
            diff_id = self.store.layers.commit(sink).diff_id
        keep([*diff_ids(state.layers), diff_id])
        _define(state, keys)
        self._made(state, created_by, created, diff_id)

    def snapshot(self, layers: Sequence[Layer]) -> Prepared:
        """A snapshot to write to, for `keep`; discarded where that is not reached."""
        return Prepared(self.store, layers)

    def view(self, layers: Sequence[Layer]) -> Viewed:
        """The fd of a read-only rootfs of these layers."""
        return Viewed(self.store, layers)


def _define(state: State, keys: Keys) -> None:
    """Add a step to the definition of its stage, by the first of its keys on what that is so far."""
    if state.definition is not None:
        name = next(iter(keys(state.definition)), None)
        state.definition = None if name is None else [*state.definition, DEFINED + name]


class Prepared:
    """`with` it there is a snapshot on layers, and what it stands on; both go after an error."""

    def __init__(self, store: Store, layers: Sequence[Layer]) -> None:
        self.stand = Stand(layers)
        try:
            self.snapshot = self.stand.prepare(store)
        except BaseException:
            self.stand.close()
            raise

    def __enter__(self) -> tuple[Snapshot, Stand]:
        return self.snapshot, self.stand

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        try:
            self.snapshot.discard()
        finally:
            self.stand.close()


class Viewed:
    """`with` it there is a read-only rootfs of layers, by fd."""

    def __init__(self, store: Store, layers: Sequence[Layer]) -> None:
        self.stand = Stand(layers)
        try:
            self.fd = self.stand.view(store)
        except BaseException:
            self.stand.close()
            raise

    def __enter__(self) -> int:
        return self.fd

    def __exit__(self, *error: object) -> None:
        try:
            os.close(self.fd)
        finally:
            self.stand.close()


def with_root(snapshot: Snapshot, work: Callable[[int], None]) -> None:
    """Do `work` on a snapshot's rootfs, given by fd."""
    fd = snapshot.mount()
    try:
        work(fd)
    finally:
        os.close(fd)
