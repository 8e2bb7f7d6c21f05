"""How a pull or push goes on: bars on a terminal, one line for each change elsewhere."""

from __future__ import annotations

import os
import sys
import time

from estiva.errors import oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

WORDS = {
    "waiting": "Waiting",
    "downloading": "Downloading",
    "retrying": "Retrying",
    "extracting": "Verifying and storing",
    "done": "Done",
    "exists": "Already exists",
    "pushing": "Pushing",
    "mounted": "Mounted from another repository",
}
FINAL = ("done", "exists", "mounted")
REDRAW = 0.1  # seconds between two drawings of the bars


class Progress:
    """Takes the events of a pull or push (estiva.registry.client) and shows them on fd 1 or 2."""

    def __init__(self, fd: int) -> None:
        self.stream = sys.stderr if fd == 2 else sys.stdout
        self.shown: dict[str, str] = {}
        self.bars = _Bars(self.stream) if os.isatty(fd) and os.environ.get("TERM") != "dumb" else None

    def __call__(self, event: dict[str, Any]) -> None:
        if event["status"] == "complete":
            self.close()
        elif event["status"] == "starting":
            return
        elif self.bars is not None:
            self.bars.update(event)
        else:
            self.line(event)

    def line(self, event: dict[str, Any]) -> None:
        """A line when a blob's status changes, or when there is a reason to tell."""
        name, status = event["id"], event["status"]
        if self.shown.get(name) == status and status != "retrying":
            return
        self.shown[name] = status
        word = WORDS.get(status, status)
        reason = f": {oneline(event['message'])}" if event.get("message") else ""
        print(f"{name}: {word}{reason}" if name else f"{word}{reason}", file=self.stream, flush=True)

    def close(self) -> None:
        """Leave what has been drawn as it is."""
        if self.bars is not None:
            self.bars.close()
            self.bars = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Bars:
    """One bar for each blob. Drawn from the events themselves: a thread would forbid namespaces after it."""

    def __init__(self, stream: Any) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self.rich = RichProgress(
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.fields[word]}", markup=False),
            BarColumn(bar_width=30),
            DownloadColumn(),
            console=Console(file=stream, highlight=False, markup=False),
            auto_refresh=False,
        )
        self.tasks: dict[str, Any] = {}
        self.drawn = 0.0
        self.rich.start()

    def update(self, event: dict[str, Any]) -> None:
        name, status = event["id"], event["status"]
        word = WORDS.get(status, status)
        if event.get("message"):
            word = f"{word}: {oneline(event['message'])[:60]}"
        total = event.get("total") or None
        if name not in self.tasks:
            self.tasks[name] = self.rich.add_task(name, total=total, word=word)
        current = event.get("current") or (total or 0 if status in FINAL else 0)
        self.rich.update(self.tasks[name], completed=current, total=total, word=word)
        now = time.monotonic()
        if now - self.drawn >= REDRAW or status in FINAL:
            self.drawn = now
            self.rich.refresh()

    def close(self) -> None:
        self.rich.stop()
