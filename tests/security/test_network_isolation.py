"""K8: what a container with raw packets, or a neighbour of the host, must not reach."""

from __future__ import annotations

import socket
import struct
import subprocess

from netlab import TIMEOUT, Lab, at, inside, ip, own_netns, reaches, server

ONE, TWO = "a" * 64, "b" * 64


def _frame(source_mac: str, target_mac: str, source: str, target: str, payload: bytes) -> bytes:
    """An Ethernet frame with an IPv4 UDP packet to port 99."""
    udp = struct.pack("!HHHH", 1234, 99, 8 + len(payload), 0) + payload
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0)
    header += socket.inet_aton(source) + socket.inet_aton(target)
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    header = header[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + header[12:]
    macs = bytes.fromhex((target_mac + source_mac).replace(":", ""))
    return macs + b"\x08\x00" + header + udp


def _send(pid: int, interface: str, frame: bytes) -> None:
    with at(pid):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with raw:
        raw.bind((interface, 0))
        raw.send(frame)


def _mac(interface: str) -> str:
    words = ip("link", "show", interface).split()
    return words[words.index("link/ether") + 1]


def _arrives(listening: socket.socket, seconds: float = TIMEOUT) -> bool:
    listening.settimeout(seconds)
    try:
        listening.recv(64)
    except TimeoutError:
        return False
    return True


@own_netns
def test_a_container_can_not_reach_the_hosts_loopback() -> None:
    from estiva.network import bridge

    with Lab() as lab:
        pid = lab.netns()
        endpoint = bridge.connect(lab.db, lab.paths, ONE, pid)
        gateway = _mac("estiva0")
        with server(0, 99, kind=socket.SOCK_DGRAM) as listening:
            _send(pid, "eth0", _frame(endpoint.mac, gateway, endpoint.ip, endpoint.gateway, b"fair"))
            assert _arrives(listening)  # the frames are good
            _send(pid, "eth0", _frame(endpoint.mac, gateway, endpoint.ip, "127.0.0.1", b"to loopback"))
            assert not _arrives(listening, 0.3)
            _send(pid, "eth0", _frame(endpoint.mac, gateway, "127.0.0.1", endpoint.gateway, b"as loopback"))
            assert not _arrives(listening, 0.3)
            _send(pid, "eth0", _frame(endpoint.mac, gateway, "192.0.2.77", endpoint.gateway, b"as another"))
            assert not _arrives(listening, 0.3)


@own_netns
def test_a_neighbour_can_not_use_a_port_published_on_loopback() -> None:
    from estiva.network import bridge

    with Lab() as lab:
        pid = lab.netns()
        machine = lab.machine("192.0.2.9", "192.0.2.1")
        ports = [{"HostIp": "127.0.0.1", "HostPort": "99", "ContainerPort": "99", "Protocol": "udp"}]
        bridge.connect(lab.db, lab.paths, ONE, pid, ports=ports)
        words = inside(machine, "ip", "link", "show", "lan").split()
        source = words[words.index("link/ether") + 1]
        with server(pid, 99, kind=socket.SOCK_DGRAM) as listening:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as local:
                local.sendto(b"fair", ("127.0.0.1", 99))
            assert _arrives(listening)
            _send(machine, "lan", _frame(source, _mac("lan0"), "192.0.2.9", "127.0.0.1", b"from outside"))
            assert not _arrives(listening, 0.3)


@own_netns
def test_bridges_do_not_reach_each_other() -> None:
    import os

    from estiva.network import bridge

    with Lab() as lab, Lab() as other:
        one, two = lab.netns(), lab.netns()
        first = bridge.connect(lab.db, lab.paths, ONE, one)
        os.environ["ESTIVA_BRIDGE"] = "estiva-b"
        second = bridge.connect(other.db, other.paths, TWO, two)
        with server(one, 80), server(two, 80):
            assert not reaches(one, second.ip, 80)
            assert not reaches(two, first.ip, 80)
            assert reaches(0, first.ip, 80, TIMEOUT) and reaches(0, second.ip, 80, TIMEOUT)


@own_netns
def test_abstract_sockets_of_the_host_are_not_reachable() -> None:
    from estiva.network import bridge

    with Lab() as lab:
        pid = lab.netns()
        bridge.connect(lab.db, lab.paths, ONE, pid)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("\0estiva-test-abstract")
            listening.listen()
            script = "import socket; socket.socket(socket.AF_UNIX).connect('\\0estiva-test-abstract')"
            command = ["nsenter", "-t", str(pid), "-n", "python3", "-c", script]
            done = subprocess.run(command, capture_output=True, text=True)
            assert "ConnectionRefusedError" in done.stderr
