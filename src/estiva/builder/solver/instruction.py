"""One instruction of a stage: which step does it."""

from __future__ import annotations

from estiva.builder.frontend.instructions import Command, Copy, Pairs, Text
from estiva.builder.steps import config, copy, run, workdir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.builder.frontend.instructions import Typed
    from estiva.builder.steps.context import StepContext
    from estiva.builder.steps.state import State


def do(context: StepContext, state: State, typed: Typed, global_args: dict[str, str]) -> bool:
    """Do it: whether the cache had its result. Raises EstivaError, OSError."""
    if isinstance(typed, Copy):
        return copy.CopyStep(context, state, typed).run()
    if typed.name == "RUN":
        assert isinstance(typed, Command)
        return run.CommandStep(context, state, typed).run()
    if typed.name == "WORKDIR":
        assert isinstance(typed, Text)
        return workdir.run(context, state, typed)
    if typed.name == "ARG":
        assert isinstance(typed, Pairs)
        line = config.declare(state, typed, context.request.build_args, global_args)
    else:
        line = config.apply(state, typed)
    if line:
        state.record(line)
    else:
        state.touch()
    return False
