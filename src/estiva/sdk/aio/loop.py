"""How the API waits in asyncio: for fds in the loop; and a few threads for the engine's short calls.

No thread ever waits for a container, a command or a stream: 1,000 of them take as many threads as one.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import os
import select
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_here
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from estiva.sdk.steps import Wait
from estiva.sdk.told import told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from estiva.sdk import steps

    Work = tuple[Future[Any], Callable[[], Any], asyncio.AbstractEventLoop | None]

R = TypeVar("R")
T = TypeVar("T")
THREADS = 4
PATIENCE = 15.0  # seconds
BATCH = 256  # items of a stream that are looked for at once


class Pool:
    """Threads that are there from the first calls on; a fork of the program has none of them.

    Not an Executor's, which a signal's handler that raises, while one of them is started, leaves for ever
    unended: these end with the program, whose own end only waits for what they are at.
    """

    def __init__(self) -> None:
        self._begin()
        os.register_at_fork(after_in_child=self._begin)
        atexit.register(self._settle)

    def _begin(self) -> None:
        self._queue: SimpleQueue[Work] = SimpleQueue()
        self._threads = 0
        self._busy: set[Future[Any]] = set()

    def submit(self, function: Callable[[], R], loop: asyncio.AbstractEventLoop | None = None) -> Future[R]:
        """Have one of them call a function, for who waits in a loop."""
        future: Future[R] = Future()
        self._busy.add(future)
        future.add_done_callback(self._busy.discard)
        self._queue.put((future, function, loop))
        if self._threads < THREADS:
            try:
                threading.Thread(target=_serve, args=(self._queue,), name="estiva", daemon=True).start()
                self._threads += 1
            except RuntimeError:  # no more threads: those that are there serve it
                if not self._threads:
                    future.cancel()
                    raise
        return future

    def _settle(self) -> None:
        wait_here(list(self._busy), PATIENCE)


def _serve(queue: SimpleQueue[Work]) -> None:
    while True:
        future, function, loop = queue.get()
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)
        del future, function  # what they hold is not to wait for the next
        alone = loop is not None and loop.is_closed()  # one that is closed later may collect them itself
        del loop
        if alone:
            gc.collect()  # of who waited in that loop, nobody else comes by to end what it has begun


SHORT = Pool()
LONG = Pool()  # what may copy for seconds is not to keep the others waiting


class Firm:
    """A with-block of waiting that no cancellation ends: it is raised at the end of the block.

    Not a task of its own, which who ends a loop would cancel too.
    """

    def __init__(self) -> None:
        self.cancelled: asyncio.CancelledError | None = None

    async def wait(self, future: asyncio.Future[Any]) -> None:
        """Until a future is done."""
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                self.cancelled = error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if self.cancelled is not None and kind is None:
            raise self.cancelled


async def call(
    function: Callable[[], R],
    undo: Callable[[R], object] | None = None,
    pool: Pool = SHORT,
    firm: Firm | None = None,
) -> R:
    """What a function of the engine gives, called in a thread.

    It can't be taken back: when the task is cancelled its end is waited for, and `undo` gets what it gave.
    With `firm` that is where the cancellation is kept.
    """
    future = pool.submit(told(function), asyncio.get_running_loop())
    here = asyncio.wrap_future(future)
    try:
        if firm is not None:
            await firm.wait(here)
        else:
            await _whole(here, future)
        return here.result()
    except BaseException:
        if not future.cancel() and not sys.is_finalizing():
            wait_here([future])  # the loop has gone
        if undo is not None and not future.cancelled() and future.done() and not future.exception():
            undo(future.result())
        raise


async def _whole(here: asyncio.Future[R], future: Future[R]) -> None:
    """Until it is done, or could be cancelled because it had not begun."""
    with Firm() as firm:
        while not here.done():
            try:
                await asyncio.wait([here])
            except asyncio.CancelledError as error:
                firm.cancelled = error
                if future.cancel():
                    return
        if firm.cancelled is not None and not here.cancelled():
            here.exception()  # it has been looked at


async def waited(wait: Wait, firm: Firm | None = None) -> dict[int, int]:
    """As Wait.poll, in the running loop. What has been told is true still when the caller goes on: to remove
    an fd cancels what the loop was about to tell of it.
    """
    loop, owner = asyncio.get_running_loop(), os.getpid()
    future: asyncio.Future[None] = loop.create_future()
    came: dict[int, int] = {}

    def wake() -> None:
        if not future.done():
            future.set_result(None)

    def note(fd: int, event: int) -> None:
        came[fd] = came.get(fd, 0) | event
        wake()

    timer = None if wait.seconds is None else loop.call_later(max(0.0, wait.seconds), wake)
    try:
        for fd, events in wait.fds.items():
            if events & select.POLLIN:
                loop.add_reader(fd, note, fd, select.POLLIN)
            if events & select.POLLOUT:
                loop.add_writer(fd, note, fd, select.POLLOUT)
        await (future if firm is None else firm.wait(future))
    finally:
        if timer is not None:
            timer.cancel()
        if owner == os.getpid() and not loop.is_closed():  # a fork has its parent's epoll
            for fd in wait.fds:
                loop.remove_reader(fd)
                loop.remove_writer(fd)
    return came


async def ready(fd: int, seconds: float | None = None, firm: Firm | None = None) -> bool:
    """Whether an fd became readable within so many seconds."""
    return bool(await waited(Wait({fd: select.POLLIN}, seconds), firm))


async def drive(task: steps.Task[R], *, apart: bool = False, firm: Firm | None = None) -> R:
    """Do a task to its end; its steps in the loop, or `apart` from it, where the engine is asked in them."""
    came: dict[int, int] | None = None
    try:
        while True:
            step = partial(_step, task, came)
            wait = await call(step, firm=firm) if apart else step()
            if not isinstance(wait, Wait):
                return wait.result
            came = await waited(wait, firm)
    finally:
        task.close()


class Returned(Generic[R]):
    """What a task has returned: StopIteration can't go through a future."""

    def __init__(self, result: R) -> None:
        self.result = result


def _step(task: steps.Task[R], events: Mapping[int, int] | None) -> Wait | Returned[R]:
    try:
        return next(task) if events is None else task.send(events)
    except StopIteration as end:
        return Returned(end.value)


class Stream(AsyncIterator[T], Generic[T]):
    """The items of a stream, as they come. It may be left at any time: `aclose`, or the end of an
    `async with`, lets go of what it holds at once, and else the garbage collector does.
    """

    def __init__(self, begin: Callable[[], steps.Stream[T]]) -> None:
        self._begin = begin
        self._stream: steps.Stream[T] | None = None
        self._items: deque[T] = deque()
        self._wait: Wait | None = None
        self._error: BaseException | None = None
        self._over = False

    async def __anext__(self) -> T:
        while not self._items:
            error, self._error = self._error, None
            if error is not None:
                raise error
            if self._over:
                raise StopAsyncIteration
            if self._wait is not None:
                await self._pause(self._wait)
            await call(self._look)
        return self._items.popleft()

    async def _pause(self, wait: Wait) -> None:
        await waited(wait)
        self._wait = None

    def _look(self) -> None:
        """What is there now."""
        try:
            if self._stream is None:
                self._stream = self._begin()
            while len(self._items) < BATCH:
                one = next(self._stream)
                if isinstance(one, Wait):
                    self._wait = one
                    return
                self._items.append(one)
        except StopIteration:
            self._over = True
        except Exception as error:
            self._over, self._error = True, error

    async def aclose(self) -> None:
        """Read no more."""
        self._over, self._error = True, None
        self._items.clear()
        if self._stream is not None:
            self._stream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()
