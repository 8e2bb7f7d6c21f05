"""api/builds/classic.py: a build in the words of docker's classic builder."""

from __future__ import annotations

import re
import threading
from typing import Any, cast

from estiva.api.builds.classic import Classic
from estiva.api.told import Told
from estiva.engine import Engine


class Line:
    """What stands for a client."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def look(self) -> None:
        pass

    def say(self, event: dict[str, Any]) -> None:
        self.told.append(event)


class Image:
    def __init__(self, name: str) -> None:
        self.id, self.created = f"sha256:{name:0<64}", 0.0


class Images:
    """The store's, of which one is asked for a name alone."""

    def find(self, name: str) -> Image:
        return Image(name.removeprefix("sha256:"))


class Host:
    def __init__(self) -> None:
        self.store = self
        self.images = Images()


def classic(
    cache: bool = True, quiet: bool = False, labels: dict[str, str] | None = None
) -> tuple[Classic, Line]:
    line = Line()
    return Classic(
        cast("Engine", Host()), cast("Told", line), cache=cache, quiet=quiet, labels=labels or {}
    ), line


def step(place: str, instruction: str, status: str, stage: str = "0", **more: Any) -> dict[str, Any]:
    return {
        "step": place,
        "place": place,
        "stage": stage,
        "index": int(stage == "b"),
        "instruction": instruction,
        "status": status,
        **more,
    }


def words(line: Line) -> list[str]:
    """All lines, ids left out."""
    text = "".join(event.get("stream", "") for event in line.told)
    return [re.sub(r"(?<=[>nrt]) (base0{8}|[0-9a-f]{12})$", "", each) for each in text.splitlines()]


def build(shown: Classic, *steps: tuple[str, str]) -> None:
    for number, (instruction, status) in enumerate(steps, 1):
        place = f"{number}/{len(steps)}"
        shown.take(step(place, instruction, "running"))
        if instruction.startswith("RUN") and status == "done":
            shown.started("c" * 64, ["/bin/sh", "-c", instruction[4:]])
        shown.take(step(place, instruction, status))


def test_steps_that_are_made() -> None:
    shown, line = classic()
    build(
        shown,
        ("FROM base", "done"),
        ("ENV A=1", "done"),
        ("RUN make", "done"),
        ("COPY a /", "done"),
        ("CMD x", "done"),
    )
    shown.done("sha256:" + "f" * 64, ["docker.io/library/web:1"])
    assert words(line) == [
        "Step 1/5 : FROM base", " --->",
        "Step 2/5 : ENV A=1", " ---> Running in", " ---> Removed intermediate container", " --->",
        "Step 3/5 : RUN make", " ---> Running in", " ---> Removed intermediate container", " --->",
        "Step 4/5 : COPY a /", " --->",
        "Step 5/5 : CMD x", " ---> Running in", " ---> Removed intermediate container", " --->",
        "Successfully built", "Successfully tagged web:1",
    ]  # fmt: skip
    assert line.told[2] == {"stream": " ---> base00000000\n"}
    assert {"stream": " ---> ffffffffffff\n"} in line.told
    assert {"aux": {"ID": "sha256:" + "f" * 64}} in line.told


def test_steps_of_the_cache() -> None:
    shown, line = classic()
    build(shown, ("FROM base", "done"), ("ENV A=1", "done"), ("RUN make", "cached"), ("CMD x", "done"))
    shown.done("sha256:" + "f" * 64, [])  # made long ago: the very image that there was
    assert words(line).count(" ---> Using cache") == 3


def test_without_the_cache() -> None:
    shown, line = classic(cache=False)
    build(shown, ("FROM base", "done"), ("ENV A=1", "done"))
    assert words(line)[-3:] == [
        "Step 2/2 : ENV A=1",
        " ---> Running in",
        " ---> Removed intermediate container",
    ]


def test_stages_are_told_one_after_the_other() -> None:
    shown, line = classic()
    shown.take(step("1/2", "FROM base AS a", "running", "a"))
    shown.take(step("1/2", "FROM base AS a", "done", "a"))
    shown.take(step("2/2", "RUN slow", "running", "a"))
    shown.started("c" * 64, ["slow"])

    def other() -> None:
        shown.take(step("1/2", "FROM base", "running", "b"))
        shown.take(step("1/2", "FROM base", "done", "b"))
        shown.take(step("2/2", "COPY --from=a / /", "running", "b"))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    shown.take(step("2/2", "RUN slow", "output", "a", data=b"text\n"))
    shown.take(step("2/2", "RUN slow", "done", "a"))
    shown.take(step("2/2", "COPY --from=a / /", "done", "b"))
    told = words(line)
    assert (
        told.index("text") < told.index("Step 3/2 : FROM base") < told.index("Step 4/2 : COPY --from=a / /")
    )


def test_a_failure_names_its_command() -> None:
    shown, line = classic(quiet=True)
    build(shown, ("FROM base", "done"))
    shown.take(step("2/2", "RUN no", "running"))
    shown.started("c" * 64, ["/bin/sh", "-c", "no"])
    shown.take(step("2/2", "RUN no", "error", error="x"))
    assert not line.told
    assert shown.failed() == ["/bin/sh", "-c", "no"]
    assert words(line)[-2:] == ["Step 2/2 : RUN no", " ---> Running in"]


def test_labels_of_the_request_are_steps() -> None:
    shown, line = classic(labels={"b": "2", "a": "1"})
    build(shown, ("FROM base", "done"), ("COPY a /", "done"))
    shown.take({"status": "warning", "message": "build argument Z is not used"})
    shown.done("sha256:" + "f" * 64, [])
    told = words(line)
    assert [each for each in told if each.startswith("Step")] == [
        "Step 1/4 : FROM base",
        "Step 2/4 : COPY a /",
        "Step 3/4 : LABEL a=1",
        "Step 4/4 : LABEL b=2",
    ]
    assert told[-2:] == ["[Warning] One or more build-args [Z] were not consumed", "Successfully built"]
