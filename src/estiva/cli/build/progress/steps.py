"""The steps of a build as its events tell them; they may come from stages that run beside each other."""

from __future__ import annotations

from estiva.cli.build.progress.lines import Lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ENDED = ("cached", "done", "error", "canceled")
WHOLE = ("done", "exists")  # of a layer
MOST_WARNINGS = 1000  # that are kept


class Step:
    """One step. `number` is its own in the build, of whatever platform, `place` its number in its stage
    ("2/3"), `started` and `seconds` its clock.
    """

    def __init__(self, event: dict[str, Any], now: float) -> None:
        number, _, total = str(event["step"]).partition("/")
        self.number = int(number)
        self.stage = str(event.get("stage") or "")
        self.place = str(event.get("place") or event["step"])
        self.alone = self.place.rpartition("/")[2] == total  # its stage is all there is
        self.platform = str(event.get("platform") or "")
        self.instruction = str(event["instruction"])
        self.status = "running"
        self.started = now
        self.seconds = 0.0
        self.error = ""
        self.lines = Lines()

    @property
    def label(self) -> str:
        """As it is called: "[build 2/3]"."""
        words = [self.platform, "" if self.alone else self.stage, self.place]
        return f"[{' '.join(filter(None, words))}]"

    def took(self, now: float) -> float:
        """Seconds, until now if it still runs."""
        return now - self.started if self.status == "running" else self.seconds


class Pull:
    """The layers of one image that is fetched: id -> (status, bytes that have come, of so many). With the
    `verb` "fetch" a repository or a file of the web, which is one layer; of how much is 0 where nobody knows.
    """

    def __init__(self, name: str, now: float, verb: str = "pull") -> None:
        self.name = name
        self.verb = verb
        self.layers: dict[str, tuple[str, int, int]] = {}
        self.started = now
        self.seconds = 0.0
        self.whole = False
        self.failed = ""  # "error" or "canceled"

    def take(self, event: dict[str, Any], now: float) -> None:
        if "fetch" in event:
            status, current = str(event["status"]), int(event.get("current") or 0)
            self.layers[self.name] = status, current, int(event.get("total") or 0)
            self.whole = status == "done"
            self.failed = status if status in ("error", "canceled") else ""
            self.seconds = float(event.get("seconds") or 0.0)
        elif event.get("status") == "complete":
            self.whole, self.seconds = True, now - self.started
        elif event.get("id"):
            current, total = int(event.get("current") or 0), int(event.get("total") or 0)
            before = self.layers.get(event["id"], ("", 0, 0))
            total = total or before[2]
            if event["status"] in WHOLE:
                current = total
            self.layers[event["id"]] = event["status"], max(current, 0), total

    @property
    def bytes(self) -> tuple[int, int]:
        """(what has come, all that is known of)."""
        return sum(now for _, now, _ in self.layers.values()), sum(all for _, _, all in self.layers.values())

    def took(self, now: float) -> float:
        return self.seconds if self.whole or self.failed else now - self.started


class Steps:
    """All that is known of a build so far. `now` is in seconds, of any clock."""

    def __init__(self, now: float) -> None:
        self.started = now
        self.steps: dict[tuple[str, int], Step] = {}
        self.totals: dict[str, int] = {}  # platform -> how many it has
        self.pulls: dict[str, Pull] = {}
        self.warnings: list[str] = []
        self.failed: Step | None = None  # the first

    @property
    def total(self) -> int:
        """How many steps there are, as far as is known."""
        return sum(self.totals.values())

    def take(self, event: dict[str, Any], now: float) -> Step | Pull | None:
        """What the event is of; None for a warning, and for what is not known here."""
        if "id" in event:
            name = str(event.get("image") or "")
            if name not in self.pulls or (self.pulls[name].whole and event.get("status") != "complete"):
                self.pulls[name] = Pull(name, now)
            self.pulls[name].take(event, now)
            return self.pulls[name]
        if "fetch" in event:
            name = "fetch " + str(event["fetch"])
            if name not in self.pulls or self.pulls[name].whole or self.pulls[name].failed:
                self.pulls[name] = Pull(str(event["fetch"]), now, "fetch")
            self.pulls[name].take(event, now)
            return self.pulls[name]
        status = event.get("status")
        if status == "warning":
            del self.warnings[MOST_WARNINGS - 1 :]
            self.warnings.append(str(event["message"]))
            return None
        if "step" not in event or "instruction" not in event:
            return None
        return self._step(event, str(status), now)

    def _step(self, event: dict[str, Any], status: str, now: float) -> Step:
        number, _, total = str(event["step"]).partition("/")
        key = str(event.get("platform") or ""), int(number)
        step = self.steps.get(key)
        if step is None:
            step = Step(event, now)
            if step.platform:  # those of several are counted as they come
                step.number = len(self.steps) + 1
            self.steps[key] = step
        self.totals[key[0]] = max(self.totals.get(key[0], 0), int(total or 0))
        if status in ENDED:
            step.status, step.seconds = status, float(event.get("seconds") or 0.0)
            step.error = str(event.get("error") or "")
            if status == "error" and self.failed is None:
                self.failed = step
        return step

    def cancel(self, now: float) -> list[Step]:
        """The build is over: the steps that were not, which had to stop."""
        left = [step for step in self.steps.values() if step.status == "running"]
        for step in left:
            step.status, step.seconds = "canceled", now - step.started
        return left
