"""Objects that need no reference counts, for a process whose forks run for a moment only.

Whatever Python touches it counts, and a count that is written copies the page that a fork shares with its
parent: that is most of the memory that it copies. Since 3.12 an object whose count has a value of its own, as
that of None has, is left alone (PEP 683). It is never freed; in a process that has loaded what it will need,
and is about to fork, that costs nothing.
"""

from __future__ import annotations

import gc
import sys

from estiva.linux import ffi as ctypes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_Code = type((lambda: None).__code__)


def immortalize() -> int:
    """Do so with all objects that the collector knows or that those refer to; how many there were.

    Where the counts are not what they are expected to be, none.
    """
    mark = ctypes.c_uint.from_address(id(None)).value
    if not can() or mark != ctypes.c_uint.from_address(id(True)).value or mark >> 30 != 3:
        return 0
    layer = gc.get_objects()
    known: dict[int, Any] = {}
    while layer:
        fresh = {id(thing): thing for thing in layer if id(thing) not in known}
        known.update(fresh)
        layer = gc.get_referents(*fresh.values())
        for thing in fresh.values():
            if type(thing) is _Code:  # which does not tell what it refers to
                layer += (thing.co_consts, thing.co_names)
    for address in known:
        ctypes.c_uint.from_address(address).value = mark
    return len(known)


def can() -> bool:
    """Whether this interpreter is CPython with counts that may be of this kind, and as it usually is."""
    return (
        sys.implementation.name == "cpython"
        and sys.byteorder == "little"
        and (3, 12) <= sys.version_info[:2] <= (3, 14)
        and "t" not in sys.abiflags
    )
