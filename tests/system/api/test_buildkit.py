"""docker build, buildx and bake build on Estiva; clients that misbehave harm nobody but themselves."""

import asyncio
import concurrent.futures
import io
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from typing import Any

import bcrypt
import pytest

from apikit import IMAGE, Api, serving
from buildclient import Client, client
from estiva.api.buildkit.rpc import RpcError
from gitkit import Repo


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with serving() as made:
        yield made


def buildx(api: Api, *words: Any, **more: Any) -> subprocess.CompletedProcess[str]:
    if api.docker("buildx", "version", status=None).returncode:
        pytest.skip("docker's buildx plugin is not here")
    return api.docker(*words, **more)


def folder(api: Api, name: str, **files: str) -> pathlib.Path:
    made = pathlib.Path(api.folder, name)
    made.mkdir()
    for file, text in files.items():
        (made / file.replace("_", ".")).write_text(text.replace("IMAGE", IMAGE))
    return made


def test_docker_build(api: Api) -> None:
    text = "FROM IMAGE\nRUN --mount=type=secret,id=s cat /run/secrets/s > /got; echo said\nCOPY f /f\nARG A\nENV A=$A\n"
    place = folder(api, "plain", Dockerfile=text, f="file\n", secret="sesame")
    words = ["build", "--progress", "plain", "-t", "made:1", "--secret", f"id=s,src={place}/secret"]
    words += ["--build-arg", "A=5", place]
    told = buildx(api, *words).stderr
    assert "[stage-0 2/3] RUN --mount=type=secret" in told
    assert " said\n" in told
    assert "naming to docker.io/library/made:1" in told
    assert " ARG " not in told and " ENV " not in told
    again = buildx(api, *words).stderr
    assert again.count("CACHED") == 3
    (place / "f").write_text("other\n")
    ident = buildx(api, *words[:1], "-q", *words[3:]).stdout
    assert ident.startswith("sha256:")
    done = api.docker("run", "--rm", "--network", "none", "made:1", "sh", "-c", "cat /got /f; echo $A")
    assert done.stdout == "sesameother\n5\n"


def test_a_step_that_fails_is_shown(api: Api) -> None:
    place = folder(api, "fails", Dockerfile="FROM IMAGE\nRUN echo before; exit 3\n")
    told = buildx(api, "build", "--progress", "plain", place, status=1).stderr
    assert "   2 | >>> RUN echo before; exit 3" in told
    assert 'process "/bin/sh -c echo before; exit 3" did not complete successfully: exit code: 3' in told
    target = buildx(api, "build", "--target", "no", place, status=1).stderr
    assert target.endswith('failed to solve: target stage "no" could not be found\n')
    (place / "Dockerfile").write_text(f"FROM {IMAGE}\nFOO\n")
    assert (
        "dockerfile parse error on line 2: unknown instruction"
        in buildx(api, "build", place, status=1).stderr
    )
    (place / "Dockerfile").unlink()
    assert "failed to read dockerfile: open Dockerfile:" in buildx(api, "build", place, status=1).stderr


def test_outputs_come_back(api: Api) -> None:
    place = folder(api, "outputs", Dockerfile="FROM scratch\nCOPY f d/f\nCOPY l /\n", f="file\n", l="x")
    (place / "l").unlink()
    (place / "l").symlink_to("f")
    buildx(api, "build", "-o", f"{place}/out", place)
    assert (place / "out/d/f").read_text() == "file\n"
    buildx(api, "build", "-o", f"type=tar,dest={place}/out.tar", place)
    with tarfile.open(place / "out.tar") as tar:
        assert "d/f" in tar.getnames()
    buildx(api, "build", "-o", f"type=oci,dest={place}/oci.tar", "-t", "o:1", place)
    with tarfile.open(place / "oci.tar") as tar:
        assert "index.json" in tar.getnames()


def test_caches_and_layouts_are_folders_of_the_client(api: Api) -> None:
    place = folder(api, "layouts", Dockerfile="FROM IMAGE\nRUN date > /made; cat /proc/uptime >> /made\n")
    made = ["buildx", "build", "--progress", "plain", place]
    buildx(
        api,
        *made,
        "--cache-to",
        f"type=local,dest={place}/cache",
        "-o",
        f"type=oci,tar=false,dest={place}/oci",
    )
    assert (place / "oci/index.json").exists()
    api.estiva("builder", "prune", "-a", "-f")
    again = buildx(api, *made, "--cache-from", f"type=local,src={place}/cache").stderr
    assert "[2/2] RUN date" in again
    assert "CACHED" in again
    (place / "Dockerfile").write_text("FROM base\nRUN test -s /made\n")
    buildx(api, *made, "--build-context", f"base=oci-layout://{place}/oci")
    blob = next(
        path for path in (place / "oci/blobs/sha256").iterdir() if path.read_bytes()[:2] == b"\x1f\x8b"
    )
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.chmod(0o600)
    blob.write_bytes(data)
    words = ["--build-context", f"base=oci-layout://{place}/oci", "--no-cache"]
    assert "not what its digest says" in buildx(api, *made, *words, status=1).stderr


def test_the_logins_of_the_client_are_those_of_its_build(api: Api) -> None:
    hashed = bcrypt.hashpw(b"s3cret", bcrypt.gensalt(5)).decode()
    pathlib.Path(api.folder, "users").write_text(f"ann:{hashed}\n")
    words = ["registry", "serve", "--listen", "127.0.0.1:5000", "--root", f"{api.folder}/registry"]
    server = api.start(*words, "--htpasswd", f"{api.folder}/users", stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout.readline().startswith("serving ")
        registry = "127.0.0.1:5000"
        place = folder(api, "private", Dockerfile="FROM IMAGE\nRUN date > /made\n")
        api.docker("login", "-u", "ann", "--password-stdin", registry, input="s3cret")
        cache = f"type=registry,ref={registry}/team/cache:1"
        buildx(api, "build", "--cache-to", cache, "-t", f"{registry}/team/base:1", "--push", place)
        api.docker("rmi", f"{registry}/team/base:1")
        api.estiva("builder", "prune", "-a", "-f")
        told = buildx(api, "build", "--progress", "plain", "--cache-from", cache, place).stderr
        assert "CACHED" in told
        (place / "Dockerfile").write_text(f"FROM {registry}/team/base:1\nRUN test -s /made\n")
        told = buildx(api, "build", "--progress", "plain", place).stderr
        assert f"[internal] load metadata for {registry}/team/base:1" in told
        api.docker("logout", registry)
        told = buildx(api, "build", "--pull", place, status=1).stderr
        assert told.splitlines()[-1].endswith(f"{registry} wants a login (docker login {registry})")
        kept = ["grep", "-rlF", "s3cret", f"{api.folder}/root", f"{api.folder}/run"]
        assert not subprocess.run(kept, capture_output=True).stdout
    finally:
        server.terminate()
        server.wait(60)
        server.stdout.close()


def test_bake_builds_what_targets_need(api: Api) -> None:
    bake = """
    group "default" { targets = ["a", "b"] }
    target "a" {
      context = "PLACE"
      dockerfile-inline = "FROM IMAGE\\nRUN echo here > /a"
    }
    target "b" {
      context = "PLACE"
      dockerfile-inline = "FROM other\\nRUN test $(cat /a) = here"
      contexts = { other = "target:a" }
      tags = ["baked:b"]
    }
    """
    place = folder(api, "bake", docker_bake_hcl="")
    (place / "docker-bake.hcl").write_text(bake.replace("IMAGE", IMAGE).replace("PLACE", str(place)))
    buildx(api, "buildx", "bake", "-f", place / "docker-bake.hcl")
    assert api.docker("run", "--rm", "--network", "none", "baked:b", "cat", "/a").stdout == "here\n"


def test_bake_of_a_repository(api: Api) -> None:
    """Its bake file, and contexts that are it and a folder of it."""
    if shutil.which("git") is None:
        pytest.skip("git is not here")
    repo = Repo(pathlib.Path(api.folder) / "served", "remote.git")
    bake = 'target "default" {\n  tags = ["far:1"]\n}\ntarget "sub" {\n  context = "sub"\n  tags = ["far:2"]\n}\n'
    repo.put("docker-bake.hcl", bake)
    for place in ("", "sub/"):
        repo.put(f"{place}Dockerfile", f"FROM {IMAGE}\nCOPY f /f\n")
        repo.put(f"{place}f", f"in '{place}'\n")
    repo.commit()
    repo.git("update-server-info")
    os.rename(f"{repo.path}/.git", f"{repo.path.parent}/far.git")
    words = [
        *api.prefix,
        "/usr/bin/python3",
        "-um",
        "http.server",
        "-b",
        "127.0.0.1",
        "-d",
        str(repo.path.parent),
        "8099",
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        try:
            assert server.stdout is not None and server.stdout.readline().startswith(b"Serving")
            url = "http://127.0.0.1:8099/far.git"
            buildx(api, "buildx", "bake", url, "default", "sub")
            for tag, text in (("far:1", "in ''\n"), ("far:2", "in 'sub/'\n")):
                assert api.docker("run", "--rm", "--network", "none", tag, "cat", "/f").stdout == text
            assert "there is no ref nosuch" in buildx(api, "buildx", "bake", f"{url}#nosuch", status=1).stderr
        finally:
            server.terminate()


def test_what_builds_keep(api: Api) -> None:
    buildx(api, "build", folder(api, "kept", Dockerfile="FROM IMAGE\nRUN echo > /kept\n"))
    assert "Total:" in buildx(api, "buildx", "du").stdout
    buildx(api, "buildx", "prune", "-f", "-a")
    assert "running" in buildx(api, "buildx", "ls").stdout


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_build_whose_client_or_server_is_killed(api: Api, who: str) -> None:
    place = folder(api, f"gone-{who}", Dockerfile="FROM IMAGE\nCOPY . /x\nRUN echo begun; sleep 300.125\n")
    buildx(api, "buildx", "version")
    env = {**api.env, "DOCKER_HOST": f"unix://{api.socket}", "HOME": api.folder}
    words = ["docker", "build", "--progress", "plain", str(place)]
    with subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if line.endswith(" begun\n"):
                break
        if who == "client":
            running.kill()
        else:
            api.stop(signal.SIGKILL)
            api.serve()
    (place / "Dockerfile").write_text(f"FROM {IMAGE}\nCOPY . /x\nRUN echo next\n")
    assert "next" in buildx(api, "build", "--progress", "plain", place).stderr
    root = pathlib.Path(api.folder)
    until(
        lambda: (
            not sleeping() and not [*root.glob("run/build/*"), *root.glob("*/cache/build/contexts/*.once")]
        )
    )


def sleeping() -> bool:
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"300.125" in path.read_bytes() and b"sleep" in path.read_bytes():
                return True
        except OSError:
            pass
    return False


def until(holds: Any) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


# --- by the classic route ---


def told(api: Api, words: str, data: bytes = b"") -> tuple[int, list[dict[str, Any]]]:
    """A build of version 2: its status, and the objects that it tells but for the traces."""
    status, _, body = api.ask("POST", f"/build?version=2&{words}", data)
    lines = [body] if isinstance(body, dict) else [json.loads(line) for line in body.splitlines()]
    return status, [line for line in lines if line.get("id") != "moby.buildkit.trace"]


def archive(**files: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return made.getvalue()


def test_version_2_of_the_classic_route(api: Api) -> None:
    data = archive(Dockerfile=f"FROM {IMAGE}\nCOPY f /f\n", f="text")
    status, found = told(api, "t=second:1", data)
    assert (status, len(found), found[0]["id"]) == (200, 1, "moby.image.id")
    assert api.get("/images/second:1/json")[2]["Id"] == found[0]["aux"]["ID"]
    assert told(api, "q=1", data)[1] == [{"stream": found[0]["aux"]["ID"] + "\n"}]
    plain = told(api, "", f"FROM {IMAGE}\nENV a=b\n".encode())[1]
    assert plain[0]["aux"]["ID"].startswith("sha256:")
    for words, body, message in (
        ("dockerfile=nosuch", data, "failed to read dockerfile: open nosuch: no such file or directory"),
        ("", b"XYZZY\n", "dockerfile parse error on line 1: unknown instruction: XYZZY"),
        ("remote=client-session", b"", "failed to read dockerfile: no local sources enabled"),
    ):
        assert told(api, words, body)[1] == [{"errorDetail": {"message": message}, "error": message}]
    assert told(api, "networkmode=x", data)[0] == 400
    assert api.post("/build?version=3")[0] == 400


def test_version_2_with_its_context_in_another_request_and_cancelled(api: Api) -> None:
    text = f"FROM {IMAGE}\nRUN sleep 300.125\n"
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        building = pool.submit(told, api, "remote=upload-request&buildid=b1")
        assert (
            told(api, "remote=upload-request&buildid=upload-request:b1", archive(Dockerfile=text))[0] == 200
        )
        until(sleeping)
        assert api.post("/build/cancel?id=b1")[0] == 200
        assert building.result(60)[1][0]["error"] == "context canceled"
    until(lambda: not sleeping())


def test_an_upload_that_breaks_off_is_told_and_is_one_builds(api: Api) -> None:
    words = "remote=upload-request&buildid=b2"
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        both = [pool.submit(told, api, words) for _ in range(2)]
        concurrent.futures.wait(both, return_when=concurrent.futures.FIRST_COMPLETED)
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(api.socket)
            head = "POST /build?version=2&buildid=upload-request:b2 HTTP/1.1\r\nHost: d\r\n"
            one.sendall(f"{head}Content-Length: 99999\r\n\r\nFROM".encode())
            time.sleep(0.2)  # the server has its head; closed sooner, it would be no upload at all
        answers = dict(building.result(60) for building in both)
    assert "another build waits" in answers[409][0]["message"]
    assert answers[200][-1]["error"] == "the client has not sent all of the build context"


def test_version_2_with_a_session(api: Api) -> None:
    async def work(kit: Client) -> None:
        kit.folders = {
            "dockerfile": {"Dockerfile": f"FROM {IMAGE}\nCOPY a /\n".encode()},
            "context": {"a": b"1"},
        }
        words = f"remote=client-session&session={kit.session}"
        found = await asyncio.to_thread(told, api, words)
        assert found[1][0]["id"] == "moby.image.id"

    using(api, work)


# --- clients that are none ---


def using(api: Api, work: Any) -> None:
    async def run() -> None:
        async with client(api.socket) as kit:
            await asyncio.wait_for(work(kit), 60)

    asyncio.run(run())


def test_a_client_of_the_protocol_builds(api: Api) -> None:
    async def work(kit: Client) -> None:
        text = f"FROM {IMAGE}\nRUN --mount=type=secret,id=s cat /run/secrets/s\nRUN --mount=type=secret,id=no true\n"
        kit.folders = {"dockerfile": {"Dockerfile": text.encode()}, "context": {"a": b"1"}}
        kit.secrets = {"s": b"sesame"}
        done = await kit.build(exporters=[{"type": "moby", "attrs": {"name": "mine:1"}}])
        assert done["image.name"] == "docker.io/library/mine:1"
        logs = [log["msg"] for message in kit.told for log in message.get("logs", [])]
        assert b"".join(logs) == b"sesame"
        for frontend, words in (("gateway.v0", "the frontend gateway.v0 is not here"),):
            with pytest.raises(RpcError, match=words):
                await kit.build(frontend=frontend)
        with pytest.raises(RpcError, match="LLB"):
            await kit.build(frontend="", definition={"def": [b"x"]})

    using(api, work)
    assert api.docker("image", "inspect", "mine:1", status=None).returncode in (0, 1)


@pytest.mark.parametrize(
    ("stat", "words"),
    [
        ({"path": "../../etc/passwd", "size": 1}, "impossible path"),
        ({"path": "/etc/passwd", "size": 1}, "impossible path"),
        ({"path": "b", "mode": 1 << 26}, "device"),
        ({"path": "l/x", "size": 1}, "below no folder"),
    ],
)
def test_a_hostile_context(api: Api, stat: dict[str, Any], words: str) -> None:
    async def work(kit: Client) -> None:
        kit.folders = {"dockerfile": {"Dockerfile": f"FROM {IMAGE}\nCOPY . /\n".encode()}}
        link = {"path": "l", "mode": 1 << 27 | 0o777, "link": "/etc"}
        order = sorted([link, stat], key=lambda each: str(each["path"]))
        kit.packets = {"context": [*({"stat": each} for each in order), {"type": 0}]}
        with pytest.raises(RpcError, match=words):
            await kit.build()
        kit.packets = {}
        await kit.build()

    using(api, work)


def test_a_dockerfile_that_is_a_link_stays_inside(api: Api) -> None:
    async def work(kit: Client) -> None:
        link = {"path": "Dockerfile", "mode": 1 << 27 | 0o777, "link": "/etc/passwd"}
        kit.packets = {"dockerfile": [{"stat": link}, {"type": 0}]}
        with pytest.raises(RpcError, match="failed to read dockerfile"):
            await kit.build()
        with pytest.raises(RpcError, match="failed to read dockerfile"):
            await kit.build({"filename": "../../../../../etc/passwd"})

    using(api, work)


def test_no_place_of_the_server_is_a_context(api: Api) -> None:
    async def work(kit: Client) -> None:
        kit.folders = {"dockerfile": {"Dockerfile": b"FROM scratch\nCOPY passwd /\n"}}
        for attrs in (
            {"context": "/etc"},
            {"context:x": "/etc"},
            {"context:x": "oci-layout:///etc@sha256:1"},
        ):
            with pytest.raises(RpcError, match=r"no address|offers no content|digest"):
                await kit.build({**attrs, "dockerfilekey": "dockerfile"})

    using(api, work)


def test_a_client_that_sends_nothing_and_one_that_goes(api: Api) -> None:
    async def work(kit: Client) -> None:
        kit.folders = {"dockerfile": {"Dockerfile": b"FROM scratch\n"}}
        kit.packets = {"context": [{"stat": {"path": "a", "size": 10}}]}  # and no end
        building = asyncio.create_task(kit.build())
        while kit.calls.count("/moby.filesync.v1.FileSync/DiffCopy") < 2:
            await asyncio.sleep(0.05)
        building.cancel()

    using(api, work)
    until(lambda: not list(pathlib.Path(api.folder).glob("*/cache/build/contexts/*.once")))
    using(api, work)
