"""network/dns/adopt: sockets of monitors that keep them, by the notes in run folders."""

import json
import os
import socket
import subprocess
import sys

import pytest

from dnskit import Answer, Client, Rows, query
from estiva.linux import procinfo
from estiva.network.dns import adopt, handover
from estiva.network.dns.names import Directory
from estiva.network.dns.server import Resolver

ONE = "1" * 64


@pytest.fixture
def place(tmp_path):
    root, run = tmp_path / "root", tmp_path / "run"
    root.mkdir()
    (run / "containers" / ONE).mkdir(parents=True)
    rows = Rows(str(root / "estiva.db"))
    rows.network("n1", "net")
    rows.container(ONE, "web")
    rows.join("n1", ONE, "10.1.0.2")
    yield root, run
    rows.db.close()


@pytest.fixture
def resolver(place):
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(f"{place[1]}/s")
    listening.listen()
    directory = Directory(str(place[0] / "estiva.db"))
    made = Resolver(listening, directory)
    yield made
    for container in list(made.containers):
        container.close()
    listening.close()
    directory.database.close()


@pytest.fixture
def names(place):
    udp, tcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.create_server(("127.0.0.1", 0))
    udp.bind(("127.0.0.1", 0))
    made = handover.Names(ONE, str(place[0]), str(place[1]), {"servers": [], "ndots": False}, [udp, tcp])
    yield made
    made.close()


def note(place):
    return place[1] / "containers" / ONE / "names"


def may_take():
    """pidfd_getfd(2) of ourselves, which some sandboxes forbid."""
    from estiva.linux import process

    mine = os.pidfd_open(os.getpid())
    try:
        os.close(process.pidfd_getfd(mine, 0))
    except OSError:
        return False
    finally:
        os.close(mine)
    return True


needs = pytest.mark.skipif(not may_take(), reason="pidfd_getfd(2) is not allowed here")


@needs
def test_what_a_monitor_keeps_is_served(place, resolver, names):
    names.note()
    assert note(place).stat().st_mode & 0o777 == 0o600
    adopt.adopt(resolver, str(place[0]), str(place[1]))
    (container,) = resolver.containers
    assert container.id == ONE and container.adopted
    client = Client(names.sockets[0].getsockname())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.connect(client.address)
        held.send(query("web"))
        assert resolver.loop.turn(20)
        assert Answer(held.recv(999)).addresses == ["10.1.0.2"]


@needs
def test_of_another_root_nothing_is_taken(place, resolver, names):
    names.note()
    adopt.adopt(resolver, "/elsewhere", str(place[1]))
    assert not resolver.containers


@needs
@pytest.mark.parametrize(
    "change",
    [
        {"started": 7},
        {"monitor": 1 << 30},
        {"monitor": "1"},
        {"sockets": [999]},
        {"sockets": []},
        {"sockets": ["x", "y"]},
        {"sockets": 3},
        {"message": 3},
        {"message": {}},
        {"message": {"id": ONE, "servers": 5}},
        {"root": None},
    ],
)
def test_a_note_that_is_none_is_passed_over_and_leaves_no_fd(place, resolver, names, change):
    names.note()
    text = json.loads(note(place).read_text())
    note(place).write_text(json.dumps({**text, **change}))
    before = len(os.listdir("/proc/self/fd"))
    adopt.adopt(resolver, str(place[0]), str(place[1]))
    assert not resolver.containers and len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "x" * 20_000])
def test_a_file_that_is_no_note(place, resolver, text):
    note(place).write_text(text)
    adopt.adopt(resolver, str(place[0]), str(place[1]))
    assert not resolver.containers


def test_without_a_run_root(place, resolver):
    adopt.adopt(resolver, str(place[0]), "/nowhere")
    assert not resolver.containers


@needs
def test_the_end_of_its_monitor_is_the_end(place, resolver, names):
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"],
        stdin=subprocess.PIPE,
        pass_fds=[held.fileno() for held in names.sockets],
    )
    try:
        names.note()
        text = json.loads(note(place).read_text())
        text.update(monitor=child.pid, started=procinfo.start_time(child.pid))
        note(place).write_text(json.dumps(text))
        adopt.adopt(resolver, str(place[0]), str(place[1]))
        assert len(resolver.containers) == 1
    finally:
        child.communicate(b"\n")
    assert resolver.loop.turn(20) and not resolver.containers
