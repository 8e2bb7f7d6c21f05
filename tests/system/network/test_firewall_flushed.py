"""Firewall rules that others remove come back, for all containers that run."""

from __future__ import annotations

import concurrent.futures
import re
import subprocess

import pytest

import enginekit
from netlab import Lab, own_netns


@pytest.fixture
def host():
    with enginekit.host() as made:
        yield made


def nft(host, *words):
    done = subprocess.run([*host.prefix, "nft", *words], capture_output=True, text=True, check=True)
    return done.stdout


def serve(host, name, port):
    """A container that answers on a published port with its name."""
    command = f"while :; do echo {name} | nc -l -p 80; done"
    host.estiva("run", "-d", "--name", name, "-p", f"{port}:80", enginekit.IMAGE, "sh", "-c", command)


def answer(host, port):
    """What the published port says; "" when nothing is there."""
    done = subprocess.run(
        [*host.prefix, "busybox", "nc", "-w", "2", "127.0.0.1", str(port)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout.strip()


def answers(host, port, name):
    return enginekit.eventually(lambda: answer(host, port) == name)


@pytest.mark.parametrize(
    ("verb", "damage"),
    [
        *((verb, "flush ruleset") for verb in ("run", "start", "stop", "check")),
        *((verb, "flush table ip estiva") for verb in ("run", "check")),
        *((verb, "flush chain ip estiva publish") for verb in ("start", "check")),
    ],
)
def test_the_next_command_puts_rules_back(host, damage, verb):
    serve(host, "one", 8001)
    serve(host, "two", 8002)
    host.estiva("create", "--name", "late", enginekit.IMAGE, "true")
    host.estiva("run", "-d", "--name", "over", enginekit.IMAGE, "sleep", "1000")
    answers(host, 8001, "one")
    nft(host, "add", "table", "ip", "others")
    nft(host, *damage.split())
    if damage == "flush ruleset":
        nft(host, "add", "table", "ip", "others")
    assert not answer(host, 8001)

    words = {
        "run": ["run", "--rm", enginekit.IMAGE, "true"],
        "start": ["start", "-a", "late"],
        "stop": ["stop", "-t", "0", "over"],
        "check": ["system", "check", "--repair"],
    }
    said = host.out(*words[verb])

    answers(host, 8001, "one")
    answers(host, 8002, "two")
    assert "all is well" in host.out("system", "check")
    assert "table ip others" in nft(host, "list", "tables")
    if verb == "check":
        assert "repaired: missing in the firewall: rules of table ip estiva" in said


def test_check_tells_what_is_missing(host):
    serve(host, "one", 8001)
    assert "all is well" in host.out("system", "check")
    nft(host, "flush", "map", "ip", "estiva", "published_any")
    told = host.out("system", "check", status=1)
    assert re.search(r"problem: missing in the firewall: the port 0.0.0.0:8001/tcp .* table ip estiva", told)
    nft(host, "delete", "table", "ip", "estiva")
    told = host.out("system", "check", status=1)
    assert "problem: missing in the firewall: rules of table ip estiva" in told
    assert not answer(host, 8001)
    assert "all is well" in host.out("system", "check", "--repair")
    answers(host, 8001, "one")
    host.estiva("rm", "-f", "one")
    nft(host, "flush", "ruleset")
    assert "all is well" in host.out("system", "check")  # nobody needs them


def test_many_commands_at_once_make_them_once(host):
    for number in range(4):
        serve(host, f"c{number}", 8000 + number)
    for _ in range(3):
        nft(host, "flush", "ruleset")
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            calls = [
                pool.submit(host.estiva, "run", "--rm", "-p", f"{9000 + n}:80", enginekit.IMAGE, "true")
                for n in range(6)
            ]
            for call in calls:
                call.result()
        listing = nft(host, "list", "table", "ip", "estiva")
        assert listing.count("jump publish") == 2
        assert "all is well" in host.out("system", "check")
        for number in range(4):
            answers(host, 8000 + number, f"c{number}")
        # of those that have ended, nothing came back
        published = sorted(re.findall(r"(?:tcp|6) \. (\d+) :", listing))
        assert published == [str(8000 + number) for number in range(4)], listing


@own_netns
def test_the_table_has_as_many_rules_as_are_looked_for() -> None:
    from estiva.linux.net import netfilter
    from estiva.network import bridge, firewall

    with Lab() as lab:
        bridge.ensure(lab.db, lab.paths)
        with netfilter.Socket(netfilter.NETLINK_NETFILTER) as socket:
            assert netfilter.rules(socket, "estiva") == firewall.RULES
            assert netfilter.rules(socket, "none") == 0


def ip(host, *words):
    subprocess.run([*host.prefix, "ip", *words], check=True)


def veth_of(host, name):
    return "ve" + host.out("inspect", "--format", "{{.Id}}", name)[:11]


def test_a_bridge_that_was_deleted_is_made_anew(host):
    serve(host, "one", 8001)
    serve(host, "two", 8002)
    host.estiva("run", "-d", "--name", "apart", "--network", "none", enginekit.IMAGE, "sleep", "1000")
    answers(host, 8001, "one")
    ip(host, "link", "delete", "estiva0")
    told = host.estiva("system", "check", status=1).stdout
    for name in ("one", "two"):
        veth = veth_of(host, name)
        assert (
            f"problem: container {veth[2:]}" in told
            and f"has lost its network: its interface {veth} is in no bridge: `estiva system check --repair`"
            in told
        )
    assert told.endswith("2 problems\n")
    told = host.out("system", "check", "--repair")
    assert told.count("was in no bridge: plugged in again") == 2 and told.endswith("all is well")
    answers(host, 8001, "one")
    answers(host, 8002, "two")
    address = host.out("inspect", "--format", "{{.NetworkSettings.IPAddress}}", "one")
    assert host.out("exec", "two", "nc", "-w", "2", address, "80") == "one"


def test_a_veth_that_was_deleted_is_told(host):
    serve(host, "one", 8001)
    serve(host, "two", 8002)
    veth = veth_of(host, "one")
    ip(host, "link", "delete", veth)
    for words in (("system", "check"), ("system", "check", "--repair")):
        told = host.estiva(*words, status=1).stdout
        assert f"has lost its network: its interface has been deleted: `estiva restart {veth[2:]}" in told
        assert told.endswith("1 problem\n")
    host.estiva("restart", "-t", "0", "one")
    answers(host, 8001, "one")
    assert host.out("system", "check") == "all is well"


def test_the_check_from_another_network_namespace_does_not_cry_wolf(host):
    host.estiva("run", "-d", "--name", "one", enginekit.IMAGE, "sleep", "1000")
    done = subprocess.run(
        ["unshare", "-n", enginekit.ESTIVA, "system", "check"], env=host.env, capture_output=True, text=True
    )
    assert "lost its network" not in done.stdout
