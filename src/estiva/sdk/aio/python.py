"""A warmed Python interpreter in a box, in asyncio: see sdk/sandbox/python.py, whose steps these are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from estiva.errors import EstivaError
from estiva.sdk.aio.bridge import Around
from estiva.sdk.aio.loop import Firm, drive
from estiva.sdk.sandbox import python as plain
from estiva.sdk.sandbox.python import MAX_OUTPUT, PythonRun
from estiva.sdk.told import told_later

if TYPE_CHECKING:
    from estiva.sdk.steps import Task

R = TypeVar("R")


class Python(Around[plain.Python]):
    """An interpreter in a box, started with the first run; each run is a fork of it, one at a time: who
    comes later waits."""

    def __init__(self, python: plain.Python) -> None:
        super().__init__(python)
        self._turn = asyncio.Lock()

    @told_later
    async def run(
        self, code: str, *, timeout: float | None = None, max_output: int = MAX_OUTPUT
    ) -> PythonRun:
        """Run Python code in the box: see `estiva.Container.python`.

            done = await box.python.run("sum(range(10))", timeout=5)

        When the task is cancelled the run is killed with all that it has started; the interpreter stays, and
        the box too.
        """
        return await self._do(self._plain.running(code, timeout, max_output))

    @told_later
    async def start(self) -> None:
        """Have the interpreter there, with the warm code run. Raises EstivaError."""
        await self._do(self._plain.starting())

    @told_later
    async def close(self) -> None:
        """End the interpreter; the next run starts another."""
        async with self._turn:
            with Firm() as firm:
                await drive(self._plain.closing(), apart=True, firm=firm)

    async def _do(self, task: Task[R]) -> R:
        async with self._turn:
            try:
                return await drive(task, apart=True)
            except (EstivaError, GeneratorExit):
                raise
            except BaseException:
                with Firm() as firm:
                    await drive(self._plain.stopping(), apart=True, firm=firm)
                raise
