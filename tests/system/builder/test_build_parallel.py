"""Stages of a build beside each other: who waits for whom, who stops whom, and what is left."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import sys
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


# -- several platforms

SEVERAL = "linux/amd64,linux/arm64,linux/arm"
COMMON = [
    f"FROM --platform=$BUILDPLATFORM {IMAGE} AS common",
    "WORKDIR /w",
    "COPY file .",
    "RUN --mount=type=cache,target=/c,id={id} echo x >> /c/common && cat /c/common > once",
    "ARG TARGETARCH",
    "RUN --mount=type=cache,target=/c,id={id} touch /c/$TARGETARCH"
    " && until test -e /c/amd64 -a -e /c/arm64 -a -e /c/arm; do sleep 0.05; done && echo $TARGETARCH > mine",
    "FROM scratch",
    "COPY --from=common /w /w",
]


@pytest.mark.parametrize("options", [(), ("--no-cache",)], ids=["cached", "no-cache"])
def test_platforms_are_built_at_once_and_what_they_have_in_common_once(
    box: Host, tmp_path: pathlib.Path, options: tuple[str, ...]
) -> None:
    """Each waits for all others to come; the steps before that are done by one of them."""
    (tmp_path / "file").write_text("f")
    lines = [line.replace("{id}", f"several{len(options)}") for line in COMMON]
    context, out = write(tmp_path, *lines), str(tmp_path / "out")
    said = box.estiva(
        "build", *options, "--network", "none", "--platform", SEVERAL, "-o", out, context, timeout=60
    ).stderr
    for name in ("amd64", "arm64", "arm_v7"):
        folder = tmp_path / "out" / f"linux_{name}" / "w"
        assert (folder / "mine").read_text() == name.partition("_")[0] + "\n"
        assert (folder / "once").read_text() == "x\n", said
    again = box.estiva("build", "--network", "none", "--platform", SEVERAL, "-o", out, context).stderr
    assert again.count("CACHED") == 3 * 5, again
    nothing_is_left(box)


def test_a_platform_that_fails_stops_the_others(box: Host, tmp_path: pathlib.Path) -> None:
    context = write(
        tmp_path,
        f"FROM --platform=$BUILDPLATFORM {IMAGE}",
        "ARG TARGETARCH",
        "RUN --mount=type=cache,target=/c,id=stops touch /c/$TARGETARCH; if test $TARGETARCH = amd64; then"
        " until test -e /c/arm64; do sleep 0.05; done; exit 7; fi; sleep 3000",
    )
    said = box.estiva(
        "build", "--network", "none", "--platform", "linux/arm64,linux/amd64", context, status=1
    )
    assert "exit status 7" in said.stderr and "CANCELED" in said.stderr, said.stderr
    nothing_is_left(box)


def test_a_step_in_common_that_fails_fails_all(box: Host, tmp_path: pathlib.Path) -> None:
    context = write(tmp_path, f"FROM --platform=$BUILDPLATFORM {IMAGE}", "RUN sleep 0.3; exit 9")
    said = box.estiva("build", "--network", "none", "--platform", SEVERAL, context, status=1).stderr
    assert said.count("exit status 9") == 1 and "Traceback" not in said, said
    nothing_is_left(box)


def test_what_all_platforms_read_is_fetched_once(box: Host, tmp_path: pathlib.Path) -> None:
    """An archive on standard input, which can be read but once; a file of the web, which is counted."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY --from=web context /\nCOPY Dockerfile /\n")
    archive = subprocess.run(["tar", "-C", tmp_path, "-c", "Dockerfile"], capture_output=True, check=True)
    served = tmp_path / "served"
    served.mkdir()
    (served / "file").write_text("of the web")
    web = subprocess.Popen(
        [*box.prefix, sys.executable, "-u", "-m", "http.server", "-b", "127.0.0.1", "-d", served, "0"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        assert web.stdout is not None
        found = re.search(r"port (\d+)", web.stdout.readline())
        assert found is not None
        box.estiva(
            "build", "--platform", SEVERAL, "--build-context", f"web=http://127.0.0.1:{found[1]}/file",
            "-o", tmp_path / "out", "-", input=archive.stdout, text=False,
        )  # fmt: skip
    finally:
        web.terminate()
        told = web.communicate()[0]
    for name in ("amd64", "arm64", "arm_v7"):
        assert (tmp_path / f"out/linux_{name}/context").read_text() == "of the web"
    assert told.count("GET /file") == 1, told


def test_platforms_that_are_interrupted_end_at_once(box: Host, tmp_path: pathlib.Path) -> None:
    context = write(
        tmp_path,
        f"FROM --platform=$BUILDPLATFORM {IMAGE}",
        "ARG TARGETARCH",
        "RUN echo $TARGETARCH begins && sleep 3000",
    )
    child = box.start(
        "build", "--network", "none", "--platform", SEVERAL, context, stderr=subprocess.PIPE, text=True
    )  # fmt: skip
    assert child.stderr is not None
    begun = 0
    while begun < 3:
        line = child.stderr.readline()
        assert line
        begun += bool(re.search(r"^#\d+ [\d.]+ \w+ begins$", line))
    child.send_signal(signal.SIGINT)
    said = child.communicate(timeout=60)[1]
    assert child.returncode == 130 and said.count("CANCELED") == 3 and "Traceback" not in said, said
    nothing_is_left(box)
