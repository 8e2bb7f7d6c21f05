"""What asyncio has of the plain API: the same methods, awaited. Each is written, and told of, once.

class Volumes(Around[plain.Volumes]):
    get = later(plain.Volumes.get, Volume)      # await volumes.get("data"), which gives a Volume of here
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from estiva.sdk.aio.loop import LONG, SHORT, Pool, call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
X = TypeVar("X")


class Around(Generic[X]):
    """An object of asyncio's around one of the plain API's."""

    def __init__(self, plain: X) -> None:
        self._plain = plain

    def __repr__(self) -> str:
        return repr(self._plain).replace("estiva.", "estiva.aio.", 1)

    def _repr_html_(self) -> str | None:
        shown: Any = getattr(self._plain, "_repr_html_", None)
        return None if shown is None else shown()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._plain == self._plain

    def __hash__(self) -> int:
        return hash(self._plain)


@overload
def later(
    method: Callable[Concatenate[Any, P], R], *, pool: Pool = SHORT
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]: ...


@overload
def later(
    method: Callable[Concatenate[Any, P], R], gives: Callable[[R], S], *, pool: Pool = SHORT
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, S]]: ...


def later(method: Any, gives: Any = None, *, pool: Pool = SHORT) -> Any:
    """A plain method, called in a thread; `gives` makes of its result what is shown here."""

    @functools.wraps(method)
    async def awaited(self: Any, *arguments: Any, **keywords: Any) -> Any:
        found = await call(functools.partial(method, self._plain, *arguments, **keywords), pool=pool)
        return found if gives is None else gives(found)

    return awaited


@overload
def copied(
    method: Callable[Concatenate[Any, P], R],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]: ...


@overload
def copied(
    method: Callable[Concatenate[Any, P], R], gives: Callable[[R], S]
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, S]]: ...


def copied(method: Any, gives: Any = None) -> Any:
    """`later`, of what may copy much."""
    return later(method, gives, pool=LONG)


def each(kind: Callable[[R], S]) -> Callable[[list[R]], list[S]]:
    """For a list of what `kind` is for one of."""
    return lambda found: [kind(one) for one in found]


class Looked(Generic[R]):
    """A property that is looked up: `await box.status`."""

    def __init__(self, name: str, kind: type) -> None:
        self.name = name
        self.__doc__ = getattr(kind, name).__doc__

    if TYPE_CHECKING:

        @overload
        def __get__(self, found: None, owner: Any) -> Looked[R]: ...

        @overload
        def __get__(self, found: Any, owner: Any) -> Awaitable[R]: ...

    def __get__(self, found: Any, owner: Any = None) -> Any:
        return self if found is None else call(lambda: getattr(found._plain, self.name))


class Field(Generic[R]):
    """What a value of the plain API has."""

    def __init__(self, name: str) -> None:
        self.name = name

    if TYPE_CHECKING:

        @overload
        def __get__(self, found: None, owner: Any) -> Field[R]: ...

        @overload
        def __get__(self, found: Any, owner: Any) -> R: ...

    def __get__(self, found: Any, owner: Any = None) -> Any:
        return self if found is None else getattr(found._plain, self.name)
