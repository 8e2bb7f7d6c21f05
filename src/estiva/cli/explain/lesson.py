"""`lesson`: eight steps, each done for real on this machine, in a state root and a network of its own."""

from __future__ import annotations

import os
import sys

from estiva.cmdline.parser import FLAG, INT, Options, Verb
from estiva.errors import Denied, InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.cli.context import Context


def lesson(context: Context, options: Options) -> int:
    number = options.number("step")
    if options.given("step") and not 1 <= number <= 8:
        raise InvalidInput(f"there is no step {number}", hint="1 to 8")
    play(number, waits=not options.flag("no-wait"))
    return 0


def play(number: int, *, waits: bool) -> None:
    """One step, or all for 0; `waits` for Enter where somebody can press it. Raises EstivaError."""
    if os.geteuid():
        raise Denied("the lesson runs containers, and that needs root", hint="use sudo")
    from estiva.cli.explain.stage import Stage
    from estiva.cli.explain.steps import STEPS

    with Stage(sys.stdout, waits and os.isatty(0) and os.isatty(1)) as stage:
        stage.prepare()
        for at, step in enumerate(STEPS, 1):
            if number in (0, at):
                stage.begin(at, len(STEPS), step)


LESSON = Verb(
    lesson,
    "",
    "Learn what a container is in eight steps, each done for real on this machine",
    (
        ("", "step", INT, "N", "only that one, 1 to 8"),
        ("", "no-wait", FLAG, "", "go on without Enter, for scripts"),
    ),
    most=0,
    examples=(
        ("estiva lesson", "all of them, Enter goes on"),
        ("estiva lesson --step 6 --no-wait", "a process killed at its limit"),
    ),
)
