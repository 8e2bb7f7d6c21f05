"""docker's own client runs containers on Estiva."""

import subprocess
from collections.abc import Iterator

import pytest

from apikit import IMAGE, Api, serving
from enginekit import eventually


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with serving() as made:
        yield made


def test_docker_run_gives_output_and_status(api: Api) -> None:
    done = api.docker(
        "run", "--rm", "--network", "none", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 3", status=3
    )
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert api.docker("run", "-i", "--rm", "--network", "none", IMAGE, "cat", input="typed").stdout == "typed"


def test_a_terminal(api: Api) -> None:
    words = f"docker run -it --rm --network none {IMAGE} sh -c 'tty; stty size'"
    env = {**api.env, "DOCKER_HOST": f"unix://{api.socket}"}
    done = subprocess.run(
        ["script", "-qec", words, "/dev/null"],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )
    assert b"/dev/pts/0" in done.stdout, done


def test_a_server_that_is_killed_harms_no_container(api: Api) -> None:
    api.docker("run", "-d", "--name", "stays", "--network", "none", IMAGE, "sleep", "1000")
    api.stop(9)
    api.serve()
    assert api.get("/containers/stays/json")[2]["State"]["Running"]
    api.docker("rm", "-f", "stays")


def test_the_status_of_one_that_has_removed_itself_before_anybody_asked(api: Api) -> None:
    """As dockerode's `run` does, which starts it and asks then."""
    config = {
        "Image": IMAGE,
        "Cmd": ["sh", "-c", "exit 3"],
        "HostConfig": {"AutoRemove": True, "NetworkMode": "none"},
    }
    gone = api.post("/containers/create", config)[2]["Id"]
    assert api.post(f"/containers/{gone}/start")[0] == 204
    eventually(lambda: api.get(f"/containers/{gone}/json")[0] == 404)
    assert api.post(f"/containers/{gone}/wait")[::2] == (200, {"StatusCode": 3})
    config["HostConfig"] = {"NetworkMode": "none"}
    removed = api.post("/containers/create", config)[2]["Id"]
    assert api.ask("DELETE", f"/containers/{removed}")[0] == 204
    for unknown in (removed, "0" * 64, gone[:12]):
        assert api.post(f"/containers/{unknown}/wait")[0] == 404
