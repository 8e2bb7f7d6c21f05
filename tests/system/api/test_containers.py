"""Containers over the API: docker's shapes, status codes and words."""

import contextlib
import http.client
import json
import os
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest

from apikit import IMAGE, Api, Connection, serving
from enginekit import eventually


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with serving() as made:
        yield made


def create(api: Api, name: str, *command: str, host: Any = None, **config: Any) -> str:
    body = {"Image": IMAGE, "Cmd": list(command) or ["sleep", "1000"], **config}
    body["HostConfig"] = {"NetworkMode": "none", **(host or {})}
    status, _, made = api.post(f"/containers/create?name={name}", body)
    assert status == 201, made
    container_id: str = made["Id"]
    return container_id


def begin(api: Api, path: str) -> tuple[http.client.HTTPResponse, Connection]:
    """A POST whose headers have come, and whose body has not."""
    connection = Connection(api.socket)
    connection.request("POST", path)
    return connection.getresponse(), connection


def test_status_codes_and_words(api: Api) -> None:
    def message(method: str, path: str, body: Any = None) -> tuple[int, str]:
        status, _, answer = api.ask(method, path, body)
        return status, answer.get("message", "") if isinstance(answer, dict) else ""

    for method, path in (
        ("POST", "start"), ("POST", "stop"), ("POST", "wait"), ("GET", "json"), ("GET", "top"), ("GET", "changes"),
        ("GET", "export"), ("POST", "pause"), ("POST", "rename?name=n"), ("POST", "update"),
    ):  # fmt: skip
        assert message(method, f"/containers/nope/{path}") == (404, "No such container: nope"), path
    assert message("DELETE", "/containers/nope") == (404, "No such container: nope")
    assert message("POST", "/containers/create?name=x1", {"Image": "no"}) == (404, "No such image: no:latest")
    own = create(api, "c1")
    status, words = message("POST", "/containers/create?name=c1", {"Image": IMAGE, "Cmd": ["x"]})
    assert (status, words[:79]) == (
        409,
        f'Conflict. The container name "/c1" is already in use by container "{own}'[:79],
    )
    assert message("POST", "/containers/create?name=-x", {"Image": IMAGE})[0] == 400
    assert message("POST", "/containers/c1/stop") == (304, "")
    assert message("POST", "/containers/c1/kill")[1] == (
        f"cannot kill container: c1: container {own} is not running"
    )
    assert message("POST", "/containers/c1/start") == (204, "")
    assert message("POST", "/containers/c1/start") == (304, "")
    assert message("POST", "/containers/c1/pause") == (204, "")
    assert message("POST", "/containers/c1/pause") == (409, f"Container {own} is already paused")
    assert message("POST", "/containers/c1/start")[0] == 409
    assert message("DELETE", "/containers/c1")[1].endswith("container is paused and must be unpaused first")
    assert message("POST", "/containers/c1/unpause") == (204, "")
    assert message("POST", "/containers/c1/unpause") == (500, f"Container {own} is not paused")
    assert message("POST", "/containers/c1/rename?name=c1")[0] == 400
    assert message("POST", "/containers/c1/kill?signal=NONE") == (
        400,
        "cannot kill container: c1: invalid signal: NONE",
    )
    assert message("POST", "/containers/c1/update", {"PidsLimit": 50, "Unknown": 1}) == (200, "")
    assert api.get("/containers/c1/json")[2]["HostConfig"]["PidsLimit"] == 50
    assert message("POST", "/containers/c1/restart?t=0") == (204, "")
    assert api.get("/containers/c1/top")[2]["Processes"][0][-1] == "sleep 1000"
    assert message("DELETE", "/containers/c1?force=1") == (204, "")


def test_a_command_that_there_is_not(api: Api) -> None:
    assert api.docker("run", "--rm", "--network", "none", IMAGE, "nothing", status=127).stdout == ""
    api.docker("run", "--rm", "--network", "none", IMAGE, "/etc", status=126)
    create(api, "bad", "nothing")
    status, _, answer = api.post("/containers/bad/start")
    assert status == 400 and "executable file not found in $PATH" in answer["message"]
    state = api.get("/containers/bad/json")[2]["State"]
    assert (state["Status"], state["ExitCode"]) == ("created", 127)
    api.ask("DELETE", "/containers/bad")


def test_rows_and_filters(api: Api) -> None:
    first = create(api, "one", "sh", "-c", "sleep 1000", Labels={"a": "b"}, host={"NetworkMode": "bridge"})
    second = create(api, "two", "true")
    api.post("/containers/one/start")
    (row,) = api.get('/containers/json?filters={"name":["one"]}&size=1')[2]
    assert row["Names"] == ["/one"] and row["Command"] == "sh -c 'sleep 1000'" and row["State"] == "running"
    assert row["Status"].startswith("Up ") and row["SizeRootFs"] > 1000 and "SizeRw" not in row
    assert row["Labels"] == {"a": "b"} and row["Image"] == IMAGE and row["ImageID"].startswith("sha256:")
    endpoint = row["NetworkSettings"]["Networks"]["bridge"]
    assert endpoint["IPAddress"] and endpoint["NetworkID"] and endpoint["Aliases"] is None

    def ids(query: str) -> list[str]:
        return [each["Id"] for each in api.get("/containers/json?" + query)[2]]

    assert ids("") == [first] and ids("all=1") == [second, first] and ids("limit=1") == [second]
    assert ids('filters={"status":["created"]}') == [second]
    assert ids('filters={"label":{"a=b":true}}') == [first]
    assert ids(f"all=1&before={second}") == [first] and ids('all=1&filters={"since":["one"]}') == [second]
    assert ids('filters={"is-task":["true"]}') == []
    assert api.get('/containers/json?filters={"no":["x"]}')[:1] == (400,)
    status, _, pruned = api.post("/containers/prune")
    assert (status, pruned["ContainersDeleted"]) == (200, [second])
    assert api.post("/containers/prune")[2] == {"ContainersDeleted": None, "SpaceReclaimed": 0}
    api.ask("DELETE", "/containers/one?force=1")


def test_a_list_is_never_older_than_what_it_shows(api: Api) -> None:
    """The server remembers rows (engine/state/known.py): every change is in the next list."""
    container_id = create(api, "seen")
    create(api, "other", host={"NetworkMode": "bridge"})

    def row() -> dict[str, Any]:
        time.sleep(0.15)  # files are old enough to be relied upon
        for _ in range(2):
            found = {each["Id"]: each for each in api.get("/containers/json?all=1")[2]}
        return found[container_id]

    def told() -> dict[str, Any]:
        found: dict[str, Any] = {each["Id"]: each for each in api.get("/containers/json?all=1")[2]}
        return found.get(container_id, {})

    assert row()["State"] == "created" and row()["Status"] == "Created"
    for path, state in (
        ("start", "running"), ("pause", "paused"), ("unpause", "running"), ("restart?t=0", "running"),
        ("kill", "exited"), ("start", "running"),
    ):  # fmt: skip
        assert api.post(f"/containers/seen/{path}")[0] == 204
        now = told() if state != "exited" else eventually(lambda: told()["State"] == "exited" and told())
        assert now["State"] == row()["State"] == state, path
    assert api.post("/containers/seen/rename?name=named")[0] == 204
    assert told()["Names"] == row()["Names"] == ["/named"]
    assert api.post("/networks/create", {"Name": "lab"})[0] == 201
    for change in ("connect", "disconnect"):
        body = {"Container": "other", **({"Force": True} if change == "disconnect" else {})}
        status, _, answer = api.post(f"/networks/lab/{change}", body)
        assert status == 200, answer
        other = next(each for each in api.get("/containers/json?all=1")[2] if each["Id"] != container_id)
        assert ("lab" in other["NetworkSettings"]["Networks"]) == (change == "connect")
    api.ask("DELETE", "/networks/lab")
    assert api.post(f"/images/{IMAGE}/tag?repo=aside")[0] == 201 and row()["Image"] == IMAGE
    api.ask("DELETE", f"/images/{IMAGE}?force=1")
    assert told()["Image"] == told()["ImageID"]
    assert (
        api.post(f"/images/aside/tag?repo={IMAGE.rpartition(':')[0]}&tag={IMAGE.rpartition(':')[2]}")[0]
        == 201
    )
    assert told()["Image"] == IMAGE
    state = json.loads(open(f"{api.env['ESTIVA_RUN_ROOT']}/containers/{container_id}/state.json").read())
    assert row()["State"] == "running"
    os.kill(state["monitor"], 9)
    assert eventually(lambda: told()["State"] == "exited")
    for name in ("named", "other"):
        api.ask("DELETE", f"/containers/{name}?force=1")
    assert told() == {}


def test_inspect_is_dockers(api: Api) -> None:
    create(api, "look", OpenStdin=True)
    found = api.get("/containers/look/json?size=1")[2]
    assert found["HostConfig"]["Devices"] is None and found["HostConfig"]["LogConfig"]["Type"] == "json-file"
    assert found["Config"]["AttachStdout"] is False and found["State"]["FinishedAt"] == "0001-01-01T00:00:00Z"
    assert found["SizeRootFs"] > 1000 and found["ExecIDs"] is None and "Exit" not in found["State"]
    api.ask("DELETE", "/containers/look")


def test_wait_answers_at_once_and_tells_the_end(api: Api) -> None:
    create(api, "waits", "sh", "-c", "exit 7", host={"AutoRemove": True})
    next_exit, one = begin(api, "/containers/waits/wait?condition=next-exit")
    removed, two = begin(api, "/containers/waits/wait?condition=removed")
    assert next_exit.status == removed.status == 200
    assert api.post("/containers/waits/wait")[2] == {"StatusCode": 0}  # it does not run
    api.post("/containers/waits/start")
    assert json.loads(next_exit.read()) == json.loads(removed.read()) == {"StatusCode": 7}
    assert api.get("/containers/waits/json")[0] == 404
    one.close()
    two.close()
    create(api, "waits")
    assert api.post("/containers/waits/wait?condition=never")[2] == {"message": 'invalid condition: "never"'}
    api.ask("DELETE", "/containers/waits")


def threads(api: Api) -> int:
    return len(os.listdir(f"/proc/{api.server.pid}/task"))


def test_many_who_wait_take_no_threads_and_hear_of_a_killed_monitor(api: Api) -> None:
    container_id = create(api, "many")
    api.post("/containers/many/start")
    before = threads(api)
    waiting = [begin(api, "/containers/many/wait") for _ in range(100)]
    assert threads(api) <= max(before, 20)
    state = json.loads(open(f"{api.env['ESTIVA_RUN_ROOT']}/containers/{container_id}/state.json").read())
    os.kill(state["monitor"], 9)
    assert {json.loads(answer.read())["StatusCode"] for answer, _ in waiting} == {137}
    for _, connection in waiting:
        connection.close()
    api.ask("DELETE", "/containers/many")


def test_stops_take_no_threads_either(api: Api) -> None:
    for number in range(20):
        create(api, f"stops{number}", "sh", "-c", "trap '' TERM; sleep 1000 & wait; wait")
        api.post(f"/containers/stops{number}/start")
    stopping = [
        threading.Thread(target=api.post, args=(f"/containers/stops{number}/stop?t=300",))
        for number in range(20)
    ]
    for each in stopping:
        each.start()
    for number in range(20):  # while all of them wait
        assert api.post(f"/containers/stops{number}/kill")[0] == 204
    for each in stopping:
        each.join()
    assert api.get("/containers/json")[2] == []
    assert len(api.post("/containers/prune")[2]["ContainersDeleted"]) == 20


def test_who_stops_a_container_hears_before_those_who_follow_the_events(api: Api) -> None:
    container = api.docker("run", "-d", "--init", IMAGE, "sleep", "1000").stdout.strip()
    following, stopping = Connection(api.socket), Connection(api.socket)
    try:
        filters = urllib.parse.quote(json.dumps({"event": ["die"], "container": [container]}))
        following.request("GET", f"/events?filters={filters}")
        told = following.getresponse()
        stopping.request("POST", f"/containers/{container}/stop")
        event = json.loads(told.readline())
        stopping.sock.setblocking(False)
        assert stopping.sock.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 204", event
    finally:
        following.close()
        stopping.close()
        api.docker("rm", "-f", container)


def test_what_is_written_comes_out(api: Api) -> None:
    create(
        api,
        "full",
        "sh",
        "-c",
        "dd if=/dev/zero of=/big bs=1M count=8 2>/dev/null; rm /etc/passwd; sleep 1000",
    )
    api.post("/containers/full/start")
    eventually(lambda: "/etc/passwd" in str(api.get("/containers/full/changes")[2]), 60)
    changed = {each["Path"]: each["Kind"] for each in api.get("/containers/full/changes")[2]}
    assert changed == {"/big": 1, "/etc": 0, "/etc/passwd": 2}
    assert len(api.get("/containers/full/export")[2]) > 8 << 20
    before = pipes(api)
    for _ in range(3):  # clients that go away in the middle
        connection = Connection(api.socket)
        connection.request("GET", "/containers/full/export")
        assert connection.getresponse().read(1000)
        connection.close()
    assert api.get("/containers/full/json")[0] == 200
    eventually(lambda: pipes(api) == before, 20)
    query = "container=full&repo=full&tag=1&comment=c&author=me&changes=ENV%20A=b"
    status, _, made = api.post(f"/commit?{query}", {"Cmd": ["x"], "Labels": {"l": "m"}})
    assert status == 201
    image = json.loads(api.out("image", "inspect", "full:1"))[0]
    assert image["Id"] == made["Id"] and image["Author"] == "me" and image["Config"]["Cmd"] == ["x"]
    assert image["Config"]["Labels"]["l"] == "m" and "A=b" in image["Config"]["Env"]
    api.ask("DELETE", "/containers/full?force=1")


def pipes(api: Api) -> list[str]:
    """The pipes that the server has open."""
    found = []
    for name in os.listdir(f"/proc/{api.server.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/{api.server.pid}/fd/{name}"))
    return sorted(target for target in found if target.startswith("pipe:"))


def test_links_are_names(api: Api) -> None:
    create(api, "db", host={"NetworkMode": "bridge"})
    create(api, "web", host={"NetworkMode": "bridge", "Links": ["db:store"]})
    assert api.get("/containers/web/json")[2]["HostConfig"]["Links"] == ["/db:/web/store"]
    names = [row["Names"] for row in api.get("/containers/json?all=1")[2]]
    assert ["/db", "/web/store"] in names and ["/web"] in names
    assert api.ask("DELETE", "/containers/web/store?link=1")[0] == 204
    assert api.ask("DELETE", "/containers/web/store?link=1")[0] == 404
    assert not api.get("/containers/web/json")[2]["HostConfig"]["Links"]
    answer = api.post("/containers/create", {"Image": IMAGE, "Cmd": ["x"], "HostConfig": {"Links": ["no:a"]}})
    assert answer[2] == {"message": "could not get container for no: No such container: no"}
    for name in ("web", "db"):
        api.ask("DELETE", f"/containers/{name}")


def test_a_port_that_is_taken(api: Api) -> None:
    bound = {"NetworkMode": "bridge", "PortBindings": {"80/tcp": [{"HostPort": "18099"}]}}
    for name in ("first", "second"):
        create(api, name, host=bound)
    assert api.post("/containers/first/start")[0] == 204
    status, _, answer = api.post("/containers/second/start")
    assert status == 500 and answer["message"].endswith("port is already allocated")
    (row,) = api.get("/containers/json")[2]
    assert row["Ports"] == [{"IP": "0.0.0.0", "PrivatePort": 80, "Type": "tcp", "PublicPort": 18099}]
    for name in ("first", "second"):
        api.ask("DELETE", f"/containers/{name}?force=1")


def test_the_client_shows_what_is_wrong_and_pulls_only_a_missing_image(api: Api) -> None:
    done = api.docker("run", "--rm", "--network", "nope", IMAGE, "true", status=125)
    assert "network nope not found" in done.stderr and "Unable to find image" not in done.stderr
    done = api.docker("run", "--rm", "--memory", "1m", IMAGE, "true", status=125)
    assert "Minimum memory limit allowed is 6MB" in done.stderr
    shown = json.loads(
        api.docker("inspect", api.docker("create", "--name", "plain", IMAGE, "true").stdout.strip()).stdout
    )
    host = shown[0]["HostConfig"]
    assert (host["IpcMode"], host["CgroupnsMode"], host["MemorySwappiness"]) == ("private", "private", None)
    assert host["MaskedPaths"] and list(shown[0])[:4] == ["Id", "Created", "Path", "Args"]
    api.docker("rm", "plain")
