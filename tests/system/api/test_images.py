"""Images by docker's own client, and what requests get to the letter."""

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from subprocess import CompletedProcess
from typing import Any
from urllib.parse import quote

import bcrypt
import pytest

from apikit import IMAGE, Api, serving

REGISTRY = "127.0.0.1:5000"
USER, PASSWORD = "ann", "s3cret"


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with serving() as made:
        yield made


@pytest.fixture(autouse=True)
def names(api: Api) -> Iterator[None]:
    """What a test has named is its own."""
    yield
    given = api.out("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    api.estiva("rmi", *(name for name in given if name != IMAGE and "<none>" not in name), status=None)


@pytest.fixture(scope="module")
def registry(api: Api) -> Iterator[str]:
    """One that lets in `USER` alone."""
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(5)).decode()
    with open(f"{api.folder}/users", "w") as file:
        file.write(f"{USER}:{hashed}\n")
    server = api.start(
        "registry", "serve", "--listen", REGISTRY, "--root", f"{api.folder}/registry", "--htpasswd",
        f"{api.folder}/users", stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdout.readline().startswith("serving ")
    yield REGISTRY
    server.terminate()
    server.wait(60)
    server.stdout.close()


def lines(raw: bytes) -> list[dict]:
    return [json.loads(line) for line in raw.split(b"\r\n") if line]


def test_a_login_is_for_its_registry_and_kept_nowhere(api: Api, registry: str) -> None:
    own = {
        "DOCKER_CONFIG": f"{api.folder}/client",
        "DOCKER_BUILDKIT": "0",
    }  # the server's own user has no login

    def docker(*words: str, **options: Any) -> CompletedProcess[str]:
        return api.docker(*words, env=own, **options)

    name = f"{registry}/team/web:1"
    docker("tag", IMAGE, name)
    refused = docker("push", name, status=1)
    assert "denied: requested access to the resource is denied" in refused.stderr
    docker("login", "-u", USER, "--password-stdin", registry, input="wrong", status=1)
    assert (
        "Login Succeeded" in docker("login", "-u", USER, "--password-stdin", registry, input=PASSWORD).stdout
    )
    pushed = docker("push", name).stdout
    assert f"The push refers to repository [{registry}/team/web]" in pushed
    assert ": Pushed" in pushed and "1: digest: sha256:" in pushed
    docker("rmi", name)
    pulled = docker("pull", name).stdout
    assert "1: Pulling from team/web" in pulled
    assert f"Status: Downloaded newer image for {name}" in pulled
    assert "Image is up to date" in docker("pull", name).stdout
    docker("rmi", name)
    built = docker("build", "-", input=f"FROM {name}\n")
    assert f"Status: Downloaded newer image for {name}" in built.stdout
    docker("logout", registry)
    assert "pull access denied" in docker("pull", name, status=1).stderr
    kept = subprocess.run(
        ["grep", "-rlF", PASSWORD, f"{api.folder}/root", f"{api.folder}/run"], capture_output=True
    )
    assert not kept.stdout
    status, _, said = api.ask("GET", f"/distribution/{name}/json")
    assert status == 404 and "pull access denied" in said["message"]


def test_images_travel_in_archives(api: Api) -> None:
    api.docker("tag", IMAGE, "one:1")
    api.docker("tag", IMAGE, "two:2")
    api.docker("save", "-o", f"{api.folder}/both.tar", "one:1", "two:2")
    api.docker("rmi", "one:1", "two:2")
    said = api.docker("load", "-i", f"{api.folder}/both.tar").stdout
    assert said == "Loaded image: one:1\nLoaded image: two:2\n"
    status, headers, raw = api.ask("POST", "/images/load", b"no archive")
    assert status == 200 and "errorDetail" in raw  # docker tells of it in the stream
    status, _, said = api.get("/images/get?names=nope")
    assert (status, said) == (404, {"message": "No such image: nope"})
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("file"), io.BytesIO())
    with open(f"{api.folder}/files.tar", "wb") as file:
        file.write(made.getvalue())
    api.docker("import", "-c", "CMD x", "-m", "hello", f"{api.folder}/files.tar", "imported:1")
    shown = json.loads(api.docker("image", "inspect", "imported:1").stdout)[0]
    assert (shown["Config"]["Cmd"], shown["Comment"]) == (["/bin/sh", "-c", "x"], "hello")
    api.docker("import", "--platform", "linux/s390x", f"{api.folder}/files.tar", "foreign:1")
    told = api.docker("create", "--name", "foreign", "foreign:1", "x")
    assert "WARNING: The requested image's platform (linux/s390x) does not match the detected" in told.stderr
    assert not api.docker("create", "--name", "own", "imported:1").stderr
    api.docker("rm", "foreign", "own")
    api.docker("rmi", "one:1", "two:2", "imported:1", "foreign:1")


def test_shapes_are_those_of_the_version(api: Api) -> None:
    newest = api.get("/v1.45/images/json")[2][0]
    assert newest["Labels"] is None and newest["SharedSize"] == newest["Containers"] == -1
    assert "VirtualSize" not in newest
    older = api.get("/v1.42/images/json?shared-size=1")[2][0]
    assert older["VirtualSize"] == older["Size"] and 0 <= older["SharedSize"] <= older["Size"]
    shown = api.get(f"/v1.44/images/{IMAGE}/json")[2]
    assert shown["ContainerConfig"]["Cmd"] is None and shown["Container"] == ""
    assert "ContainerConfig" not in api.get(f"/v1.45/images/{IMAGE}/json")[2]
    assert IMAGE in api.get(f"/images/{IMAGE}/history")[2][0]["Tags"]
    config = api.get(f"/v1.50/images/{IMAGE}/json")[2]["Config"]
    assert "Cmd" in config and "Hostname" not in config
    for architecture, status in ((api.get("/version")[2]["Arch"], 200), ("s390x", 404)):
        platform = quote(json.dumps({"os": "linux", "architecture": architecture}))
        assert api.get(f"/v1.49/images/{IMAGE}/json?platform={platform}")[0] == status
    usage = api.get("/v1.45/system/df?type=image")[2]
    assert usage["Images"][0]["Containers"] == 0 and usage["Containers"] is usage["BuildCache"] is None
    assert api.get("/v1.41/system/df")[2]["BuilderSize"] == 0


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/images/nope/json", 404, "No such image: nope:latest"),
        ("GET", "/images/Nope/json", 400, "invalid reference format: repository name (library/Nope) must be lowercase"),
        ("GET", "/images/nope/history", 404, "No such image: nope:latest"),
        ("POST", "/images/nope/tag?repo=a&tag=b", 404, "No such image: nope:latest"),
        ("POST", f"/images/{IMAGE}/tag?repo=sha256&tag=b", 400, "refusing to create an ambiguous tag using digest algorithm as name"),
        ("DELETE", "/images/nope", 404, "No such image: nope:latest"),
        ("GET", '/images/json?filters={"zz":["a"]}', 400, "invalid filter 'zz'"),
        ("POST", '/images/prune?filters={"zz":["a"]}', 400, "invalid filter 'zz'"),
        ("POST", "/images/create?fromImage=a&platform=foobar", 400, '"foobar": unknown operating system or architecture: invalid argument'),
        ("GET", "/images/json?manifests=1", 501, "manifests are not listed: an image here has the one of its platform"),
        ("GET", "/system/df?type=zz", 400, "unknown object type: zz"),
        ("POST", "/build?squash=1", 400, "squash is only supported with experimental mode"),
        ("POST", "/build?t=a&t=B", 400, "invalid reference format: repository name (library/B) must be lowercase"),
        ("POST", "/build?memory=x", 400, "memory is not a number: x"),
        ("POST", "/build?securityopt=x", 400, "security options are not supported on linux"),
    ],
)  # fmt: skip
def test_refusals(api: Api, method: str, path: str, status: int, message: str) -> None:
    found, _, said = api.ask(method, path.replace('"', "%22"))
    assert (found, said) == (status, {"message": message})


def test_an_image_in_use_is_refused_in_docker_s_words(api: Api) -> None:
    api.docker("create", "--name", "keeps", IMAGE, "true")
    kept = api.get("/containers/keeps/json")[2]["Id"][:12]
    status, _, said = api.ask("DELETE", f"/images/{IMAGE}")
    image = api.get(f"/images/{IMAGE}/json")[2]["Id"]
    assert status == 409
    assert said["message"] == (
        f'conflict: unable to remove repository reference "{IMAGE}" (must force) - container {kept} is using its '
        f"referenced image {image[7:19]}"
    )
    status, _, said = api.ask("DELETE", f"/images/{image}")
    assert said["message"].startswith(
        f"conflict: unable to delete {image[7:19]} (must be forced) - image is being used"
    )
    api.docker("rm", "keeps")
    api.docker("tag", IMAGE, "other:1")
    said = api.ask("DELETE", f"/images/{image}")[2]
    assert said["message"].endswith("(must be forced) - image is referenced in multiple repositories")
    assert api.ask("DELETE", "/images/other:1")[2] == [{"Untagged": "other:1"}]


def test_who_does_not_read_keeps_nobody_waiting(api: Api) -> None:
    import socket

    idle = []
    for _ in range(80):  # more than there are threads for verbs
        client = socket.socket(socket.AF_UNIX)
        client.connect(api.socket)
        client.sendall(f"GET /images/{IMAGE}/get HTTP/1.1\r\nHost: d\r\n\r\n".encode())
        idle.append(client)
    assert api.get("/images/json")[0] == 200
    assert api.docker("run", "--rm", "--network", "none", IMAGE, "echo", "hi").stdout == "hi\n"
    for client in idle:
        client.close()
    assert os.path.exists(api.socket) and api.get("/_ping")[0] == 200
