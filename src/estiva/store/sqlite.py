"""SQLite's C module at a small cost (cold path)."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any


def load() -> ModuleType:
    """SQLite's C module, without the `sqlite3` package (datetime, collections: 3 ms).

    The C module wants `functools.lru_cache` for its statement cache and nothing else of functools, whose
    import would cost 2.5 ms more; a stand-in over the same C implementation is there while it loads, if this
    is the first module to ask.
    """
    if "sqlite3" in sys.modules or "functools" in sys.modules:
        import sqlite3

        return sqlite3
    try:
        from _functools import _lru_cache_wrapper  # type: ignore[import-not-found]
    except ImportError:
        import sqlite3

        return sqlite3

    def lru_cache(size: int) -> Any:
        return lambda function: _lru_cache_wrapper(function, size, False, tuple)

    stand_in = type(sys)("functools")
    stand_in.lru_cache = lru_cache  # type: ignore[attr-defined]
    sys.modules["functools"] = stand_in
    try:
        import _sqlite3

        return _sqlite3
    except ImportError:
        pass
    finally:
        del sys.modules["functools"]
    import sqlite3

    return sqlite3
