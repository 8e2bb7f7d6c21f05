"""--profile untrusted, K8: no way out but to what is allowed, whatever a name server says."""

import os
import pathlib
import signal
import socket
import struct
import subprocess
import threading

import pytest

import dnskit
import netlab
from enginekit import IMAGE, eventually, host

WEB, NAMES, PRIVATE, METADATA, OTHER = (
    "203.0.113.9",
    "203.0.113.53",
    "10.9.9.9",
    "169.254.169.254",
    "203.0.113.10",
)
HOST, WEB6, HOST6 = "203.0.113.1", "2a0e:1::9", "2a0e:1::1"
PORTS = (80, 81)


class World:
    """Another machine beside the host: it has all the addresses, serves a few words, and answers queries as `zone` says."""

    def __init__(self, box):
        self.box = box
        self.zone = {}  # name -> addresses, in turn a list for each query
        self.asked = []
        self.process = subprocess.Popen(["unshare", "-n", "sleep", "3600"])
        here = os.readlink("/proc/self/ns/net")
        eventually(lambda: os.readlink(f"/proc/{self.process.pid}/ns/net") != here)
        pid = self.process.pid
        self.host("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan", "netns", str(pid))
        for words in (
            f"addr add {HOST}/24 dev lan0",
            f"-6 addr add {HOST6}/64 dev lan0 nodad",
            "link set lan0 up",
            f"route add {PRIVATE} dev lan0",
            f"route add {METADATA} dev lan0",
        ):
            self.host("ip", *words.split())
        for address in (WEB, NAMES, OTHER):
            netlab.inside(pid, "ip", "addr", "add", f"{address}/24", "dev", "lan")
        for address in (PRIVATE, METADATA):
            netlab.inside(pid, "ip", "addr", "add", f"{address}/32", "dev", "lan")
        netlab.inside(pid, "ip", "-6", "addr", "add", f"{WEB6}/64", "dev", "lan", "nodad")
        netlab.inside(pid, "ip", "link", "set", "lan", "up")
        netlab.inside(pid, "ip", "link", "set", "lo", "up")
        netlab.inside(pid, "ip", "route", "add", "default", "via", HOST)
        netlab.inside(pid, "ip", "-6", "route", "add", "default", "via", HOST6)
        self.sockets = []
        for place in (pid, box.netns.pid):
            with netlab.at(place):
                for port in PORTS:
                    held = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
                    self.sockets.append(held)
                    threading.Thread(target=self.serve, args=(held, place == pid), daemon=True).start()
        with netlab.at(pid):
            self.names = dnskit.Outside(self.reply, NAMES, 53)

    def host(self, *words):
        subprocess.run([*self.box.prefix, *words], check=True)

    def serve(self, held, world):
        while True:
            try:
                client, _ = held.accept()
                with client:
                    client.sendall(b"world\n" if world else b"the host\n")
            except OSError:
                return

    def reply(self, data):
        labels, at = [], 12
        while data[at]:
            labels.append(data[at + 1 : at + 1 + data[at]].decode())
            at += 1 + data[at]
        name, kind = ".".join(labels), struct.unpack_from("!H", data, at + 1)[0]
        self.asked.append((name, kind))
        found = self.zone.get(name)
        if found is None:
            return dnskit.respond(data, rcode=3)
        found = found.pop(0) if isinstance(found[0], list) and len(found) > 1 else found
        found = found[0] if isinstance(found[0], list) else found
        records = [
            (dnskit.A, socket.inet_aton(each)) for each in found if ":" not in each and kind == dnskit.A
        ]
        records += [
            (dnskit.AAAA, socket.inet_pton(socket.AF_INET6, each))
            for each in found
            if ":" in each and kind == dnskit.AAAA
        ]
        return dnskit.respond(data, *records)

    def close(self):
        self.names.close()
        for held in self.sockets:
            held.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


@pytest.fixture(scope="module")
def world(box):
    made = World(box)
    yield made
    made.close()


def run(box, script, *allowed, more=(), status=None):
    words = [word for each in allowed for word in ("--allow-host", each)]
    done = box.estiva(
        "run",
        "--rm",
        "--profile",
        "untrusted",
        "--dns",
        NAMES,
        *words,
        *more,
        IMAGE,
        "sh",
        "-c",
        script,
        status=status,
    )
    return done.stdout


def get(*places):
    """Words of a shell that try to reach places: what is heard from each, or "no"."""
    tries = (f"(nc -w 2 {place} </dev/null 2>/dev/null || echo no) | head -1;" for place in places)
    return "".join(tries)


def test_without_a_list_there_is_no_network_at_all(box, world):
    told = run(box, f"ls /sys/class/net; {get(f'{WEB} 80', f'{HOST} 80')} nc -w 1 127.0.0.11 53 || echo no")
    assert told.split() == ["lo", "no", "no", "no"]


def test_an_allowed_name_is_reached_on_its_port_alone(box, world):
    world.zone = {"good.test": [WEB], "other.test": [OTHER]}
    script = get("good.test 80", "good.test 81", f"{WEB} 80", f"{WEB} 81", f"{OTHER} 80", "other.test 80")
    assert run(box, script, "good.test:80").split("\n")[:6] == ["world", "no", "world", "no", "no", "no"]
    assert "other.test" not in [name for name, _ in world.asked]  # nobody outside hears of it


def test_an_address_is_not_reached_before_its_name_has_been_asked_for(box, world):
    world.zone = {"good.test": [WEB]}
    assert run(box, get(f"{WEB} 80", "good.test 80", f"{WEB} 80"), "good.test:80").split() == [
        "no",
        "world",
        "world",
    ]


def test_an_address_that_was_asked_for_is_reached_and_may_be_private(box, world):
    script = get(f"{PRIVATE} 80", f"{PRIVATE} 81", f"{WEB} 80")
    assert run(box, script, f"{PRIVATE}:80").split() == ["world", "no", "no"]


@pytest.mark.parametrize("address", ["127.0.0.1", PRIVATE, METADATA, HOST, "0.0.0.0", "100.64.0.1"])
def test_a_name_that_means_a_later_address_inside_means_nothing(box, world, address):
    """DNS rebinding: the first answer is good, the next leads inside."""
    world.zone = {"evil.test": [[WEB], [address]]}
    script = get("evil.test 80") + "sleep 0.1;" + get("evil.test 80", f"{address} 80")
    told = run(box, script, "evil.test:80").split()
    assert told[0] == "world" and "the" not in told and told[1:] == ["no", "no"], told


def test_an_answer_with_both_is_told_without_what_leads_inside(box, world):
    world.zone = {"mixed.test": [METADATA, PRIVATE, WEB, HOST]}
    script = get("mixed.test 80", f"{METADATA} 80", f"{PRIVATE} 80", f"{HOST} 80")
    assert run(box, script, "mixed.test:80").split() == ["world", "no", "no", "no"]


@pytest.mark.parametrize(
    "word", [f"{METADATA}:80", "127.0.0.1:80", "[fe80::1]:80", "[::ffff:169.254.169.254]:80"]
)
def test_metadata_and_loopback_can_not_be_allowed(box, world, word):
    assert run(box, "echo ran", word) == ""
    done = box.estiva(
        "run", "--rm", "--profile", "untrusted", "--allow-host", word, IMAGE, "true", status=125
    )
    assert "never reachable" in done.stderr


def test_the_host_can_not_be_allowed(box, world):
    done = box.estiva(
        "run", "--rm", "--profile", "untrusted", "--allow-host", f"{HOST}:80", IMAGE, "true", status=125
    )
    assert f"the allowed host {HOST} is this machine" in done.stderr


def test_nobody_reaches_it_and_neighbours_are_not_reached(box, world):
    box.estiva("run", "-d", "--name", "open", IMAGE, "sh", "-c", "while :; do echo open | nc -l -p 80; done")
    held = box.out(
        "run", "-d", "--profile", "untrusted", "--allow-host", f"{WEB}:80", IMAGE,
        "sh", "-c", "while :; do echo box | nc -l -p 8080; done",
    )  # fmt: skip
    try:
        neighbour, own = (
            box.out("inspect", "-f", "{{.NetworkSettings.IPAddress}}", name) for name in ("open", held)
        )
        gateway = box.out("inspect", "-f", "{{.NetworkSettings.Gateway}}", held)
        told = box.out("exec", held, "sh", "-c", get(f"{neighbour} 80", f"{gateway} 80", "127.0.0.1 8080"))
        assert told.split() == ["no", "no", "box"]
        assert box.out("exec", "open", "sh", "-c", get(f"{own} 8080")) == "no"
        assert not netlab.reaches(box.netns.pid, own, 8080)
        assert "profile untrusted" in box.estiva("network", "connect", "bridge", held, status=1).stderr
    finally:
        box.estiva("rm", "-f", "open", held)


def test_on_a_network_with_ipv6_it_is_the_same(box, world):
    box.estiva("network", "create", "--ipv6", "six")
    try:
        world.zone = {
            "six.test": [WEB6, HOST6],
            "evil.test": [["fe80::1", "::1", HOST6, "fd00:ec2::254", f"::ffff:{WEB}"]],
        }
        script = get("six.test 80", f"{WEB6} 80", f"{WEB6} 81", f"{HOST6} 80", "evil.test 80", f"{WEB} 80")
        told = run(box, script, "six.test:80", "evil.test:80", more=("--network", "six"))
        assert told.split() == ["world", "world", "no", "no", "no", "no"], told
    finally:
        box.estiva("network", "rm", "six")


def titled(title, box=None):
    """The processes of that title; those in the host's network namespace, if one is given."""
    found = set()
    for each in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            there = (each / "cmdline").read_bytes().startswith(title.encode())
            if there and (
                box is None or os.readlink(each / "ns/net") == os.readlink(f"/proc/{box.netns.pid}/ns/net")
            ):
                found.add(int(each.name))
        except OSError:
            pass
    return found


def test_the_gate_has_one_right_in_one_namespace_and_ends_with_its_container(box, world):
    before = titled("estiva: gate")
    held = box.out("run", "-d", "--profile", "untrusted", "--allow-host", f"{WEB}:80", IMAGE, "sleep", "600")
    (gate,) = titled("estiva: gate") - before
    pid = box.out("inspect", "-f", "{{.State.Pid}}", held)
    try:
        status = pathlib.Path(f"/proc/{gate}/status").read_text()
        rights = {
            line.split(":")[0]: line.split()[1]
            for line in status.splitlines()
            if line.startswith(("Cap", "Secc", "NoNew"))
        }
        assert int(rights["CapEff"], 16) == int(rights["CapPrm"], 16) == 1 << 12
        assert int(rights["CapBnd"], 16) == 0 and rights["Seccomp"] == "2" and rights["NoNewPrivs"] == "1"
        assert os.readlink(f"/proc/{gate}/ns/user") == os.readlink(f"/proc/{pid}/ns/user")
        # whoever kills it takes the rest of the names away, and opens nothing
        os.kill(gate, signal.SIGKILL)
        world.zone = {"good.test": [WEB]}
        told = box.out("exec", held, "sh", "-c", get(f"{WEB} 80", f"{OTHER} 80"))
        assert told.split() == ["world", "no"]
    finally:
        box.estiva("rm", "-f", held)
    held = box.out("run", "-d", "--profile", "untrusted", "--allow-host", f"{WEB}:80", IMAGE, "sleep", "600")
    (gate,) = titled("estiva: gate") - before
    box.estiva("rm", "-f", held)
    eventually(lambda: not titled("estiva: gate") - before)


def test_the_resolver_may_be_killed(box, world):
    world.zone = {"good.test": [WEB]}
    held = box.out(
        "run",
        "-d",
        "--profile",
        "untrusted",
        "--dns",
        NAMES,
        "--allow-host",
        "good.test:80",
        IMAGE,
        "sleep",
        "600",
    )
    try:
        for pid in titled("estiva: names", box):
            os.kill(pid, signal.SIGKILL)
        told = eventually(lambda: box.out("exec", held, "sh", "-c", get("good.test 80", f"{OTHER} 80")))
        assert told.split() == ["world", "no"]
    finally:
        box.estiva("rm", "-f", held)
