"""What a step gets of its build: the store, the cache, where files come from, how to run a command.

A step is a function of this context, the stage's state and one instruction; it changes the state alone. Who
calls it, and in what order, is the solver's business.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from estiva.builder.cache import local
from estiva.builder.files.tree import Tree
from estiva.builder.files.workspace import Scratch
from estiva.builder.request import Request, RunStep
from estiva.builder.steps import mountpoints
from estiva.builder.steps.state import State

if TYPE_CHECKING:
    from estiva.store import Store
    from estiva.store.snapshots import Snapshot


@dataclass(frozen=True)
class Source:
    """A tree to read from; `layers` are its diff_ids, or None for a folder, which may change at any time."""

    tree: Tree
    layers: list[str] | None


@dataclass(frozen=True)
class StepContext:
    """Made for each stage, as caches and the names of sources are a stage's.

    request     what the caller asked for: secrets, networks, build arguments
    source      the tree that COPY --from=NAME or a mount's `from` means, "" the build context
    output      takes what a command writes, as bytes
    look        raises when the build is to stop
    warn        takes a sentence for the user
    epoch       SOURCE_DATE_EPOCH in seconds, or None
    """

    request: Request
    store: Store
    cache: local.Cache
    workspace: Scratch
    source: Callable[[str], Source]
    run_step: RunStep
    output: Callable[[bytes], None]
    look: Callable[[], None]
    warn: Callable[[str], None]
    epoch: int | None

    def key(self, kind: str, inputs: dict[str, Any]) -> str:
        """The cache's name for a step of these inputs."""
        return local.key(kind, {**inputs, "epoch": self.epoch})

    def reuse(self, state: State, keys: list[str], created_by: str) -> bool:
        """Add the layer that is kept under one of `keys`, if there is one."""
        known = self.cache.layer(keys)
        if known is None:
            return False
        state.record(created_by, created=known[1], diff_id=known[0])
        return True

    def keep(self, state: State, keys: list[str], created_by: str, diff_id: str) -> None:
        """Add a new layer, and keep it under `keys`, if there are any."""
        created = state.clock()
        if keys:
            self.cache.keep_layer(keys, diff_id, created, created_by, state.platform)
        state.record(created_by, created=created, diff_id=diff_id)

    def layer(self, diff_ids: list[str], work: Callable[[int], None]) -> str:
        """Commit what `work` does to a rootfs (by fd) of these layers; the new layer's diff_id."""
        snapshot = self.store.snapshots.prepare(diff_ids)
        try:
            with_root(snapshot, work)
            return self.commit(snapshot)
        finally:
            snapshot.discard()

    def commit(self, snapshot: Snapshot) -> str:
        """The diff_id of the layer that a snapshot's changes make, times capped at `epoch`."""
        if self.epoch is not None:
            mountpoints.clamp(snapshot.upper, self.epoch)
        return str(snapshot.commit().diff_id)

    def view(self, diff_ids: list[str]) -> int:
        """A read-only rootfs of these layers; the caller closes the fd."""
        return self.store.snapshots.view(diff_ids)


def with_root(snapshot: Snapshot, work: Callable[[int], None]) -> None:
    """Do `work` on a snapshot's rootfs, given by fd."""
    fd = snapshot.mount()
    try:
        work(fd)
    finally:
        os.close(fd)
