"""Targets built beside each other: each as soon as those are there that it needs.

The first that fails stops the others: they hear of it where they tell what they do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from estiva.errors import Stopped

MOST = 8  # targets at once

Build = Callable[[str, dict[str, str], Callable[[], None]], str]


class Numbers:
    """The steps of several builds, numbered through in the order in which they begin."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.known: dict[tuple[str, str], str] = {}
        self.totals: dict[str, int] = {}

    def event(self, name: str, event: dict[str, Any]) -> dict[str, Any]:
        build = " ".join(filter(None, (name, str(event.get("platform") or ""))))
        number, _, total = str(event["step"]).partition("/")
        with self.lock:
            mine = self.known.setdefault((build, number), str(len(self.known) + 1))
            self.totals[build] = int(total or 0)
            step = f"{mine}/{sum(self.totals.values())}"
        alone = str(event.get("place") or event["step"]).rpartition("/")[2] == total
        return {
            "place": event["step"],
            **event,
            "step": step,
            "platform": build,
            "stage": "" if alone else event.get("stage"),
        }


class Run:
    """One run over `needs` (target -> the targets that it needs). `build` is given a name, the images of all
    that are built by then and what to call now and then, and returns an image."""

    def __init__(self, needs: dict[str, Iterable[str]], build: Build) -> None:
        self.needs = {name: set(each) for name, each in needs.items()}
        self.build = build
        self.left = list(needs)
        self.images: dict[str, str] = {}
        self.failure: BaseException | None = None
        self.changed = threading.Condition()
        self.numbers = Numbers()

    def run(self) -> dict[str, str]:
        """Every target's image. Raises what the first that failed has raised, once nobody works any more."""
        count = min(MOST, len(self.left))
        if count < 2:
            self._work()
        else:
            threads = [threading.Thread(target=self._work, name="estiva-bake") for _ in range(count)]
            begun: list[threading.Thread] = []
            try:
                for thread in threads:
                    thread.start()
                    begun.append(thread)
                for thread in begun:
                    thread.join()
            except BaseException as error:  # an interrupt
                self._fail(error)
                for thread in begun:
                    thread.join()
        if self.failure is not None:
            raise self.failure
        return self.images

    def look(self) -> None:
        """Raises Stopped once another target has failed; an interrupt as it is, after which nothing more is
        kept."""
        if self.failure is not None:
            raise Stopped("the build was stopped") if isinstance(self.failure, Exception) else self.failure

    def told(self, name: str, progress: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
        """Who hears of a target's steps, told which target they are of and numbered among all."""

        def tell(event: dict[str, Any]) -> None:
            self.look()
            progress(self.numbers.event(name, event) if "step" in event else event)

        return tell

    def _fail(self, error: BaseException) -> None:
        with self.changed:
            if self.failure is None:
                self.failure = error
            self.changed.notify_all()

    def _next(self) -> str | None:
        """The first target that can be built, once there is one; None when none will be."""
        with self.changed:
            while self.left and self.failure is None:
                for name in self.left:
                    if self.needs[name] <= self.images.keys():
                        self.left.remove(name)
                        return name
                self.changed.wait()
        return None

    def _work(self) -> None:
        try:
            while (name := self._next()) is not None:
                image = self.build(name, dict(self.images), self.look)
                with self.changed:
                    self.images[name] = image
                    self.changed.notify_all()
        except BaseException as error:
            self._fail(error)
