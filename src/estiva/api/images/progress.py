"""How a pull or a push goes on, as docker tells it (JSONMessage, JSONProgress)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.oci.reference import Reference

WIDTH = 50  # of the bar
UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
PULLED = {
    "waiting": "Pulling fs layer",
    "downloading": "Downloading",
    "extracting": "Extracting",
    "done": "Pull complete",
    "exists": "Already exists",
}
PUSHED = {
    "waiting": "Preparing",
    "pushing": "Pushing",
    "done": "Pushed",
    "exists": "Layer already exists",
}
STEP, STEPS = 512 << 10, 100  # bytes of a layer between two lines at least, and lines at most
MOVING = ("downloading", "extracting", "pushing")


def size(count: float) -> str:
    """Bytes for people, four digits at most: 1.234MB."""
    unit = 0
    while count >= 1000 and unit < len(UNITS) - 1:
        count /= 1000
        unit += 1
    return f"{count:.4g}{UNITS[unit]}"


def bar(current: int, total: int) -> str:
    """[=====>       ]  1.2MB/3.4MB; "" for nothing."""
    if current <= 0 and total <= 0:
        return ""
    if total <= 0 or current > total:
        return f"{size(current):>8}"
    done = min(WIDTH, current * WIDTH // total)
    return f"[{'=' * done}>{' ' * (WIDTH - done)}] {size(current):>8}/{size(total)}"


class Pulled:
    """Takes the engine's events of the pull of one image."""

    def __init__(self, say: Callable[[dict[str, Any]], object], reference: Reference) -> None:
        self.say = say
        self.reference = reference
        self.begun = self.fetched = False
        self.seen: dict[str, str] = {}

    def take(self, event: dict[str, Any]) -> None:
        if not event.get("id") or (event["status"] == "exists" and not event.get("total")):
            return  # of the whole image
        self.begin()
        name, status = event["id"], event["status"]
        before = self.seen.get(name)
        if before is None and status not in ("waiting", "exists"):
            self._say(name, "Pulling fs layer")
        if before == "downloading" and status in ("extracting", "done"):
            self._say(name, "Download complete")
        if status in MOVING:
            self._say(name, PULLED[status], int(event.get("current") or 0), int(event.get("total") or 0))
        elif status == "retrying":
            self._say(name, f"Retrying: {event.get('message') or ''}".rstrip(": "))
        elif status in PULLED and status != before:
            self._say(name, PULLED[status])
        self.fetched |= status == "done"
        self.seen[name] = status

    def begin(self) -> None:
        """Told once the registry has answered: until then an error has a status of its own."""
        if self.begun:
            return
        self.begun = True
        what = self.reference.digest or self.reference.tag
        self.say({"status": f"Pulling from {self.reference.repository}", "id": what})

    def end(self, digest: str, newer: bool) -> None:
        self.begin()
        self.say({"status": f"Digest: {digest}"})
        what = "Downloaded newer image" if newer or self.fetched else "Image is up to date"
        self.say({"status": f"Status: {what} for {self.reference.familiar}"})

    def _say(self, name: str, status: str, current: int = 0, total: int = 0) -> None:
        self.say(message(name, status, current, total))


class Loaded:
    """The same of layers that come out of an archive: some lines of each, the last one whole."""

    def __init__(self, say: Callable[[dict[str, Any]], object]) -> None:
        self.say = say
        self.told = 0

    def take(self, event: dict[str, Any]) -> None:
        current, total = int(event["current"]), int(event["total"])
        if current < self.told:
            self.told = 0  # the next layer
        if current == total or current - self.told >= max(STEP, total // STEPS):
            self.told = current if current < total else 0
            self.say(message(event["id"], "Loading layer", current, total))


class Pushed:
    """The same of a push; what is sent that is no layer is not shown. `config`: its short id."""

    def __init__(self, say: Callable[[dict[str, Any]], object], config: str) -> None:
        self.say = say
        self.config = config
        self.seen: dict[str, str] = {}

    def take(self, event: dict[str, Any]) -> None:
        name, status = event.get("id"), event["status"]
        if not name or name == self.config:
            return
        before = self.seen.get(name)
        if before is None and status == "done":
            return  # a manifest: what of a blob is sent was told before
        self.seen[name] = status
        if before is None and status != "waiting":
            self.say(message(name, "Preparing"))
        if status in MOVING:
            self.say(
                message(name, PUSHED[status], int(event.get("current") or 0), int(event.get("total") or 0))
            )
        elif status == "mounted":
            place = event.get("message") or ""
            self.say(message(name, f"Mounted from {place}" if place else "Mounted"))
        elif status in PUSHED and status != before:
            self.say(message(name, PUSHED[status]))


def message(name: str, status: str, current: int = 0, total: int = 0) -> dict[str, Any]:
    """One line of a layer's progress."""
    detail = {key: value for key, value in (("current", current), ("total", total)) if value > 0}
    made: dict[str, Any] = {"status": status, "progressDetail": detail}
    if shown := bar(current, total):
        made["progress"] = shown
    return {**made, "id": name}
