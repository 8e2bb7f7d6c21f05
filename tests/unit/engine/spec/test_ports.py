import pytest

from estiva.engine.spec import ports
from estiva.errors import InvalidInput

ENDLESS = "9" * 5000


def port(container, protocol="tcp", address="", host=""):
    return {"HostIp": address, "HostPort": host, "ContainerPort": container, "Protocol": protocol}


@pytest.mark.parametrize(
    ("bindings", "expected"),
    [
        ({"80/tcp": [{"HostPort": "8080"}]}, [port("80", host="8080")]),
        ({"80": None}, [port("80")]),
        ({"80": []}, [port("80")]),
        ({"53/udp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}, [port("53", "udp", "127.0.0.1")]),
        ({"80/tcp": [{"HostIp": "::1", "HostPort": "1-65535"}]}, [port("80", address="::1", host="1-65535")]),
        ({"80/tcp": [{"HostPort": "0"}, {"HostPort": "5"}]}, [port("80", host="0"), port("80", host="5")]),
        ({"80/tcp": [{"HostIp": None, "HostPort": None}]}, [port("80")]),
    ],
)
def test_bindings(bindings, expected):
    assert ports.wanted({}, {"PortBindings": bindings}) == expected


def test_exposed_ports_are_published_where_they_are_not_bound():
    config = {"ExposedPorts": {"80/tcp": {}, "53/udp": {}}}
    host = {"PublishAllPorts": True, "PortBindings": {"80/tcp": [{"HostPort": "8080"}]}}
    assert ports.wanted(config, host) == [port("80", host="8080"), port("53", "udp")]
    assert ports.wanted(config, {}) == []
    assert ports.wanted({}, {"PublishAllPorts": True}) == []


@pytest.mark.parametrize(
    "key", ["", "0", "65536", "x", "-1", "80-90", " 80", "٨٠", "²", ENDLESS, "/tcp", "80.0", "0x50"]
)
def test_what_is_no_port(key):
    with pytest.raises(InvalidInput, match="invalid container port: "):
        ports.split(key)


@pytest.mark.parametrize("key", ["80/dccp", "80/TCP", "80/tcp/udp", "80/x"])
def test_what_is_no_protocol(key):
    with pytest.raises(InvalidInput, match="invalid proto: "):
        ports.split(key)


@pytest.mark.parametrize(
    "host", ["x", "65536", "-1", "5-4", "0-5", "1-", "-", "1-2-3", "٨", ENDLESS, f"1-{ENDLESS}", " 5"]
)
def test_what_is_no_port_of_the_host(host):
    with pytest.raises(InvalidInput, match="invalid hostPort: "):
        ports.wanted({}, {"PortBindings": {"80/tcp": [{"HostPort": host}]}})


@pytest.mark.parametrize(
    "address", ["x", "1.2.3", "1.2.3.4.5", "256.1.1.1", "[::1]", "::g", "1.2.3.4 ", "\udcff"]
)
def test_what_is_no_address(address):
    with pytest.raises(InvalidInput, match="invalid IP address: "):
        ports.wanted({}, {"PortBindings": {"80/tcp": [{"HostIp": address}]}})
