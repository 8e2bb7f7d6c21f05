"""The default bridge on the real kernel, inside a network namespace of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from netlab import TIMEOUT, Lab, at, inside, ip, own_netns, reaches, server, talk

ONE, TWO, THREE = "a" * 64, "b" * 64, "c" * 64


@own_netns
def test_containers_reach_each_other_and_the_host() -> None:
    from estiva.network import bridge

    with Lab() as lab:
        one, two = lab.netns(), lab.netns()
        first = bridge.connect(lab.db, lab.paths, ONE, one, hostname="first")
        second = bridge.connect(lab.db, lab.paths, TWO, two)
        assert first.ip != second.ip
        assert first.prefix == 16 and first.gateway == second.gateway and first.gateway.endswith(".0.1")
        assert first.bridge == "estiva0" and first.veth == "ve" + ONE[:11] and first.hostname == "first"
        assert first.mac in inside(one, "ip", "link", "show", "eth0")
        with server(two, 80) as listening:
            assert talk(one, listening, second.ip, 80) == first.ip
            assert talk(0, listening, second.ip, 80) == first.gateway
        with server(0, 80) as listening:
            assert talk(one, listening, first.gateway, 80) == first.ip
        with server(one, 81, "127.0.0.1") as listening:
            assert talk(one, listening, "127.0.0.1", 81) == "127.0.0.1"


@own_netns
def test_ipv6_is_off_but_for_the_containers_loopback() -> None:
    from estiva.network import bridge

    with Lab() as lab:
        pid = lab.netns()
        bridge.connect(lab.db, lab.paths, ONE, pid)
        assert inside(pid, "ip", "-6", "addr", "show", "dev", "eth0") == ""
        assert "::1" in inside(pid, "ip", "-6", "addr", "show", "dev", "lo")
        assert inside(pid, "cat", "/proc/sys/net/ipv6/conf/eth0/disable_ipv6") == "1\n"
        assert ip("-6", "addr", "show", "dev", "estiva0") == ""


@own_netns
def test_the_way_out_is_masqueraded_and_the_way_in_closed() -> None:
    from estiva.network import bridge

    with Lab() as lab:
        pid = lab.netns()
        endpoint = bridge.connect(lab.db, lab.paths, ONE, pid)
        machine = lab.machine("192.0.2.9", "192.0.2.1")
        with server(machine, 80) as listening:
            assert talk(pid, listening, "192.0.2.9", 80) == "192.0.2.1"
        # Even a neighbour with a route to the subnet reaches nothing that is not published.
        inside(machine, "ip", "route", "add", endpoint.ip, "via", "192.0.2.1")
        with server(pid, 80):
            assert not reaches(machine, endpoint.ip, 80)


@own_netns
def test_published_tcp_port_from_everywhere() -> None:
    from estiva.network import bridge

    with Lab() as lab:
        one, two = lab.netns(), lab.netns()
        machine = lab.machine("192.0.2.9", "192.0.2.1")
        ports = [{"HostIp": "", "HostPort": "8080", "ContainerPort": "80", "Protocol": "tcp"}]
        first = bridge.connect(lab.db, lab.paths, ONE, one, ports=ports)
        second = bridge.connect(lab.db, lab.paths, TWO, two)
        assert first.ports == [
            {"HostIp": "0.0.0.0", "HostPort": "8080", "ContainerPort": "80", "Protocol": "tcp"}
        ]
        with server(one, 80) as listening:
            assert talk(0, listening, "127.0.0.1", 8080) == first.gateway
            assert talk(0, listening, "192.0.2.1", 8080)
            assert talk(machine, listening, "192.0.2.1", 8080) == "192.0.2.9"
            assert talk(two, listening, "192.0.2.1", 8080) == first.gateway  # hairpin
            assert talk(two, listening, first.gateway, 8080) == first.gateway
            assert talk(one, listening, "192.0.2.1", 8080) == first.gateway  # to itself
            assert second.ip != first.ip
            bridge.disconnect(lab.db, lab.paths, ONE)
            assert not reaches(machine, "192.0.2.1", 8080)
            assert lab.db.read("SELECT address FROM leases WHERE container = ?", (ONE,)) == []


@own_netns
def test_port_of_one_address_only() -> None:
    from estiva.network import bridge

    with Lab() as lab:
        pid = lab.netns()
        machine = lab.machine("192.0.2.9", "192.0.2.1")
        ports = [
            {"HostIp": "127.0.0.1", "HostPort": "8080", "ContainerPort": "80", "Protocol": "tcp"},
            {"HostIp": "192.0.2.1", "HostPort": "9090", "ContainerPort": "80", "Protocol": "tcp"},
        ]
        bridge.connect(lab.db, lab.paths, ONE, pid, ports=ports)
        with server(pid, 80) as listening:
            assert talk(0, listening, "127.0.0.1", 8080)
            assert talk(machine, listening, "192.0.2.1", 9090)
            assert not reaches(machine, "192.0.2.1", 8080)
            assert not reaches(0, "127.0.0.1", 9090)


@own_netns
def test_published_udp_port_and_its_next_container() -> None:
    from estiva.network import bridge

    with Lab() as lab:
        machine = lab.machine("192.0.2.9", "192.0.2.1")
        with at(machine):
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(TIMEOUT)
        bridge.ensure(lab.db, lab.paths)
        client.sendto(b"too early", ("192.0.2.1", 5353))  # a flow that stays with the host, if not forgotten
        ports = [{"HostIp": "", "HostPort": "5353", "ContainerPort": "53", "Protocol": "udp"}]
        with client:
            for container in (ONE, TWO):
                pid = lab.netns()
                endpoint = bridge.connect(lab.db, lab.paths, container, pid, ports=ports)
                with server(pid, 53, kind=socket.SOCK_DGRAM) as listening:
                    client.sendto(b"ask", ("192.0.2.1", 5353))
                    data, peer = listening.recvfrom(16)
                    assert (data, peer[0]) == (b"ask", "192.0.2.9")
                    listening.sendto(container[:1].encode(), peer)
                    assert client.recvfrom(16) == (container[:1].encode(), ("192.0.2.1", 5353))
                    # The client goes on from the same port: its flow must not stay with this container.
                    bridge.disconnect(lab.db, lab.paths, container)
                    client.sendto(b"late", ("192.0.2.1", 5353))
                    listening.settimeout(0.2)
                    with pytest.raises(TimeoutError):
                        listening.recv(16)
                for held in endpoint.sockets:
                    held.close()
                lab.end(pid)


@own_netns
def test_ranges_and_free_ports() -> None:
    from estiva.network import bridge

    with Lab() as lab:
        pid = lab.netns()
        ports = [
            {"HostIp": "", "HostPort": "7000-7002", "ContainerPort": "70-72", "Protocol": "tcp"},
            {"HostIp": "", "HostPort": "7000-7005", "ContainerPort": "80", "Protocol": "tcp"},
            {"HostIp": "", "HostPort": "", "ContainerPort": "81", "Protocol": "tcp"},
        ]
        endpoint = bridge.connect(lab.db, lab.paths, ONE, pid, ports=ports)
        pairs = [(port["HostPort"], port["ContainerPort"]) for port in endpoint.ports]
        assert pairs[:4] == [("7000", "70"), ("7001", "71"), ("7002", "72"), ("7003", "80")]
        with server(pid, 81) as listening:
            assert talk(0, listening, "127.0.0.1", int(pairs[4][0]))
        with server(pid, 71) as listening:
            assert talk(0, listening, "127.0.0.1", 7001)


@own_netns
def test_port_in_use_leaves_nothing_behind() -> None:
    from estiva.errors import Conflict
    from estiva.network import bridge

    with Lab() as lab:
        one, two = lab.netns(), lab.netns()
        ports = [{"HostIp": "", "HostPort": "8080", "ContainerPort": "80", "Protocol": "tcp"}]
        first = bridge.connect(lab.db, lab.paths, ONE, one, ports=ports)
        other = [{"HostIp": "", "HostPort": "8081", "ContainerPort": "80", "Protocol": "tcp"}, *ports]
        with pytest.raises(Conflict, match="port 8080/tcp is already in use on 0.0.0.0"):
            bridge.connect(lab.db, lab.paths, TWO, two, ports=other)
        assert lab.db.read("SELECT container FROM leases") == [(ONE,)]
        assert "eth0" not in inside(two, "ip", "link")
        with socket.socket() as free:
            free.bind(("0.0.0.0", 8081))  # given back
        with socket.socket() as taken, pytest.raises(OSError):
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", 8080))
        with server(one, 80) as listening:
            assert talk(0, listening, "127.0.0.1", 8080)
        assert len(first.sockets) == 1


@own_netns
def test_port_that_only_lingers_in_time_wait_can_be_taken() -> None:
    from estiva.network import bridge

    with Lab() as lab:
        listening = server(0, 8080)
        client = socket.create_connection(("127.0.0.1", 8080))
        served, _ = listening.accept()
        served.close()
        client.close()
        listening.close()
        pid = lab.netns()
        ports = [{"HostIp": "", "HostPort": "8080", "ContainerPort": "80", "Protocol": "tcp"}]
        endpoint = bridge.connect(lab.db, lab.paths, ONE, pid, ports=ports)
        with server(pid, 80) as inner:
            assert talk(0, inner, "127.0.0.1", 8080)
        assert endpoint.sockets


@own_netns
def test_address_given_beforehand_and_fixed_mac() -> None:
    from estiva.errors import Conflict
    from estiva.network import bridge

    with Lab() as lab:
        pid = lab.netns()
        with lab.db.write() as transaction:
            address = bridge.reserve_in(transaction, ONE)
        endpoint = bridge.connect(lab.db, lab.paths, ONE, pid, address=address, mac="02:00:00:00:00:07")
        assert endpoint.ip == address
        assert "02:00:00:00:00:07" in inside(pid, "ip", "link", "show", "eth0")
        with pytest.raises(Conflict, match="already in use"):
            bridge.reserve(lab.db, lab.paths, TWO, address=address)


@own_netns
def test_a_flushed_firewall_and_a_lost_bridge_heal() -> None:
    from estiva.network import bridge

    with Lab() as lab:
        machine = lab.machine("192.0.2.9", "192.0.2.1")
        first = bridge.connect(lab.db, lab.paths, ONE, lab.netns())
        subprocess.run(["nft", "flush", "ruleset"], check=True)
        two = lab.netns()
        bridge.connect(lab.db, lab.paths, TWO, two)
        ip("link", "del", "estiva0")
        three = lab.netns()
        third = bridge.connect(lab.db, lab.paths, THREE, three)
        assert third.gateway == first.gateway
        with server(machine, 80) as listening:
            assert talk(three, listening, "192.0.2.9", 80) == "192.0.2.1"


@own_netns
def test_the_subnet_avoids_what_the_machine_uses() -> None:
    from estiva.network import bridge, ipam

    with Lab() as lab:
        first, second = (candidate.rsplit(".", 2)[0] for candidate in ipam.CANDIDATES[:2])
        ip("link", "add", "vpn", "type", "bridge")
        ip("addr", "add", f"{first}.7.1/24", "dev", "vpn")
        ip("link", "set", "vpn", "up")
        assert bridge.ensure(lab.db, lab.paths) == f"{second}.0.0/16"
        # After a reboot the machine may use more: nobody is on the bridge, so another subnet is chosen.
        bridge.remove_all()
        ip("route", "add", f"{second}.0.0/20", "dev", "vpn")
        address = bridge.reserve(lab.db, lab.paths, ONE)
        assert not address.startswith(second + ".") and not address.startswith(first + ".")


@own_netns
def test_two_state_roots_share_a_bridge() -> None:
    from estiva.network import bridge

    with Lab() as lab, Lab() as other:
        one, two = lab.netns(), lab.netns()
        first = bridge.connect(lab.db, lab.paths, ONE, one)
        second = bridge.connect(other.db, other.paths, TWO, two)
        assert first.gateway != second.gateway
        machine = lab.machine("192.0.2.9", "192.0.2.1")
        with server(machine, 80) as listening:
            assert talk(one, listening, "192.0.2.9", 80) == "192.0.2.1"
            assert talk(two, listening, "192.0.2.9", 80) == "192.0.2.1"
        assert bridge.sweep(other.db, other.paths, [])["leases"] == 1
        with server(one, 80) as listening:
            assert talk(0, listening, first.ip, 80)


@own_netns
def test_sweep_takes_only_what_the_dead_left() -> None:
    from estiva.network import bridge

    with Lab() as lab:
        one, two = lab.netns(), lab.netns()
        port = {"HostIp": "", "HostPort": "8080", "ContainerPort": "80", "Protocol": "tcp"}
        dead = bridge.connect(lab.db, lab.paths, ONE, one, ports=[port])
        bridge.connect(lab.db, lab.paths, TWO, two, ports=[dict(port, HostPort="8081")])
        for held in dead.sockets:
            held.close()
        assert bridge.sweep(lab.db, lab.paths, lambda: [TWO]) == {"leases": 1, "ports": 1, "veths": 1}
        assert bridge.sweep(lab.db, lab.paths, [TWO]) == {"leases": 0, "ports": 0, "veths": 0}
        assert dead.veth not in ip("link")
        with server(two, 80) as listening:
            assert talk(0, listening, "127.0.0.1", 8081)
        assert not reaches(0, "127.0.0.1", 8080)


@own_netns
def test_sweep_frees_no_address_that_an_interface_still_has() -> None:
    from estiva.network import bridge, links

    with Lab() as lab:
        bridge.connect(lab.db, lab.paths, ONE, lab.netns())
        delete = links.delete_link

        def fails(name: str) -> None:
            raise OSError(16, "busy", name)

        links.delete_link = fails
        with pytest.raises(OSError):
            bridge.sweep(lab.db, lab.paths, [])
        assert lab.db.read("SELECT container FROM leases") == [(ONE,)]
        links.delete_link = delete
        assert bridge.sweep(lab.db, lab.paths, []) == {"leases": 1, "ports": 0, "veths": 1}


@own_netns
def test_stale_entry_of_a_port_is_replaced() -> None:
    from estiva.network import bridge

    with Lab() as lab:
        ports = [{"HostIp": "", "HostPort": "8080", "ContainerPort": "80", "Protocol": "tcp"}]
        killed = bridge.connect(lab.db, lab.paths, ONE, lab.netns(), ports=ports)
        for held in killed.sockets:
            held.close()  # as the kernel does when the monitor is killed
        two = lab.netns()
        bridge.connect(lab.db, lab.paths, TWO, two, ports=ports)
        with server(two, 80) as listening:
            assert talk(0, listening, "127.0.0.1", 8080)


@own_netns
def test_restart_while_the_old_veth_is_still_there() -> None:
    from estiva.network import bridge

    with Lab() as lab:
        old, new = lab.netns(), lab.netns()
        bridge.connect(lab.db, lab.paths, ONE, old)
        bridge.disconnect(lab.db, lab.paths, ONE)
        endpoint = bridge.connect(lab.db, lab.paths, ONE, new)
        assert endpoint.veth != "ve" + ONE[:11]
        with server(new, 80) as listening:
            assert talk(0, listening, endpoint.ip, 80)
        bridge.disconnect(lab.db, lab.paths, ONE, delete_veth=True)
        assert "veaaaa" not in ip("link")


@own_netns
def test_remove_all_leaves_nothing_and_touches_nothing_else() -> None:
    from estiva.network import bridge

    with Lab() as lab:
        theirs = "table ip theirs {\n}\n"
        subprocess.run(["nft", "-f", "-"], input=theirs, text=True, check=True)
        bridge.connect(lab.db, lab.paths, ONE, lab.netns())
        bridge.remove_all()
        bridge.remove_all()
        assert "estiva0" not in ip("link")
        rules = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
        assert rules == "table ip theirs\n"


@own_netns
def test_loopback_up() -> None:
    from estiva.network import bridge

    with Lab() as lab:
        pid = lab.netns()
        bridge.loopback_up(pid)
        with server(pid, 80, "127.0.0.1") as listening:
            assert talk(pid, listening, "127.0.0.1", 80)
        assert "::1" in inside(pid, "ip", "-6", "addr")


@own_netns
def test_bridge_of_another_name() -> None:
    from estiva.errors import InvalidInput
    from estiva.network import bridge

    os.environ["ESTIVA_BRIDGE"] = "br-x.1"
    with Lab() as lab:
        pid = lab.netns()
        ports = [{"HostIp": "", "HostPort": "8080", "ContainerPort": "80", "Protocol": "tcp"}]
        assert bridge.connect(lab.db, lab.paths, ONE, pid, ports=ports).bridge == "br-x.1"
        with server(pid, 80) as listening:
            assert talk(0, listening, "127.0.0.1", 8080)
        os.environ["ESTIVA_BRIDGE"] = "../x"
        with pytest.raises(InvalidInput):
            bridge.bridge_name()


@own_netns
def test_note_of_a_firewall_that_drops_forwarded_packets() -> None:
    from estiva.network import firewall

    assert firewall.forward_note() == ""
    rules = "table inet strict { chain forward { type filter hook forward priority 0; policy drop; }\n }"
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    assert "table inet strict" in firewall.forward_note()


_ONE_OF_MANY = """
import sys
from estiva.network import bridge
from estiva.paths import Paths
from estiva.store.database import Database
paths = Paths(sys.argv[1], sys.argv[2])
db = Database(paths.database)
print("ready", flush=True)
sys.stdin.readline()
for n in range(5):
    print(bridge.reserve(db, paths, f"{sys.argv[3]}-{n}"))
bridge.ensure(db, paths)
"""


@own_netns
def test_concurrent_first_use_gives_no_address_twice() -> None:
    with Lab() as lab:
        lab.db.read("SELECT 1")
        command = [sys.executable, "-c", _ONE_OF_MANY, lab.paths.root, lab.paths.run_root]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        running = [subprocess.Popen([*command, str(n)], **pipes) for n in range(20)]
        for process in running:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for process in running:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        found = []
        for process in running:
            out, _ = process.communicate(timeout=300)
            assert process.returncode == 0
            found += out.split()
        assert len(found) == len(set(found)) == 100
        assert len({address.rsplit(".", 2)[0] for address in found}) == 1
        assert "estiva0" in ip("link")


@own_netns
def test_a_bridge_that_another_makes_at_this_moment_stays_and_is_joined() -> None:
    """After the look that found none, and before the addresses of this machine are read."""
    from estiva.network import bridge, ipam

    with Lab() as lab:
        first = bridge.reserve(lab.db, lab.paths, ONE)
        bridge.ensure(lab.db, lab.paths)
        before = ip("link", "show", "estiva0")
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(ipam, "exists", lambda name: False)
            second = bridge.reserve(lab.db, lab.paths, TWO)
        assert ip("link", "show", "estiva0") == before
        assert first.rsplit(".", 2)[0] == second.rsplit(".", 2)[0] and first != second


@own_netns
def test_what_stays_in_a_map_is_told_while_others_come_and_go() -> None:
    """And each once; what another has taken out meanwhile is not missed."""
    from estiva.linux.net import netfilter, netlink

    script = "table ip t { map m { type ipv4_addr : ipv4_addr; }; }"
    subprocess.run(["nft", "-f", "-"], input=script.encode(), check=True)

    def pairs(start: int, end: int) -> list[tuple[bytes, bytes]]:
        return [(port.to_bytes(2, "big") + b"\0\0",) * 2 for port in range(start, end)]

    stays, comes = pairs(1, 4000), pairs(10000, 10100)
    with netlink.Socket(netfilter.NETLINK_NETFILTER) as socket:
        netfilter.add_elements(socket, "t", {"m": stays})
        other = os.fork()
        if other == 0:
            try:
                with netlink.Socket(netfilter.NETLINK_NETFILTER) as busy:
                    for _ in range(20):
                        netfilter.add_elements(busy, "t", {"m": comes})
                        netfilter.delete_elements(busy, "t", {"m": comes})
            finally:
                os._exit(0)
        while os.waitpid(other, os.WNOHANG) == (0, 0):
            found = netfilter.elements(socket, "t", "m")
            assert set(found).issuperset(stays) and len(found) == len(set(found))
        netfilter.delete_elements(socket, "t", {"m": stays[:1]})
        netfilter.delete_elements(socket, "t", {"m": stays})
        assert not netfilter.elements(socket, "t", "m")
