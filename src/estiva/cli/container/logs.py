"""`logs`: what a container has written."""

from __future__ import annotations

import sys

from estiva.cmdline.parser import FLAG, TEXT, Options, Verb
from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.cli.context import Context


def logs(context: Context, options: Options) -> None:
    from estiva.engine.containers import logs as engine_logs

    tail = options.text("tail", "all")
    lines = int(tail) if tail.isascii() and tail.isdigit() and len(tail) < 19 else None
    if lines is None and tail != "all" and not tail.startswith("-"):
        raise InvalidInput(f"invalid --tail '{tail}'", hint="a number of lines, or all")
    follow = options.flag("follow")
    engine_logs.logs(
        context.engine,
        options.arguments[0],
        _writer(1, follow),
        _writer(2, follow),
        follow=follow,
        tail=lines,
        since=moment(options.text("since")),
        until=moment(options.text("until")),
        timestamps=options.flag("timestamps"),
        details=options.flag("details"),
        missing=_missing,
        full=_full,
    )
    sys.stdout.flush()


def _missing() -> None:
    sys.stdout.flush()
    print("estiva: lines are missing here: they were not read as fast as they were written", file=sys.stderr)


def _full(count: int) -> None:
    sys.stdout.flush()
    what = f"{count} bytes of output" if count > 0 else "some bytes of output"
    print(f"estiva: {what} are missing: they could not be written", file=sys.stderr)


def _writer(fd: int, now: bool) -> Callable[[bytes], object]:
    """Takes output for fd 1 or 2; `now` writes it as it comes.

    Both may be one file, or terminal: what was said first is there before what is said to the other.
    """
    stream = (sys.stderr if fd == 2 else sys.stdout).buffer

    def write(data: bytes) -> None:
        if fd == 2:
            sys.stdout.flush()  # stderr is never kept back
        stream.write(data)
        if now or fd == 2:
            stream.flush()

    return write


def moment(text: str) -> float | None:
    """Seconds since the epoch of a duration before now, a timestamp, or a moment in ISO 8601."""
    if not text:
        return None
    from estiva.oci import units

    try:
        return units.moment(text)
    except ValueError as error:
        raise InvalidInput(str(error), hint="10m, 1732455480, or 2024-11-24T13:38:00") from None


LOGS = Verb(
    logs,
    "CONTAINER",
    "Show what a container has written",
    (
        ("f", "follow", FLAG, "", "go on showing what it writes"),
        ("", "since", TEXT, "TIME", "from then on: 10m, a timestamp, or 2024-11-24T13:38:00"),
        ("n", "tail", TEXT, "N", "only the last N lines"),
        ("t", "timestamps", FLAG, "", "when each line was written"),
        ("", "until", TEXT, "TIME", "up to then"),
        ("", "details", FLAG, "", "with the labels and variables that --log-opt names"),
    ),
    least=1,
    most=1,
    examples=(("estiva logs -f --tail 20 web", "the last lines, and what comes"),),
)
