"""Names of containers on networks that somebody made, as a user meets them: the command line, on the real kernel."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

import enginekit
from dnskit import AAAA, PTR, A, Answer, Client, Outside, query, respond
from netlab import at


@pytest.fixture(scope="module")
def host():
    with enginekit.host() as made:
        made.out("network", "create", "front")
        made.out("network", "create", "back")
        yield made
        for name in made.out("ps", "-aq").split():
            made.out("rm", "-f", name)
        made.out("network", "rm", "front", "back")
        enginekit.eventually(lambda: not resolvers(made))  # they end with the last container


@pytest.fixture(autouse=True)
def tidy(host):
    yield
    for name in host.out("ps", "-aq").split():
        host.out("rm", "-f", name)


def run(host, name, *words, command=("sleep", "1000")):
    return host.out("run", "-d", "--name", name, *words, enginekit.IMAGE, *command)


def pid(host, name):
    return int(host.out("inspect", "-f", "{{.State.Pid}}", name))


def ask(host, name, word, kind=A):
    """The answer to who asks from the container of that name."""
    with at(pid(host, name)):
        return Client(("127.0.0.11", 53), timeout=60).ask(word, kind)


def addresses(host, name, word):
    return ask(host, name, word).addresses


def address(host, name, network="front"):
    return host.out("inspect", "-f", f"{{{{.NetworkSettings.Networks.{network}.IPAddress}}}}", name)


def resolvers(host):
    """The resolvers of the host's network namespace that run."""
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{number}/cmdline", "rb") as file:
                ours = file.read().startswith(b"estiva: names")
            if ours and os.readlink(f"/proc/{number}/ns/net") == os.readlink(
                f"/proc/{host.netns.pid}/ns/net"
            ):
                found.append(int(number))
        except OSError:
            continue
    return found


def kill_resolver(host):
    (old,) = resolvers(host)
    os.kill(old, signal.SIGKILL)
    enginekit.eventually(lambda: old not in resolvers(host))


def test_what_containers_are_called(host):
    identity = run(host, "web", "--network", "front", "--network-alias", "www", "--hostname", "wonderful")
    run(host, "db", "--network", "front", "--network-alias", "www")
    web, db = address(host, "web"), address(host, "db")
    for word in ("web", "WEB", "web.front", identity[:12], "wonderful"):
        assert addresses(host, "db", word) == [web], word
    assert sorted(addresses(host, "db", "www")) == sorted([web, db])
    assert addresses(host, "web", "web") == [web]
    backwards = ".".join(reversed(web.split("."))) + ".in-addr.arpa"
    assert ask(host, "db", backwards, PTR).sections[0][0][3] == "web.front"
    assert (ask(host, "db", "web", AAAA).rcode, ask(host, "db", "web", AAAA).sections[0]) == (0, [])
    assert host.estiva("exec", "db", "ping", "-c1", "web").returncode == 0


def test_the_file_that_programs_read(host):
    run(host, "plain", "--network", "front")
    text = host.out("exec", "plain", "cat", "/etc/resolv.conf")
    assert text.startswith("nameserver 127.0.0.11\n") and text.count("nameserver") == 1 and "ndots:" in text
    run(
        host,
        "given",
        "--network",
        "front",
        "--dns",
        "192.0.2.53",
        "--dns-search",
        "a.test",
        "--dns-option",
        "ndots:2",
    )
    assert host.out("exec", "given", "cat", "/etc/resolv.conf") == (
        "nameserver 127.0.0.11\nsearch a.test\noptions ndots:2"
    )


def test_nothing_changes_on_the_default_bridge(host):
    run(host, "plain")
    assert "127.0.0.11" not in host.out("exec", "plain", "cat", "/etc/resolv.conf")
    table = subprocess.run(
        ["nsenter", "-t", str(pid(host, "plain")), "-n", "nft", "list", "ruleset"],
        capture_output=True,
        check=True,
    )
    assert table.stdout == b""


def test_containers_come_and_go(host):
    run(host, "one", "--network", "front")
    run(host, "two", "--network", "front")
    assert addresses(host, "one", "two") == [address(host, "two")]
    host.out("stop", "-t", "0", "two")
    assert addresses(host, "one", "two") == []
    host.out("start", "two")
    assert addresses(host, "one", "two") == [address(host, "two")] and addresses(host, "two", "one")
    host.out("rename", "two", "three")
    shown = host.out("network", "inspect", "-f", "{{range .Containers}}{{.Name}} {{end}}", "front")
    assert sorted(shown.split()) == ["one", "three"]
    assert addresses(host, "one", "two") == [] and addresses(host, "one", "three") == [address(host, "three")]
    host.out("restart", "-t", "0", "one")
    assert addresses(host, "one", "three") == [address(host, "three")]
    host.out("rm", "-f", "three")
    assert addresses(host, "one", "three") == []


def test_networks_don_t_see_each_other(host):
    run(host, "one", "--network", "front")
    run(host, "two", "--network", "back")
    run(host, "both", "--network", "front", "--network", "back")
    assert addresses(host, "one", "two") == [] and addresses(host, "two", "one.front") == []
    assert addresses(host, "both", "one") and addresses(host, "both", "two.back")
    assert addresses(host, "one", "both") == [address(host, "both")]
    assert addresses(host, "two", "both") == [address(host, "both", "back")]


def test_connected_and_disconnected_while_it_runs(host):
    run(host, "one", "--network", "front")
    run(host, "two", "--network", "back")
    host.out("network", "connect", "--alias", "second", "front", "two")
    assert addresses(host, "one", "two") == addresses(host, "one", "second") == [address(host, "two")]
    assert addresses(host, "two", "one") == [address(host, "one")]
    host.out("network", "disconnect", "front", "two")
    assert addresses(host, "one", "two") == [] and addresses(host, "two", "one") == []


def test_links(host):
    run(host, "web", "--network", "front", "--link", "db:database")
    template = "{{json .NetworkSettings.Networks.front.Links}}"
    assert host.out("inspect", "web", "-f", template) == '["db:database"]'
    assert addresses(host, "web", "database") == []
    run(host, "db", "--network", "front")
    run(host, "other", "--network", "front")
    assert (
        addresses(host, "web", "database") == [address(host, "db")]
        and addresses(host, "other", "database") == []
    )


def test_who_shares_a_network_shares_its_names(host):
    run(host, "web", "--network", "front")
    run(host, "db", "--network", "front")
    host.out("run", "--rm", "--network", "container:web", enginekit.IMAGE, "ping", "-c1", "db")
    done = host.estiva(
        "run", "--rm", "--network", "container:web", enginekit.IMAGE, "cat", "/etc/resolv.conf"
    )
    assert "nameserver 127.0.0.11" in done.stdout


def test_other_names_are_asked_of_dns_from_the_container(host):
    run(host, "web", "--network", "front", "--dns", "127.0.0.99")
    with at(pid(host, "web")):
        server = Outside(lambda data: respond(data, (A, b"\5\5\5\5")), "127.0.0.99", 53)
    assert addresses(host, "web", "far.org") == ["5.5.5.5"] and addresses(host, "web", "web") == [
        address(host, "web")
    ]
    server.close()


def test_a_killed_resolver_is_back_for_those_whose_monitors_hibernate_too(host):
    for number in range(8):
        run(host, f"c{number}", "--network", "front")
    all_sleep(host, 8)
    for _ in range(3):
        kill_resolver(host)
        for number in range(8):
            assert addresses(host, f"c{number}", f"c{7 - number}") == [address(host, f"c{7 - number}")]
    assert len(resolvers(host)) == 1
    kill_resolver(host)
    run(host, "late", "--network", "front")
    assert addresses(host, "late", "c3") and addresses(host, "c3", "late")


def all_sleep(host, monitors):
    """Wait until they hibernate, where they do."""
    if enginekit.can_hibernate():
        enginekit.eventually(lambda: sleeping(host) == monitors)


def sleeping(host):
    """How many monitors of this host hibernate."""
    count = 0
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{number}/environ", "rb") as file:
                ours = host.folder.encode() in file.read()
            count += ours and os.path.basename(os.readlink(f"/proc/{number}/exe")) == "dash"
        except OSError:
            continue
    return count


def test_a_container_ends_while_the_resolver_is_away(host):
    for number in range(6):
        run(
            host,
            f"c{number}",
            "--network",
            "front",
            command=("sh", "-c", "trap exit TERM; sleep 1000 & wait"),
        )
    all_sleep(host, 6)
    kill_resolver(host)
    host.out("stop", *(f"c{number}" for number in range(5)))
    assert addresses(host, "c5", "c5") == [address(host, "c5")] and addresses(host, "c5", "c0") == []


def test_its_monitor_is_killed(host):
    run(host, "one", "--network", "front")
    run(host, "two", "--network", "front")
    state = f"{host.folder}/run/containers/{host.out('inspect', '-f', '{{.Id}}', 'one')}/state.json"

    with open(state) as file:
        os.kill(json.load(file)["monitor"], signal.SIGKILL)
    assert host.estiva("system", "check", "--repair", status=None).returncode in (0, 1)
    assert addresses(host, "two", "one") == [] and addresses(host, "two", "two")


def test_many_at_once_find_each_other(host):
    """Twenty that are started by ten at a time, and a command in each that asks for another right away."""
    run(host, "well", "--network", "front")
    for _ in range(2):
        started = [
            host.start(
                "run",
                "--rm",
                "--network",
                "front",
                enginekit.IMAGE,
                "ping",
                "-c1",
                "well",
                stdout=subprocess.DEVNULL,
            )
            for _ in range(10)
        ]
        assert [child.wait(300) for child in started] == [0] * 10


def test_hostile_bytes_from_a_container_change_nothing(host):
    run(host, "one", "--network", "front")
    run(host, "two", "--network", "front")
    script = "for i in 1 2 3 4 5 6 7 8; do head -c 300 /dev/urandom | nc -u -w1 127.0.0.11 53; head -c 3000 /dev/urandom | nc -w1 127.0.0.11 53; done"
    before = resolvers(host)
    host.estiva("exec", "one", "sh", "-c", script, status=None, text=False)
    assert resolvers(host) == before and addresses(host, "two", "one") == [address(host, "one")]
    with at(pid(host, "one")):
        client = Client(("127.0.0.11", 53), timeout=60)
    with at(pid(host, "one")):
        assert Answer(client.send(query("two")[:-2])).rcode == 1


def test_its_first_network_is_joined_while_it_runs(host):
    """As with Docker: from then on it has names, also once its monitor hibernates and the resolver is killed."""
    run(host, "plain")
    run(host, "web", "--network", "front")
    all_sleep(host, 2)
    host.out("network", "connect", "front", "plain")
    assert addresses(host, "web", "plain") == [address(host, "plain")]
    enginekit.eventually(lambda: "127.0.0.11" in host.out("exec", "plain", "cat", "/etc/resolv.conf"))
    enginekit.eventually(lambda: reached(host, "plain"))
    host.out("exec", "plain", "ping", "-c1", "web")
    kill_resolver(host)
    assert addresses(host, "plain", "web") == [address(host, "web")]
    host.out("network", "disconnect", "front", "plain")
    assert addresses(host, "plain", "web") == []
    host.out("network", "connect", "front", "plain")
    assert addresses(host, "plain", "web") == [address(host, "web")]
    host.out("restart", "-t", "0", "plain")
    assert addresses(host, "plain", "web") == [address(host, "web")]


def test_a_resolv_conf_that_was_changed_is_left_alone(host):
    run(host, "plain")
    host.out("exec", "plain", "sh", "-c", "echo nameserver 192.0.2.7 >/etc/resolv.conf")
    host.out("network", "connect", "front", "plain")
    enginekit.eventually(lambda: reached(host, "plain"))
    assert host.out("exec", "plain", "cat", "/etc/resolv.conf") == "nameserver 192.0.2.7"
    assert addresses(host, "plain", "plain") == [address(host, "plain")]


def reached(host, name):
    """Whether the container has a name server by now."""
    with at(pid(host, name)):
        try:
            return Client(("127.0.0.11", 53), timeout=2).ask(name)
        except OSError:
            return None
