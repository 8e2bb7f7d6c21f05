"""Estiva's own reaper in the place of testcontainers' ryuk: a container as others, that ends what is a session's."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from apikit import IMAGE, Api, serving
from enginekit import eventually

RYUK = "testcontainers/ryuk:0.8.1"
SESSION = ["--label", "org.testcontainers.session-id=one"]
CLIENT = """
import socket, sys
one = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
one.sendall(b"label=org.testcontainers.session-id=one\\r\\n")
print(one.recv(10).decode(), end="", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with serving() as made:
        made.docker("pull", RYUK)
        yield made


def reaper(api: Api, *words: str) -> int:
    """Start one as a client does; the port that is published."""
    mount = f"{api.socket}:/var/run/docker.sock"
    api.docker("run", "-d", "--name", "reaper", "-p", "127.0.0.1::8080", "-v", mount, *words, RYUK)
    eventually(lambda: "Started!" in api.docker("logs", "reaper").stdout)
    return int(api.docker("port", "reaper", "8080").stdout.rpartition(":")[2])


def names(api: Api) -> list[str]:
    return api.docker("ps", "-a", "--format", "{{.Names}}").stdout.split()


def test_a_session_that_is_killed_and_a_server_that_was_started_again(api: Api) -> None:
    port = reaper(api, "--rm", "-e", "RYUK_RECONNECTION_TIMEOUT=100ms")
    assert "reaper" in names(api)
    api.docker("network", "create", *SESSION, "net")
    api.docker("volume", "create", *SESSION, "vol")
    api.docker("volume", "create", "--label", "org.testcontainers.session-id=other", "other")
    api.docker(
        "run", "-d", "--name", "db", "--network", "net", "-v", "vol:/v", *SESSION, IMAGE, "sleep", "1000"
    )
    api.docker("run", "-d", "--name", "stays", "--network", "none", IMAGE, "sleep", "1000")
    api.docker("build", "-q", "-t", "built", *SESSION, "-", input=f"FROM {IMAGE}\nENV a=b\n")

    words = [*api.prefix, sys.executable, "-c", CLIENT, str(port)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None and client.stdout.readline() == "ACK\n"
        api.stop(9)  # its socket leads nowhere, until the next server gives the reaper its own
        api.serve()
        assert {"reaper", "db", "stays"} <= set(names(api))
        client.kill()
    eventually(lambda: names(api) == ["stays"])
    assert api.docker("network", "ls", "-q", "-f", "name=net").stdout == ""
    assert api.docker("volume", "ls", "-q").stdout.split() == ["other"]
    assert api.docker("images", "-q", "built").stdout == ""
    api.docker("rm", "-f", "stays")


def test_the_socket_of_the_next_server_is_mounted_as_the_last_one_was(api: Api) -> None:
    """Nowhere else, whatever a container makes of the way there (K1)."""
    os.symlink(api.socket, f"{api.folder}/link")
    mounts = [f"{api.folder}/link:/run/sub/d.sock:ro", f"{api.socket}:/way/keys"]
    words = [word for mount in mounts for word in ("-v", mount)]
    api.docker("run", "-d", "--name", "user", "--network", "none", *words, IMAGE, "sleep", "1000")

    def inside(script: str) -> str:
        return api.docker("exec", "user", "sh", "-c", script).stdout

    inside("mv /way /other && ln -s /proc /way")
    masked = inside("grep -c /proc/keys /proc/self/mountinfo; stat -c %F /proc/keys")
    before = inside("stat -c %i /run/sub/d.sock")
    api.stop()
    api.serve()
    now = f"{os.stat(api.socket).st_ino}\n"
    assert now != before
    eventually(lambda: inside("stat -c %i /run/sub/d.sock") == now)
    assert inside("grep -c ' /run/sub/d.sock ro' /proc/self/mountinfo") == "1\n"
    assert inside("grep -c /proc/keys /proc/self/mountinfo; stat -c %F /proc/keys") == masked
    assert inside("stat -c %i /other/keys") == before
    api.docker("rm", "-f", "user")


def test_asked_to_end_it_removes_at_once(api: Api) -> None:
    reaper(api)
    assert api.docker("stop", "reaper").stdout == "reaper\n"
    assert api.docker("inspect", "-f", "{{.State.ExitCode}}", "reaper").stdout == "0\n"
    assert "removed: 0 containers" in api.docker("logs", "reaper").stdout
    api.docker("rm", "reaper")


def test_an_image_of_others_stays_and_the_reaper_can_be_switched_off(api: Api) -> None:
    api.docker("tag", IMAGE, "testcontainers/ryuk:theirs")
    theirs = api.docker("pull", "testcontainers/ryuk:theirs", status=None)
    assert theirs.returncode, theirs.stdout
    assert (
        api.docker("images", "-q", "testcontainers/ryuk:theirs").stdout
        == api.docker("images", "-q", IMAGE).stdout
    )
    api.stop()
    api.serve("--reaper=false")
    assert api.docker("pull", "testcontainers/ryuk:0.9.0", status=None).returncode
    assert api.get("/images/testcontainers/ryuk:0.9.0/json")[0] == 404
    api.stop()
    api.serve()


def test_one_of_another_version_of_estiva_is_made_again(api: Api) -> None:
    api.docker("build", "-q", "-t", RYUK, "-", input=f"FROM {RYUK}\nLABEL dev.estiva.reaper=old\nCMD false\n")
    old = api.docker("images", "-q", RYUK).stdout
    reaper(api)
    assert api.docker("images", "-q", RYUK).stdout != old
    api.docker("rm", "-f", "reaper")
