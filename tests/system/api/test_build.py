"""The classic builder: `DOCKER_BUILDKIT=0 docker build`, and POST /build as libraries do it."""

import gzip
import io
import json
import os
import re
import socket
import tarfile
import time
from collections.abc import Iterator

import pytest

from apikit import IMAGE, Api, serving
from enginekit import eventually

CLASSIC = {"DOCKER_BUILDKIT": "0"}
ID = re.compile(r"\b[0-9a-f]{12}\b")


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with serving() as made:
        yield made


def context(dockerfile: str, **files: bytes) -> bytes:
    """A build's tar."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, data in {"Dockerfile": dockerfile.encode(), **files}.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            tar.addfile(about, io.BytesIO(data))
    return made.getvalue()


def build(api: Api, body: bytes, query: str = "") -> tuple[int, list[dict]]:
    status, _, raw = api.ask("POST", f"/build?{query}", body, {"Content-Type": "application/x-tar"})
    if isinstance(raw, dict):
        return status, [raw]
    return status, [json.loads(line) for line in raw.split(b"\r\n") if line]


STEPS = f"""FROM {IMAGE}
ARG WHAT
ENV A=b
RUN echo $WHAT; echo err >&2
COPY f /f
CMD ["cat", "/f"]
"""
TOLD = f"""Step 1/6 : FROM {IMAGE}
 ---> ID
Step 2/6 : ARG WHAT
 ---> Running in ID
 ---> Removed intermediate container ID
 ---> ID
Step 3/6 : ENV A=b
 ---> Running in ID
 ---> Removed intermediate container ID
 ---> ID
Step 4/6 : RUN echo $WHAT; echo err >&2
 ---> Running in ID
out
\x1b[91merr
\x1b[0m ---> Removed intermediate container ID
 ---> ID
Step 5/6 : COPY f /f
 ---> ID
Step 6/6 : CMD ["cat", "/f"]
 ---> Running in ID
 ---> Removed intermediate container ID
 ---> ID
Successfully built ID
Successfully tagged web:1
"""


def test_docker_build_reads_as_dockerd_s(api: Api) -> None:
    folder = f"{api.folder}/context"
    os.mkdir(folder)
    for name, text in (("Dockerfile", STEPS), ("f", "file\n")):
        with open(f"{folder}/{name}", "w") as file:
            file.write(text)
    words = ("build", "-t", "web:1", "--build-arg", "WHAT=out", folder)
    said = api.docker(*words, env=CLASSIC).stdout
    told = ID.sub("ID", said[said.index("Step 1/6") :])
    errors_first = TOLD.replace("out\n\x1b[91merr\n\x1b[0m", "\x1b[91merr\n\x1b[0mout\n")
    assert told in (TOLD, errors_first)  # two pipes
    built = said.splitlines()[-2].split()[-1]
    assert api.get("/images/web:1/json")[2]["Id"][7:19] == built
    again = api.docker(*words, env=CLASSIC).stdout
    assert again.count(" ---> Using cache\n") == 5 and f"Successfully built {built}" in again
    assert api.docker("run", "--rm", "--network", "none", "web:1").stdout == "file\n"
    parent = api.get("/images/web:1/json")[2]["Parent"]
    assert parent == api.get(f"/images/{IMAGE}/json")[2]["Id"]
    assert api.ask("DELETE", "/images/web:1")[2][-1] == {"Deleted": api_id(api, built)}
    assert api.get(f"/images/{built}/json")[0] == 404  # what builds remember of it is no image


def api_id(api: Api, short: str) -> str:
    return next(
        entry["ID"] for entry in api.get("/system/df")[2]["BuildCache"] if entry["ID"].startswith(short)
    ).join(("sha256:", ""))


def test_what_limits_a_build_reaches_its_steps(api: Api) -> None:
    text = f"FROM {IMAGE}\nRUN ulimit -n; df -k /dev/shm | tail -1; cat /etc/hosts; cat /sys/class/net/*/address\n"
    query = (
        "nocache=1&shmsize=10485760&networkmode=none&extrahosts=a.test:10.1.2.3&memory=100000000"
        "&ulimits=%5B%7B%22Name%22%3A%22nofile%22%2C%22Soft%22%3A100%2C%22Hard%22%3A200%7D%5D"
        "&labels=%7B%22l%22%3A%221%22%7D&t=a:1&t=b:2"
    )
    status, told = build(api, gzip.compress(context(text)), query)
    said = "".join(event.get("stream", "") for event in told)
    assert status == 200 and "\n100\n" in said and " 10240 " in said and "10.1.2.3\ta.test" in said, told
    assert "Successfully tagged a:1\nSuccessfully tagged b:2\n" in said
    assert api.get("/images/b:2/json")[2]["Config"]["Labels"] == {"l": "1"}


def test_stages_are_told_in_their_order(api: Api) -> None:
    text = f"FROM {IMAGE} AS a\nRUN sleep 0.3; echo slow > /a\nFROM {IMAGE} AS b\nENV B=1\nFROM {IMAGE}\nCOPY --from=a /a /\nCOPY --from=b /etc /\n"
    _, told = build(api, context(text), "nocache=1&labels=%7B%22k%22%3A%22v%22%7D")
    said = "".join(event.get("stream", "") for event in told)
    steps = [line for line in said.splitlines() if line.startswith("Step ")]
    assert steps == [
        f"Step {number}/8 : {line}" for number, line in enumerate([*text.splitlines(), "LABEL k=v"], 1)
    ]


def test_failures(api: Api) -> None:
    status, told = build(api, context(f"FROM {IMAGE}\nRUN echo no; exit 3\n"))
    message = "The command '/bin/sh -c echo no; exit 3' returned a non-zero code: 3"
    assert status == 200  # steps were told already
    assert told[-1] == {"errorDetail": {"code": 3, "message": message}, "error": message}
    status, told = build(api, context("FROM scratch\nFOO x\n"))
    assert status == 400 and "unknown instruction" in told[0]["message"]
    status, told = build(api, context(f"FROM {IMAGE}\nRUN echo loud; exit 3\n"), "q=1")
    assert {"stream": "loud\n"} in told and told[-1]["error"].endswith("code: 3")
    status, told = build(api, context(f"FROM {IMAGE}\nRUN echo quiet\n"), "q=1")
    assert len(told) == 1 and re.fullmatch("sha256:[0-9a-f]{64}\n", told[0]["stream"])
    assert build(api, context(f"FROM {IMAGE}\n")[:515])[0] == 400


def test_a_context_without_its_last_padding(api: Api) -> None:
    """As docker's client sends one whose Dockerfile came on stdin."""
    os.mkdir(f"{api.folder}/empty")
    done = api.docker(
        "build", "-q", "-f", "-", f"{api.folder}/empty", input=f"FROM {IMAGE}\nRUN true\n", env=CLASSIC
    )
    assert done.stdout.startswith("sha256:")


def begin(api: Api) -> socket.socket:
    """A build whose step goes on for long."""
    body = context(f"FROM {IMAGE}\nRUN echo begun; sleep 1000\n")
    client = socket.socket(socket.AF_UNIX)
    client.connect(api.socket)
    client.sendall(
        f"POST /build?nocache=1 HTTP/1.1\r\nHost: d\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    )
    got = b""
    while b'"begun' not in got:
        got += client.recv(1 << 16)
    return client


def test_a_client_that_goes_away_ends_its_build(api: Api) -> None:
    begin(api).close()
    eventually(lambda: not os.listdir(f"{api.folder}/run/containers"))
    eventually(lambda: not os.listdir(f"{api.folder}/root/ingest"))


def test_a_server_that_ends_ends_its_builds(api: Api) -> None:
    client = begin(api)
    api.stop()
    assert b"Successfully" not in client.recv(1 << 16)
    client.close()
    api.serve()
    eventually(lambda: not os.listdir(f"{api.folder}/run/containers"))


def test_a_server_that_is_killed_leaves_no_step(api: Api) -> None:
    client = begin(api)
    api.server.kill()
    api.server.wait()
    client.close()
    eventually(lambda: not os.listdir(f"{api.folder}/run/containers"))
    api.serve()
    assert build(api, context(f"FROM {IMAGE}\nRUN true\n"))[1][-1]["stream"].startswith("Successfully built")


def test_hostile_bodies_harm_their_own_request(api: Api) -> None:
    for body in (
        b"POST /build HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nzz\r\n",
        b"POST /build HTTP/1.1\r\nHost: d\r\nContent-Length: 9999\r\n\r\nabc",
        b"POST /images/load HTTP/1.1\r\nHost: d\r\nContent-Length: 9999\r\n\r\n\x1f\x8b\x08",
        b"POST /images/create?fromSrc=- HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n",
    ):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(api.socket)
            client.sendall(body)
            time.sleep(0.1)
    outside = context(f"FROM {IMAGE}\nCOPY f /f\n", **{"../../../outside": b"x", "/f": b"y"})
    build(api, outside)
    assert not os.path.exists(f"{api.folder}/outside")
    eventually(lambda: not os.listdir(f"{api.folder}/root/ingest"))
    assert api.get("/_ping")[0] == 200
