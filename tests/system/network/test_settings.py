"""The file of settings, as an administrator writes it and containers have it."""

import json
import os
import pathlib
import subprocess

import pytest

import enginekit
from enginekit import IMAGE

HELLO = "while :; do echo hello | nc -l -p 80; done"


@pytest.fixture
def host():
    with enginekit.host() as made:
        made.env["ESTIVA_SETTINGS"] = f"{made.folder}/settings.json"
        say(made)
        yield made


def say(host, **known):
    path = pathlib.Path(host.env["ESTIVA_SETTINGS"])
    path.write_text(json.dumps({key.replace("_", "-"): value for key, value in known.items()}))
    path.chmod(0o600)


def test_containers_and_networks_are_made_as_the_file_says(host):
    say(
        host,
        default_address_pools=[{"base": "10.99.0.0/16", "size": 24}],
        default_shm_size="8m",
        default_ulimits={"nofile": {"Name": "nofile", "Soft": 100, "Hard": 200}},
        dns=["192.0.2.1"],
        dns_search=["example.org"],
        icc=False,
        init=True,
        ip="127.0.0.1",
        log_driver="local",
        log_opts={"max-size": "1m"},
        mtu=1400,
    )
    assert f"Settings: {host.folder}/settings.json" in host.out("info")
    assert (
        host.out("info", "-f", "{{.LoggingDriver}} {{(index .DefaultAddressPools 0).Base}}")
        == "local 10.99.0.0/16"
    )
    for name in ("n1", "n2"):
        host.estiva("network", "create", name)
    subnets = [
        host.out("network", "inspect", name, "-f", "{{(index .IPAM.Config 0).Subnet}}")
        for name in ("n1", "n2")
    ]
    assert subnets == ["10.99.0.0/24", "10.99.1.0/24"]

    host.estiva("run", "-d", "--name", "aa", "-p", "8080:80", IMAGE, "sleep", "1000")
    host.estiva("run", "-d", "--name", "bb", "--network", "bridge", "--network", "n1", IMAGE, "sleep", "1000")
    assert host.out("port", "aa") == "80/tcp -> 127.0.0.1:8080"
    said = host.out("exec", "aa", "sh", "-c", "cat /etc/resolv.conf /sys/class/net/eth0/mtu; ulimit -n; ulimit -Hn; "
                    "df -k /dev/shm | tail -1; cat /proc/1/comm").split("\n")  # fmt: skip
    assert "nameserver 192.0.2.1" in said and "search example.org" in said
    assert said[-5:-2] == ["1400", "100", "200"] and said[-2].split()[1] == "8192"
    assert said[-1] != "sleep"
    assert host.out("inspect", "aa", "-f", "{{json .HostConfig.LogConfig}}") == (
        '{"Type":"local","Config":{"max-size":"1m"}}'
    )
    # neighbours on the default bridge don't reach each other, by either way onto it; the host reaches both
    for one, other in (("aa", "bb"), ("bb", "aa")):
        address = host.out("inspect", other, "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}")
        assert host.estiva("exec", one, "ping", "-c1", "-W1", address, status=None).returncode == 1
        subprocess.run(
            [*host.prefix, "busybox", "ping", "-c1", "-W5", address], check=True, capture_output=True
        )

    # what a container asks for comes first
    host.estiva("run", "--rm", "--dns", "192.0.2.9", "--init=false", "-p", "0.0.0.0:8081:80", "--ulimit", "nofile=50:60",
                "--log-driver", "json-file", IMAGE, "sh", "-c",
                "grep -q 192.0.2.9 /etc/resolv.conf && test $(ulimit -n) = 50 && test $$ = 1")  # fmt: skip


def test_a_step_of_a_build_asks_the_same_name_servers(host):
    say(host, dns=["192.0.2.1"])
    pathlib.Path(host.folder, "ctx").mkdir()
    pathlib.Path(host.folder, "ctx/Dockerfile").write_text(
        f"FROM {IMAGE}\nRUN grep -q 192.0.2.1 /etc/resolv.conf\n"
    )
    host.estiva("build", "--network", "default", f"{host.folder}/ctx")


def test_a_file_that_is_wrong_is_named_and_nothing_is_made(host):
    say(host, bridge="br0")
    for words in (["run", "--rm", IMAGE, "true"], ["network", "create", "n1"]):
        done = host.estiva(*words, status=None)
        assert done.returncode and "settings.json has the unknown key 'bridge'" in done.stderr
    assert "has the unknown key 'bridge'" in host.out("info")
    assert "has the unknown key 'bridge'" in host.estiva("system", "check", status=1).stdout
    assert "bridge" in host.out("network", "ls")
    os.chmod(host.env["ESTIVA_SETTINGS"], 0o666)
    for words in (("run", "--rm"), ("create",)):
        done = host.estiva(*words, IMAGE, "true", status=None)
        assert done.returncode == 125 and "may be written to by others" in done.stderr
    say(host)
    assert host.out("network", "ls", "-q", "--filter", "type=custom") == "" and host.out("ps", "-aq") == ""


def test_a_wrong_file_stops_nothing_that_runs(host):
    host.estiva("run", "-d", "--name", "up", "--network", "none", IMAGE, "sleep", "1000")
    started = host.out("inspect", "-f", "{{.State.StartedAt}}", "up")
    say(host, bridge="br0")
    assert "unknown key 'bridge'" in host.estiva("restart", "-t", "0", "up", status=1).stderr
    assert host.out("inspect", "-f", "{{.State.Status}} {{.State.StartedAt}}", "up") == f"running {started}"
    say(host)


def test_a_restart_waits_for_a_file_that_is_half_written(host):
    host.estiva(
        "run", "-d", "--name", "up", "--restart", "always", IMAGE, "sh", "-c", "until test -e /end; do usleep 9999; done; rm /end"
    )  # fmt: skip
    say(host, bridge="br0")
    host.estiva("exec", "up", "touch", "/end")
    enginekit.eventually(lambda: host.out("inspect", "-f", "{{.State.Status}}", "up") == "restarting")
    say(host)
    enginekit.eventually(
        lambda: host.out("inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "up") == "1 running"
    )


def default(host, key):
    return host.out("network", "inspect", "bridge", "-f", f"{{{{(index .IPAM.Config 0).{key}}}}}")


def address(host, name):
    return host.out("inspect", name, "-f", "{{.NetworkSettings.IPAddress}}/{{.NetworkSettings.IPPrefixLen}}")


def test_the_default_bridge_has_the_address_and_the_range_of_the_file(host):
    say(host, bip="10.77.0.9/24", fixed_cidr="10.77.0.8/29")
    host.estiva("run", "-d", "--name", "aa", "-p", "8080:80", IMAGE, "sh", "-c", HELLO)
    # .9 is the bridge's own; the first of the range is a container's like any other
    assert address(host, "aa") == "10.77.0.8/24"
    said = host.out(
        "run", "--rm", IMAGE, "sh", "-c", "ip -4 -o addr show eth0; ip route; nc -w 5 10.77.0.8 80"
    )
    assert (
        "inet 10.77.0.10/24 brd 10.77.0.255" in said and "default via 10.77.0.9" in said and "hello" in said
    )
    assert [default(host, key) for key in ("Subnet", "IPRange", "Gateway")] == [
        "10.77.0.0/24", "10.77.0.8/29", "10.77.0.9"
    ]  # fmt: skip
    nc = [*host.prefix, "busybox", "nc", "-w", "5", "127.0.0.1", "8080"]
    assert subprocess.run(nc, capture_output=True, check=True, stdin=subprocess.DEVNULL).stdout == b"hello\n"
    host.estiva("network", "create", "n1")
    # plugged into both, and a step of a build; neither gets an address that another has
    host.estiva("run", "--rm", "--network", "bridge", "--network", "n1", IMAGE, "sh", "-c",
                "ip -4 -o addr | grep -q 10.77.0.1[1-5]/24 && nc -w 5 10.77.0.8 80 | grep hello")  # fmt: skip
    done = host.estiva("network", "create", "--subnet", "10.77.0.0/16", "n2", status=1)
    assert "overlaps with 10.77.0.0/24 of network bridge" in done.stderr
    pathlib.Path(host.folder, "ctx").mkdir()
    pathlib.Path(host.folder, "ctx/Dockerfile").write_text(
        f"FROM {IMAGE}\nRUN nc -w 5 10.77.0.8 80 | grep -q hello\n"
    )
    host.estiva("build", "--network", "default", f"{host.folder}/ctx")
    # the range alone may change at any time
    say(host, bip="10.77.0.9/24", fixed_cidr="10.77.0.64/32")
    host.estiva("run", "-d", "--name", "bb", IMAGE, "sleep", "1000")
    assert address(host, "bb") == "10.77.0.64/24"
    done = host.estiva("run", "--rm", IMAGE, "true", status=None)
    assert done.returncode == 125 and "network default (10.77.0.0/24) has no free address" in done.stderr


def test_another_subnet_waits_for_those_who_run_and_then_the_bridge_is_made_anew(host):
    host.estiva("run", "-d", "--name", "aa", "-p", "8080:80", IMAGE, "sh", "-c", HELLO)
    before, mine = default(host, "Subnet"), address(host, "aa")
    say(host, bip="10.201.0.7/24")  # within the other
    for words in (["run", "--rm", IMAGE, "nc", "-w", "5", mine.partition("/")[0], "80"], ["info"]):
        done = host.estiva(*words)
        assert f"WARNING: bridge estiva0 keeps its subnet {before} while containers run on it" in done.stderr
        assert done.stderr.count("\n") == 1
    host.estiva("run", "-d", "--name", "bb", IMAGE, "sleep", "1000")
    host.estiva("restart", "-t", "0", "bb")  # somebody is on it still
    assert default(host, "Subnet") == before and "hello" in host.out(
        "exec", "bb", "nc", "-w", "5", mine.partition("/")[0], "80"
    )
    host.estiva("rm", "-f", "aa")
    number = address(host, "bb").partition("/")[0].rpartition(".")[2]
    host.estiva("restart", "-t", "0", "bb")
    assert address(host, "bb") == f"10.201.0.{number}/24"  # its place in the subnet, which is another
    assert host.out("info") and not host.estiva("info").stderr
    shown = subprocess.run(
        [*host.prefix, "ip", "-4", "-o", "addr", "show", "estiva0"], capture_output=True, text=True
    )
    assert "inet 10.201.0.7/24" in shown.stdout and shown.stdout.count("inet ") == 1
    host.estiva("exec", "bb", "ping", "-c1", "-W5", "10.201.0.7")
    host.estiva("restart", "-t", "0", "bb")
    assert default(host, "Gateway") == "10.201.0.7" and host.out("system", "check") == "all is well"
    # out of the file again: one that is chosen by itself
    say(host)
    host.estiva("restart", "-t", "0", "bb")
    assert default(host, "Subnet") == before


def test_a_subnet_that_the_machine_uses_is_refused(host):
    host.estiva("run", "--rm", IMAGE, "true")
    subprocess.run([*host.prefix, "ip", "link", "add", "vpn", "type", "bridge"], check=True)
    subprocess.run([*host.prefix, "ip", "addr", "add", "10.77.0.3/24", "dev", "vpn"], check=True)
    say(host, bip="10.77.0.1/16")
    done = host.estiva("run", "--rm", IMAGE, "true", status=None)
    assert done.returncode == 125 and done.stderr.startswith(
        f"estiva: the subnet 10.77.0.0/16 that {host.folder}/settings.json gives to bridge estiva0 is used by another"
    )
    say(host)
    host.estiva("run", "--rm", IMAGE, "ping", "-c1", "-W5", default(host, "Gateway"))


def facts(host, name):
    """What a container has of IPv6: its address, its default route, its lines in /etc/hosts."""
    said = host.out(
        "exec", name, "sh", "-c", "ip -6 -o addr show eth0 scope global; ip -6 route; cat /etc/hosts"
    )
    held = next(line for line in said.splitlines() if "scope global" in line).split()[3]
    way = next(line for line in said.splitlines() if line.startswith("default")).split()[2]
    assert any(line.startswith(held.partition("/")[0]) for line in said.splitlines())
    return held, way


def said(host, address, port, name=""):
    if name:
        return host.estiva("exec", name, "nc", "-w", "5", address, str(port), status=None).stdout.strip()
    words = [*host.prefix, "busybox", "nc", "-w", "5", address, str(port)]
    return subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout.strip()


def nft(host, *words):
    return subprocess.run([*host.prefix, "nft", *words], check=True, capture_output=True, text=True).stdout


def test_the_default_bridge_has_ipv6(host):
    say(host, ipv6=True)
    serve = ["sh", "-c", "nc -ll -p 80 -e echo hello"]
    host.estiva("run", "-d", "--name", "aa", "-p", "8080:80", "-p", "[::]:8080:80", IMAGE, *serve)
    host.estiva("run", "-d", "--name", "bb", IMAGE, "sleep", "1000")
    (held, way), (other, _) = facts(host, "aa"), facts(host, "bb")
    address = held.removesuffix("/64")
    subnet = way.removesuffix("1") + "/64"
    assert held.startswith("fd") and held.endswith("::2/64") and other.endswith("::3/64")
    keys = ".GlobalIPv6Address", ".GlobalIPv6PrefixLen", ".IPv6Gateway"
    shown = host.out("inspect", "aa", "-f", " ".join(f"{{{{.NetworkSettings{key}}}}}" for key in keys))
    assert shown == f"{address} 64 {way}"
    assert default(host, "Subnet") == "10.201.0.0/16"
    assert host.out(
        "network", "inspect", "bridge", "-f", "{{.EnableIPv6}} {{(index .IPAM.Config 1).Subnet}}"
    ) == f"true {subnet}"  # fmt: skip

    # another machine: what leaves comes from the host's address, and nothing comes in but by ports
    far = "ip link add lan0 type veth peer name lan1 netns {pid} && ip addr add fd99::1/64 dev lan0 nodad && ip link set lan0 up"
    lan = subprocess.Popen(["unshare", "-n", "sleep", "600"])
    host.children.append(lan)
    enginekit.eventually(lambda: os.readlink(f"/proc/{lan.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
    subprocess.run([*host.prefix, "sh", "-c", far.format(pid=lan.pid)], check=True)
    there = ["nsenter", "-t", str(lan.pid), "-n"]
    up = f"ip link set lo up; ip addr add fd99::2/64 dev lan1 nodad; ip link set lan1 up; ip route add {subnet} via fd99::1"
    subprocess.run([*there, "sh", "-c", up], check=True)

    def as_it_should_be():
        for where in (("::1", ""), (way, ""), (way, "bb"), ("fd99::1", "bb"), ("fd99::1", "aa")):
            assert enginekit.eventually(
                lambda where=where: said(host, where[0], 8080, where[1]) == "hello"
            ), where
        assert said(host, address, 80, "bb") == "hello"
        done = subprocess.run(
            [*there, "busybox", "nc", "-w", "5", "fd99::1", "8080"], capture_output=True, text=True
        )
        assert done.stdout.strip() == "hello"
        # the other machine has a route to the subnet, and no way in; containers reach it by the host's address
        assert subprocess.run(
            [*there, "busybox", "nc", "-w", "1", address, "80"], capture_output=True
        ).returncode
        assert host.estiva("exec", "bb", "ping", "-c1", "-W5", "fd99::2", status=None).returncode == 0

    as_it_should_be()
    assert "ip6 saddr @subnets masquerade" in nft(host, "list", "table", "ip6", "estiva")
    # a source that is not the bridge's
    spoof = "ip -6 addr add fd98::5/128 dev eth0 && ! ping -c1 -W1 -I fd98::5 fd99::1"
    host.estiva("run", "--rm", "--cap-add", "NET_ADMIN", IMAGE, "sh", "-c", spoof)
    for harm in (("flush", "ruleset"), ("delete", "table", "ip6", "estiva")):
        nft(host, *harm)
        assert "missing in the firewall" in host.estiva("system", "check", status=1).stdout
        host.estiva("network", "reload")
        as_it_should_be()
    nft(host, "flush", "ruleset")
    host.estiva("run", "--rm", IMAGE, "true")  # who starts puts it back
    as_it_should_be()

    # what the file says now comes once nobody has an address of the other
    say(
        host,
        ipv6=True,
        fixed_cidr_v6="fd00:77::/64",
        default_gateway_v6="fd00:77::9",
        default_gateway="10.201.0.99",
    )
    assert "keeps its subnet" in host.estiva("run", "-d", "--name", "cc", IMAGE, "sleep", "1000").stderr
    assert facts(host, "cc")[1] == way
    assert "default via 10.201.0.99 " in host.out("exec", "cc", "ip", "route")
    names = host.out("run", "--rm", "--add-host", "here:host-gateway", IMAGE, "cat", "/etc/hosts")
    assert "10.201.0.1\there" in names  # the host, not the way out
    host.estiva("rm", "-f", "aa", "bb", "cc")
    host.estiva("run", "-d", "--name", "cc", IMAGE, "sleep", "1000")
    assert facts(host, "cc") == ("fd00:77::2/64", "fd00:77::9")
    host.estiva("exec", "cc", "ping", "-c1", "-W5", "fd00:77::1")
    assert "fd00:77::/64" in nft(host, "list", "set", "ip6", "estiva", "subnets")
    overlaps = host.estiva("network", "create", "--subnet", "fd00:77::/72", "nn", status=1).stderr
    assert "overlaps with fd00:77::/64 of network bridge" in overlaps
    host.estiva("network", "create", "nn")
    for words in (("connect", "nn"), ("disconnect", "bridge"), ("connect", "bridge")):
        host.estiva("network", *words, "cc")
    assert facts(host, "cc")[1] == "fd00:77::9"
    host.estiva("rm", "-f", "cc")
    host.estiva("network", "rm", "nn")

    say(host, ipv6=True, default_gateway="192.0.2.1")
    refused = host.estiva("run", "--rm", IMAGE, "true", status=125).stderr
    assert "default-gateway 192.0.2.1 is not the address of a host in 10.201.0.0/16" in refused
    say(host)
    only = host.out("run", "--rm", IMAGE, "ip", "-6", "addr", "show", "eth0")
    assert only == "" and "all is well" in host.out("system", "check")


def bridge_nf(host, value):
    """Have br_netfilter on ("1") or off; whether it is there."""
    words = f"cd /proc/sys/net/bridge && for each in bridge-nf-call-ip*tables; do echo {value} > $each; done"
    return subprocess.run([*host.prefix, "sh", "-c", words], capture_output=True).returncode == 0


@pytest.mark.parametrize("on", [0, 1])
def test_icc_false_leaves_published_ports_of_the_default_bridge(host, on):
    if not bridge_nf(host, on) and on:
        pytest.skip("needs br_netfilter")
    say(host)
    host.estiva("run", "--rm", IMAGE, "true")  # the firewall of before knows nothing of it
    serve = [IMAGE, "nc", "-ll", "-p", "80", "-e", "echo", "hello"]
    for known in ({"icc": False}, {"icc": False, "ipv6": True}):
        say(host, **known)
        host.estiva("run", "-d", "--name", "aa", "-p", "8080:80", "-p", "[::]:8080:80", *serve)
        host.estiva("run", "-d", "--name", "bb", IMAGE, "sleep", "1000")
        key = "{{.NetworkSettings.%s}}"
        direct = [host.out("inspect", "aa", "-f", key % "IPAddress")]
        ways = [host.out("inspect", "aa", "-f", key % "Gateway")]
        if "ipv6" in known:
            direct.append(host.out("inspect", "aa", "-f", key % "GlobalIPv6Address"))
            ways.append(host.out("inspect", "aa", "-f", key % "IPv6Gateway"))

        def as_it_should_be(direct=direct, ways=ways):
            for way in ways:
                for name in ("bb", "aa"):
                    assert enginekit.eventually(lambda w=way, n=name: said(host, w, 8080, n) == "hello"), (
                        way,
                        name,
                    )
            lost = [
                host.start("exec", "bb", "ping", "-c1", "-W1", to, stdout=subprocess.DEVNULL) for to in direct
            ]
            assert enginekit.nothing_of(
                lambda to=to: host.estiva("exec", "bb", "nc", "-w", "1", to, "80", status=None).stdout
                for to in direct
            )
            assert [each.wait(60) for each in lost] == [1 for _ in direct]

        as_it_should_be()
        assert "all is well" in host.out("system", "check")
        nft(host, "flush", "ruleset")
        host.estiva("network", "reload")
        as_it_should_be()
        if on:
            nft(host, "delete", "table", "bridge", "estiva")
            assert "table bridge estiva" in host.estiva("system", "check", status=1).stdout
            host.estiva("run", "-d", "--name", "cc", IMAGE, "sleep", "1000")  # who starts puts it back
            as_it_should_be()
        host.estiva("rm", "-f", *host.out("ps", "-aq").split())
    say(host)
    host.estiva("run", "-d", "--name", "aa", *serve)
    address = host.out("inspect", "aa", "-f", "{{.NetworkSettings.IPAddress}}")
    host.estiva("run", "--rm", IMAGE, "ping", "-c1", "-W5", address)


@pytest.mark.parametrize("known", [{"ipv6": True}, {"icc": False}], ids=str)
def test_two_state_roots_share_the_default_bridge(host, known):
    say(host, **known)
    other = {"ESTIVA_ROOT": f"{host.folder}/two/root", "ESTIVA_RUN_ROOT": f"{host.folder}/two/run"}
    serve = [IMAGE, "nc", "-ll", "-p", "80", "-e", "echo", "hello"]
    host.estiva("import", enginekit.busybox_tar(), IMAGE, env=other)
    try:
        host.estiva("run", "-d", "--name", "aa", "-p", "8080:80", "-p", "[::]:8080:80", *serve)
        host.estiva("run", "-d", "--name", "bb", "-p", "8081:80", "-p", "[::]:8081:80", *serve, env=other)
        for _ in range(2):
            for port, env in ((8080, {}), (8081, other)):
                for where in ("127.0.0.1", "::1"):
                    assert enginekit.eventually(lambda w=where, p=port: said(host, w, p) == "hello", 20), (
                        where,
                        port,
                    )
                assert host.out("system", "check", env=env).endswith("all is well")
                gateways = host.out(
                    "network",
                    "inspect",
                    "bridge",
                    "-f",
                    "{{range .IPAM.Config}}{{.Gateway}} {{end}}",
                    env=env,
                )
                name = "aa" if env is not other else "bb"
                for gateway in gateways.split():
                    host.estiva("exec", name, "ping", "-c1", "-W5", gateway, env=env)
            nft(host, "flush", "ruleset")
            host.estiva("network", "reload", env=other)
            host.estiva("network", "reload")
    finally:
        host.estiva("rm", "-f", "bb", env=other, status=None)
        host.estiva("system", "reset", "-f", env=other)
