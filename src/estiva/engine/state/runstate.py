"""state.json of a container's run folder, by its type: runtime/state.py, which knows no engine, keeps it."""

from __future__ import annotations

from estiva.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.engine.state.types import RunState
    from estiva.paths import Paths


def read(where: Paths, container_id: str) -> RunState | None:
    """None when it does not run, or is being started. Raises StateError when it can't be understood."""
    return read_in(where.run_container(container_id))


def read_in(run: str) -> RunState | None:
    """The same by the path of the run folder."""
    found: Any = state.read(run)
    live: RunState | None = found
    return live


def write(run: str, live: RunState) -> None:
    """Replace it. See runtime/state.py."""
    state.write(run, live)


def same(one: RunState, other: RunState) -> bool:
    """Whether both are of the same run: of the same init."""
    return state.same_run(one, other)
