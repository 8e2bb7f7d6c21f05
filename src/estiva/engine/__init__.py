"""The library that the command line, the API and Python programs share: user verbs over the mechanisms below.

`Engine` names one state root and one run root and opens what a verb needs on first use.
"""

from __future__ import annotations

from os import fspath

from estiva.files import refuse_others
from estiva.paths import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from os import PathLike

    from estiva.store import Store
    from estiva.store.database import Database


class Engine:
    """One state root with its run root (see estiva.paths). Cheap to make; safe to share between threads.
    None is that of the environment, or the default. Raises Denied for one that others than its user could
    change, InvalidInput for what is no path.

    `direct` is for a program that ends soon after it started a container, as the command line does: its
    monitors are forked from itself (see engine/launch/launch.py).
    """

    def __init__(
        self,
        root: str | PathLike[str] | None = None,
        run_root: str | PathLike[str] | None = None,
        *,
        direct: bool = False,
    ) -> None:
        self.direct = direct
        try:
            self.paths = Paths(_path(root), _path(run_root))
        except (TypeError, ValueError):
            from estiva.errors import InvalidInput, brief

            given = brief(f"{root!r}, {run_root!r}", 120)
            raise InvalidInput(f"root and run_root must be paths, not {given}") from None
        refuse_others(self.paths.root)
        refuse_others(self.paths.run_root)
        self._store: Store | None = None

    @property
    def store(self) -> Store:
        if self._store is None:
            from estiva.store import Store

            self.paths.prepare()
            self._store = Store(self.paths)
        return self._store

    @property
    def db(self) -> Database:
        return self.store.db

    def heap(self) -> AbstractContextManager[None]:
        """A with-block for work that goes through much memory. The heap's settings are those of the whole
        process, so it changes nothing in a program that is not ours."""
        if self.direct:
            from estiva.linux import mallopt

            return mallopt.Kept()
        from contextlib import nullcontext

        return nullcontext()

    def share_heap(self) -> None:
        """Have all threads share one heap, in a process that is ours (linux/mallopt.py)."""
        from estiva.linux import mallopt

        mallopt.share()

    def mended(self) -> list[str]:
        """What has been made or fetched again since the last call because it was damaged, a line for each."""
        return self._store.mended() if self._store is not None else []

    def close_database(self) -> None:
        """Close this thread's connection, if there is one; the next use opens it again."""
        if self._store is not None:
            self._store.close()


def _path(given: str | PathLike[str] | None) -> str | None:
    """A root as text. Raises TypeError, ValueError: what is empty is not the default."""
    if given is None:
        return None
    path = fspath(given)
    if not isinstance(path, str):
        raise TypeError
    if not path or "\0" in path:
        raise ValueError
    return path
