"""What `build` hears of the build, and who shows it."""

from __future__ import annotations

import os
import sys
import time
from _thread import allocate_lock

from estiva.cli.build.progress.steps import Step, Steps
from estiva.errors import InvalidInput, oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol, TextIO

    from estiva.cli.build.progress.steps import Pull

    class View(Protocol):
        """Shows the events of a build; `now` is of the monotonic clock, in seconds. `end` is one of ENDS."""

        def show(
            self, event: dict[str, Any], about: Step | Pull | None, lines: list[str], now: float
        ) -> None: ...

        def close(self, end: str, left: list[Step], now: float) -> None: ...


KINDS = ("auto", "plain", "quiet", "rawjson", "tty")
ENDS = ("built", "failed", "interrupted")
VARIABLE = "BUILDKIT_PROGRESS"  # what --progress is without being given


class BuildProgress:
    """Takes the events of a build, which may come from several threads, and has a view show them.

    with BuildProgress(kind, title) as progress:
        build(progress=progress)
    """

    def __init__(self, kind: str, title: str = "", stream: TextIO | None = None) -> None:
        self.kind = kind
        self.stream = stream or sys.stderr
        self.steps = Steps(0.0)  # when it began, only a screen tells
        self.lock = allocate_lock()
        self.view = _view(kind, title, self.stream)

    def __call__(self, event: dict[str, Any]) -> None:
        with self.lock:
            now = time.monotonic()
            about = self.steps.take(event, now)
            lines: list[str] = []
            if isinstance(about, Step):
                if event["status"] == "output":
                    lines = about.lines.feed(event["data"])
                elif event["status"] != "running":
                    lines = about.lines.end()
            if self.view is not None:
                self.view.show(event, about, lines, now)
            elif event.get("status") == "warning" and "check" not in event:
                print(f"warning: {oneline(event['message'])}", file=self.stream, flush=True)

    def __enter__(self) -> BuildProgress:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Leave the last state, and below it what a failed command has said last where that is not there."""
        with self.lock:
            now = time.monotonic()
            left = self.steps.cancel(now)
            if self.view is not None:
                self.view.close(_end(error), left, now)
            failed = self.steps.failed
            if error is None or failed is None or self.kind in ("plain", "rawjson"):
                return
            from estiva.cli.build.progress.lines import harmless

            said = [harmless(line) for line in failed.lines.tail]
            if said:
                lines = [f"{failed.label} {oneline(failed.instruction)}", *(f"  | {line}" for line in said)]
                print("\n".join(lines), file=self.stream, flush=True)


def _end(error: BaseException | None) -> str:
    if error is None:
        return "built"
    return "failed" if isinstance(error, Exception) else "interrupted"


def chosen(asked: str, quiet: bool, stream: TextIO) -> str:
    """The kind of view for --progress ("" if it was not given) and --quiet. Raises InvalidInput."""
    kind = asked or os.environ.get(VARIABLE, "") or "auto"
    if kind not in KINDS:
        what = f"--progress '{oneline(asked)}'" if asked else f"{VARIABLE} '{oneline(kind)}'"
        raise InvalidInput(f"invalid {what}", hint=f"one of {', '.join(KINDS)}")
    if quiet:
        return "quiet"
    terminal = stream.isatty()
    if kind == "tty" and not terminal:
        raise InvalidInput("--progress tty needs a terminal at stderr", hint="plain goes anywhere")
    if kind == "auto":
        return "tty" if terminal and os.environ.get("TERM") != "dumb" else "plain"
    return kind


def _view(kind: str, title: str, stream: TextIO) -> View | None:
    colours = not os.environ.get("NO_COLOR")
    if kind == "tty":
        from estiva.cli.build.progress.live import Live

        return Live(stream, title, colours)
    if kind == "rawjson":
        from estiva.cli.build.progress.rawjson import RawJson

        return RawJson(stream, time.time_ns)
    if kind == "plain":
        from estiva.cli.build.progress.plain import Plain

        return Plain(stream, colours)
    return None
