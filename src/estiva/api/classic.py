"""A build, told as docker's classic builder tells it: its steps, their containers, what commands write.

    Step 2/4 : RUN make
     ---> Running in 0123456789ab          or: Using cache
    ...
     ---> Removed intermediate container 0123456789ab
     ---> 123456789abc

No image is made between two steps here, so that the ids of those lines are names of states, and of no image;
but for the first, which is the base's, and the last. Where it has all steps before it from the cache, what
changes the config alone is told to come from there, too.
"""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Any

from estiva.api.images.names import parse
from estiva.api.images.progress import Pulled
from estiva.engine.images import lookup
from estiva.errors import EstivaError

if TYPE_CHECKING:
    from estiva.api.told import Told
    from estiva.engine import Engine

FILES = ("COPY", "ADD")  # instructions without a container, even with docker
RED, PLAIN = b"\x1b[91m", b"\x1b[0m"


class Stage:
    """What has been told of one."""

    def __init__(self) -> None:
        self.image = ""  # the state that it has come to
        self.line = ""  # the end of a step, which is told once the next begins
        self.instruction = ""
        self.container = ""
        self.argv: list[str] = []
        self.cached = True  # all so far
        self.failed = False


class Classic:
    """Takes the builder's events, of several threads, one for each stage."""

    def __init__(self, engine: Engine, line: Told, *, cache: bool, quiet: bool) -> None:
        self.engine = engine
        self.line = line
        self.cache = cache
        self.quiet = quiet
        self.kept: list[dict[str, Any]] = []  # what a quiet build would have told
        self.stages: dict[str, Stage] = {}
        self.pulls: dict[str, Pulled] = {}
        self.last = Stage()
        self._of = threading.local()

    # --- heard of the engine ---

    def started(self, container_id: str, argv: list[str]) -> None:
        """A step's container runs."""
        stage: Stage = self._of.stage
        stage.container, stage.argv = container_id[:12], argv
        self.stream(f" ---> Running in {stage.container}\n")

    def stderr(self, data: bytes) -> bytes:
        """As docker has it: in colour."""
        return RED + data + PLAIN

    def take(self, event: dict[str, Any]) -> None:
        self.line.look()
        if "image" in event and "id" in event:
            self._pull(event)
        elif event.get("status") == "warning":
            if not event.get("check"):
                self.stream(f" ---> [Warning] {event['message']}\n")
        elif "step" in event:
            self._step(event, str(event["status"]))

    def done(self, image_id: str, tags: list[str]) -> None:
        """The whole build is over."""
        self._end(self.last, image_id)
        self.say({"aux": {"ID": image_id}})
        self.stream(f"Successfully built {short(image_id)}\n")
        for tag in tags:
            self.stream(f"Successfully tagged {parse(tag).familiar}\n")
        if self.quiet:
            self.line.say({"stream": f"{image_id}\n"})

    def failed(self) -> None:
        """A quiet build that fails tells all."""
        if self.kept:
            kept, self.kept = self.kept, []
            for event in kept:
                self.line.say(event)

    def failing(self) -> list[str]:
        """The command of the step that has failed."""
        stage: Stage = getattr(self._of, "stage", self.last)
        return next((each.argv for each in self.stages.values() if each.failed), stage.argv)

    # --- said ---

    def say(self, event: dict[str, Any]) -> None:
        if self.quiet:
            self.kept.append(event)
            del self.kept[:-MOST]
        else:
            self.line.say(event)

    def stream(self, text: str) -> None:
        self.say({"stream": text})

    def _pull(self, event: dict[str, Any]) -> None:
        name = str(event["image"])
        shown = self.pulls.setdefault(name, Pulled(self.say, parse(name)))
        if event["status"] != "complete":
            shown.take(event)
            return
        image = lookup.find(self.engine, name)
        shown.end(image.manifest or "" if image is not None else "", True)

    def _step(self, event: dict[str, Any], status: str) -> None:
        stage = self.stages.setdefault(str(event.get("stage")), Stage())
        self._of.stage = self.last = stage
        if status == "output":
            self.stream(event["data"].decode("utf-8", "replace"))
        elif status == "running":
            self._end(stage, "")
            stage.instruction, stage.container = str(event["instruction"]), ""
            self.stream(f"Step {event['step']} : {stage.instruction}")
            self.stream("\n")
        elif status in ("done", "cached"):
            self._ended(stage, status == "cached")
        elif status == "error":
            stage.failed = True

    def _ended(self, stage: Stage, cached: bool) -> None:
        word = stage.instruction.partition(" ")[0].upper()
        if word == "FROM":
            stage.image = self._base(stage.instruction)
        else:
            config = not (cached or stage.container or word in FILES or word == "RUN")
            stage.cached &= cached or config
            if self.cache and (cached or (config and stage.cached)):
                self.stream(" ---> Using cache\n")
            elif config or stage.container:
                container = stage.container or _name(f"container {stage.image} {stage.instruction}")[:12]
                if config:
                    self.stream(f" ---> Running in {container}\n")
                self.stream(f" ---> Removed intermediate container {container}\n")
            stage.image = _name(f"{stage.image} {stage.instruction}")
        stage.line = stage.image

    def _end(self, stage: Stage, image_id: str) -> None:
        if stage.line and (name := image_id or stage.line):
            self.stream(f" ---> {short(name)}\n")
        stage.line = ""

    def _base(self, instruction: str) -> str:
        """The id of the image that a FROM names; "" for scratch."""
        words = [word for word in instruction.split()[1:] if not word.startswith("--")]
        name = words[0] if words else ""
        if name in self.stages:
            return self.stages[name].image
        try:
            image = lookup.find(self.engine, name)
        except EstivaError:
            image = None  # a name with variables
        return image.id if image is not None else ""


MOST = 10_000  # lines that a quiet build keeps for its failure


def short(image_id: str) -> str:
    return image_id.rpartition(":")[2][:12]


def _name(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
