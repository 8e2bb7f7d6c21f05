"""testcontainers for Python on Estiva, as it is: a suite of tests with a server in a container, without ryuk and with it."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

import bundle
from apikit import Api, serving
from enginekit import eventually

pytest.importorskip("testcontainers", reason="needs the Python package testcontainers")

SUITE = """
import os, signal, socket
import pytest
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

SERVER = "echo ready; while true; do cat /data/answer | nc -l -p 80; done"

@pytest.fixture(scope="session")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "answer").write_text("answer")
    with Network() as network:
        made = DockerContainer("box:1").with_command(["sh", "-c", SERVER]).with_exposed_ports(80)
        made = made.with_network(network).with_network_aliases("db").with_volume_mapping(str(folder), "/data", "ro")
        with made.with_env("A", "b").waiting_for(LogMessageWaitStrategy("ready")) as running:
            yield running

def test_a_published_port(server):
    with socket.create_connection((server.get_container_host_ip(), server.get_exposed_port(80)), 10) as one:
        assert one.recv(100) == b"answer"

def test_a_command_inside(server):
    done = server.exec(["sh", "-c", "echo $A; exit 3"])
    assert (done.exit_code, done.output) == (3, b"b\\n")
    assert server.get_logs() == (b"ready\\n", b"")

def test_another_container_that_reaches_it_and_a_crash(server):
    network = server._network
    client = DockerContainer("box:1").with_network(network).with_command(["sh", "-c", "until nc db 80 | grep answer; do usleep 100000; done; sleep 1000"])
    with client.waiting_for(LogMessageWaitStrategy("answer")):
        if os.environ.get("CRASH"):
            os.kill(os.getpid(), signal.SIGKILL)
"""

pytestmark = bundle.requires_kernel


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with serving() as made:
        pathlib.Path(made.folder, "test_suite.py").write_text(SUITE)
        yield made


def suite(api: Api, status: int = 0, **env: str) -> None:
    done = subprocess.run(
        [*api.prefix, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_suite.py"],
        env={**api.env, "DOCKER_HOST": f"unix://{api.socket}", "TC_POOLING_INTERVAL": "0.1", **env},
        cwd=api.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == status, (done.returncode, done.stdout[-5000:], done.stderr[-3000:])
    assert status or "3 passed" in done.stdout


def nothing_is_left(api: Api) -> bool:
    networks = api.docker("network", "ls", "-q", "-f", "type=custom").stdout
    return api.docker("ps", "-aq").stdout + networks == ""


def test_a_suite_without_ryuk(api: Api) -> None:
    suite(api, TESTCONTAINERS_RYUK_DISABLED="true")
    assert nothing_is_left(api)
    assert api.get("/images/testcontainers/ryuk:0.8.1/json")[0] == 404


def test_a_suite_that_is_killed(api: Api) -> None:
    """The reaper of ours, in the place of ryuk, ends what it has left, and itself."""
    suite(api, status=-signal.SIGKILL, CRASH="1", RYUK_RECONNECTION_TIMEOUT="500ms")
    assert api.docker("ps", "-q").stdout
    eventually(lambda: nothing_is_left(api))
