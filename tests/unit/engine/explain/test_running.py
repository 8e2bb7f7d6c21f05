"""Who listens where, by the tables of the kernel."""

import os
import socket
import sys

import pytest

from estiva.engine.explain import running


@pytest.mark.skipif(sys.byteorder != "little", reason="written for such a machine")
@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0100007F", "127.0.0.1"),
        ("00000000", "0.0.0.0"),
        ("0600C90A", "10.201.0.6"),
        ("00000000000000000000000001000000", "::1"),
        ("00000000000000000000000000000000", "::"),
        ("0000000000000000FFFF00000100007F", "127.0.0.1"),
    ],
)
def test_addresses(text, address):
    assert running.plain(text) == address


def test_sockets_that_listen():
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        udp.bind(("127.0.0.1", 0))
        talking = socket.create_connection(tcp.getsockname())
        assert tcp.getsockname() in running.sockets(os.getpid(), "tcp")
        assert talking.getsockname() not in running.sockets(os.getpid(), "tcp")
        assert udp.getsockname() in running.sockets(os.getpid(), "udp")
        talking.close()


def test_a_process_that_is_gone():
    assert running.sockets(0, "tcp") == []
