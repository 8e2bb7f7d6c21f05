"""The same scripts by docker's client against dockerd and against Estiva: equal output, errors and exit statuses.

A script of `docker_cli` has a command on each line; those of one script share a folder, and what they made. What can't
be equal (ids, times, sizes, process ids, addresses that were chosen) is taken out by WORDS. DIFFERS has what is meant to differ, and
a command in it that does not differ any more is an error, too.

    ./test tests/conformance/test_docker_cli.py -k networks
"""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest

import bundle
from apikit import Api
from dockerdkit import Dockerd
from enginekit import busybox_tar
from saidkit import plain

SCRIPTS = {path.stem: path for path in sorted(pathlib.Path(__file__).with_name("docker_cli").glob("*.txt"))}

ONE_BUILDER = "Estiva has one builder, which writes history and config as BuildKit does"
NO_SHIM = "there is no shim and no runc that could be named"
GO = "docker gives Go's own words for it"

# What is meant to differ, and why.
DIFFERS: dict[str, str] = {
    "docker history --format '{{.CreatedBy}}' classic": ONE_BUILDER,
    "docker inspect -f '{{json .Config}}' classic": ONE_BUILDER,
    "printf 'FROM box:1\\nCOPY nosuch /\\n' | docker build --progress plain - 2>&1 | grep -v '^#\\|^ >\\|^--*$\\|^$\\|^[0-9.]* a$'": "dockerd names a checksum that nobody has asked for",
    "docker run --rm --init box:1 cat /proc/1/comm": "the init is Estiva's own",
    "docker ps -a -f exited=x": GO,
    "docker exec xx nosuch": NO_SHIM,
    "docker exec xx /etc/passwd": NO_SHIM,
    "docker exec -w /nosuch xx pwd": NO_SHIM,
    "echo rubbish | docker load": "Estiva says what is wrong with it",
    "echo rubbish | docker import -": "Estiva says what is wrong with it",
    "docker login -u u -p p 127.0.0.1:1": GO,
    "docker run --rm --platform linux/s390x box:1 true": GO,
    "docker events --until 1s --since 1s -f bad=1": "a filter that there isn't is not silently ignored",
    "docker network create --subnet 10.77.0.0/16 clash": "what it overlaps with is named, too",
    "docker network rm net": "who is on it is named, too",
    "docker network create 'bad name!'": "such a name is no name of the DNS",
    "docker run --rm box:1 nosuch": NO_SHIM,
    "docker run --rm box:1 /etc/passwd": NO_SHIM,
    "docker run --rm box:1 /tmp": NO_SHIM,
    "docker start far": "there is no userland proxy that could be named",
    "docker volume prune -f": "what --mount makes without a name is an anonymous volume, too",
    "docker volume prune -af": "the same: it has gone already",
}

# What comes in no order, line by line.
UNORDERED = {"docker diff made", "docker images --format '{{.Repository}}:{{.Tag}}'"}

pytestmark = [
    bundle.requires_kernel,
    pytest.mark.skipif(
        not all(map(shutil.which, ("dockerd", "docker", "unshare", "nsenter"))), reason="needs dockerd"
    ),
]


class Said(NamedTuple):
    status: int
    out: str
    err: str


class Peer:
    """Who answers docker's client: `say` runs a line of a script."""

    def __init__(self, name: str, engine: Dockerd | Api, prefix: list[str]) -> None:
        self.name, self.prefix = name, prefix
        self.home = f"{engine.folder}/home"
        os.mkdir(self.home)
        self.env = {
            **os.environ,
            "DOCKER_HOST": f"unix://{engine.socket}",
            "DOCKER_CONFIG": self.home,
            "HOME": self.home,
            "LC_ALL": "C.UTF-8",
        }
        with open(busybox_tar(), "rb") as tar:
            words = [*prefix, "docker", "import", "-", "box:1"]
            subprocess.run(words, stdin=tar, env=self.env, check=True, capture_output=True)

    def say(self, line: str, folder: str) -> Said:
        done = subprocess.run(
            [*self.prefix, "env", "-C", folder, "sh", "-c", line],
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
        )
        out, err = (plain(data.decode(errors="replace"), folder) for data in (done.stdout, done.stderr))
        if line in UNORDERED:
            out = "".join(sorted(out.splitlines(True)))
        return Said(done.returncode, out, err)

    def play(self, script: str) -> dict[str, Said]:
        """What came of each line of a script. A line that stands there twice is told with its number."""
        folder = f"{self.home}/{script}"
        os.mkdir(folder)
        said: dict[str, Said] = {}
        for line in SCRIPTS[script].read_text().splitlines():
            times = sum(1 for key in said if key.partition("  # again")[0] == line)
            said[f"{line}  # again {times}" if times else line] = self.say(line, folder)
        return said


@pytest.fixture(scope="module")
def peers() -> Iterator[tuple[Peer, Peer]]:
    dockerd = Dockerd()
    try:
        api = Api()
        try:
            yield Peer("dockerd", dockerd, dockerd.words()), Peer("estiva", api, api.prefix)
        finally:
            api.close()
    finally:
        dockerd.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("script", SCRIPTS)
def test_script(script: str, peers: tuple[Peer, Peer]) -> None:
    if script == "builds" and subprocess.run(["docker", "buildx", "version"], capture_output=True).returncode:
        pytest.skip("needs docker-buildx")
    with concurrent.futures.ThreadPoolExecutor(2) as both:
        theirs, ours = both.map(lambda peer: peer.play(script), peers)
    wrong = []
    for line, wanted in theirs.items():
        same = wanted == ours[line]
        if same == (line in DIFFERS):
            wrong.append(f"$ {line}\n" + (f"is the same by now, though: {DIFFERS[line]}" if same else ""))
        if not same and line not in DIFFERS:
            wrong += [f"- {wanted.status} {wanted.out}{wanted.err}", f"+ {ours[line].status} {ours[line].out}{ours[line].err}"]  # fmt: skip
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


def test_the_table_names_lines_that_there_are() -> None:
    lines = {line for path in SCRIPTS.values() for line in path.read_text().splitlines()}
    assert {re.sub("  # again .*", "", line) for line in (*DIFFERS, *UNORDERED)} <= lines
