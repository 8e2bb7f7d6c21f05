"""A line for each step as it begins, for what it writes, and as it ends: each with the step's number, as
several may run at once.
"""

from __future__ import annotations

from estiva.cli.build.progress.lines import harmless
from estiva.cli.build.progress.steps import ENDED, Pull, Step
from estiva.cli.format.progress import WORDS
from estiva.errors import oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

PACE = 2.0  # seconds between two lines of what is fetched
LEAST = 0.05  # seconds of a step whose end is told though it has written nothing


class Plain:
    """Writes to `stream`. `colours` are those that a command gives what it writes."""

    def __init__(self, stream: TextIO, colours: bool) -> None:
        self.stream = stream
        self.colours = colours
        self.layers: dict[tuple[str, str], str] = {}
        self.fetches: dict[str, float] = {}  # of those that go on: when was the last line

    def show(self, event: dict[str, Any], about: Step | Pull | None, lines: list[str], now: float) -> None:
        """Tell an event; `lines` are what a step has written, and has an end."""
        if isinstance(about, Pull):
            if about.verb == "fetch":
                self.fetch(about, now)
            else:
                self.pull(event, about)
        elif about is None:
            if event.get("status") == "warning":
                self.write(f"warning: {oneline(event['message'])}")
        else:
            self.step(event["status"], about, lines, now)

    def step(self, status: str, step: Step, lines: list[str], now: float) -> None:
        number = f"#{step.number}"
        told = [f"{number} {now - step.started:.2f} {harmless(line, self.colours)}" for line in lines]
        if status == "running":
            told.append(f"{number} {step.label} {oneline(step.instruction)}")
        elif status == "cached":
            told.append(f"{number} CACHED")
        elif status in ENDED and (step.seconds >= LEAST or step.lines.wrote or status != "done"):
            told.append(f"{number} {status.upper()} {step.seconds:.1f}s")
        if told:
            self.write("\n".join(told))

    def pull(self, event: dict[str, Any], pull: Pull) -> None:
        name, status = str(event.get("id") or ""), str(event["status"])
        if status in ("complete", "starting") or (
            self.layers.get((pull.name, name)) == status and status != "retrying"
        ):
            return
        self.layers[pull.name, name] = status
        reason = f": {oneline(event['message'])}" if event.get("message") else ""
        parts = [part for part in (oneline(pull.name), name) if part]
        self.write(": ".join([*parts, WORDS.get(status, status)]) + reason)

    def fetch(self, fetched: Pull, now: float) -> None:
        """Its begin, now and then how much has come, its end."""
        from estiva.cli.build.progress.frame import clock, size

        last = self.fetches.get(fetched.name)
        over = fetched.whole or bool(fetched.failed)
        if last is not None and not over and now < last + PACE:
            return
        self.fetches[fetched.name] = now
        came, total = fetched.bytes
        words = [f"fetch {oneline(fetched.name)}"]
        if last is not None:
            words.append(f"{size(came)} of {size(total)}" if total else size(came) if came else "")
            words.append(f"{clock(fetched.took(now))}")
            words.append((fetched.failed or "done").upper() if over else "")
        if over:
            del self.fetches[fetched.name]
        self.write(" ".join(filter(None, words)))

    def close(self, end: str, left: list[Step], now: float) -> None:
        """The build is over."""
        for step in left:
            self.step(step.status, step, step.lines.end(), now)

    def write(self, text: str) -> None:
        print(text, file=self.stream, flush=True)
