"""A network namespace that outlives the container that it was made for (`--network container:NAME`)."""

import json
import subprocess

import pytest

import enginekit
from enginekit import IMAGE

ALL = ["eth0", "eth1", "eth2", "lo"]


@pytest.fixture
def host():
    with enginekit.host() as made:
        yield made


def sleeper(host, name, *words):
    return host.out("run", "-d", "--name", name, *words, IMAGE, "sleep", "1000")


def interfaces(host, name):
    lines = host.out("exec", name, "ip", "-o", "link").splitlines()
    return sorted(line.split()[1].rstrip(":").partition("@")[0] for line in lines)


def veths(host):
    done = subprocess.run([*host.prefix, "ip", "-j", "link"], capture_output=True, text=True, check=True)
    return [link["ifname"] for link in json.loads(done.stdout) if link["ifname"].startswith("ve")]


def test_who_shares_has_lo_alone_once_the_other_has_ended_and_the_next_has_the_address(host):
    host.estiva("network", "create", "--subnet", "10.71.0.0/24", "lab")
    host.estiva("network", "create", "-d", "macvlan", "--subnet", "10.72.0.0/24", "mac")
    sleeper(host, "own", "--network", "name=lab,ip=10.71.0.7", "--network", "mac")
    host.estiva("network", "connect", "bridge", "own")
    sleeper(host, "sharer", "--network", "container:own")
    sleeper(host, "other", "--network", "lab")
    assert interfaces(host, "sharer") == ALL
    host.estiva("stop", "-t", "0", "own")
    assert interfaces(host, "sharer") == ["lo"]
    assert interfaces(host, "other") == ["eth0", "lo"] and len(veths(host)) == 1
    sleeper(host, "next", "--network", "lab", "--ip", "10.71.0.7")
    assert host.estiva("exec", "other", "ping", "-c1", "-W2", "10.71.0.7").returncode == 0
    # started again, it has a namespace of its own; who shared keeps the old one
    host.estiva("rm", "-f", "next")
    host.estiva("start", "own")
    assert interfaces(host, "own") == ALL
    assert interfaces(host, "sharer") == ["lo"]


def test_also_on_the_default_bridge_after_a_killed_monitor_and_through_one_that_has_ended(host):
    own = sleeper(host, "own")
    sleeper(host, "middle", "--network", "container:own")
    sleeper(host, "last", "--network", "container:middle")
    assert host.out("exec", "last", "cat", "/etc/hosts") == host.out("exec", "own", "cat", "/etc/hosts")
    host.estiva("rm", "-f", "middle")
    assert interfaces(host, "last") == ["eth0", "lo"]
    with open(f"{host.folder}/run/containers/{own}/state.json") as file:
        live = json.load(file)
    subprocess.run(["kill", "-9", str(live["monitor"]), str(live["pid"])], check=True)
    enginekit.eventually(lambda: "Exited" in host.out("ps", "-a", "--filter", "name=own"))
    assert interfaces(host, "last") == ["lo"]


def test_with_rm_the_address_is_free_once_the_interface_has_gone(host):
    sleeper(host, "own", "--rm")
    sleeper(host, "sharer", "--network", "container:own")
    host.estiva("stop", "-t", "0", "own")
    assert interfaces(host, "sharer") == ["lo"] and veths(host) == []
