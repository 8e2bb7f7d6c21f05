"""Values by the types of run_options.py: judged at run time, and shown by help()."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from os import PathLike
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from estiva.errors import InvalidInput
from estiva.sdk import values
from estiva.sdk.run_options import DOCKER_PY

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    F = TypeVar("F", bound=Callable[..., Any])

MOST = 100_000  # items of a list: an endless iterator must not take all memory
OCTETS = (bytes, bytearray, memoryview)  # iterable, but no list of anything that is meant here


class _Misfit(Exception):
    pass


def options_of(kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, those that are None left out; iterables have become lists, mappings dicts.
    Raises InvalidInput for one that there isn't, or whose value is not of its type.
    """
    hints = _hints(kind)
    found = {}
    for name, value in given.items():
        if name not in hints:
            ours = DOCKER_PY.get(name, "")
            hint = f"here it is {ours}" if ours else "docs/python.md, and help(), have the options"
            raise InvalidInput(f"unknown option: {values.shown(name).strip(chr(39))}", hint=hint)
        plain = checked(name, value, hints[name])
        if plain is not None:
            found[name] = plain
    return found


def checked(what: str, value: Any, kind: Any) -> Any:
    """`value`, if it is of its type. Raises InvalidInput."""
    if isinstance(value, Iterator):
        value = list(islice(value, MOST + 1))
    try:
        return _fit(value, kind)
    except _Misfit:
        raise values.wrong(what, described(kind), value) from None


_HINTS: dict[type, dict[str, Any]] = {}


def _hints(kind: type) -> dict[str, Any]:
    if kind not in _HINTS:
        _HINTS[kind] = get_type_hints(kind, include_extras=True)
    return _HINTS[kind]


def _fit(value: Any, kind: Any) -> Any:
    """The value as plain data. Raises _Misfit."""
    origin = get_origin(kind)
    if origin is Annotated:
        return _fit(value, get_args(kind)[0])
    if origin in (Union, types.UnionType):
        for one in get_args(kind):
            try:
                return _fit(value, one)
            except _Misfit:
                continue
        raise _Misfit
    if origin is Literal:
        if isinstance(value, str) and value in get_args(kind):
            return value
    elif is_typeddict(kind):
        return _record(value, kind)
    elif origin is tuple:
        wanted = get_args(kind)
        if isinstance(value, (tuple, list)) and len(value) == len(wanted):
            return tuple(_fit(each, one) for each, one in zip(value, wanted, strict=True))
    elif origin is Mapping:
        return _mapping(value, *get_args(kind))
    elif origin is Sequence:
        return _list(value, get_args(kind)[0])
    elif origin is PathLike:
        if isinstance(value, PathLike) and isinstance(value.__fspath__(), str):
            return value
    elif _is(value, kind):
        return value
    raise _Misfit


def _is(value: Any, kind: Any) -> bool:
    """Of a plain type; True and False are no numbers."""
    if kind is object:
        return True
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _record(value: Any, kind: type) -> dict[str, Any]:
    hints = _hints(kind)
    if not isinstance(value, Mapping) or not all(name in hints for name in value):
        raise _Misfit
    return {name: _fit(each, hints[name]) for name, each in value.items()}


def _mapping(value: Any, key: Any, each: Any) -> dict[Any, Any]:
    if not isinstance(value, Mapping) or len(value) > MOST:
        raise _Misfit
    return {_fit(name, key): _fit(one, each) for name, one in value.items()}


def _list(value: Any, each: Any) -> list[Any]:
    if isinstance(value, (str, Mapping, *OCTETS)) or not isinstance(value, Iterable):
        raise _Misfit
    items = list(islice(value, MOST + 1))
    if len(items) > MOST:
        raise _Misfit
    return [_fit(one, each) for one in items]


# --- in words ---------------------------------------------------------------------------------------------

NAMES = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "True or False",
    bytes: "bytes",
    types.NoneType: "None",
}


def described(kind: Any) -> str:
    """A type in the words of a message."""
    origin = get_origin(kind)
    if origin is Annotated:
        return str(get_args(kind)[1])
    if origin in (Union, types.UnionType):
        parts = [described(one) for one in get_args(kind) if one is not types.NoneType]
        return " or ".join(dict.fromkeys(parts))
    if origin is Literal:
        *others, last = map(repr, get_args(kind))
        return f"{', '.join(others)} or {last}"
    return "a path" if origin is PathLike else NAMES.get(kind, "another type")


def bare(kind: Any) -> Any:
    """A type without the words beside it: for a signature."""
    origin = get_origin(kind)
    if origin is Annotated:
        return bare(get_args(kind)[0])
    if origin in (Union, types.UnionType):
        result: Any = None
        for index, one in enumerate(map(bare, get_args(kind))):
            result = one if index == 0 else result | one
        return result
    return kind


def shows(kind: type) -> Callable[[F], F]:
    """A decorator: help() and inspect.signature show each option in the place of **options."""

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        plain = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        taken = {parameter.name for parameter in plain}
        more = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=bare(hint))
            for name, hint in sorted(_hints(kind).items())
            if name not in taken
        ]
        function.__signature__ = signature.replace(parameters=[*plain, *more])  # type: ignore[attr-defined]
        return function

    return decorate
