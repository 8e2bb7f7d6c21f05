"""Small things in which what is asked has to be answered as docker does, for clients and scripts look at them."""

import io
import json
import socket
import tarfile

import pytest

from apikit import IMAGE, serving

IDLE = {"Image": IMAGE, "Cmd": ["sleep", "1000"], "StopSignal": "KILL"}


@pytest.fixture(scope="module")
def api():
    with serving() as made:
        yield made


@pytest.fixture(scope="module")
def idle(api):
    """A container that runs."""
    assert api.post("/containers/create?name=idle", IDLE)[0] == 201
    assert api.post("/containers/idle/start")[0] == 204
    yield "idle"
    assert api.ask("DELETE", "/containers/idle?force=1")[0] == 204


def first(api, data):
    """The head and the body of the first answer to some bytes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.settimeout(20)
        one.connect(api.socket)
        one.sendall(data)
        got = b""
        while piece := one.recv(1 << 16):
            got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    return head.decode().lower(), body


@pytest.mark.parametrize(
    "data",
    [
        b"garbage\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: d\r\n\r\n",
        b"GET /_ping HTTP/1.1\r\n\r\n",
        b"GET /_ping HTTP/1.1\r\nHost: d\r\nno header\r\n\r\n",
        b"POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: x\r\n\r\n",
        b"GET /_ping HTTP/1.1\r\nHost: d\r\nExpect: nosuch\r\nConnection: close\r\n\r\n",
    ],
)
def test_what_is_no_request_is_told_in_json(api, data):
    head, body = first(api, data)
    assert head.split()[1] in ("400", "417")
    assert "content-type: application/json" in head and "aiohttp" not in head
    assert list(json.loads(body)) == ["message"]


def test_what_a_request_says_is_not_echoed_whole(api):
    long = "x" * 5000
    for path in (f"/containers/{long}/json", f"/networks/{long}", f"/volumes/{long}"):
        status, _, body = api.get(path)
        assert status == 404 and 200 < len(body["message"]) < 1500, path
    asked = {**IDLE, "HostConfig": {"Runtime": long}}
    status, _, body = api.post("/containers/create", asked)
    assert status == 400 and body["message"].startswith("unknown or invalid runtime name: xxx")
    assert len(body["message"]) < 1500


def test_words_of_what_a_container_can_not_have(api):
    policy = {"RestartPolicy": {"Name": "nosuch"}}
    said = api.post("/containers/create", {**IDLE, "HostConfig": policy})[2]["message"]
    assert said.startswith("invalid restart policy: unknown policy 'nosuch'; use one of 'no', 'always', ")
    policy = {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 3}}
    said = api.post("/containers/create", {**IDLE, "HostConfig": policy})[2]["message"]
    assert said == "invalid restart policy: maximum retry count can only be used with 'on-failure'"


@pytest.mark.parametrize("command", ["nosuch", "/etc/passwd"])
def test_an_exec_that_never_ran_has_126(api, idle, command):
    made = api.post(f"/containers/{idle}/exec", {"Cmd": [command]})[2]["Id"]
    assert api.post(f"/exec/{made}/start", {"Detach": True})[0] == 400
    assert api.get(f"/exec/{made}/json")[2]["ExitCode"] == 126


def test_the_switch_of_the_oom_killer_is_null_only_where_there_is_none(api, idle):
    there = api.get("/info")[2]["OomKillDisable"]
    shown = api.get(f"/containers/{idle}/json")[2]["HostConfig"]["OomKillDisable"]
    assert shown is (False if there else None)


def test_endpoints_are_shown_as_they_were_asked_for(api, idle):
    for name, asked, shown in (
        ("nothing", {}, None),
        ("empty", {"IPAMConfig": {}}, {}),
        ("blank", {"IPAMConfig": {"IPv4Address": ""}}, {}),
        ("address", {"IPAMConfig": {"IPv4Address": "10.77.9.9"}}, {"IPv4Address": "10.77.9.9"}),
    ):
        subnet = {"IPAM": {"Config": [{"Subnet": "10.77.9.0/24"}]}}
        assert api.post("/networks/create", {"Name": name, **subnet})[0] == 201
        links = {**asked, "Links": [f"{idle}:other", idle]}
        asked = {"Container": "joins", "EndpointConfig": links}
        assert api.post("/containers/create?name=joins", IDLE)[0] == 201
        assert api.post(f"/networks/{name}/connect", asked)[0] == 200
        endpoint = api.get("/containers/joins/json")[2]["NetworkSettings"]["Networks"][name]
        assert (endpoint["IPAMConfig"], endpoint["Links"]) == (shown, links["Links"]), name
        assert api.ask("DELETE", "/containers/joins")[0] == 204
        assert api.ask("DELETE", f"/networks/{name}")[0] == 204


def test_a_path_that_leads_nowhere(api, idle):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, target in (("one", "two"), ("two", "one")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    assert api.ask("PUT", f"/containers/{idle}/archive?path=/tmp", data.getvalue())[0] == 200
    for path, why in (
        ("/tmp/one", "too many levels of symbolic links"),
        ("/tmp/one/x", "too many levels of symbolic links"),
        ("/etc/passwd/x", "not a directory"),
    ):
        status, _, body = api.get(f"/containers/{idle}/archive?path={path}")
        assert (status, body) == (500, {"message": f"lstat {path}: {why}"})


def lines_of(body):
    """A stream of JSON; of one object alone it has been read already."""
    return [json.loads(line) for line in body.splitlines()] if isinstance(body, bytes) else [body]


def test_a_load_tells_of_its_layers_unless_it_is_to_be_quiet(api):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        info = tarfile.TarInfo("file")
        info.size = 2_000_000
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    assert api.ask("POST", "/images/create?fromSrc=-&repo=loaded&tag=1", data.getvalue())[0] == 200
    saved = api.get("/images/loaded:1/get")[2]
    for query, told in (("?quiet=0", True), ("", False), ("?quiet=1", False)):
        assert api.ask("DELETE", "/images/loaded:1")[0] == 200
        *layers, last = lines_of(api.ask("POST", f"/images/load{query}", saved)[2])
        assert last == {"stream": "Loaded image: loaded:1\n"}
        assert bool(layers) is told
        for line in layers:
            assert line["status"] == "Loading layer" and len(line["id"]) == 12
        if told:
            detail = layers[-1]["progressDetail"]
            assert detail["current"] == detail["total"] > 2_000_000
    assert api.ask("DELETE", "/images/loaded:1")[0] == 200
