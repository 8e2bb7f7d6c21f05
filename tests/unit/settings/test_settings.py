"""The file of settings: what it may say, and what is told of one that can't be used."""

import json
import os

import pytest

from estiva import settings
from estiva.engine.spec import preset
from estiva.errors import Denied, EstivaError, InvalidInput
from estiva.network import pools
from estiva.settings import words

ALL = {
    "bip": "10.77.0.1/24",
    "bip6": "fd00:77::1/64",
    "default-address-pools": [{"base": "10.64.0.0/12", "size": 24}],
    "default-gateway": "10.77.0.9",
    "default-gateway-v6": "fd00:77::9",
    "default-shm-size": "8m",
    "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 100, "Hard": 200}},
    "dns": ["192.0.2.1"],
    "dns-opts": ["ndots:3"],
    "dns-search": ["example.org"],
    "fixed-cidr": "10.77.0.128/25",
    "fixed-cidr-v6": "fd00:77::8000/113",
    "icc": False,
    "init": True,
    "ip": "127.0.0.1",
    "ipv6": True,
    "log-driver": "local",
    "log-opts": {"max-size": "1m"},
    "mtu": 1400,
}


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "settings.json"
    monkeypatch.setenv("ESTIVA_SETTINGS", str(path))

    def write(text, mode=0o644):
        path.write_text(text if isinstance(text, str) else json.dumps(text))
        path.chmod(mode)
        return path

    return write


def test_every_key_is_read(file):
    file(ALL)
    assert settings.read() == ALL and set(words.KEYS) == set(ALL)


def test_without_a_file_nothing_is_said(monkeypatch, tmp_path):
    monkeypatch.delenv("ESTIVA_SETTINGS", raising=False)
    monkeypatch.setattr(settings, "DEFAULT_PATH", str(tmp_path / "none"))
    assert settings.read() == {}
    monkeypatch.setattr(settings, "DEFAULT_PATH", f"{__file__}/none")
    assert settings.read() == {}


def test_a_file_that_was_named_must_be_there(monkeypatch):
    monkeypatch.setenv("ESTIVA_SETTINGS", "/nonexistent/settings.json")
    with pytest.raises(InvalidInput, match="can't read /nonexistent/settings.json: no such file"):
        settings.read()


REFUSED = [
    ("{", "is not valid json"),
    ("[]", "is not a JSON object"),
    ('{"mtu": 1400, "mtu": 1500}', "the same key twice"),
    ({"bridge": "br0"}, "has the unknown key 'bridge'"),
    (
        {"ip6tables": True},
        "has the unknown key 'ip6tables'",
    ),
    ({"fixed-cidr-v6": "fd00::/64"}, "fixed-cidr-v6 does nothing without ipv6"),
    ({"ipv6": True, "fixed-cidr-v6": "fd00::1/64"}, 'fixed-cidr-v6 has bits after its prefix: "fd00::1/64"'),
    ({"ipv6": True, "fixed-cidr-v6": "fd00::/127"}, "fixed-cidr-v6 fd00::/127 has no room for a gateway"),
    ({"ipv6": True, "fixed-cidr-v6": "10.0.0.0/8"}, "fixed-cidr-v6 is not an IPv6 address with a prefix"),
    ({"ipv6": True, "fixed-cidr-v6": "fd00::/0"}, "fixed-cidr-v6 is not an IPv6 address with a prefix"),
    ({"ipv6": True, "fixed-cidr-v6": "fe80::/64"}, "fixed-cidr-v6 is of addresses that no network can have"),
    ({"ipv6": True, "bip6": "::ffff:10.0.0.1/120"}, "bip6 is of addresses that no network can have"),
    ({"ipv6": True, "bip6": "ff05::1/64"}, "bip6 is of addresses that no network can have"),
    ({"ipv6": True, "bip6": "fd00::/64"}, "bip6 is not the address of a host in a subnet up to /126"),
    (
        {"ipv6": True, "bip6": "fd00::1/64", "fixed-cidr-v6": "fd01::/80"},
        "fixed-cidr-v6 fd01::/80 is not within the subnet of bip6",
    ),
    ({"ipv6": True, "default-gateway-v6": "fd00::2"}, "default-gateway-v6 fd00::2 is in no known subnet"),
    (
        {"ipv6": True, "fixed-cidr-v6": "fd00::/64", "default-gateway-v6": "fd01::2"},
        "default-gateway-v6 fd01::2 is not the address of a host in fixed-cidr-v6",
    ),
    (
        {"ipv6": True, "fixed-cidr-v6": "fd00::/64", "default-gateway-v6": "fd00::"},
        "default-gateway-v6 fd00:: is not the address of a host in fixed-cidr-v6",
    ),
    ({"ipv6": "yes"}, 'ipv6 is neither true nor false: "yes"'),
    ({"default-gateway": "fd00::1"}, 'default-gateway is not an IPv4 address: "fd00::1"'),
    ({"default-gateway": "10.0.0.1/24"}, "default-gateway is not an IPv4 address"),
    (
        {"default-gateway": "10.0.1.1", "bip": "10.0.0.1/24"},
        "default-gateway 10.0.1.1 is not the address of a host in the subnet of bip",
    ),
    (
        {"default-gateway": "10.0.0.255", "bip": "10.0.0.1/24"},
        "default-gateway 10.0.0.255 is not the address of a host",
    ),
    ({"bip": "10.0.0.1"}, 'bip is not an IPv4 address with a prefix, such as 10.77.0.1/24: "10.0.0.1"'),
    ({"bip": "10.0.0.0/24"}, "bip is not the address of a host in a subnet from /8 to /30"),
    ({"bip": "10.0.0.255/24"}, "bip is not the address of a host"),
    ({"bip": "10.0.0.1/31"}, "bip is not the address of a host"),
    ({"bip": "64.0.0.1/2"}, "bip is not the address of a host"),
    ({"bip": "127.1.0.1/24"}, "bip is of addresses that no network can have"),
    ({"bip": "fd00::1/64"}, "bip is not an IPv4 address"),
    ({"bip": 5}, "bip is not an IPv4 address"),
    ({"fixed-cidr": "10.0.0.1/24"}, 'fixed-cidr has bits after its prefix: "10.0.0.1/24"'),
    ({"fixed-cidr": "10.0.0.8/31"}, "fixed-cidr 10.0.0.8/31 has no room for a gateway and a container"),
    (
        {"bip": "10.0.0.1/24", "fixed-cidr": "10.0.1.0/25"},
        "fixed-cidr 10.0.1.0/25 is not within the subnet of",
    ),
    ({"bip": "10.0.0.1/24", "fixed-cidr": "10.0.0.0/16"}, "is not within the subnet of bip 10.0.0.1/24"),
    ({"\x1b[31m": 1}, r"has the unknown key '\x1b[31m'"),
    ({"mtu": "1400"}, 'mtu is not a number of bytes from 68 to 65535: "1400"'),
    ({"mtu": True}, "mtu is not a number"),
    ({"mtu": 10**9}, "mtu is not a number"),
    ({"icc": "false"}, 'icc is neither true nor false: "false"'),
    ({"init": 1}, "init is neither true nor false: 1"),
    ({"ip": "localhost"}, 'ip is not an IP address: "localhost"'),
    ({"ip": ""}, "ip is not an IP address"),
    ({"dns": "192.0.2.1"}, "dns is not a list of texts"),
    ({"dns": [1]}, "dns is not a list of texts"),
    ({"log-driver": 5}, "log-driver is not text: 5"),
    ({"log-opts": {"max-file": 3}}, "log-opts is not an object of texts"),
    ({"log-opts": []}, "log-opts is not an object of texts"),
    ({"default-shm-size": 0}, "default-shm-size is not a size"),
    ({"default-shm-size": -1}, "default-shm-size is not a size"),
    ({"default-ulimits": {"nofile": 5}}, "default-ulimits has an entry that is not such as"),
    ({"default-ulimits": {"nofile": {"Soft": 1, "Hard": "x"}}}, 'has no number as Hard of "nofile": "x"'),
    (
        {"default-ulimits": {"nofile": {"Name": "core", "Soft": 1, "Hard": 1}}},
        'has "core" as the Name of "nofile"',
    ),
    ({"default-address-pools": []}, "default-address-pools is an empty list"),
    ({"default-address-pools": {}}, "default-address-pools is not a list"),
    ({"default-address-pools": [{"base": "10.0.0.0/8"}]}, "not made of base and size"),
    ({"default-address-pools": [{"base": "10.0.0.0", "size": 24}]}, 'not such as 10.64.0.0/12: "10.0.0.0"'),
    ({"default-address-pools": [{"base": "10.0.0.1/8", "size": 24}]}, 'bits after its prefix: "10.0.0.1/8"'),
    ({"default-address-pools": [{"base": "fd00::/8", "size": 24}]}, 'not such as 10.64.0.0/12: "fd00::/8"'),
    ({"default-address-pools": [{"base": "10.0.0.0/8", "size": 4}]}, "has the size 4 for 10.0.0.0/8"),
    ({"default-address-pools": [{"base": "10.0.0.0/8", "size": 31}]}, "has the size 31"),
    (
        {"default-address-pools": [{"base": "10.0.0.0/8", "size": "24"}]},
        'has the size "24" for 10.0.0.0/8, which is not a whole number, such as 24',
    ),
    ({"default-address-pools": [{"base": "10.0.0.0/8", "size": 24.0}]}, "has the size 24.0"),
    ("", "is empty"),
    (" \n", "is empty"),
    ("\ufeff{}", "byte order mark"),
    ('{"mtu": NaN}', "there is no NaN in JSON"),
    ('{"mtu": 1e999}', "mtu is not a number of bytes from 68 to 65535: inf"),
    ('{\n "mtu": nope}', "expecting value: line 2 column 9 (char 10)"),
    ('{"mtu": ', "ends too early"),
]


@pytest.mark.parametrize("text, said", REFUSED)
def test_what_it_may_not_say_is_refused_by_name(file, text, said):
    path = file(text)
    with pytest.raises(InvalidInput) as told:
        settings.read()
    assert told.value.message.startswith(str(path)) and said in told.value.message
    assert "\n" not in told.value.message and len(told.value.message) < 600


def test_a_file_that_others_may_write_to_is_refused(file):
    file(ALL, 0o664)
    with pytest.raises(Denied, match="may be written to by others"):
        settings.read()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_a_file_of_another_user_is_refused(file):
    os.chown(file(ALL), 65534, 65534)
    with pytest.raises(Denied, match="belongs to user 65534"):
        settings.read()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder away")
def test_a_file_in_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/settings.json").write_text("{}")
    os.chown(tmp_path / "theirs", 65534, 65534)
    monkeypatch.setenv("ESTIVA_SETTINGS", str(tmp_path / "theirs/settings.json"))
    with pytest.raises(Denied):
        settings.read()


def test_what_is_no_file_is_refused_at_once(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, "/dev/zero"):
        monkeypatch.setenv("ESTIVA_SETTINGS", str(path))
        with pytest.raises(InvalidInput, match="is not a regular file"):
            settings.read()


def test_a_file_without_an_end_is_refused(file):
    file("{" + " " * words.LIMIT)
    with pytest.raises(InvalidInput, match="is larger than"):
        settings.read()


# ---- what a container gets of it


def test_a_container_gets_what_it_did_not_ask_for(file):
    file(ALL)
    host = {}
    preset.fill(host, ALL)
    assert host == {
        "Dns": ["192.0.2.1"],
        "DnsOptions": ["ndots:3"],
        "DnsSearch": ["example.org"],
        "Init": True,
        "LogConfig": {"Type": "local", "Config": {"max-size": "1m"}},
        "ShmSize": 8 << 20,
        "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}],
    }


def test_what_a_container_asks_for_comes_first(file):
    file(ALL)
    asked = {
        "Dns": ["192.0.2.9"],
        "Init": False,
        "LogConfig": {"Type": "json-file", "Config": {"max-file": "2"}},
        "ShmSize": 1 << 20,
        "Ulimits": [{"Name": "nofile", "Soft": 7, "Hard": 8}],
    }
    host = json.loads(json.dumps(asked))
    preset.fill(host, ALL)
    assert {key: host[key] for key in asked} == asked


def test_log_options_complete_those_of_their_driver_alone(file):
    host = {"LogConfig": {"Type": "local", "Config": {"max-file": "2"}}}
    preset.fill(host, ALL)
    assert host["LogConfig"]["Config"] == {"max-size": "1m", "max-file": "2"}
    host = {"LogConfig": {"Type": "none"}}
    preset.fill(host, ALL)
    assert host["LogConfig"] == {"Type": "none"}


@pytest.mark.parametrize(
    "known, said",
    [
        ({"dns": ["x"]}, "invalid name server"),
        ({"dns-search": ["a b"]}, "a b is not a valid domain"),
        ({"log-driver": "nope"}, "no log driver named 'nope'"),
        ({"log-opts": {"nope": "1"}}, "unknown log opt 'nope' for json-file"),
        ({"default-ulimits": {"nope": {"Soft": 1, "Hard": 2}}}, "invalid ulimit type: nope"),
        ({"default-shm-size": "lots"}, "default-shm-size: invalid size: 'lots'"),
        ({"default-shm-size": "0"}, "default-shm-size is 0"),
    ],
)
def test_what_no_container_can_have_names_the_file(file, known, said):
    path = file(known)
    with pytest.raises(EstivaError) as told:
        preset.fill({}, settings.read())
    assert told.value.message.startswith(f"{path}: ") and said in told.value.message


def test_networks_get_the_first_subnet_that_is_free_in_the_pools():
    known = pools.of({"default-address-pools": [{"base": "10.0.0.0/8", "size": 30}]})
    whole = (32, pools.number("10.0.0.0")[1], pools.number("10.255.255.247")[1])  # at once, not one by one
    assert pools.choose([("all but the last two", whole)], known) == "10.255.255.248/30"
    odd = (32, pools.number("10.0.0.0")[1], pools.number("10.0.0.5")[1])
    assert pools.choose([("half of the second", odd)], known) == "10.0.0.8/30"
    assert pools.of({}) is pools.DEFAULT_POOLS
