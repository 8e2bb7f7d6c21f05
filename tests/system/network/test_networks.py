"""Networks of one's own on the real kernel, as a user has them: in a network namespace of the test's own."""

import concurrent.futures
import json
import sqlite3
import subprocess
import sys

import pytest

import enginekit
from enginekit import IMAGE, nothing_of


@pytest.fixture
def host():
    with enginekit.host() as made:
        yield made


def ip(host, name, network):
    return host.out("inspect", name, "-f", f"{{{{.NetworkSettings.Networks.{network}.IPAddress}}}}")


def sleeper(host, name, *words):
    return host.out("run", "-d", "--name", name, *words, IMAGE, "sleep", "1000")


def reaches(host, name, address):
    done = host.estiva("exec", name, "ping", "-c", "1", "-W", "1", address, status=None)
    return done.returncode == 0


def serve(host, name, *words):
    host.estiva("run", "-d", "--name", name, *words, IMAGE, "nc", "-ll", "-p", "80", "-e", "echo", name)


def answer(host, address, port, name=""):
    """What a port says, to the host or to the container `name`; "" when nothing is there."""
    words = ["nc", "-w", "2", address, str(port)]
    if name:
        return host.estiva("exec", name, *words, status=None).stdout.strip()
    done = subprocess.run(
        [*host.prefix, "busybox", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    return done.stdout.strip()


def answers(host, address, port, said, name=""):
    return enginekit.eventually(lambda: answer(host, address, port, name) == said, 20)


def nft(host, *words):
    done = subprocess.run([*host.prefix, "nft", *words], capture_output=True, text=True, check=True)
    return done.stdout


def links(host):
    done = subprocess.run([*host.prefix, "ip", "-j", "link"], capture_output=True, text=True, check=True)
    return [link["ifname"] for link in json.loads(done.stdout)]


def test_containers_of_a_network_reach_each_other_and_no_other_network(host):
    for name in ("one", "two"):
        host.estiva("network", "create", name)
    sleeper(host, "aa", "--network", "one")
    sleeper(host, "bb", "--network", "one")
    sleeper(host, "cc", "--network", "two")
    sleeper(host, "dd")
    assert reaches(host, "aa", ip(host, "bb", "one"))
    looks = []
    for other, network in (("cc", "two"), ("dd", "bridge")):
        address = ip(host, other, network)
        # nor by a route of the container's own, past the gateway
        route = f"ip route add {address} via $(ip route | sed -n 's/default via \\([0-9.]*\\).*/\\1/p')"
        words = ("run", "--rm", "--cap-add", "NET_ADMIN", "--network", "one", IMAGE, "sh", "-c",
                 f"{route} && ! ping -c1 -W1 {address}")  # fmt: skip
        looks += [
            lambda address=address: reaches(host, "aa", address),
            lambda other=other: reaches(host, other, ip(host, "aa", "one")),
            lambda words=words: host.estiva(*words, status=None).returncode,
        ]
    assert nothing_of(looks)


def test_a_container_on_several_networks_and_its_way_out(host):
    host.estiva("network", "create", "--subnet", "10.71.0.0/24", "zoo")
    host.estiva("network", "create", "--subnet", "10.72.0.0/24", "--gateway", "10.72.0.9", "ark")
    host.estiva("network", "create", "--subnet", "10.73.0.0/24", "--internal", "aaa")
    sleeper(host, "many", "--network", "name=zoo,ip=10.71.0.7,mac-address=02:00:00:00:00:71,alias=x",
            "--network", "ark", "--network", "aaa")  # fmt: skip
    shown = host.out("exec", "many", "ip", "-o", "addr")
    assert "eth0    inet 10.71.0.7/24" in shown and "eth1    inet 10.72.0." in shown
    assert "eth2    inet 10.73.0." in shown
    assert "default via 10.72.0.9 dev eth1" in host.out("exec", "many", "ip", "route")
    assert "02:00:00:00:00:71" in host.out("exec", "many", "ip", "link", "show", "eth0")
    lines = host.out("exec", "many", "cat", "/etc/hosts").splitlines()
    assert {line.split()[0] for line in lines[6:]} == {
        "10.71.0.7",
        ip(host, "many", "ark"),
        ip(host, "many", "aaa"),
    }
    record = json.loads(host.out("inspect", "many"))[0]
    zoo = record["NetworkSettings"]["Networks"]["zoo"]
    assert record["HostConfig"]["NetworkMode"] == "zoo"
    assert zoo["Aliases"] == ["x"] and zoo["IPAMConfig"] == {"IPv4Address": "10.71.0.7"}
    assert zoo["MacAddress"] == "02:00:00:00:00:71" and zoo["Gateway"] == "10.71.0.1"
    assert record["NetworkSettings"]["Networks"]["aaa"]["Gateway"] == ""
    host.estiva("stop", "-t", "0", "many")
    host.estiva("start", "many")
    assert ip(host, "many", "zoo") == "10.71.0.7"
    sleeper(host, "high", "--network", "name=zoo,gw-priority=1", "--network", "ark")
    assert "default via 10.71.0.1 dev eth0" in host.out("exec", "high", "ip", "route")


def test_internal_networks_have_no_way_out_and_icc_false_none_across(host):
    host.estiva("network", "create", "--internal", "closed")
    host.estiva("network", "create", "-o", "com.docker.network.bridge.enable_icc=false", "quiet")
    host.estiva("network", "create", "open")
    sleeper(host, "inner", "--network", "closed")
    sleeper(host, "both", "--network", "closed", "--network", "open")
    assert reaches(host, "inner", ip(host, "both", "closed"))
    assert "default" not in host.out("exec", "inner", "ip", "route")
    # also with a route that it has made itself, to whatever is beyond the host
    gateway = host.out("network", "inspect", "closed", "-f", "{{(index .IPAM.Config 0).Gateway}}")
    host.estiva("run", "--rm", "--cap-add", "NET_ADMIN", "--network", "closed", IMAGE, "sh", "-c",
                f"ip route add default via {gateway} && ! ping -c1 -W1 {ip(host, 'both', 'open')}")  # fmt: skip
    sleeper(host, "q1", "--network", "quiet")
    sleeper(host, "q2", "--network", "quiet")
    assert not reaches(host, "q1", ip(host, "q2", "quiet"))
    assert reaches(
        host, "q1", host.out("network", "inspect", "quiet", "-f", "{{(index .IPAM.Config 0).Gateway}}")
    )


def bridge_nf(host, value=None):
    """What br_netfilter does in the host's network namespace; None where it is not there."""
    words = "cd /proc/sys/net/bridge 2>/dev/null || exit 0; "
    if value is not None:
        words += f"for each in bridge-nf-call-ip*tables; do echo {value} > $each; done; "
    done = subprocess.run(
        [*host.prefix, "sh", "-c", words + "cat bridge-nf-call-iptables"], capture_output=True, text=True
    )
    return done.stdout.strip() or None


@pytest.mark.parametrize("on", [0, 1])
def test_icc_false_leaves_published_ports(host, on):
    if bridge_nf(host, on) is None and on:
        pytest.skip("needs br_netfilter")
    host.estiva("network", "create", "--ipv6", "-o", "com.docker.network.bridge.enable_icc=false", "quiet")
    v4, v6 = (
        host.out("network", "inspect", "quiet", "-f", f"{{{{(index .IPAM.Config {n}).Gateway}}}}")
        for n in (0, 1)
    )
    serve(host, "q1", "--network", "quiet", "-p", "8080:80", "-p", "[::]:8080:80")
    sleeper(host, "q2", "--network", "quiet")
    direct = ip(host, "q1", "quiet")
    six = host.out("inspect", "q1", "-f", "{{.NetworkSettings.Networks.quiet.GlobalIPv6Address}}")

    def as_it_should_be():
        for name in ("q2", "q1"):  # also by the host's address back to itself
            answers(host, v4, 8080, "q1", name)
        answers(host, v6, 8080, "q1", "q2")
        answers(host, "127.0.0.1", 8080, "q1")
        # by itself it can't be reached, whatever a neighbour believes
        assert nothing_of(
            [
                *(lambda to=to: reaches(host, "q2", to) for to in (direct, six)),
                *(lambda to=to: answer(host, to, 80, "q2") for to in (direct, six)),
            ]
        )

    as_it_should_be()
    if bridge_nf(host) is not None:
        bridge_nf(host, 1 - on)
        assert nothing_of([lambda: reaches(host, "q2", direct), lambda: answer(host, direct, 80, "q2")])
        bridge_nf(host, on)
    nft(host, "flush", "ruleset")
    assert "missing in the firewall" in host.estiva("system", "check", status=1).stdout
    host.estiva("network", "reload")
    as_it_should_be()
    if on:
        table = next(
            line for line in nft(host, "list", "tables").splitlines() if line.startswith("table bridge")
        )
        nft(host, "delete", *table.split())
        assert "missing in the firewall" in host.estiva("system", "check", status=1).stdout
        sleeper(host, "q3", "--network", "quiet")  # who starts puts it back
        as_it_should_be()
    host.estiva("rm", "-f", "q1", "q2", *(["q3"] if on else []))
    host.estiva("network", "rm", "quiet")
    assert nft(host, "list", "tables") == ""


def test_connect_and_disconnect_while_it_runs(host):
    host.estiva("network", "create", "--subnet", "10.71.0.0/24", "lab")
    host.estiva("network", "create", "--internal", "closed")
    serve(host, "web", "-p", "8080:80", "--network", "closed", "--network", "lab")
    sleeper(host, "plain")
    address = ip(host, "web", "lab")
    host.estiva("network", "connect", "--ip", "10.71.0.77", "--alias", "x", "lab", "plain")
    assert ip(host, "plain", "lab") == "10.71.0.77"
    assert "10.71.0.77\t" in host.out("exec", "plain", "cat", "/etc/hosts")
    answers(host, address, 80, "web", "plain")
    again = host.estiva("network", "connect", "lab", "plain", status=1).stderr
    assert "container plain is on network lab already" in again
    taken = host.estiva(
        "run", "--rm", "--network", "lab", "--ip", "10.71.0.77", IMAGE, "true", status=125
    ).stderr
    assert "address 10.71.0.77 of network lab is in use by container plain" in taken
    host.estiva("network", "disconnect", "bridge", "plain")
    assert "default via 10.71.0.1 dev eth1" in host.out("exec", "plain", "ip", "route")
    host.estiva("network", "disconnect", "lab", "plain")
    assert host.out("exec", "plain", "ip", "route") == ""
    assert "10.71.0.77" not in host.out("exec", "plain", "cat", "/etc/hosts")
    assert host.db("SELECT count(*) FROM leases WHERE address = '10.71.0.77'") == [(0,)]
    gone = host.estiva("network", "disconnect", "lab", "plain", status=1).stderr
    assert "container plain is not connected to network lab" in gone
    host.estiva("restart", "-t", "0", "plain")
    assert host.out("exec", "plain", "ip", "route") == ""  # that it was taken off the bridge is remembered
    host.estiva("network", "connect", "bridge", "plain")
    assert "default via" in host.out("exec", "plain", "ip", "route")


def test_ports_are_shown_while_a_network_publishes_them(host):
    """As Docker's: without one there are none, not even those that are exposed."""

    def shown():
        return (
            host.out("port", "web"),
            host.out("inspect", "web", "-f", "{{json .NetworkSettings.Ports}}"),
            host.out("ps", "--format", "{{.Ports}}"),
        )

    host.estiva("network", "create", "lab")
    host.estiva("network", "create", "--internal", "closed")
    sleeper(host, "web", "-p", "8080:80", "--expose", "53/udp")
    published = (
        "80/tcp -> 0.0.0.0:8080",
        '{"53/udp":null,"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}]}',
        "53/udp, 0.0.0.0:8080->80/tcp",
    )
    assert shown() == published
    host.estiva("network", "connect", "lab", "web")
    host.estiva("network", "disconnect", "bridge", "web")
    assert shown() == published
    host.estiva("network", "connect", "closed", "web")
    host.estiva("network", "disconnect", "lab", "web")
    assert shown() == ("", '{"53/udp":null,"80/tcp":null}', "53/udp, 80/tcp")
    host.estiva("network", "disconnect", "closed", "web")
    assert shown() == ("", "{}", "")
    assert "no public port '80/tcp'" in host.estiva("port", "web", "80", status=1).stderr
    host.estiva("network", "connect", "lab", "web")
    assert shown() == published


def test_the_default_bridge_has_an_id_where_a_container_has_been_on_it(host):
    host.estiva("create", "--name", "aa", IMAGE, "true")
    template = "{{.NetworkSettings.Networks.bridge.NetworkID}}"
    assert host.out("inspect", "aa", "-f", template) == ""
    host.estiva("start", "-a", "aa")
    network = host.out("network", "inspect", "bridge", "-f", "{{.Id}}")
    assert len(network) == 64 and host.out("inspect", "aa", "-f", template) == network
    sleeper(host, "bb")
    host.estiva("network", "create", "lab")
    sleeper(host, "cc", "--network", "bridge", "--network", "lab")
    assert [host.out("inspect", name, "-f", template) for name in ("bb", "cc")] == [network] * 2


def test_a_container_of_none_is_connected_once_it_has_been_taken_off_that(host):
    host.estiva("network", "create", "--subnet", "10.71.0.0/24", "lab")
    container = sleeper(host, "alone", "--network", "none")
    sleeper(host, "other", "--network", "lab")
    refused = host.estiva("network", "connect", "lab", "alone", status=1).stderr
    assert "its network mode is none\nhint: `estiva network disconnect none alone`" in refused
    host.estiva("network", "disconnect", "none", "alone")
    shown = ("inspect", "alone", "-f", "{{json .NetworkSettings.Networks}} {{.HostConfig.NetworkMode}}")
    assert host.out(*shown) == "{} none"
    for name, said in (("none", "alone is not connected to network none"), ("host", "from network host")):
        assert said in host.estiva("network", "disconnect", name, "alone", status=1).stderr
    assert (
        "other is not connected to network none"
        in host.estiva("network", "disconnect", "none", "other", status=1).stderr
    )
    host.estiva("network", "connect", "--ip", "10.71.0.9", "lab", "alone")
    assert reaches(host, "other", "alone") and reaches(host, "alone", "other")
    host.estiva("stop", "-t", "0", "alone")
    assert host.db(f"SELECT address FROM leases WHERE container = '{container}'") == []
    host.estiva("start", "alone")
    assert reaches(host, "other", "alone") and ip(host, "alone", "lab") == "10.71.0.9"
    host.estiva("stop", "-t", "0", "alone")
    host.estiva("network", "disconnect", "lab", "alone")
    host.estiva("start", "alone")
    assert host.out("exec", "alone", "ip", "-o", "-4", "addr").count("inet") == 1
    host.estiva("rm", "-f", "alone")
    assert host.db("SELECT (SELECT count(*) FROM leases), (SELECT count(*) FROM endpoints)") == [(1, 1)]


def test_published_ports_follow_the_default_route(host):
    host.estiva("network", "create", "bbb")
    host.estiva("network", "create", "aaa")
    serve(host, "web", "-p", "127.0.0.1:8080:80", "-p", "9000-9001:80", "--network", "bbb")
    sleeper(host, "other")
    answers(host, "127.0.0.1", 8080, "web")
    gateway = host.out("network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Gateway}}")
    answers(host, gateway, host.out("port", "web", "80").splitlines()[-1].rpartition(":")[2], "web", "other")
    host.estiva("network", "connect", "aaa", "web")
    answers(host, "127.0.0.1", 8080, "web")
    address = ip(host, "web", "aaa")
    assert address in nft(host, "list", "ruleset")
    host.estiva("network", "disconnect", "aaa", "web")
    answers(host, "127.0.0.1", 8080, "web")
    busy = host.estiva("run", "--rm", "-p", "8080:80", "--network", "aaa", IMAGE, "true", status=125).stderr
    assert "port 8080/tcp is already in use" in busy
    host.estiva("rm", "-f", "web")
    assert "dnat" in nft(host, "list", "ruleset") and address not in nft(host, "list", "ruleset")


@pytest.mark.parametrize("verb", ["run", "run elsewhere", "stop", "stop elsewhere", "reload", "check"])
def test_rules_come_back_after_a_flush(host, verb):
    """By the next command, wherever the container is that it is about."""
    host.estiva("network", "create", "lab")
    serve(host, "web", "-p", "8080:80", "--network", "lab")
    serve(host, "plain", "-p", "8081:80")
    sleeper(host, "over", "--network", "lab")
    sleeper(host, "over2")
    answers(host, "127.0.0.1", 8080, "web")
    answers(host, "127.0.0.1", 8081, "plain")
    nft(host, "flush", "ruleset")
    nft(host, "add", "table", "inet", "others")
    assert not answer(host, "127.0.0.1", 8080)
    words = {
        "run": ["run", "--rm", "--network", "lab", IMAGE, "true"],
        "run elsewhere": ["run", "--rm", IMAGE, "true"],
        "stop": ["stop", "-t", "0", "over"],
        "stop elsewhere": ["stop", "-t", "0", "over2"],
        "reload": ["network", "reload"],
        "check": ["system", "check", "--repair"],
    }
    host.estiva(*words[verb])
    answers(host, "127.0.0.1", 8080, "web")
    answers(host, "127.0.0.1", 8081, "plain")
    assert "table inet others" in nft(host, "list", "tables")
    assert "all is well" in host.out("system", "check")


def test_a_bridge_that_was_deleted_is_made_anew(host):
    host.estiva("network", "create", "lab")
    sleeper(host, "aa", "--network", "lab")
    sleeper(host, "bb", "--network", "lab")
    bridge = next(name for name in links(host) if name.startswith("br-"))
    subprocess.run([*host.prefix, "ip", "link", "del", bridge], check=True)
    assert "has lost its network" in host.estiva("system", "check", status=1).stdout
    host.estiva("network", "reload")
    assert reaches(host, "aa", ip(host, "bb", "lab"))
    assert "all is well" in host.out("system", "check")


def test_a_bridge_that_can_t_come_back_is_told_and_others_do(host):
    for name in ("lost", "other"):
        host.estiva("network", "create", name)
        sleeper(host, f"on-{name}", "--network", name)
    subnet = host.out("network", "inspect", "lost", "-f", "{{(index .IPAM.Config 0).Gateway}}")
    bridges = [link for link in links(host) if link.startswith("br-")]
    taken = f"ip link del {bridges[0]}; ip link del {bridges[1]}; ip link add lan0 type bridge; ip addr add {subnet}/16 dev lan0"
    subprocess.run([*host.prefix, "sh", "-c", f"{taken}; ip link set lan0 up"], check=True)
    said = host.estiva("system", "check", "--repair", status=1).stdout
    one, other = (host.out("inspect", f"on-{name}", "-f", "{{.Id}}")[:12] for name in ("lost", "other"))
    assert f"repaired: container {other} was in no bridge: plugged in again" in said
    assert (
        f"container {one} has lost its network" in said
        and "is not put back: the subnet of network lost" in said
    )
    assert "interface lan0" in host.out("network", "reload")
    subprocess.run([*host.prefix, "ip", "link", "del", "lan0"], check=True)
    assert "all is well" in host.out("system", "check", "--repair")


def test_a_network_that_is_in_use_stays_and_one_that_is_not_goes_whole(host):
    host.estiva("network", "create", "lab")
    sleeper(host, "aa", "--network", "lab")
    refused = host.estiva("network", "rm", "lab", status=1).stderr
    assert "network lab has active endpoints: aa" in refused
    host.estiva("stop", "-t", "0", "aa")
    assert host.out("network", "prune", "-f") == ""
    assert host.out("network", "rm", "lab") == "lab"
    assert not [name for name in links(host) if name.startswith("br-")]
    assert "estiva" not in nft(host, "list", "tables").replace("table ip estiva\n", "")
    lost = host.estiva("start", "aa", status=1).stderr
    assert "network lab not found: it was removed" in lost
    host.estiva("network", "create", "lab")
    host.estiva("network", "connect", "lab", "aa")
    host.estiva("network", "disconnect", "-f", "lab", "aa")
    host.estiva("rm", "aa")
    assert host.out("network", "prune", "-f").splitlines() == ["Deleted Networks:", "lab"]
    assert host.db("SELECT count(*) FROM endpoints") == [(0,)]


def test_subnets_that_overlap_are_refused_and_named(host):
    subprocess.run(
        [*host.prefix, "ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan1"], check=True
    )
    subprocess.run([*host.prefix, "ip", "addr", "add", "172.17.5.1/24", "dev", "lan0"], check=True)
    subprocess.run([*host.prefix, "ip", "link", "set", "lan0", "up"], check=True)
    subprocess.run([*host.prefix, "ip", "route", "add", "172.18.9.0/24", "dev", "lan0"], check=True)
    host.estiva("network", "create", "first")
    subnet = host.out("network", "inspect", "first", "-f", "{{(index .IPAM.Config 0).Subnet}}")
    assert subnet == "172.19.0.0/16"
    for words, told in (
        (["--subnet", "172.17.5.128/25"], "overlaps with 172.17.5.0/24 of interface lan0"),
        (["--subnet", "172.16.0.0/12"], "overlaps with"),
        (["--subnet", "172.19.8.0/24"], "overlaps with 172.19.0.0/16 of network first"),
        (["--subnet", "10.9.0.0/24", "--subnet", "10.9.0.0/25"], "multiple overlapping subnet"),
        (
            ["--subnet", "10.9.0.0/24", "--subnet", "10.8.0.0/24"],
            "bridge driver doesn't support multiple subnets: 10.9.0.0/24 and 10.8.0.0/24 are both of IPv4",
        ),
        (["--subnet", "10.9.0.0/24", "--gateway", "10.8.0.1"], "no matching subnet for gateway 10.8.0.1"),
        (["--gateway", "10.8.0.1"], "gateway 10.8.0.1 needs a --subnet"),
        (["-d", "overlay"], "the network driver 'overlay' is not known"),
        (["-d", "host"], 'only one instance of "host" network is allowed'),
        (["-o", "colour=red"], "the option colour of network driver bridge is not supported"),
        (["-o", "mtu=20"], "invalid mtu '20'"),
        (["-o", "com.docker.network.bridge.name=a/b"], "is not the name of an interface"),
    ):
        refused = host.estiva("network", "create", *words, "second", status=1).stderr
        assert told in refused, refused
    for name, told in (
        ("first", "already exists"),
        ("host", "predefined host network"),
        ("-x", ""),
        ("a/b", "invalid"),
    ):
        assert told in host.estiva("network", "create", "--", name, status=None).stderr
    assert (
        host.out("network", "ls", "-q", "--filter", "type=custom", "--format", "{{.Name}}").count("\n") == 0
    )


def test_a_bridge_that_is_no_networks_to_have(host):
    subprocess.run([*host.prefix, "ip", "link", "add", "lan0", "type", "veth", "peer", "lan1"], check=True)
    for name, told in (
        ("estiva0", "bridge estiva0 is that of the default network"),
        ("lo", "a bridge can't be called lo"),
        ("all", "a bridge can't be called all"),
        ("default", "a bridge can't be called default"),
        ("lan0", "interface lan0 is not a bridge"),
    ):
        words = ["network", "create", "-o", f"com.docker.network.bridge.name={name}", "n"]
        assert told in host.estiva(*words, status=1).stderr
    assert host.out("network", "ls", "-q", "--filter", "type=custom") == ""


def adopted(host, name):
    """The settings and addresses of a bridge."""
    script = (
        f"cd /proc/sys/net; cat ipv4/conf/{name}/route_localnet ipv4/conf/{name}/send_redirects"
        f" ipv6/conf/{name}/disable_ipv6 ipv6/conf/{name}/accept_ra;"
        f"ip -o addr show dev {name} scope global | grep -o 'inet[^ ]* [^ ]*'"
    )
    done = subprocess.run([*host.prefix, "sh", "-c", script], capture_output=True, text=True)
    return done.stdout.split("\n")


def test_a_bridge_that_was_there_is_given_back_as_it_was(host):
    for words in ("link add br-lan type bridge", "addr add 10.77.0.1/24 dev br-lan", "link set br-lan up"):
        subprocess.run([*host.prefix, "ip", *words.split()], check=True)
    was = adopted(host, "br-lan")
    assert was[0] == "0"
    named = ["-o", "com.docker.network.bridge.name=br-lan"]
    create = ["network", "create", *named, "--subnet", "10.78.0.0/24"]
    host.estiva(*create, "--subnet", "fd00:78::/64", "--ipv6", "n")
    during = adopted(host, "br-lan")
    assert during[0] == "1" and "inet 10.78.0.1/24" in during and "inet6 fd00:78::1/64" in during
    host.estiva("network", "rm", "n")
    assert adopted(host, "br-lan") == was
    host.estiva(*create, "n")
    host.estiva("network", "prune", "-f")
    assert adopted(host, "br-lan") == was
    # its own address stays where it is the gateway's too; and a row that went without the rest
    host.estiva("network", "create", *named, "--subnet", "10.77.0.0/24", "n")
    with sqlite3.connect(f"{host.folder}/root/estiva.db") as db:
        db.execute("DELETE FROM networks")
    host.estiva("system", "prune", "-f")
    assert "inet 10.77.0.1/24" in adopted(host, "br-lan") and adopted(host, "br-lan")[0] == "0"


def test_link_local_addresses_are_beside_the_others(host):
    bridge_nf(host, 0)
    host.estiva("network", "create", "lab")
    local = ["--link-local-ip", "169.254.8.8", "--link-local-ip", "fe80::8"]
    sleeper(host, "aa", *local)
    sleeper(host, "bb", "--network", "lab")
    host.estiva("network", "connect", "--link-local-ip", "169.254.8.9", "bridge", "bb")
    shown = host.out("exec", "aa", "ip", "addr", "show", "eth0")
    assert "inet 169.254.8.8/16" in shown and "inet6 fe80::8/64" in shown
    assert f"inet {ip(host, 'aa', 'bridge')}/16" in shown
    assert reaches(host, "bb", "169.254.8.8") and reaches(host, "aa", "169.254.8.9")
    template = "{{json .NetworkSettings.Networks.bridge.IPAMConfig}}"
    assert host.out("inspect", "aa", "-f", template) == '{"LinkLocalIPs":["169.254.8.8","fe80::8"]}'
    host.estiva("restart", "-t", "0", "aa")
    assert "169.254.8.8/16" in host.out("exec", "aa", "ip", "addr", "show", "eth0")
    host.estiva("network", "disconnect", "bridge", "bb")
    assert "169.254" not in host.out("exec", "bb", "ip", "addr")
    if bridge_nf(host, 1):
        told = host.estiva("create", "--link-local-ip", "169.254.8.8", IMAGE, "true").stderr
        assert "reach no other container while br_netfilter is on" in told


def test_both_families(host):
    host.estiva("network", "create", "--ipv6", "six")
    serve(host, "web", "--network", "six", "-p", "[::]:8081:80", "-p", "8080:80")
    sleeper(host, "other", "--network", "six")
    sleeper(host, "four")
    config = json.loads(host.out("network", "inspect", "six"))[0]["IPAM"]["Config"]
    assert config[1]["Subnet"].startswith("fd") and config[1]["Subnet"].endswith("::/64")
    address = host.out("inspect", "web", "-f", "{{.NetworkSettings.Networks.six.GlobalIPv6Address}}")
    answers(host, address, 80, "web", "other")
    answers(host, "::1", 8081, "web")
    answers(host, config[1]["Gateway"], 8081, "web", "other")  # to its own network and back
    assert "published6_any" in nft(host, "list", "ruleset")
    for name in ("web", "other"):
        assert host.out("exec", name, "cat", "/proc/sys/net/ipv6/conf/eth0/disable_ipv6") == "0"
    assert host.out("exec", "four", "cat", "/proc/sys/net/ipv6/conf/eth0/disable_ipv6") == "1"
    host.estiva("network", "connect", "six", "four")
    assert reaches(host, "four", address) or "inet6 fd" in host.out("exec", "four", "ip", "-o", "addr")


@pytest.mark.parametrize("mode", ["bridge", "private", "vepa", "passthru"])
def test_macvlan_of_a_parent(host, mode):
    subprocess.run(
        [*host.prefix, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "lan"], check=True
    )
    for name in ("eth0", "lan"):
        subprocess.run([*host.prefix, "ip", "link", "set", name, "up"], check=True)
    subprocess.run([*host.prefix, "ip", "addr", "add", "10.71.0.1/24", "dev", "lan"], check=True)
    words = ["-d", "macvlan", "--subnet", "10.71.0.0/24", "-o", "parent=eth0", "-o", f"macvlan_mode={mode}"]
    host.estiva("network", "create", *words, "lan")
    sleeper(host, "aa", "--network", "lan")
    assert reaches(host, "aa", "10.71.0.1")  # what is at the other end of the cable
    assert "default via 10.71.0.1 dev eth0" in host.out("exec", "aa", "ip", "route")
    if mode == "passthru":
        return
    sleeper(host, "bb", "--network", "lan")
    assert reaches(host, "aa", ip(host, "bb", "lan")) == (mode == "bridge")


def test_a_macvlan_has_several_subnets_and_takes_of_the_next_when_one_is_full(host):
    words = [
        "-d",
        "macvlan",
        "--subnet",
        "10.71.0.0/30",
        "--subnet",
        "10.72.0.0/24",
        "--subnet",
        "fd00:71::/64",
    ]
    host.estiva("network", "create", *words, "--gateway", "10.72.0.9", "lab")
    config = json.loads(host.out("network", "inspect", "lab"))[0]["IPAM"]["Config"]
    assert [(one["Subnet"], one["Gateway"]) for one in config] == [
        ("10.71.0.0/30", "10.71.0.1"), ("10.72.0.0/24", "10.72.0.9"), ("fd00:71::/64", "fd00:71::1"),
    ]  # fmt: skip
    for name, *asked in (("aa",), ("bb",), ("cc", "--ip", "10.72.0.77")):
        sleeper(host, name, "--network", "lab", *asked)
    assert [ip(host, name, "lab") for name in ("aa", "bb", "cc")] == ["10.71.0.2", "10.72.0.1", "10.72.0.77"]
    assert "inet 10.72.0.1/24" in host.out("exec", "bb", "ip", "addr", "show", "eth0")
    assert reaches(host, "bb", "10.72.0.77")
    other = host.estiva(
        "run", "--rm", "--network", "lab", "--ip", "10.73.0.1", IMAGE, "true", status=125
    ).stderr
    assert "10.73.0.1 is not of subnet 10.71.0.0/30" in other


def test_a_link_on_the_default_bridge_sets_docker_s_variables(host):
    words = [
        "-e",
        "A=",
        "-e",
        "B=x=y",
        "-e",
        "HOME=/q",
        "--expose",
        "5432",
        "-p",
        "8080:80",
        "--expose",
        "53/udp",
    ]
    sleeper(host, "my-db", *words)
    address = host.out("inspect", "my-db", "-f", "{{.NetworkSettings.IPAddress}}")
    host.estiva("network", "create", "lab")
    words = [
        "--name",
        "me",
        "--link",
        "my-db:al-i",
        "-e",
        "AL_I_PORT_53_UDP_ADDR=mine",
        IMAGE,
        "sleep",
        "1000",
    ]
    host.estiva("run", "-d", *words)
    expected = {"AL_I_NAME=/me/al-i", "AL_I_ENV_A=", "AL_I_ENV_B=x=y", f"AL_I_PORT=udp://{address}:53"}
    for number, protocol in ((53, "udp"), (80, "tcp"), (5432, "tcp")):
        one = f"AL_I_PORT_{number}_{protocol.upper()}"
        expected |= {
            f"{one}={protocol}://{address}:{number}", f"{one}_ADDR={address}",
            f"{one}_PORT={number}", f"{one}_PROTO={protocol}",
        }  # fmt: skip
    expected -= {f"AL_I_PORT_53_UDP_ADDR={address}"}
    expected |= {"AL_I_PORT_53_UDP_ADDR=mine"}  # what was asked for comes first
    for again in ([], ["restart", "-t", "0", "me"]):
        if again:
            host.estiva(*again)
        seen = host.out("exec", "me", "env").splitlines()
        assert {word for word in seen if word.startswith("AL_I_")} == expected
    assert f"{address}\tal-i" in host.out("exec", "me", "cat", "/etc/hosts")
    assert host.out("inspect", "me", "-f", "{{json .HostConfig.Links}}") == '["/my-db:/me/al-i"]'
    # a network of one's own has names instead, as docker's
    host.estiva("run", "-d", "--name", "db", "--network", "lab", IMAGE, "sleep", "1000")
    assert "X_" not in host.out("run", "--rm", "--network", "lab", "--link", "db:x", IMAGE, "env")


def test_rm_with_force_of_what_is_not_there_says_nothing(host):
    host.estiva("network", "create", "lab")
    done = host.estiva("network", "rm", "-f", "bogus", "lab", "bogus2")
    assert (done.stdout, done.stderr) == ("lab\n", "")
    done = host.estiva("network", "rm", "-f", "bridge", "bogus", status=1)
    assert done.stdout == "" and "bridge is a pre-defined network and cannot be removed" in done.stderr
    assert "network bogus not found" in host.estiva("network", "rm", "bogus", status=1).stderr


def test_the_events_of_an_end_name_the_networks_that_it_was_on_then(host):
    for name in ("aa", "bb"):
        host.estiva("network", "create", name)

    def left(container):
        template = "{{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.container}}"
        words = [
            "--filter",
            "type=network",
            "--filter",
            "event=disconnect",
            "--format",
            template,
            "--until",
            "0s",
        ]
        lines = [line.split() for line in host.out("events", "--since", "10m", *words).splitlines()]
        return [name for _, name, whose in lines if whose == container]

    web = sleeper(host, "web", "--network", "aa")
    host.estiva("network", "connect", "bb", "web")
    host.estiva("network", "disconnect", "aa", "web")
    assert left(web) == ["aa"]
    host.estiva("kill", "web")
    assert enginekit.eventually(lambda: len(left(web)) == 2) and left(web) == ["aa", "bb"]
    plain = sleeper(host, "plain")
    host.estiva("network", "connect", "aa", "plain")
    host.estiva("kill", "plain")
    assert enginekit.eventually(lambda: len(left(plain)) == 2) and sorted(left(plain)) == ["aa", "bridge"]
    alone = sleeper(host, "alone")
    host.estiva("kill", "alone")
    assert enginekit.eventually(lambda: left(alone)) == ["bridge"]


def ip_link(host, *words):
    subprocess.run([*host.prefix, "ip", "link", *words], check=True)


def test_what_can_be_no_parent_is_refused_when_the_network_is_made(host):
    ip_link(host, "add", "eth0", "type", "veth", "peer", "name", "lan")
    for driver in ("macvlan", "ipvlan"):
        for parent, said in (
            ("nosuch", "the parent interface nosuch is not there"),
            ("nosuch.10", "the interface nosuch, whose vlan nosuch.10 would be, is not there"),
            ("eth0.0", "the parent interface eth0.0 is not there, nor is '0' the number of a vlan"),
            ("eth0.4095", "nor is '4095' the number of a vlan"),
            ("eth0.x", "nor is 'x' the number of a vlan"),
            ("lo", "the loopback interface lo can't be the parent of a network"),
        ):
            words = ["-d", driver, "-o", f"parent={parent}", "--subnet", "10.72.0.0/24", "bad"]
            assert said in host.estiva("network", "create", *words, status=1).stderr
    assert host.out("network", "ls", "-q", "--filter", "type=custom") == ""


def test_a_vlan_is_made_with_its_network_and_goes_with_the_last(host):
    ip_link(host, "add", "eth0", "type", "veth", "peer", "name", "lan")
    for name in ("eth0", "lan"):
        ip_link(host, "set", name, "up")
    vlan = ["ip", "link", "add", "link", "lan", "name", "lan.10", "type", "vlan", "id", "10"]
    words = ["network", "create", "-d", "macvlan", "-o", "parent=eth0.10", "--subnet"]
    if subprocess.run([*host.prefix, *vlan], capture_output=True).returncode:  # a kernel without them says so
        refused = host.estiva(*words, "10.71.0.0/24", "aa", status=1).stderr
        assert "this kernel has no vlans, which eth0.10 would be one of" in refused
        assert host.out("network", "ls", "-q", "--filter", "type=custom") == ""
        return
    ip_link(host, "set", "lan.10", "up")
    subprocess.run([*host.prefix, "ip", "addr", "add", "10.71.0.1/24", "dev", "lan.10"], check=True)
    host.estiva(*words, "10.71.0.0/24", "aa")
    host.estiva(*words, "10.72.0.0/24", "bb")
    sleeper(host, "cc", "--network", "aa")
    assert reaches(host, "cc", "10.71.0.1")  # tagged, at the other end of the cable
    host.estiva("rm", "-f", "cc")
    ip_link(host, "del", "eth0.10")  # as a reboot does
    host.estiva("run", "--rm", "--network", "aa", IMAGE, "ping", "-c1", "-W5", "10.71.0.1")
    host.estiva("network", "rm", "aa")
    assert "eth0.10" in links(host)
    host.estiva("network", "rm", "bb")
    assert "eth0.10" not in links(host)
    ip_link(host, "add", "link", "eth0", "name", "eth0.10", "type", "vlan", "id", "10")
    host.estiva(*words, "10.71.0.0/24", "aa")
    host.estiva("network", "rm", "aa")
    assert "eth0.10" in links(host)  # somebody else's


def test_macvlan_without_a_parent_is_internal_and_what_can_not_be_is_said(host):
    host.estiva("network", "create", "-d", "macvlan", "inner")
    sleeper(host, "aa", "--network", "inner")
    sleeper(host, "bb", "--network", "inner")
    assert reaches(host, "aa", ip(host, "bb", "inner"))
    assert "default" not in host.out("exec", "aa", "ip", "route")
    ip_link(host, "add", "nothing0", "type", "veth", "peer", "name", "lan")
    host.estiva(
        "network", "create", "-d", "macvlan", "-o", "parent=nothing0", "--subnet", "10.72.0.0/24", "bad"
    )
    ip_link(host, "del", "nothing0")
    refused = host.estiva("run", "--rm", "--network", "bad", IMAGE, "true", status=125).stderr
    assert "the parent interface nothing0 of network bad is not there" in refused
    assert host.db("SELECT count(*) FROM leases") == [(2,)]
    host.estiva("rm", "-f", "aa", "bb")
    host.estiva("network", "rm", "inner", "bad")
    assert not [name for name in links(host) if name.startswith("dm-")]


def test_bad_words_for_a_container_s_networks(host):
    host.estiva("network", "create", "--subnet", "10.71.0.0/24", "lab")
    for words, told in (
        (["--network", "none0"], "network none0 not found"),
        (["--network", "lab", "--ip", "10.72.0.1"], "is not of subnet 10.71.0.0/24 of network lab"),
        (["--network", "lab", "--ip6", "fd00::9"], "network lab has no IPv6 subnet"),
        (["--network", "lab", "--ip", "10.71.0.1"], "is reserved"),
        (["--network", "lab", "--mac-address", "01:00:00:00:00:01"], "is not a MAC address"),
        (["--network", "lab", "--network", "none"], "can't be on network none"),
        (["--network", "host", "--network", "lab"], "its network mode is host"),
        (["--link", "nobody"], "no such container: nobody"),
        (["--network", "lab", "--link", "no body"], "invalid link 'no body'"),
        (["--link-local-ip", "10.9.9.9"], "invalid link-local IP address: 10.9.9.9"),
        (["--link-local-ip", "fd00::1"], "invalid link-local IP address: fd00::1"),
        (["--network", "name=lab,driver-opt=a=b"], "the driver option a of an endpoint is not known"),
        (["--ip", "10.71.0.9"], "static IP address is supported on user defined networks only"),
        (["--network-alias", "x"], "aliases are supported for user defined networks only"),
        (["--network", "lab", "--network-alias", "a b"], "invalid alias 'a b'"),
    ):
        refused = host.estiva("run", "--rm", *words, IMAGE, "true", status=125).stderr
        assert told in refused, refused
    assert host.db("SELECT count(*) FROM containers") == [(0,)]
    assert host.db("SELECT count(*) FROM leases") == [(0,)]


def test_crowds_and_races(host):
    """Unique addresses; one of those who ask for the same; a network that goes while containers come."""
    host.estiva("network", "create", "--subnet", "10.71.0.0/24", "lab")

    def own(_):
        words = ["ip", "-o", "-4", "addr", "show", "eth0"]
        return host.out("run", "--rm", "--network", "lab", IMAGE, *words).split()[3]

    def same(number):
        name = f"same{number}"
        words = [
            "run",
            "-d",
            "--name",
            name,
            "--network",
            "lab",
            "--ip",
            "10.71.0.99",
            IMAGE,
            "sleep",
            "1000",
        ]
        return host.estiva(*words, status=None)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        got = list(pool.map(own, range(24)))
        done = list(pool.map(same, range(6)))
    assert all(one.startswith("10.71.0.") for one in got)
    assert sorted(one.returncode for one in done) == [0, *[125] * 5]
    for one in done:
        assert (
            one.returncode == 0
            or "address 10.71.0.99 of network lab is in use by container same" in one.stderr
        )

    def removed(number):
        host.estiva("network", "create", f"gone{number}")
        child = host.start("run", "--rm", "--network", f"gone{number}", IMAGE, "sleep", "0.2",
                           stderr=subprocess.PIPE, text=True)  # fmt: skip
        told = []
        while child.poll() is None:
            told.append(host.estiva("network", "rm", "-f", f"gone{number}", status=None).stderr)
        return child, child.stderr.read(), told

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for child, told, refused in pool.map(removed, range(8)):
            assert child.returncode == 0 or "not found" in told, told
            assert all(not text or "has active endpoints" in text for text in refused), refused
    assert len([name for name in links(host) if name.startswith("br-")]) <= 9
    host.estiva("network", "prune", "-f")
    assert "all is well" in host.out("system", "check")


def test_after_a_power_cut_and_after_a_reset_nothing_is_in_the_way(host):
    host.estiva("network", "create", "lab")
    serve(host, "web", "--network", "lab", "-p", "8080:80")
    bridge = next(name for name in links(host) if name.startswith("br-"))
    host.power_cut()
    subprocess.run([*host.prefix, "ip", "link", "del", bridge], check=True)
    host.estiva("start", "web")
    answers(host, "127.0.0.1", 8080, "web")
    assert "all is well" in host.out("system", "check")
    host.estiva("system", "reset", "-f")
    assert links(host) == ["lo"] and nft(host, "list", "tables") == ""
    host.import_busybox()


def test_what_a_lost_database_knew_of_networks_comes_back(host):
    host.estiva("network", "create", "--subnet", "10.71.0.0/24", "--ipv6", "lab")
    serve(host, "web", "--network", "lab", "-p", "8080:80")
    address = ip(host, "web", "lab")
    for name in ("estiva.db", "estiva.db-wal", "estiva.db-shm"):
        subprocess.run(["rm", "-f", f"{host.folder}/root/{name}"], check=True)
    told = host.estiva("system", "check", "--repair", status=None)
    assert "web" in host.out("ps", "--format", "{{.Names}}"), (told.stdout, told.stderr)
    assert ip(host, "web", "lab") == address
    assert host.out("network", "inspect", "lab", "-f", "{{(index .IPAM.Config 0).Subnet}}") == "10.71.0.0/24"
    nft(host, "flush", "ruleset")
    host.estiva("network", "reload")
    answers(host, "127.0.0.1", 8080, "web")


def test_a_killed_connect_is_done_again(host):
    """Whatever it has left: a row, an interface."""
    host.estiva("network", "create", "--subnet", "10.71.0.0/24", "lab")
    sleeper(host, "aa")
    for delay in (0.05, 0.1, 0.15, 0.2, 0.25, 0.3):
        child = host.start("network", "connect", "--ip", "10.71.0.9", "lab", "aa", stderr=subprocess.PIPE)
        try:
            child.wait(delay)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stderr.close()
        host.estiva("network", "connect", "--ip", "10.71.0.9", "lab", "aa", status=None)
        shown = host.out("exec", "aa", "ip", "-o", "-4", "addr")
        assert shown.count("10.71.0.9/24") == 1, shown
        assert ip(host, "aa", "lab") == "10.71.0.9"
        host.estiva("network", "disconnect", "lab", "aa")
        assert "10.71" not in host.out("exec", "aa", "ip", "-o", "-4", "addr")
    assert "all is well" in host.out("system", "check")


RECEIVE = """
import socket
held = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
held.bind(("::", 53))
held.settimeout(20)
print("ready", flush=True)
print(held.recv(16).decode(), flush=True)
"""
SEND = """
import socket, sys
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as held:
    held.bind(("::", 4444))
    held.sendto(sys.argv[2].encode(), (sys.argv[1], 5300))
"""


def test_a_client_of_udp_reaches_the_next_container_on_both_families(host):
    host.estiva("network", "create", "--subnet", "fd00:71::/64", "--ipv6", "six")
    for name in ("first", "second"):
        sleeper(host, name, "--network", "six", "-p", "[::]:5300:53/udp")
        pid = host.out("inspect", "-f", "{{.State.Pid}}", name)
        words = ["nsenter", "-t", pid, "-n", sys.executable, "-c", RECEIVE]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as receiver:
            assert receiver.stdout.readline() == "ready\n"
            sent = [*host.prefix, sys.executable, "-c", SEND, "fd00:71::1", name]
            subprocess.run(sent, check=True)
            # the client goes on from the same port: its flow must not stay with the container before
            assert receiver.stdout.readline() == name + "\n"
        host.estiva("rm", "-f", name)


def test_thousands_of_ports_are_published_at_once(host):
    # as where systemd starts a shell; it is the container's, and the monitor's that hibernates meanwhile
    host.prefix += ["sh", "-c", 'ulimit -Sn 1024 && exec "$@"', "sh"]
    host.estiva("network", "create", "lab")
    for words in (["--network", "lab"], []):
        ports = "20000-26999:20000-26999"
        name = host.estiva("run", "-d", "-p", ports, *words, IMAGE, "sleep", "1000").stdout.strip()
        assert len(host.out("port", name).splitlines()) == 7000
        assert host.out("exec", name, "sh", "-c", "ulimit -Sn") == "1024"
        said = host.estiva("run", "--rm", "-p", "20500:1", IMAGE, "true", status=125).stderr
        assert "port 20500/tcp is already in use" in said
        host.estiva("rm", "-f", name)
