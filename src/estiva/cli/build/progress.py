"""What `build` tells while it goes on, on stderr."""

from __future__ import annotations

import sys

from estiva.errors import oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class BuildProgress:
    """Lines on stderr: each step as it begins, what its command writes, whether the cache had it."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.pull: Any = None
        self.open = False  # a command's last line has no end yet

    def __call__(self, event: dict[str, Any]) -> None:
        if "id" in event:
            self.pulling(event)
            return
        status = event["status"]
        if status == "warning" and not (self.quiet and "check" in event):
            self.line(f"warning: {oneline(event['message'])}")
        elif self.quiet:
            return
        elif status == "output":
            sys.stderr.buffer.write(event["data"])
            sys.stderr.buffer.flush()
            self.open = not event["data"].endswith(b"\n")
        elif status == "running":
            self.line(f"[{event['step']}] {oneline(event['instruction'])}")
        elif status == "cached":
            self.line(f"[{event['step']}] CACHED")
        elif event["seconds"] >= 0.05:
            self.line(f"[{event['step']}] {status.upper()} {event['seconds']:.1f}s")

    def pulling(self, event: dict[str, Any]) -> None:
        if self.quiet:
            return
        if self.pull is None:
            from estiva.cli.format.progress import Progress

            self.pull = Progress(2)
        self.pull(event)
        if event["status"] == "complete":
            self.pull = None

    def line(self, text: str) -> None:
        print(f"\n{text}" if self.open else text, file=sys.stderr, flush=True)
        self.open = False
