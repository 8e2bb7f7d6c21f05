"""Verbs of the engine block: they run in threads, of which there is a bounded number."""

from __future__ import annotations

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")

SHORT = 16  # verbs at once that look or change something and are done
LONG = 64  # that may take as long as a registry or a command does


class Work:
    """Two pools, so that what is slow keeps nobody from looking."""

    def __init__(self) -> None:
        self.short = ThreadPoolExecutor(SHORT, "short")
        self.long = ThreadPoolExecutor(LONG, "long")
        self.telling = 0  # verbs that have a thread of their own (told.py)

    async def do(self, verb: Callable[P, R], *arguments: P.args, **keywords: P.kwargs) -> R:
        """What the verb gives. It goes on if the caller is cancelled."""
        call = functools.partial(verb, *arguments, **keywords)
        return await asyncio.get_running_loop().run_in_executor(self.short, call)

    async def long_do(self, verb: Callable[P, R], *arguments: P.args, **keywords: P.kwargs) -> R:
        """The same, of a verb that may take long."""
        call = functools.partial(verb, *arguments, **keywords)
        return await asyncio.get_running_loop().run_in_executor(self.long, call)

    def close(self) -> None:
        self.short.shutdown(wait=False, cancel_futures=True)
        self.long.shutdown(wait=False, cancel_futures=True)
