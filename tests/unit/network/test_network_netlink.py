"""Netlink messages: what is packed, what is read back, what a malformed answer does."""

from __future__ import annotations

import struct
import sys

import pytest

from estiva.linux.net import netlink
from estiva.network import firewall


def test_attributes_are_padded_and_read_back() -> None:
    data = netlink.text(3, "abc") + netlink.nested(5, netlink.u32(1, 7), netlink.attribute(2, b"x"))
    assert len(data) % 4 == 0
    found = dict(netlink.attributes(data))
    assert found[3] == b"abc\0"
    assert dict(netlink.attributes(found[5])) == {1: struct.pack("=I", 7), 2: b"x"}


@pytest.mark.parametrize("data", [b"\0", b"\0\0\0\0\0\0\0\0", b"\x03\0\1\0aaaa"])
def test_malformed_attributes_end(data: bytes) -> None:
    assert list(netlink.attributes(data)) == []


def test_questions_need_no_privilege() -> None:
    with netlink.Socket() as socket:
        links = socket.links()
        assert {"lo"} <= {link.name for link in links}
        lo = socket.link("lo")
        assert lo is not None and lo.index == 1
        assert socket.link("estiva-absent") is None
        route = socket.exchange(netlink.get_route(b"\x7f\0\0\1"))[0]
        assert netlink.route_is_local(route)


def test_failure_names_its_object_and_leaves_the_socket_usable() -> None:
    with netlink.Socket() as socket:
        with pytest.raises(OSError) as caught:
            socket.exchange(netlink.get_link("estiva-absent"), netlink.get_link("lo"))
        assert caught.value.filename == "estiva-absent"
        assert socket.link("lo") is not None


def test_map_elements_are_in_network_order() -> None:
    port = {"HostIp": "0.0.0.0", "HostPort": "8080", "ContainerPort": "80", "Protocol": "tcp"}
    pairs = firewall._pairs("10.1.2.3", [port, dict(port, HostIp="127.0.0.1", Protocol="udp")])
    assert pairs == {
        "published_any": [(bytes.fromhex("06000000 1f900000"), bytes.fromhex("0a010203 00500000"))],
        "published_at": [(bytes.fromhex("7f000001 11000000 1f900000"), bytes.fromhex("0a010203 00500000"))],
    }


def test_table_names_differ_by_bridge() -> None:
    names = {firewall.table_of(name) for name in ("estiva0", "a-b", "a_b", "a.b", "estiva")}
    assert len(names) == 5
    assert all(name.replace("_", "").isalnum() for name in names)


def test_hot_modules_import_nothing_heavy() -> None:
    import subprocess

    program = "import sys; from estiva.network import bridge, ports; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; {program}"],
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"json", "re", "enum", "signal", "socket", "typing", "dataclasses", "collections", "contextlib"}
    heavy |= {"functools", "pathlib", "subprocess", "logging", "hashlib", "tempfile", "shutil", "sqlite3"}
    assert not heavy & set(done.stdout.split())


def test_a_dump_that_others_change_meanwhile_is_asked_again() -> None:
    class Kernel:
        """Tells two halves; others come in between for as long as there are some."""

        def __init__(self, others: int) -> None:
            self.others = others
            self.half = 0
            self.sequence = 0

        def send(self, data: bytes) -> None:
            self.sequence = int.from_bytes(data[8:12], sys.byteorder)
            self.half = 0

        def recv(self, size: int, how: int = 0) -> bytes:
            torn = netlink.NLM_F_DUMP_INTR if self.half and self.others > 0 else 0
            self.others -= self.half
            kind, body = ((99, b"one."), (netlink.NLMSG_DONE, b"\0" * 4))[self.half]
            if torn:
                kind, body = netlink.NLMSG_DONE, b"\0" * 4
            self.half += 1
            return struct.pack("=IHHII", 16 + len(body), kind, torn, self.sequence, 0) + body

    for others, asked in ((0, 1), (3, 4), (1000, netlink.TRIES)):
        with netlink.Socket() as real:
            kernel = Kernel(others)
            held, real.socket = real.socket, kernel  # type: ignore[assignment]
            try:
                assert real.dump(netlink.Request(1, 0, b"", "x")) == [b"one."]
                assert kernel.sequence == asked
            finally:
                real.socket = held
