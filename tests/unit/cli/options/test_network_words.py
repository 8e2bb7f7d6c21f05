"""--network, and what goes with it, as Docker's EndpointsConfig."""

import pytest

from estiva.cli.options import networks
from estiva.cli.options.run import TABLE, mode_of
from estiva.cmdline.parser import Verb, parse_verb
from estiva.errors import Conflict, InvalidInput

VERB = Verb(lambda *_: None, "IMAGE", "", TABLE, least=1, interspersed=False)


def endpoints(line):
    return networks.endpoints(parse_verb(VERB, [*line.split(), "image"], "run"))


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("", {}),
        ("--network host", {}),
        ("--network lab", {}),
        ("--network container:a=b", {}),
        ("--network lab --network web", {"lab": {}, "web": {}}),
        ("--network lab --ip 10.0.0.9", {"lab": {"IPAMConfig": {"IPv4Address": "10.0.0.9"}}}),
        (
            "--network-alias a --network-alias b --net lab --net-alias c",
            {"lab": {"Aliases": ["a", "b", "c"]}},
        ),
        ("--mac-address 02:00:00:00:00:09", {"default": {"MacAddress": "02:00:00:00:00:09"}}),
        ("--network lab --link db:store", {"lab": {"Links": ["db:store"]}}),
        (
            "--link-local-ip 169.254.8.8 --link-local-ip fe80::8",
            {"default": {"IPAMConfig": {"LinkLocalIPs": ["169.254.8.8", "fe80::8"]}}},
        ),
        (
            "--network name=lab,alias=a,alias=b,ip=10.0.0.9,ip6=fd00::9,mac-address=02:00:00:00:00:09"
            ",driver-opt=com.docker.network.endpoint.ifname=e0,gw-priority=-3",
            {
                "lab": {
                    "Aliases": ["a", "b"],
                    "IPAMConfig": {"IPv4Address": "10.0.0.9", "IPv6Address": "fd00::9"},
                    "MacAddress": "02:00:00:00:00:09",
                    "DriverOpts": {"com.docker.network.endpoint.ifname": "e0"},
                    "GwPriority": -3,
                }
            },
        ),
        (
            "--network lab:ip=10.0.0.9,mac=02:00:00:00:00:09,alias=a,interface_name=lan",
            {
                "lab": {
                    "IPAMConfig": {"IPv4Address": "10.0.0.9"},
                    "MacAddress": "02:00:00:00:00:09",
                    "Aliases": ["a"],
                    "DriverOpts": {"com.docker.network.endpoint.ifname": "lan"},
                }
            },
        ),
    ],
)
def test_what_is_meant(line, meant):
    assert endpoints(line) == meant


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        ("--network a --network a", InvalidInput, "network a is specified multiple times"),
        ("--network ip=10.0.0.9", InvalidInput, "network name/id is not specified"),
        ("--network name=a,colour=red", InvalidInput, "invalid field key colour"),
        ("--network name=a,ip", InvalidInput, "invalid field ip"),
        ("--network name=a,gw-priority=high", InvalidInput, "invalid gw-priority (high)"),
        (
            "--network name=a,ip=10.0.0.9 --ip 10.0.0.8",
            Conflict,
            "cannot specify both --ip and that of network a",
        ),
        ("--network name=a,alias=x --network-alias y", Conflict, "cannot specify both --network-alias"),
    ],
)
def test_what_is_refused(line, kind, message):
    with pytest.raises(kind) as caught:
        endpoints(line)
    assert message in str(caught.value)


def test_the_mode_is_the_first_network():
    for word, mode in (
        ("lab", "lab"),
        ("name=lab,ip=10.0.0.9", "lab"),
        ("lab:alias=x", "lab"),
        ("container:a=b", "container:a=b"),
        ("ns:/run/a=b", "ns:/run/a=b"),
    ):
        assert mode_of(word) == mode
