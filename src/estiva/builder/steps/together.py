"""What builds of one Dockerfile for several platforms have in common while they run beside each other.

A step that is the same for two of them, such as those of a stage `FROM --platform=$BUILDPLATFORM`, is done by
whoever comes to it first; the other waits for it and goes on from the same layer, made or not yet. What is so
is told by the keys of the cache (cache/local.py). Those are of the layers below, which have no digest
while they are being made: here such a one has a name instead, and keeps it.
"""

from __future__ import annotations

from _thread import allocate_lock
from itertools import count

from estiva.builder.once import Once, Promise
from estiva.builder.steps.written import Written
from estiva.errors import Stopped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeAlias

    from estiva.builder.files.tree import Tree
    from estiva.builder.files.workspace import Workspace
    from estiva.builder.steps.written import Layer

    Result: TypeAlias = tuple[Layer, str]  # a step's layer, and when it was made


class Together:
    """That of one build. `workspace` and `contexts` have what was fetched of contexts, once for all; `tell`
    and `asked` are the caller's, see solver.executor.build. `close` it when all have ended.
    """

    def __init__(
        self,
        workspace: Workspace,
        tell: Callable[[dict[str, Any]], None] | None,
        asked: Callable[[], object] | None,
    ) -> None:
        self.workspace = workspace
        self.contexts: Once[str, tuple[Tree, bytes | None]] = Once()
        self.failure: BaseException | None = None  # the first
        self._tell = tell
        self._asked = asked
        self._telling = allocate_lock()
        self._lock = allocate_lock()
        self._steps: dict[tuple[str, ...], Promise[Result]] = {}
        self._number = count(1)
        self._names: dict[str, str] = {}  # of layers that had none when they were begun: by diff_id

    def close(self) -> None:
        for tree, _ in self.contexts.values():
            tree.close()
        self.workspace.close()

    def failed(self, error: BaseException) -> None:
        """Have all of them stop."""
        if self.failure is None or isinstance(self.failure, Stopped) and not isinstance(error, Stopped):
            self.failure = error  # who waited for what has failed may tell of it first

    def look(self) -> None:
        """Raises what the caller's look does, and Stopped once one of them has failed: what the others have
        written is kept then, which it is not after a Ctrl-C."""
        if self._asked is not None:
            self._asked()
        if self.failure is not None:
            raise Stopped("the build was stopped") if isinstance(self.failure, Exception) else self.failure

    def tell(self, event: dict[str, Any]) -> None:
        if self._tell is not None:
            with self._telling:
                self._tell(event)

    def name(self, layer: Layer) -> str:
        """What the keys of steps on a layer have of it: the same for each that has it."""
        if isinstance(layer, Written):
            return layer.name
        diff_id = layer if isinstance(layer, str) else layer.diff_id
        return self._names.get(diff_id, diff_id)

    def begin(self, written: Written) -> None:
        """A layer is to be made: it gets its name."""
        name = written.name = f"written {next(self._number)}"
        written.found = lambda diff_id: self._names.setdefault(diff_id, name)

    def claim(self, keys: tuple[str, ...]) -> tuple[Promise[Result], bool]:
        """(what comes of a step, whether it is the caller who does it, and keeps that promise)."""
        with self._lock:
            mine = keys not in self._steps
            return self._steps.setdefault(keys, Promise()), mine


class Sharing:
    """The steps of one stage among those of all; one after the other."""

    def __init__(self, together: Together) -> None:
        self.together = together
        self._mine: Promise[Result] | None = None

    def find(
        self, layers: Sequence[Layer], keys: Callable[[list[str]], Sequence[str]], busy: Callable[[], None]
    ) -> Result | None:
        """What another platform's build makes of a step, or has made; None where it is to be made here, which
        is to be told by `give` or, at the latest when the step is over, `drop`. Raises Stopped.
        """
        name = self.together.name
        promise, mine = self.together.claim(tuple(keys([name(layer) for layer in layers])))
        if mine:
            self._mine = promise
            return None
        if not promise.done:
            busy()
        try:
            return promise.result()
        except Exception:
            self.together.look()
            raise Stopped("the build was stopped") from None

    def give(self, layer: Layer, created: str) -> None:
        """The step's layer."""
        promise, self._mine = self._mine, None
        if promise is not None:
            promise.keep((layer, created))

    def drop(self) -> None:
        """The step is over: whoever waits for a layer that it has not given is to stop."""
        promise, self._mine = self._mine, None
        if promise is not None:
            promise.fail(Stopped("the build was stopped"))
