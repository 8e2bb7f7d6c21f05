"""Errors of the system as those of this package: a caller has one kind to catch."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from estiva.errors import EstivaError, exhausted, from_os

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


def told(function: Callable[P, R]) -> Callable[P, R]:
    """The same, but an OSError that nobody foresaw, a limit that is reached, is an EstivaError: Unavailable
    where files, memory, threads or the disk are used up.
    """

    @functools.wraps(function)
    def call(*arguments: P.args, **keywords: P.kwargs) -> R:
        try:
            return function(*arguments, **keywords)
        except EstivaError:
            raise
        except (OSError, MemoryError, RuntimeError) as error:
            known = exhausted(error) or (from_os(error) if isinstance(error, OSError) else None)
            if known is None:
                raise
            raise known from error

    return call
