"""Where a log goes besides its file: the journal's protocol, syslog's formats, and peers that do not answer."""

import array
import os
import re
import socket
import time
from struct import unpack

import pytest

from estiva.engine.monitor.logs import outlet
from estiva.errors import Unavailable


def settings(address=("udp", "127.0.0.1", 1), **more):
    return {
        "driver": "syslog", "tag": "web", "drops": False, "size": 1 << 16, "fields": {}, "facility": 3, "format": "",
        "address": address, **more,
    }  # fmt: skip


class Peer:
    """A syslog daemon of datagrams."""

    def __init__(self, path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(5)
        self.address = ("unixgram", self.path, 0)

    def lines(self, count):
        return [self.socket.recv(1 << 20).decode() for _ in range(count)]


@pytest.fixture
def peer(tmp_path):
    made = Peer(tmp_path / "log")
    yield made
    made.socket.close()


STAMP = r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ 123]\d \d\d:\d\d:\d\d"
ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("", rf"<30>{STAMP} web\[\d+\]: hello\n"),
        ("rfc3164", rf"<30>{STAMP} {re.escape(os.uname().nodename)} web\[\d+\]: hello\n"),
        ("rfc5424", rf"<30>1 {ISO}[+-]\d\d:\d\d {re.escape(os.uname().nodename)} web \d+ web - hello\n"),
        (
            "rfc5424micro",
            rf"<30>1 {ISO}\.\d{{6}}[+-]\d\d:\d\d {re.escape(os.uname().nodename)} web \d+ web - hello\n",
        ),
    ],
)
def test_syslog_formats(peer, form, expected):
    out = outlet.Outlet(settings(peer.address, format=form))
    out.start()
    out.write("stdout", b"hello\n")
    assert re.fullmatch(expected, peer.lines(1)[0])
    out.close()


def test_lines_are_put_together_and_long_ones_cut(peer):
    out = outlet.Outlet(settings(peer.address))
    out.start()
    out.write("stdout", b"ha")
    out.write("stderr", b"bad\n\n")  # an empty line says nothing
    out.write("stdout", b"lf\n" + b"x" * (outlet.LINE + 5))
    out.close()
    bodies = [line.partition("]: ")[2] for line in peer.lines(4)]
    assert bodies == ["bad\n", "half\n", "x" * outlet.LINE + "\n", "xxxxx\n"]


def fields(packet):
    found = {}
    while packet:
        line, _, packet = packet.partition(b"\n")
        key, equals, value = line.partition(b"=")
        if not equals:
            (length,) = unpack("<Q", packet[:8])
            value, packet = packet[8 : 8 + length], packet[9 + length :]
        found[key.decode()] = value
    return found


def test_the_journal(tmp_path, monkeypatch):
    journal = Peer(tmp_path / "socket")
    monkeypatch.setattr(outlet, "JOURNAL", journal.path)
    out = outlet.Outlet(settings(driver="journald", fields={"CONTAINER_NAME": "web", "TWO": "a\nb"}))
    out.start()
    out.write("stderr", b"a=b\xff\x00\n")
    found = fields(journal.socket.recv(1 << 20))
    stamp = found.pop("SYSLOG_TIMESTAMP")
    assert abs(float(stamp) - time.time()) < 60
    assert found == {"MESSAGE": b"a=b\xff\0", "PRIORITY": b"3", "CONTAINER_NAME": b"web", "TWO": b"a\nb"}
    out.write("stdout", b"y" * (outlet.LINE + 1) + b"\n")
    assert fields(journal.socket.recv(1 << 20))["CONTAINER_PARTIAL_MESSAGE"] == b"true"
    assert fields(journal.socket.recv(1 << 20))["MESSAGE"] == b"y"
    out.close()
    journal.socket.close()


def test_what_is_too_big_for_a_packet_goes_to_the_journal_as_a_file(tmp_path, monkeypatch):
    journal = Peer(tmp_path / "socket")
    monkeypatch.setattr(outlet, "JOURNAL", journal.path)
    out = outlet.Outlet(settings(driver="journald", fields={"BIG": "z" * (1 << 20)}))
    out.start()
    out.write("stdout", b"hello\n")
    data, ancillary, _, _ = journal.socket.recvmsg(1 << 16, socket.CMSG_SPACE(4))
    (fd,) = array.array("i", ancillary[0][2])
    assert data == b"" and len(fields(os.pread(fd, 1 << 21, 0))["BIG"]) == 1 << 20
    os.close(fd)
    out.close()
    journal.socket.close()


@pytest.mark.parametrize("kind", ["unixgram", "unix", "tcp", "journald"])
def test_nobody_is_there_at_the_start(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(outlet, "JOURNAL", str(tmp_path / "nosuch"))
    address = ("tcp", "127.0.0.1", 1) if kind == "tcp" else (kind, str(tmp_path / "nosuch"), 0)
    made = settings(address, driver="journald" if kind == "journald" else "syslog")
    with pytest.raises(Unavailable, match="failed to initialize logging driver"):
        outlet.Outlet(made).start()


def test_a_machine_without_syslog_is_no_command_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(outlet, "DEV_LOG", (str(tmp_path / "nosuch"),))
    with pytest.raises(
        Unavailable, match="driver: Unix syslog delivery error$"
    ):  # docker's client: 125, not 127
        outlet.Outlet(settings(("unix", "", 0))).start()


def test_a_peer_that_goes_and_comes_back(peer, monkeypatch):
    monkeypatch.setattr(outlet, "RETRY", 0.0)
    out = outlet.Outlet(settings(peer.address))
    out.start()
    peer.socket.close()
    os.unlink(peer.path)
    for number in range(3):
        out.write("stdout", b"%d\n" % number)
    assert out.queue
    again = Peer(peer.path)
    out.serve()
    assert [line[-2] for line in again.lines(3)] == ["0", "1", "2"] and not out.queue and not out.size
    again.socket.close()
    out.close()


@pytest.mark.parametrize("drops", [True, False])
def test_a_peer_that_reads_nothing_costs_a_bounded_buffer_and_a_bounded_time(drops, monkeypatch):
    monkeypatch.setattr(outlet, "PATIENCE", 0.3)
    monkeypatch.setattr(outlet, "LAST", 0.1)
    listening = socket.create_server(("127.0.0.1", 0))
    out = outlet.Outlet(settings(("tcp", *listening.getsockname()), drops=drops))
    out.start()
    theirs, _ = listening.accept()
    block = b"".join(b"%06d %s\n" % (number, b"x" * 1000) for number in range(60))
    waited = 0
    for _ in range(400):
        began = time.monotonic()
        while out.full and time.monotonic() - began < 5:
            time.sleep(0.01)
            waited += 1
        out.write("stdout", block)
        assert out.size <= 2 * (1 << 16) + 2 * len(block)
    assert out.dropped and bool(waited) != drops
    theirs.settimeout(5)
    heard = b""
    while b"lines are missing here" not in heard:
        heard += theirs.recv(1 << 20)
        out.serve()
    whole = heard.split(b"\n")[:-1]
    assert all(re.fullmatch(rb"<(30|27)>.*\]: (\d{6} x{1000}|estiva: \d+ lines .*)", line) for line in whole)
    out.close()
    theirs.close()
    listening.close()


def test_half_a_line_is_not_continued_on_another_connection(monkeypatch):
    monkeypatch.setattr(outlet, "RETRY", 0.0)
    listening = socket.create_server(("127.0.0.1", 0))
    out = outlet.Outlet(settings(("tcp", *listening.getsockname()), size=1 << 24))
    out.start()
    first, _ = listening.accept()
    while not out.half:
        out.write("stdout", b"".join(b"%s\n" % (b"y" * 16000) for _ in range(50)))
    first.close()  # with bytes unread: a reset
    deadline = time.monotonic() + 5
    while out.channel is not None and out.queue and time.monotonic() < deadline:
        out.serve()
        if not out.half:
            break
    out.serve()
    second, _ = listening.accept()
    second.settimeout(5)
    out.serve()
    assert second.recv(4).startswith(b"<30>")
    out.hang_up()
    second.close()
    listening.close()
