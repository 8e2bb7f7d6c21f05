"""Programs of Node on Estiva, as they are: dockerode, testcontainers, the CLI of dev containers.

Their packages come from npm, as `node_clients/package-lock.json` says, into a folder that is kept for the next time.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

import bundle
from apikit import IMAGE, Api, serving
from enginekit import eventually

CLIENTS = pathlib.Path(__file__).with_name("node_clients")
REGISTRY = "127.0.0.1:5000"
FEATURE = '{"id": "hello", "version": "1.0.0", "name": "Hello", "options": {"word": {"type": "string", "default": "hi"}}}'
INSTALL = """#!/bin/sh
mkdir -p /usr/local/bin
printf '#!/bin/sh\\necho %s\\n' "$WORD" >/usr/local/bin/hello
chmod +x /usr/local/bin/hello
"""
COMPOSE = """services:
  app: {build: {context: .}, command: sleep 1000, volumes: ["..:/work"], depends_on: [db]}
  db: {image: "box:1", command: sleep 1000}
"""

pytestmark = [
    bundle.requires_kernel,
    pytest.mark.skipif(not all(map(shutil.which, ("node", "npm"))), reason="needs node and npm"),
]


@pytest.fixture(scope="module")
def packages() -> str:
    """The folder with node_modules; made by who comes first."""
    lock = (CLIENTS / "package-lock.json").read_bytes()
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = f"{cache}/estiva-tests/node-{hashlib.sha256(lock).hexdigest()[:16]}"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not os.path.exists(f"{folder}/whole"):
            for name in ("package.json", "package-lock.json"):
                shutil.copy(CLIENTS / name, folder)
            words = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1"]
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300)
            if done.returncode:
                pytest.skip(f"npm's packages can't be had: {done.stderr[-300:]}")
            pathlib.Path(f"{folder}/whole").touch()
    return folder


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with serving() as made:
        context = pathlib.Path(made.folder, "context")
        context.mkdir()
        (context / "x").write_text("x\n")
        (context / "Dockerfile").write_text(f"FROM {IMAGE}\nCOPY x /x\n")
        yield made


def node(
    api: Api, packages: str, *words: str, status: int = 0, **env: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*api.prefix, "node", *words],
        env={**api.env, "DOCKER_HOST": f"unix://{api.socket}", "TMPDIR": api.folder, **env},
        cwd=packages,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == status, (words, done.returncode, done.stdout[-3000:], done.stderr[-3000:])
    return done


def play(
    api: Api, packages: str, script: str, *words: str, status: int = 0, **env: str
) -> dict[str, list[Any]]:
    """What a script of ours tells; it lies where it finds its packages."""
    shutil.copy(CLIENTS / script, packages)
    done = node(api, packages, script, *words, status=status, **env)
    return {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}


def test_dockerode(api: Api, packages: str) -> None:
    served = api.start("registry", "serve", "--listen", REGISTRY, "--root", f"{api.folder}/served")
    eventually(lambda: api.docker("pull", f"{REGISTRY}/nosuch:1", status=None).stderr.count("not found"))
    said = play(api, packages, "dockerode.mjs", REGISTRY, f"{api.folder}/context")
    served.kill()
    assert said.pop("pull")[0].startswith("Status: Downloaded newer image for")
    assert said == {
        "run": [3, "out\n", "err\n"],
        "run with a terminal, removed by itself": [0, "/dev/pts/0\r\n"],
        "attach": [0, "typed\n"],
        "exec": [4, "inside\n"],
        "stats": ["/dode"],
        "archive": [True],
        "events": ["die"],
        "build": ["Successfully tagged dode:1\n"],
        "push": ["1"],
        "pull what there is not": [404],
        "network": [True],
        "volume": ["local"],
        "error": [404, {"message": "No such container: nosuch"}],
        "left": [0],
    }


@pytest.mark.parametrize("end", ["", "killed"])
def test_testcontainers(api: Api, packages: str, end: str) -> None:
    """With the reaper of ours, in the place of ryuk: it ends what a session that was killed has left."""
    status = -signal.SIGKILL if end else 0
    patience = {"TESTCONTAINERS_RYUK_RECONNECTION_TIMEOUT": "1s"}
    said = play(api, packages, "testcontainers.mjs", f"{api.folder}/context", end, status=status, **patience)
    both = {"output": "out\nerr\n", "stdout": "out\n", "stderr": "err\n", "exitCode": 3}
    assert said == {
        "exec": [both],
        "built, healthy, and reaches the other": ["copied"],
        "a published port": [True],
    }
    eventually(lambda: api.docker("ps", "-q").stdout == "")
    assert api.docker("network", "ls", "-q", "-f", "type=custom").stdout == ""
    api.docker("container", "prune", "-f")


def dev(api: Api, packages: str, verb: str, folder: pathlib.Path, *words: str, status: int = 0) -> str:
    program = "node_modules/@devcontainers/cli/devcontainer.js"
    return node(api, packages, program, verb, "--workspace-folder", str(folder), *words, status=status).stdout


@pytest.fixture
def workspace(api: Api, request: pytest.FixtureRequest) -> pathlib.Path:
    if subprocess.run(["docker", "buildx", "version"], capture_output=True).returncode:
        pytest.skip("needs docker-buildx")
    folder = pathlib.Path(api.folder, request.node.name, ".devcontainer")
    (folder / "hello").mkdir(parents=True)
    (folder / "hello/devcontainer-feature.json").write_text(FEATURE)
    (folder / "hello/install.sh").write_text(INSTALL)
    (folder / "Dockerfile").write_text(
        f"FROM {IMAGE}\nRUN echo made >/made && echo ID=box >/etc/os-release && chown user /home\n"
    )
    (folder / "compose.yml").write_text(COMPOSE)
    return folder.parent


def lay(workspace: pathlib.Path, **config: object) -> None:
    text = json.dumps({"name": "kit", "features": {"./hello": {"word": "hey"}}, **config})
    (workspace / ".devcontainer/devcontainer.json").write_text(f"// with comments\n{text}")


def test_a_dev_container_of_a_dockerfile_with_a_feature(
    api: Api, packages: str, workspace: pathlib.Path
) -> None:
    lay(
        workspace,
        build={"dockerfile": "Dockerfile"},
        containerEnv={"FOO": "bar"},
        runArgs=["--network=none"],
        postCreateCommand="echo created >/tmp/created",
        remoteUser="user",
    )
    assert json.loads(dev(api, packages, "up", workspace))["outcome"] == "success"
    told = dev(
        api, packages, "exec", workspace, "sh", "-c", "cat /made /tmp/created; hello; echo $FOO; id -un; pwd"
    )
    assert told.split() == ["made", "created", "hey", "bar", "user", f"/workspaces/{workspace.name}"]
    dev(api, packages, "exec", workspace, "sh", "-c", "exit 7", status=7)
    api.docker("rm", "-f", *api.docker("ps", "-aq").stdout.split())


def test_a_dev_container_of_compose(api: Api, packages: str, workspace: pathlib.Path) -> None:
    if (
        not shutil.which("docker-compose")
        and subprocess.run(["docker", "compose"], capture_output=True).returncode
    ):
        pytest.skip("needs docker-compose")
    lay(workspace, dockerComposeFile="compose.yml", service="app", workspaceFolder="/work")
    assert json.loads(dev(api, packages, "up", workspace))["outcome"] == "success"
    told = dev(
        api,
        packages,
        "exec",
        workspace,
        "sh",
        "-c",
        "cat /made; hello; pwd; ping -c 1 db >/dev/null && echo db",
    )
    assert told.split() == ["made", "hey", "/work", "db"]
    api.docker("rm", "-f", *api.docker("ps", "-aq").stdout.split())
    api.docker("network", "prune", "-f")
