"""docker compose on `estiva api serve`: what it says and what comes of it is what dockerd gave.

A folder of `compose` is a project: its `script.txt` has a command on each line, `said.txt` what these gave on a dockerd: standard output,
then the lines of standard error in an order of their own, then `[STATUS]` where it was not 0. What can't be equal (ids, times, sizes,
addresses that were chosen) is taken out by WORDS. DIFFERS has what is meant to differ, and a command in it that does not differ
any more is an error, too. `ESTIVA_TEST_RECORD=1` writes said.txt anew, from a dockerd of its own.

    ./test tests/conformance/test_compose.py -k health
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import difflib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import urllib.parse
from collections.abc import Iterator

import pytest

import bundle
from apikit import Api
from dockerdkit import Dockerd
from enginekit import ESTIVA, busybox_tar, eventually

FOLDER = pathlib.Path(__file__).with_name("compose")
PROJECTS = sorted(path.parent.name for path in FOLDER.glob("*/script.txt"))
RECORD = bool(os.environ.get("ESTIVA_TEST_RECORD"))

WORDS = (
    (r"sha256:[0-9a-f]{12,64}\b", "sha256:ID"),
    (r"\b[0-9a-f]{64}\b", "ID"),
    (r"\b(?=[a-f]*\d)[0-9a-f]{12}\b", "ID"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| ?[+-]\d\d:?\d\d( [A-Z]+)?)?", "TIME"),
    (r"\b(Less than a second|About an? \w+|\d+ (seconds?|minutes?))( ago)?\b", "AGO"),
    (r"\b\d+\.\d+s\b", "SECONDS"),
    (r"\b172\.\d+\.\d+\.\d+\b|\b192\.168\.\d+\.\d+\b", "ADDRESS"),
    (r"(?m) +$", ""),
    (r"  +", "  "),
)

# What is meant to differ, and why.
DIFFERS = dict.fromkeys(
    ("docker compose ps | sed 's/:[0-9]*->81/:PORT->81/'", "docker compose ps --format json web | listed"),
    "ports are published on IPv6 where it is asked for",
)

# Before each line: a wait with an end, and an object of `docker inspect` line by line.
PRELUDE = r"""
wait_for() { for _ in $(seq 150); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; echo "in vain: $*"; return 1; }
json() { python3 -c 'import json, sys
for name, value in sorted(json.load(sys.stdin)[0][sys.argv[1]].items()):
    print(name, json.dumps(dict(sorted(value.items())) if isinstance(value, dict) else value))' "$1"; }
listed() { python3 -c 'import json, sys
said = json.load(sys.stdin)
print(*((name, said[name]) for name in said if name not in ("ID", "CreatedAt", "Labels", "Publishers", "Ports")))
print(*sorted(said["Labels"].split(",")), *(one for one in said["Publishers"] if one["TargetPort"] == 80), sep="\n")'; }
"""


def _version() -> tuple[int, ...]:
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        words = ["docker", "compose", "version", "--short"]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        return tuple(int(part) for part in re.findall(r"\d+", said)[:2])
    return ()


pytestmark = [
    bundle.requires_kernel,
    pytest.mark.skipif(_version() != (2, 26), reason="needs docker compose 2.26, which said.txt is of"),
]


Played = concurrent.futures.Future[dict[str, str]]


class Peer:
    """Who answers compose: `play` gives what came of each line of a project's script."""

    def __init__(self, engine: Dockerd | Api, prefix: list[str]) -> None:
        self.engine, self.prefix = engine, prefix
        self.home = f"{engine.folder}/home"
        os.mkdir(self.home)
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("COMPOSE_")},
            "DOCKER_HOST": f"unix://{engine.socket}",
            "DOCKER_CONFIG": self.home,
            "HOME": self.home,
            "TMPDIR": self.home,  # compose leaves folders there
            "LC_ALL": "C.UTF-8",
        }
        with open(busybox_tar(), "rb") as tar:
            words = [*prefix, "docker", "import", "-", "box:1"]
            subprocess.run(words, stdin=tar, env=self.env, check=True, capture_output=True)
        words = [*prefix, ESTIVA, "registry", "serve", "--listen", "127.0.0.1:5000"]
        words += ["--root", f"{engine.folder}/registry"]
        self.registry = subprocess.Popen(
            words, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def close(self) -> None:
        self.registry.terminate()
        self.registry.wait(20)

    def say(self, line: str, folder: str) -> str:
        done = subprocess.run(
            [*self.prefix, "env", "-C", folder, "sh", "-c", PRELUDE + line],
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
        )
        out, err = (_plain(data.decode(errors="replace"), folder) for data in (done.stdout, done.stderr))
        err = "".join(f"{text}\n" for text in sorted(set(err.splitlines())))
        out += "\n" if out and not out.endswith("\n") else ""
        return out + err + (f"[{done.returncode}]\n" if done.returncode else "")

    def play(self, project: str) -> dict[str, str]:
        folder = f"{self.home}/{project}"
        shutil.copytree(FOLDER / project, folder)
        return {line: self.say(line, folder) for line in _lines(project)}


def _lines(project: str) -> list[str]:
    """A line that stands there twice is told with its number."""
    lines: list[str] = []
    for line in (FOLDER / project / "script.txt").read_text().splitlines():
        times = sum(1 for other in lines if other.partition("  # again")[0] == line)
        lines.append(f"{line}  # again {times}" if times else line)
    return lines


def _plain(text: str, folder: str) -> str:
    text = text.replace(folder, "FOLDER")
    for pattern, word in WORDS:
        text = re.sub(pattern, word, text)
    return text


def _written(said: dict[str, str]) -> str:
    return "".join(f"$ {line}\n{text}" for line, text in said.items())


def _read(text: str) -> dict[str, str]:
    parts = re.split(r"(?m)^\$ (.*)\n", text)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    engine: Dockerd | Api = Dockerd() if RECORD else Api()
    try:
        peer = Peer(engine, engine.words() if isinstance(engine, Dockerd) else engine.prefix)
        yield peer
        peer.close()
    finally:
        engine.close()


@pytest.fixture(scope="module")
def played(peer: Peer, request: pytest.FixtureRequest) -> Iterator[dict[str, Played]]:
    """What comes of each project that is asked for, three at once."""
    asked = [
        item.callspec.params["project"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.function is test_project
    ]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        yield {project: pool.submit(peer.play, project) for project in asked}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("project", PROJECTS)
def test_project(project: str, played: dict[str, Played]) -> None:
    said = played[project].result()
    if RECORD:
        (FOLDER / project / "said.txt").write_text(_written(said))
        return
    wanted = _read((FOLDER / project / "said.txt").read_text())
    assert list(wanted) == list(said)
    wrong = []
    for line, theirs in wanted.items():
        if theirs == said[line] and line in DIFFERS:
            wrong.append(f"$ {line}\nis the same by now, though: {DIFFERS[line]}")
        elif theirs != said[line] and line not in DIFFERS:
            lines = difflib.unified_diff(theirs.splitlines(), said[line].splitlines(), n=0, lineterm="")
            wrong.append("\n".join([f"$ {line}", *list(lines)[2:]]))
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


@pytest.fixture
def api(peer: Peer) -> Api:
    """The server, after the projects: one of the tests kills it."""
    if not isinstance(peer.engine, Api):
        pytest.skip("nothing is recorded of it")
    return peer.engine


def _project(api: Api, name: str, services: int, more: str = "") -> pathlib.Path:
    folder = pathlib.Path(api.folder, name)
    folder.mkdir()
    one = f"{{image: 'box:1', init: true, command: sleep 1000{more}}}"
    text = "".join(f"  s{number}: {one}\n" for number in range(services))
    (folder / "compose.yaml").write_text(f"services:\n{text}volumes: {{data: {{}}}}\n")
    return folder


def _states(api: Api, project: str) -> list[str]:
    wanted = json.dumps({"label": [f"com.docker.compose.project={project}"]})
    return [
        each["State"] for each in api.get(f"/containers/json?all=1&filters={urllib.parse.quote(wanted)}")[2]
    ]


def test_up_goes_on_where_a_killed_server_left_it(api: Api) -> None:
    folder = _project(api, "killed", 6, ", volumes: ['data:/data']")
    words = [*api.prefix, "docker", "compose", "--project-directory", str(folder), "up", "-d"]
    env = {**api.env, "DOCKER_HOST": f"unix://{api.socket}"}
    with subprocess.Popen(words, env=env, stderr=subprocess.DEVNULL) as first:
        eventually(lambda: "running" in _states(api, "killed"))
        api.stop(signal.SIGKILL)
        interrupted = first.wait(60)
    api.server.stdout.close()
    api.serve()
    subprocess.run(words, env=env, stderr=subprocess.DEVNULL, check=True)
    assert _states(api, "killed") == ["running"] * 6, interrupted
    subprocess.run([*words[:-2], "down", "-v"], env=env, stderr=subprocess.DEVNULL, check=True)
    assert _states(api, "killed") == []
    assert not any("killed" in each["Name"] for each in api.get("/networks")[2])
    assert not [each for each in api.get("/volumes")[2]["Volumes"] if "killed" in each["Name"]]


def test_ctrl_c_stops_what_is_in_the_foreground(api: Api) -> None:
    folder = _project(api, "front", 2)
    child = api.start(
        "compose", "--project-directory", folder, "up", "--no-color",
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert child.stdout.readline().startswith("Attaching to s0-1, s1-1")
    eventually(lambda: _states(api, "front") == ["running"] * 2)
    child.send_signal(signal.SIGINT)
    rest, _ = child.communicate(timeout=60)
    assert child.returncode == 130, rest
    assert _states(api, "front") == ["exited"] * 2
    assert api.estiva("compose", "--project-directory", folder, "down", "-v").stdout == ""
    assert _states(api, "front") == []


def test_two_composes_at_once_have_a_socket_each(api: Api) -> None:
    names = ("left", "right")
    folders = [_project(api, name, 3) for name in names]
    for verb in (("up", "-d"), ("down",)):
        children = [
            api.start("compose", "--project-directory", folder, *verb, stderr=subprocess.PIPE, text=True)
            for folder in folders
        ]
        for name, child in zip(names, children, strict=True):
            _, err = child.communicate(timeout=60)
            assert child.returncode == 0, err
            assert _states(api, name) == (["running"] * 3 if verb[0] == "up" else [])
