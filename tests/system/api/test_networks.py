"""Networks and volumes through the API, in docker's shapes and words."""

import json

import pytest

from apikit import IMAGE, serving


@pytest.fixture(scope="module")
def api():
    with serving() as made:
        yield made


def test_a_network_by_dockers_client(api):
    words = (
        "--subnet",
        "10.77.0.0/24",
        "--gateway",
        "10.77.0.1",
        "--internal",
        "--label",
        "a=b",
        "--attachable",
    )
    made = api.docker("network", "create", *words, "net").stdout.strip()
    told = json.loads(api.docker("network", "inspect", "net").stdout)[0]
    created = told.pop("Created")
    assert created.endswith("Z")
    assert told == {
        "Name": "net", "Id": made, "Scope": "local", "Driver": "bridge", "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Options": {}, "Config": [{"Subnet": "10.77.0.0/24", "Gateway": "10.77.0.1"}]},
        "Internal": True, "Attachable": True, "Ingress": False, "ConfigFrom": {"Network": ""}, "ConfigOnly": False,
        "Containers": {}, "Options": {}, "Labels": {"a": "b"},
    }  # fmt: skip
    assert api.docker("network", "ls", "-q", "--no-trunc", "-f", "label=a=b").stdout.split() == [made]
    again = api.docker("network", "create", "net", status=1)
    assert "Error response from daemon: network with name net already exists" in again.stderr
    assert api.docker("network", "rm", "net").stdout == "net\n"
    assert "network net not found" in api.docker("network", "inspect", "net", status=1).stderr


def test_a_container_is_connected_and_disconnected(api):
    _, _, made = api.post("/networks/create", {"Name": "to"})
    api.estiva("run", "-d", "--name", "web", IMAGE, "sleep", "1000")
    api.docker("network", "connect", "--alias", "front", "--ip", "", "to", "web")
    [(container, there)] = api.get("/networks/to")[2]["Containers"].items()
    assert there["Name"] == "web" and there["IPv4Address"]
    status, _, body = api.ask("DELETE", f"/networks/{made['Id'][:12]}")
    said = f"error while removing network: network to id {made['Id']} has active endpoints"
    assert status == 403 and body["message"].startswith(said)
    assert api.post("/networks/to/connect", {"Container": container})[0] == 403
    api.docker("network", "disconnect", "to", "web")
    assert api.get("/networks/to")[2]["Containers"] == {}
    assert api.post("/networks/to/disconnect", {"Container": "nobody"})[::2] == (
        404, {"message": "No such container: nobody"})  # fmt: skip
    assert api.post("/networks/none-such/connect", {"Container": "web"})[::2] == (
        404, {"message": "network none-such not found"})  # fmt: skip
    api.estiva("rm", "-f", "web")
    assert api.post("/networks/prune")[2] == {"NetworksDeleted": ["to"]}
    assert api.post("/networks/prune")[2] == {"NetworksDeleted": None}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, "invalid name: "),
        ({"Name": "host"}, 403, "operation is not permitted on predefined host network "),
        ({"Name": "x", "Driver": "nope"}, 404, 'plugin "nope" not found'),
        (
            {"Name": "x", "Scope": "swarm"},
            403,
            "cannot create a swarm scoped network when swarm is not active",
        ),
        ({"Name": "x", "Ingress": True}, 403, "Ingress network can only be global scope network"),
        (
            {"Name": "x", "ConfigOnly": True},
            403,
            "configuration networks (ConfigOnly, ConfigFrom) are not supported",
        ),
        ({"Name": "x", "Nope": 1}, 501, "NetworkCreateRequest.Nope is not supported"),
        ({"Name": 5}, 400, "NetworkCreateRequest.Name: 5 is not a string"),
    ],
)
def test_what_is_refused(api, body, status, message):
    found, _, told = api.post("/networks/create", body)
    assert (found, told["message"]) == (status, message)


def test_what_has_no_effect_is_warned_of(api):
    body = {"Name": "warned", "CheckDuplicate": True, "IPAM": {"Driver": "default", "Options": {"odd": "1"}}}
    status, _, told = api.post("/networks/create", body)
    assert (status, told["Warning"]) == (201, "IPAM options have no effect: odd")
    assert api.get("/networks/warned?verbose=1")[2]["IPAM"]["Options"] == {"odd": "1"}
    assert api.get("/networks/warned?scope=swarm")[0] == 404
    assert api.ask("DELETE", "/networks/warned")[0] == 204


def test_volumes(api):
    assert api.docker("volume", "create", "--label", "a=b", "data").stdout == "data\n"
    told = json.loads(api.docker("volume", "inspect", "data").stdout)[0]
    assert told.pop("CreatedAt").endswith("Z") and len(told) == 6
    assert told == {
        "Driver": "local", "Labels": {"a": "b"}, "Mountpoint": f"{api.env['ESTIVA_ROOT']}/volumes/data/_data",
        "Name": "data", "Options": None, "Scope": "local",
    }  # fmt: skip
    status, _, anonymous = api.post("/volumes/create", {})
    assert (status, anonymous["Labels"]) == (201, {"com.docker.volume.anonymous": ""})
    found = api.docker("volume", "ls", "-q", "-f", "label=com.docker.volume.anonymous").stdout.split()
    assert found == [anonymous["Name"]]
    assert api.get("/volumes/nope")[::2] == (404, {"message": "get nope: no such volume"})
    assert api.ask("DELETE", "/volumes/nope?force=1")[0] == 204
    api.estiva("create", "-v", "data:/d", "--name", "user", IMAGE, "true")
    assert api.ask("DELETE", "/volumes/data")[0] == 409
    api.estiva("rm", "user")
    pruned = api.post("/volumes/prune")[2]
    assert pruned["VolumesDeleted"] == [anonymous["Name"]] and pruned["SpaceReclaimed"] >= 0
    assert api.ask("POST", "/v1.41/volumes/prune")[2]["VolumesDeleted"] == ["data"]
    assert api.get("/volumes")[2] == {"Volumes": [], "Warnings": None}
    refused = api.post("/volumes/create", {"Name": "x1", "Driver": "nope"})
    assert refused[::2] == (
        404,
        {"message": 'create x1: error looking up volume plugin nope: plugin "nope" not found'},
    )
    assert api.ask("PUT", "/volumes/data", {})[0] == 503


def test_a_driver_option_that_no_driver_knows_is_warned_of_and_shown(api):
    def made(option):
        body = {
            "Image": IMAGE,
            "Cmd": ["true"],
            "NetworkingConfig": {"EndpointsConfig": {"bridge": {"DriverOpts": {option: "on"}}}},
        }
        return api.post("/containers/create", body)

    status, _, told = made("org.example.setting")
    assert (status, told["Warnings"]) == (
        201, ["the driver option org.example.setting of an endpoint is not known and has no effect"])  # fmt: skip
    shown = api.get(f"/containers/{told['Id']}/json")[2]["NetworkSettings"]["Networks"]["bridge"]
    assert shown["DriverOpts"] == {"org.example.setting": "on"}
    assert api.ask("DELETE", f"/containers/{told['Id']}")[0] == 204
    assert (
        made("com.docker.network.endpoint.sysctls")[0] == 501
    )  # what docker's driver does with it is refused
