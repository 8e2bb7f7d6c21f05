"""Errors of the system as those of this package: a caller has one kind to catch."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from estiva.errors import EstivaError, brief, exhausted, from_os

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


def told(function: Callable[P, R]) -> Callable[P, R]:
    """The same, but an OSError that nobody foresaw, a limit that is reached, is an EstivaError: Unavailable
    where files, memory, threads or the disk are used up. A message is one line, and not longer than that.
    """

    @functools.wraps(function)
    def call(*arguments: P.args, **keywords: P.kwargs) -> R:
        try:
            return function(*arguments, **keywords)
        except EstivaError as error:
            error.message = brief(error.message)  # whatever the arguments held (K9)
            error.hint = brief(error.hint)
            raise
        except (OSError, MemoryError, RuntimeError) as error:
            known = exhausted(error) or (from_os(error) if isinstance(error, OSError) else None)
            if known is None:
                raise
            known.message = brief(known.message)
            raise known from error

    return call
