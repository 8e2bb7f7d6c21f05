"""The WORKDIR step: its directory, made in a layer of its own (perhaps an empty one) and owned by USER."""

from __future__ import annotations

import os

from estiva.builder.files.destination import Destination
from estiva.builder.steps import config, users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.builder.frontend.instructions import Text
    from estiva.builder.steps.context import StepContext
    from estiva.builder.steps.state import State


def run(context: StepContext, state: State, typed: Text) -> bool:
    """Make the directory, or find its layer in the cache: whether it was cached. Raises InvalidInput."""
    path = config.workdir(state, typed)
    created_by = f"WORKDIR {state.workdir}"
    if path == "/":
        state.record(created_by)
        return False
    user = str(state.config.get("User") or "")

    def keys(below: list[str]) -> list[str]:
        return [context.key("workdir", {"below": below, "path": path, "user": user})]

    if context.reuse(state, keys, created_by):
        return True

    def work(rootfd: int, upper: int) -> None:
        owner = users.known(rootfd, user) or (0, 0)  # a RUN would say that there is no such user
        os.close(Destination(rootfd, owner=owner).directory(path))

    context.write(state, keys, created_by, {"folder": path, "user": user}, work)
    return False
