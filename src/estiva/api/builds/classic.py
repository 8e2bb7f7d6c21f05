"""A build, told as docker's classic builder tells it: its steps, their containers, what commands write.

    Step 2/4 : RUN make
     ---> Running in 0123456789ab          or: Using cache
    ...
     ---> Removed intermediate container 0123456789ab
     ---> 123456789abc

No image is made between two steps here, so that the ids of those lines are names of states, and of no image;
but for the first, which is the base's, and the last. Stages run beside each other, and are told one after the
other, in the Dockerfile's order: an earlier one never waits for a later one. What changes the
config alone has no cache of its own: it is told once it is known whether what follows comes from there.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from typing import TYPE_CHECKING, Any

from estiva.api.images.names import parse
from estiva.api.images.progress import Pulled
from estiva.engine.images import lookup
from estiva.errors import EstivaError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from estiva.api.told import Told
    from estiva.engine import Engine

FILES = ("COPY", "ADD")  # instructions without a container, even with docker
MAKERS = ("FROM", "RUN", "WORKDIR", *FILES)  # that change more than the config
ENDED = ("done", "cached", "error", "canceled")
RED, PLAIN = b"\x1b[91m", b"\x1b[0m"


class Stage:
    """What has been told of one."""

    def __init__(self, index: int) -> None:
        self.index = index  # among the stages that are built, in the Dockerfile's order
        self.image = ""  # the state that it has come to
        self.line = ""  # the end of a step, which is told once the next begins
        self.instruction = ""
        self.container = ""
        self.argv: list[str] = []
        self.cached = True  # all so far
        self.failed = self.over = False
        self.unsure: list[dict[str, Any]] = []  # events that wait until the cache has been asked
        self.waiting: list[dict[str, Any]] = []  # for the stages before


class Classic:
    """Takes the builder's events, of several threads, one for each stage."""

    def __init__(
        self, engine: Engine, line: Told, *, cache: bool, quiet: bool, labels: Mapping[str, str]
    ) -> None:
        self.labels = labels
        self.warnings: list[str] = []
        self.engine = engine
        self.line = line
        self.cache = cache
        self.quiet = quiet
        self.kept: list[dict[str, Any]] = []  # what a quiet build would have told
        self.stages: dict[str, Stage] = {}
        self.pulls: dict[str, Pulled] = {}
        self.began = time.time()
        self.shown = self.total = 0  # steps
        self.turn = 0  # the index of the stage that is told now
        self._of = threading.local()
        self._lock = threading.RLock()

    # --- heard of the engine ---

    def started(self, container_id: str, argv: list[str]) -> None:
        """A step's container runs."""
        stage: Stage = self._of.stage
        stage.argv = argv
        with self._lock:
            self._hear(stage, {"status": "started", "container": container_id[:12]})

    def stderr(self, data: bytes) -> bytes:
        """As docker has it: in colour."""
        return RED + data + PLAIN

    def take(self, event: dict[str, Any]) -> None:
        self.line.look()
        with self._lock:
            if "image" in event and "id" in event:
                self._pull(event)
            elif event.get("status") == "warning":
                if not event.get("check"):
                    self.warnings.append(str(event["message"]))
            elif "step" in event:
                stage = self.stages.setdefault(str(event.get("stage")), Stage(int(event["index"])))
                self._of.stage = stage
                stage.failed |= event["status"] == "error"
                self._hear(stage, event)

    def done(self, image_id: str, tags: list[str]) -> None:
        """The whole build is over. Its labels are told as steps of its last stage."""
        image = lookup.find(self.engine, image_id)
        cached = image is not None and image.created < self.began
        self._rest(cached)
        stages = self._order()
        for key, value in sorted(self.labels.items()) if stages else ():
            about = {"instruction": f"LABEL {key}={value}", "step": f"/{self.total}"}
            self._show(stages[-1], {**about, "status": "running"}, cached)
            self._show(stages[-1], {**about, "status": "done"}, cached)
        if stages:
            self._end(stages[-1], image_id)
        self.say({"aux": {"ID": image_id}})
        self._warn()
        self.stream(f"Successfully built {short(image_id)}\n")
        for tag in tags:
            self.stream(f"Successfully tagged {parse(tag).familiar}\n")
        if self.quiet:
            self.line.say({"stream": f"{image_id}\n"})

    def failed(self) -> list[str]:
        """The build has failed: the command of the step that has. A quiet build tells all now."""
        self._rest(False)
        self._warn()
        kept, self.kept, self.quiet = self.kept, [], False
        for event in kept:
            self.line.say(event)
        return next((stage.argv for stage in self.stages.values() if stage.failed), [])

    def _warn(self) -> None:
        for warning in _unused(self.warnings):
            self.stream(f"[Warning] {warning}\n")

    # --- in which order ---

    def _order(self) -> list[Stage]:
        return sorted(self.stages.values(), key=lambda stage: stage.index)

    def _hear(self, stage: Stage, event: dict[str, Any]) -> None:
        if stage.index > self.turn:
            stage.waiting.append(event)
            del stage.waiting[:-MOST]
            return
        for before in self._order():
            if before.index < stage.index:
                self._sure(before, True)
        self._judge(stage, event)
        while stage.over and stage.index == self.turn:
            self.turn += 1
            stage = next((each for each in self._order() if each.index == self.turn), stage)
            for waiting in self._taken(stage):
                self._hear(stage, waiting)

    def _taken(self, stage: Stage) -> list[dict[str, Any]]:
        waiting, stage.waiting = stage.waiting, []
        return waiting

    def _rest(self, cached: bool) -> None:
        for stage in self._order():
            for event in self._taken(stage):
                self._judge(stage, event)
            self._sure(stage, cached)

    # --- whether from the cache ---

    def _judge(self, stage: Stage, event: dict[str, Any]) -> None:
        status = event["status"]
        place, _, places = str(event.get("place")).partition("/")
        stage.over = place == places and status in ENDED
        word = str(event.get("instruction")).partition(" ")[0].upper()
        config = status == "done" and word not in MAKERS
        if config and self.cache and stage.cached or (stage.unsure and status == "running"):
            stage.unsure.append(event)
            return
        if status in ("done", "started") and word != "FROM":
            stage.cached = False
        if status != "running":
            self._sure(stage, status == "cached")
        self._show(stage, event, status == "cached")

    def _sure(self, stage: Stage, cached: bool) -> None:
        unsure, stage.unsure = stage.unsure, []
        for event in unsure:
            self._show(stage, event, cached)

    # --- shown ---

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

    def _show(self, stage: Stage, event: dict[str, Any], cached: bool) -> None:
        status = event["status"]
        if status == "output":
            self.stream(event["data"].decode("utf-8", "replace"))
        elif status == "started":
            stage.container = event["container"]
            self.stream(f" ---> Running in {stage.container}\n")
        elif status == "running":
            self._end(stage, "")
            stage.instruction, stage.container = str(event["instruction"]), ""
            self.shown += 1
            self.total = int(event["step"].partition("/")[2])
            self.stream(f"Step {self.shown}/{self.total + len(self.labels)} : {stage.instruction}")
            self.stream("\n")
        elif status in ("done", "cached"):
            self._ended(stage, cached)

    def _ended(self, stage: Stage, cached: bool) -> None:
        word = stage.instruction.partition(" ")[0].upper()
        if word == "FROM":
            stage.image = stage.line = self._base(stage.instruction)
            return
        if cached:
            self.stream(" ---> Using cache\n")
        elif word not in FILES:
            name = stage.container or _name(f"container {stage.image} {stage.instruction}")[:12]
            if not stage.container:
                self.stream(f" ---> Running in {name}\n")
            self.stream(f" ---> Removed intermediate container {name}\n")
        stage.image = stage.line = _name(f"{stage.image} {stage.instruction}")

    def _end(self, stage: Stage, image_id: str) -> None:
        for each in self.stages.values():
            if each.line:
                self.stream(f" ---> {short((image_id if each is stage else '') or each.line)}\n")
            each.line = ""

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


# the builder's sentences that are others than docker's
SENTENCES = (
    (re.compile(r"no stage '(.*)' in \S+$", re.S), r'target stage "\1" could not be found'),
    (
        re.compile(r"\S+:\d+: (COPY|ADD) failed: file not found in build context \(or .*\): (.*)$", re.S),
        r"\1 failed: file not found in build context or excluded by .dockerignore: "
        r"stat \2: file does not exist",
    ),
    (re.compile(r"(\S+) has no instructions$"), r"the Dockerfile (\1) cannot be empty"),
    (re.compile(r"\S+:\d+: [A-Z]+ before FROM$"), "no build stage in current context"),
)


def in_words(error: EstivaError) -> str:
    """A build's error as the classic builder says it."""
    for pattern, words in SENTENCES:
        if pattern.match(error.message):
            return pattern.sub(words, error.message)
    if hasattr(error, "bare") and hasattr(error, "line"):
        return f"dockerfile parse error on line {error.line}: {error.bare}"
    return error.message


def _unused(warnings: list[str]) -> list[str]:
    """Warnings, with those of build arguments that are not used as the one that docker has."""
    found = [re.fullmatch(r"build argument (.*) is not used", each, re.S) for each in warnings]
    names = [each[1] for each in found if each]
    rest = [text for text, each in zip(warnings, found, strict=True) if not each]
    return [*rest, f"One or more build-args [{' '.join(names)}] were not consumed"] if names else rest
