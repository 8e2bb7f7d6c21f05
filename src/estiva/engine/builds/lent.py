"""What a caller lends to a build and gives only when a step wants it: secrets, agents."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from estiva.builder.request import Agents
from estiva.files import new_directory, remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.engine import Engine


class _Asked(dict[str, Any]):
    """`ask` gives what one of that name is, or None."""

    def __init__(self, ask: Callable[[str], Any]) -> None:
        super().__init__()
        self._ask = ask

    def get(self, name: str, default: Any = None) -> Any:
        if name not in self:
            found = self._ask(name)
            if found is None:
                return default
            self[name] = found
        return self[name]


class LentSecrets(_Asked):
    """Bytes, by the names of secrets."""


class LentAgents(_Asked, Agents):
    """Lists of a socket's path, which an agent answers at, by the names of agents."""


class Sockets:
    """A folder for sockets, with a short name (unix(7): 108 bytes), until `close`; swept after a kill."""

    def __init__(self, engine: Engine) -> None:
        base = engine.paths.run_root + "/build"
        os.makedirs(base, mode=0o700, exist_ok=True)
        self._fd, self.path = new_directory(base, "")

    def close(self) -> None:
        if self._fd >= 0:
            remove_tree(self.path)
            os.close(self._fd)
            self._fd = -1
