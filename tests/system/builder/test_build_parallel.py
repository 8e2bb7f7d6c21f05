"""Stages of a build beside each other: who waits for whom, who stops whom, and what is left."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
from collections.abc import Iterator

import pytest

from enginekit import IMAGE, Host, eventually, host

MEET = (  # goes on once the other one is there, and only then
    "RUN --mount=type=cache,target=/c touch /c/{me} && until test -e /c/{other}; do sleep 0.05; done && touch /{me}"
)


@pytest.fixture(scope="module")
def box() -> Iterator[Host]:
    with host() as made:
        yield made


def write(context: pathlib.Path, *lines: str) -> str:
    (context / "Dockerfile").write_text("\n".join(lines) + "\n")
    return str(context)


def nothing_is_left(box: Host) -> None:
    """What is made ahead for the next step goes with the program, a moment later."""
    eventually(lambda: not box.cgroups() and not os.listdir(f"{box.folder}/run/containers"))


def test_independent_stages_run_at_once(box: Host, tmp_path: pathlib.Path) -> None:
    context = write(
        tmp_path,
        f"FROM {IMAGE} AS one",
        MEET.format(me="a", other="b"),
        f"FROM {IMAGE} AS two",
        MEET.format(me="b", other="a"),
        f"FROM {IMAGE} AS unused",
        "RUN false",
        f"FROM {IMAGE}",
        "COPY --from=one /a /a",
        "COPY --from=two /b /b",
    )
    said = box.estiva("build", "--network", "none", "-t", "both", context).stderr
    assert "RUN false" not in said
    assert box.out("run", "--rm", "--network", "none", "both", "ls", "/a", "/b").split() == ["/a", "/b"]
    again = box.estiva("build", "--network", "none", "-t", "both", context).stderr
    assert again.count("CACHED") == 4, again


def test_stages_from_one_base_wait_for_it_and_run_at_once(box: Host, tmp_path: pathlib.Path) -> None:
    context = write(
        tmp_path,
        f"FROM {IMAGE} AS base",
        "RUN echo base > /base",
        "FROM base AS one",
        MEET.format(me="c", other="d"),
        "FROM base AS two",
        MEET.format(me="d", other="c"),
        "FROM one",
        "COPY --from=two /d /base /from/",
    )
    box.estiva("build", "--network", "none", "-t", "base", context)
    told = box.out("run", "--rm", "--network", "none", "base", "cat", "/from/base", "/base")
    assert told.split() == ["base", "base"]


def test_the_first_failure_stops_the_others(box: Host, tmp_path: pathlib.Path) -> None:
    context = write(
        tmp_path,
        f"FROM {IMAGE} AS long",
        "RUN --mount=type=cache,target=/c,id=fail touch /c/here && sleep 3000",
        f"FROM {IMAGE} AS short",
        "RUN --mount=type=cache,target=/c,id=fail until test -e /c/here; do sleep 0.05; done; exit 7",
        f"FROM {IMAGE}",
        "COPY --from=long /etc/passwd /a",
        "COPY --from=short /etc/passwd /b",
    )
    said = box.estiva("build", "--network", "none", context, status=1).stderr
    assert "Dockerfile:4: RUN" in said and "exit status 7" in said
    assert "Dockerfile:2" not in said.splitlines()[-1]
    nothing_is_left(box)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_all(box: Host, tmp_path: pathlib.Path, number: int) -> None:
    wait = "RUN --mount=type=cache,target=/c,id=int{0} touch /c/{1} && sleep 3000"
    context = write(
        tmp_path,
        *(line for name in "ab" for line in (f"FROM {IMAGE} AS {name}", wait.format(int(number), name))),
        f"FROM {IMAGE}",
        "COPY --from=a /etc/passwd /a",
        "COPY --from=b /etc/passwd /b",
    )
    building = box.start("build", "--network", "none", context, stderr=subprocess.PIPE, text=True)
    caches = f"{box.folder}/root/cache/build/mounts"
    eventually(lambda: {"a", "b"} <= {name for _, _, names in os.walk(caches) for name in names})
    building.send_signal(number)
    assert building.wait(timeout=120) in (-number, 128 + number)  # a shell shows the same for both
    assert building.stderr is not None
    assert "Traceback" not in building.stderr.read()
    nothing_is_left(box)
