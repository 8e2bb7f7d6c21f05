"""What a step has written, while the layer of it is made: others go on from the directory meanwhile.

A layer's tar and digest take as long as all of it takes to read. Nothing that comes next needs them but the
key of its cache entry, so they are made beside the next steps, in the order of a stage's steps.
"""

from __future__ import annotations

from _thread import allocate_lock

from estiva.builder.frontend.errors import located
from estiva.builder.once import Promise
from estiva.errors import EstivaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from estiva.builder.cache.remote import Coming
    from estiva.builder.frontend.syntax import Instruction
    from estiva.store import Store
    from estiva.store.snapshots import Snapshot

Layer: TypeAlias = "str | Written | Fetched"  # a diff_id, what gets one, or what has one and is not here yet


class Written:
    """The snapshot of one step, which nobody changes any more, on `below`.

    `keep` is called with the diff_ids up to its own once they are known, and remembers them. The directory
    stays until it has been packed, and for as long as somebody holds it. `source` is the instruction that an
    error names. `look` is called while it is packed: what it raises ends that. `found` gets the diff_id
    before anybody can find the layer by it.
    """

    source: Instruction | None = None
    name = ""  # for builds that share it (together.py)
    found: Callable[[str], object] | None = None

    def __init__(
        self,
        snapshot: Snapshot,
        stand: Stand,
        below: Sequence[Layer],
        keep: Callable[[list[str]], None],
        look: Callable[[], None],
    ) -> None:
        self.snapshot = snapshot
        self._stand = stand
        self._below = below
        self._keep = keep
        self._look = look
        self._settled: Promise[str] = Promise()
        self._lock = allocate_lock()
        self._holds = 1  # its packing's

    @property
    def settled(self) -> bool:
        """Whether its layer is there, and all below it."""
        return self._settled.done

    def soon(self, seconds: float) -> bool:
        """Whether it is settled, perhaps after so long."""
        return self._settled.wait(seconds)

    @property
    def diff_id(self) -> str:
        """Its layer's, as soon as it has been made. Raises what kept it from that."""
        return self._settled.result()

    def pack(self) -> None:
        """Make its layer: once, by the build's packers, of which those below it were begun before."""
        try:
            diff_id = str(self.snapshot.commit(self._look).diff_id)
            if self.found is not None:
                self.found(diff_id)
            self._keep([*diff_ids(self._below), diff_id])
        except BaseException as error:
            if isinstance(error, EstivaError) and self.source is not None:
                error = located(error, self.source)
            self._settled.fail(error)
            raise error from error.__cause__
        else:
            self._settled.keep(diff_id)
        finally:
            self.release()

    def cancel(self, error: BaseException) -> None:
        """In place of `pack`."""
        self._settled.fail(error)
        self.release()

    def hold(self) -> bool:
        """Keep the directory until `release`. False when it has gone: then it is settled."""
        with self._lock:
            if self._holds:
                self._holds += 1
            return self._holds > 0

    def release(self) -> None:
        with self._lock:
            self._holds -= 1
            last = not self._holds
        if last:
            try:
                self.snapshot.discard()
            finally:
                self._stand.close()


class Fetched:
    """A step's layer from a cache elsewhere, on its way here. Who only needs to know its diff_id goes on."""

    settled = True

    def __init__(self, diff_id: str, coming: Coming, keep: Callable[[], object]) -> None:
        self.diff_id = diff_id
        self._coming = coming
        self._keep = keep
        self._kept = False

    def wait(self) -> None:
        """Raises what kept it from coming."""
        self._coming.result()

    def arrive(self) -> str:
        """Wait for it, and remember it; its diff_id. Raises as `wait` does."""
        self.wait()
        if not self._kept:
            self._keep()
            self._kept = True
        return self.diff_id


class Stand:
    """What a snapshot or a view stands on: layers that are known, and directories on them, until `close`."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.diff_ids: list[str] = []
        self.written: list[Written] = []
        try:
            while not self._take(layers):
                self.close()
        except BaseException:
            self.close()
            raise

    def _take(self, layers: Sequence[Layer]) -> bool:
        """False if one was settled meanwhile, and its directory has gone."""
        self.diff_ids = []
        for layer in layers:
            if not isinstance(layer, Written):
                for pending in self.written:  # under a layer from the cache there are only layers
                    self.diff_ids.append(pending.diff_id)
                self.close()
                self.diff_ids.append(layer if isinstance(layer, str) else layer.arrive())
            elif not self.written and layer.settled:
                self.diff_ids.append(layer.diff_id)
            elif layer.hold():
                self.written.append(layer)
            else:
                return False
        return True

    def close(self) -> None:
        while self.written:
            self.written.pop().release()

    def prepare(self, store: Store) -> Snapshot:
        """A snapshot on it."""
        return store.snapshots.prepare(self.diff_ids, on=[each.snapshot for each in self.written])

    def view(self, store: Store) -> int:
        """A read-only rootfs; the caller closes the fd."""
        return store.snapshots.view(self.diff_ids, [each.snapshot for each in self.written])


def diff_ids(layers: Sequence[Layer]) -> list[str]:
    """Of all, when they are there. Raises what kept one from that."""
    return [layer if isinstance(layer, str) else layer.diff_id for layer in layers]


def soon(layers: Sequence[Layer], seconds: float) -> bool:
    """Whether all are known, perhaps after so long."""
    return all(not isinstance(layer, Written) or layer.soon(seconds) for layer in reversed(layers))


def known(layers: Sequence[Layer]) -> list[str] | None:
    """The diff_ids, None where one is still to come."""
    pending = any(not isinstance(layer, str) and not layer.settled for layer in layers)
    return None if pending else diff_ids(layers)
