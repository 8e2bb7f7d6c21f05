"""Errors of the system as those of this package: a caller has one kind to catch. Those of the caller's own
functions come out as they are.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from estiva.errors import EstivaError, brief, exhausted, from_os, half_loaded

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

P = ParamSpec("P")
R = TypeVar("R")
KINDS = (EstivaError, OSError, MemoryError, RuntimeError, ImportError, AttributeError)


class Theirs(EstivaError):
    """What a function of the caller's has raised, on its way through the engine, where nobody tries again
    after it or takes it for an error of the system."""

    def __init__(self, given: Exception) -> None:
        super().__init__("a function of the caller's failed")
        self.given = given


def theirs(function: Callable[P, R]) -> Callable[P, R]:
    """A function of the caller's, whose errors come out of `told` as they are."""

    def call(*arguments: P.args, **keywords: P.kwargs) -> R:
        try:
            return function(*arguments, **keywords)
        except Exception as error:
            raise Theirs(error) from error

    return call


def told(function: Callable[P, R]) -> Callable[P, R]:
    """The same, but an OSError that nobody foresaw, a limit that is reached, is an EstivaError: Unavailable
    where files, memory, threads or the disk are used up. A message is one line, and not longer than that.
    """

    @functools.wraps(function)
    def call(*arguments: P.args, **keywords: P.kwargs) -> R:
        try:
            return function(*arguments, **keywords)
        except KINDS as error:
            _tell(error)
            raise

    return call


def told_later(function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """`told` of a coroutine function."""

    @functools.wraps(function)
    async def call(*arguments: P.args, **keywords: P.kwargs) -> R:
        try:
            return await function(*arguments, **keywords)
        except KINDS as error:
            _tell(error)
            raise

    return call


def _tell(error: Exception) -> None:
    """Raise what is to be raised in the place of an error, if it is not that itself."""
    if isinstance(error, Theirs):
        _mark(error.given)
        raise error.given from None
    if isinstance(error, EstivaError):
        error.message = brief(error.message)  # whatever the arguments held (K9)
        error.hint = brief(error.hint)
    elif not getattr(error, "_theirs", False):
        known: EstivaError | None = exhausted(error) or half_loaded(error)
        if known is None and isinstance(error, OSError):
            known = from_os(error)
        if known is not None:
            known.message = brief(known.message)
            raise known from error


def _mark(error: Any) -> None:
    """For a `told` around this one."""
    try:
        error._theirs = True
    except AttributeError:
        pass
