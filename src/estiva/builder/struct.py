"""Classes of named fields, as dataclasses has them; that module alone takes longer to import than a cached
build of ten steps.
"""

from __future__ import annotations

from _operator import itemgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar, dataclass_transform

    T = TypeVar("T")
else:

    def dataclass_transform(**told: bool) -> Any:
        return lambda function: function


@dataclass_transform(kw_only_default=False)
def struct(cls: type[T]) -> type[T]:
    """`cls` with an `__init__` of its annotated fields, those of its bases first, and equality by them.

    A default is the value in the class; a list, dict or set there is copied for each object.
    """
    names: list[str] = []
    defaults: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        for name in base.__dict__.get("__annotations__", ()):
            if name not in names:
                names.append(name)
            if name in base.__dict__:
                defaults[name] = base.__dict__[name]

    def init(self: Any, *values: Any, **named: Any) -> None:
        if len(values) > len(names):
            raise TypeError(f"{cls.__name__} takes {len(names)} values, not {len(values)}")
        given = dict(zip(names, values, strict=False))
        if repeated := given.keys() & named.keys() or named.keys() - set(names):
            raise TypeError(f"{cls.__name__}: unexpected {', '.join(sorted(repeated))}")
        given |= named
        for name in names:
            if name not in given:
                if name not in defaults:
                    raise TypeError(f"{cls.__name__} lacks {name}")
                value = defaults[name]
                given[name] = value.copy() if isinstance(value, (list, dict, set)) else value
            setattr(self, name, given[name])

    def equal(self: Any, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    for name, method in (("__init__", init), ("__eq__", equal), ("__hash__", None)):
        setattr(cls, name, method)
    return cls


def named(name: str, fields: str) -> Any:
    """A class of tuples whose places have names, as collections.namedtuple makes it at a hundred times the
    cost. `fields` are those names, with blanks between.
    """
    places: dict[str, Any] = {field: property(itemgetter(at)) for at, field in enumerate(fields.split())}

    def made(cls: type[Any], *values: Any) -> Any:
        return tuple.__new__(cls, values)

    return type(name, (tuple,), {**places, "__slots__": (), "__new__": made})
