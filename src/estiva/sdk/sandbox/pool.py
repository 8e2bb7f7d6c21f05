"""Boxes made ahead: `estiva.pool`."""

from __future__ import annotations

import collections
import os
import threading
import time
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any

from estiva import held
from estiva.errors import Conflict, EstivaError, InvalidInput
from estiva.sdk import running, values
from estiva.sdk.engine import chosen
from estiva.sdk.run_options import RunOptions
from estiva.sdk.sandbox.ready import Ready
from estiva.sdk.told import told
from estiva.sdk.typed import shows

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Unpack

    from estiva.engine import Engine
    from estiva.sdk.collections.images import Image
    from estiva.sdk.sandbox.ready import Box
    from estiva.sdk.sandbox.snapshots import Snapshot

MOST = 1000  # boxes of one pool
AGAIN = 0.2  # seconds after a box that could not be made
FILLERS = 2  # threads that make boxes, and end those that were used
PATIENCE = 120.0  # seconds without any new box after which a taker gives up
LULL = 0.02  # seconds in which the first command of one that was taken has the interpreter to itself
LOOK = 0.05  # seconds after which a taker looks whether a signal has come


class Pool:
    """Boxes made ahead: see `estiva.pool`."""

    def __init__(self, engine: Engine, image: Any, size: Any, warm: Any, options: dict[str, Any]) -> None:
        self.engine = engine
        self.size = values.whole("size", size)
        if not 1 <= self.size <= MOST:
            raise InvalidInput(f"size must be from 1 to {MOST}, not {self.size}")
        self.warm = values.text("warm", warm)
        if options.get("name") or options.get("tty"):
            what = "name" if options.get("name") else "tty"
            raise InvalidInput(f"{what} can't be given to a pool, whose boxes are many")
        self._options = image, options
        self.asked()  # what can't be is told at once
        self._owner = os.getpid()
        self._changed = threading.Condition()
        self._ready: collections.deque[Ready] = collections.deque()
        self._used: collections.deque[Ready] = collections.deque()
        self._waiting: collections.deque[Future[Ready]] = collections.deque()
        self._making = 0
        self._came = time.monotonic()  # the last of them
        self._failed: Exception | None = None
        self._taken = 0.0  # of time.monotonic: when one was taken that was ready
        self._closed = False
        self._fillers: list[threading.Thread] = []
        self._alive = 0  # of them
        self.ended: Future[None] = Future()  # all that nobody has has gone

    def asked(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """(Config, HostConfig, options of create.prepare) of a box."""
        image, options = self._options
        return running.settings(image, None, options, RunOptions)

    def new(self) -> Ready:
        """One that is to be made."""
        return Ready(self.engine, self.asked(), self.warm)

    def found(self) -> None:
        """Its image is there: no box has to look for that."""
        if self._options[1].get("pull") == "always":
            self._options[1]["pull"] = "missing"

    def begin(self, first: Ready) -> None:
        """Make the others, after the `first`."""
        self._ready.append(first)
        try:
            with held.Signals() as signals:
                signals.hold()
                for _ in range(FILLERS):
                    each = threading.Thread(target=self._fill, name="estiva pool", daemon=True)
                    with self._changed:
                        each.start()
                        self._alive += 1
                    self._fillers.append(each)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<estiva.Pool of {self.size}, {len(self._ready)} ready>"

    @property
    def ready(self) -> int:
        """How many boxes can be had at once."""
        return len(self._ready)

    def box(self) -> AbstractContextManager[Box]:
        """A box, for a with-block, at whose end it is killed and removed. Waits where none is ready. Raises
        the error of why there is none, Conflict for a pool that is closed.
        """
        return Taken(self)

    def _next(self, signals: held.Signals) -> Ready:
        """A box, which may have ended. `signals` are held: Ctrl-C in a Condition would leave it locked for
        ever."""
        future, since = self.ask(), time.monotonic()
        try:
            while not wait([future], min(self.left(since), LOOK)).done:
                signals.look()
            return future.result()
        except BaseException:
            found = self.leave(future)
            if found is not None:
                found.end()
            raise

    # --- what asyncio has of it, too (sdk/aio/pool.py) ---------------------------------------------------

    def ask(self) -> Future[Ready]:
        """For a box, which is there at once or later, and then is the caller's to `put` back. Raises Conflict
        and why there is none."""
        if os.getpid() != self._owner:
            raise Conflict("this pool is of the program that has forked", hint="make another in the fork")
        future: Future[Ready] = Future()
        with self._changed:
            if self._closed:
                raise closed()
            failed, self._failed = self._failed, None
            if self._ready:
                future.set_result(self._ready.popleft())
                self._taken = time.monotonic()
            elif failed is not None:
                raise failed
            else:
                self._waiting.append(future)
            self._changed.notify_all()
        return future

    def left(self, since: float) -> float:
        """Seconds that who has asked at a time (of time.monotonic) waits on. Raises Conflict when it is over:
        not as long as there are new boxes, which others get that have asked before."""
        left = max(since, self._came) + PATIENCE - time.monotonic()
        if left <= 0:
            raise Conflict(f"no box of the pool was ready within {PATIENCE:g} s")
        return left

    def leave(self, future: Future[Ready]) -> Ready | None:
        """Whoever has asked wants it no more. A box that is to be ended, where nobody else would do that."""
        if future.cancel() or future.exception() is not None:
            return None
        with self._changed:
            if self._closed:
                return future.result()
            self._hand_over(future.result())
        return None

    def put(self, used: Ready) -> bool:
        """Leave a box that was used to the pool. False: it is to be ended by who had it."""
        if os.getpid() != self._owner:
            return True
        with self._changed:
            aside = len(self._used) < self.size and not self._closed
            if aside:
                self._used.append(used)
                self._changed.notify_all()
        return aside

    def shut(self) -> None:
        """`close`, without waiting for the end of its boxes: that is `ended`."""
        if os.getpid() != self._owner:
            return
        with self._changed:
            self._closed = True
            self._used.extend(self._ready)
            self._ready.clear()
            while self._waiting:
                self._tell(closed())
            if not self._alive and not self.ended.done():
                self.ended.set_result(None)
            self._changed.notify_all()

    # --- what is done by the fillers ---------------------------------------------------------------------

    def _hand_over(self, made: Ready) -> None:
        """To who has waited for the longest, or to whom comes next."""
        self._came = time.monotonic()
        while self._waiting:
            future = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                future.set_result(made)
                return
        (self._used if self._closed else self._ready).append(made)
        self._changed.notify_all()

    def passed(self) -> None:
        """Returns when a thread of ours that tells somebody of a box, or of a failure, has let go of them."""
        with self._changed:
            pass

    def _tell(self, failed: Exception) -> bool:
        """Whoever has waited for the longest of a failure. False: nobody waits."""
        while self._waiting:
            future = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                future.set_exception(failed)
                return True
        return False

    def _fill(self) -> None:
        """A filler's life."""
        try:
            while self._turn():
                pass
        finally:
            with self._changed:
                self._alive -= 1
                if not self._alive:
                    self.ended.set_result(None)

    def _turn(self) -> bool:
        """End what was used, or make what is missing. False when there is nothing to do any more."""
        with self._changed:
            while not (self._used or self._closed or len(self._ready) + self._making < self.size):
                self._changed.wait()
            if self._closed and not self._used:
                return False
            lull = self._taken + LULL - time.monotonic()
            if lull > 0 and len(self._ready) > self.size // 2 and not self._closed:
                self._changed.wait(lull)
                return True
            missing = len(self._ready) + self._making < self.size and not self._closed
            used = self._used.popleft() if self._used and not (missing and not self._ready) else None
            self._making += used is None
        if used is not None:
            used.end()
            return True
        made, failed = self._made()
        with self._changed:
            self._making -= 1
            if made is not None:
                self._failed = None
                self._hand_over(made)
            elif failed is not None and not self._closed and not self._tell(failed):
                self._failed = failed
        if failed is not None:
            time.sleep(AGAIN)
        return True

    def _made(self) -> tuple[Ready | None, Exception | None]:
        """A new box, or why there is none: whatever it is, who takes the next one is told."""
        try:
            made = self.new()
            told(made.make)()
            return made, None
        except Exception as error:
            return None, error

    @told
    def close(self) -> None:
        """End all boxes that nobody has; those that are in use end with their blocks. Again: nothing."""
        if os.getpid() != self._owner:
            return
        with held.Signals() as signals:
            signals.hold()
            self.shut()
            for each in self._fillers:
                while each.is_alive():
                    each.join(LOOK)
                    signals.look()
            while self._used:
                self._used.popleft().end()  # there were no threads
                signals.look()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Taken:
    """What `Pool.box` gives: the block of one box."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._taken: Ready | None = None

    @told
    def __enter__(self) -> Box:
        if self._taken is not None:
            raise Conflict("this block of a pool's box has been entered already", hint="make one for each")
        try:
            with held.Signals() as signals:
                signals.hold()
                while True:
                    self._taken = self._pool._next(signals)
                    try:
                        return self._taken.take()
                    except EstivaError:
                        pass  # somebody has removed it
                    self._give_back()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *exception: object) -> None:
        try:
            self._give_back()
        except BaseException:
            self._give_back()  # Ctrl-C before it could be held
            raise

    def _give_back(self) -> None:
        ends = None
        with held.Signals() as signals:
            signals.hold()
            taken, self._taken = self._taken, None
            if taken is not None and not self._pool.put(taken):
                ends = taken
        if ends is not None:
            ends.end()


def closed() -> Conflict:
    return Conflict("this pool is closed")


@told
@shows(RunOptions)
def pool(
    image: str | Image | Snapshot,
    *,
    size: int = 8,
    warm: str = "",
    engine: Engine | None = None,
    **options: Unpack[RunOptions],
) -> Pool:
    """Boxes of an image or a snapshot, made ahead: one is had in about a millisecond.

        with estiva.pool("alpine", size=8, network="none", memory="64m") as pool:
            with pool.box() as box:
                print(box.exec(["id"]).output)

    Each box is used once; the pool makes others in the background, so that there are `size` of them. `warm`
    is Python that the interpreter of `box.python` has run before: "import json"; what it has begun is frozen
    until the box is taken. The pool ends with its block, or `close`, or the program, however that ends.
    Options: see `container`. Raises EstivaError.
    """
    made = Pool(chosen(engine), image, size, warm, dict(options))
    first = made.new()
    first.make()
    made.found()
    made.begin(first)
    return made
