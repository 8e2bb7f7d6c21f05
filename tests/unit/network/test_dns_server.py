"""network/dns/server and upstream, over loopback: clients, other name servers, and those among both who mean no good."""

import contextlib
import os
import socket
import struct
import time

import pytest

from dnskit import (
    AAAA,
    MX,
    PTR,
    SRV,
    TXT,
    A,
    Answer,
    Outside,
    Rows,
    Serving,
    eventually,
    query,
    read_message,
    respond,
)
from estiva.network.dns import server, upstream

ONE, TWO, THREE = "1" * 64, "2" * 64, "3" * 64
SOME = bytes((192, 0, 2, 1))


@pytest.fixture
def rows(tmp_path):
    made = Rows(str(tmp_path / "estiva.db"))
    made.network("n1", "net")
    made.network("n2", "inner", Internal=True)
    for identity, name in ((ONE, "web"), (TWO, "db"), (THREE, "lonely")):
        made.container(identity, name)
    made.join("n1", ONE, "10.1.0.2", "fd00::2", Aliases=["all"])
    made.join("n1", TWO, "10.1.0.3", Aliases=["all"])
    made.join("n2", THREE, "10.2.0.2")
    yield made
    made.db.close()


@pytest.fixture
def outside():
    made = Outside(lambda data: respond(data, (A, SOME)))
    yield made
    made.close()


@pytest.fixture
def serving(rows, outside):
    made = Serving(rows.db.path, outside.port)
    yield made
    made.close()
    assert not made.resolver.mistakes


HERE = ("127.0.0.1", True)


def test_names_of_containers(serving, outside):
    client = serving.container(ONE, HERE)
    assert client.ask("db").addresses == client.ask("DB.net").addresses == ["10.1.0.3"]
    assert client.ask("web", AAAA).addresses == ["fd00::2"]
    assert client.ask("db", 255).addresses == ["10.1.0.3"]
    for kind in (AAAA, MX, TXT, 65):
        answer = client.ask("db", kind)
        assert (answer.rcode, answer.sections[0]) == (0, []), "the name exists, without such data"
    assert not outside.asked


def test_round_robin(serving):
    client = serving.container(ONE, HERE)
    found = [client.ask("all").addresses for _ in range(4)]
    assert {first for first, _ in found} == {"10.1.0.2", "10.1.0.3"} and all(len(each) == 2 for each in found)


def test_reverse(serving, outside):
    client = serving.container(ONE, HERE)
    assert client.ask("3.0.1.10.in-addr.arpa", PTR).sections[0][0][3] == "db.net"
    client.ask("2.0.2.10.in-addr.arpa", PTR)
    assert len(outside.asked) == 1, "of a network that it is not on, nothing is known"


def test_services(serving, outside):
    client = serving.container(TWO, HERE)
    answer = client.ask("_80._tcp.all", SRV)
    assert {value for _, _, _, value in answer.sections[0]} == {(80, "web.net"), (80, "db.net")}
    assert {(owner, value) for owner, _, _, value in answer.sections[2]} == {
        ("web.net", "10.1.0.2"), ("web.net", "fd00::2"), ("db.net", "10.1.0.3"),
    }  # fmt: skip
    assert client.ask("_http._tcp.all", SRV).sections[0] == []
    assert not outside.asked
    client.ask("_80._tcp.nobody", SRV)
    client.ask("_80._sctp.web", SRV)
    assert len(outside.asked) == 2


def test_over_tcp_several_in_one_connection(serving):
    client = serving.container(ONE, HERE)
    one, two, three = client.over_tcp(
        query("db", number=1), query("web", number=2), query("far.org", number=3)
    )
    assert (
        one.addresses == ["10.1.0.3"] and two.addresses == ["10.1.0.2"] and three.addresses == ["192.0.2.1"]
    )


def test_other_names_are_asked_outside(serving, outside):
    client = serving.container(ONE, HERE)
    answer = client.ask("far.org", size=1400)
    assert answer.addresses == ["192.0.2.1"]
    client.ask("single")
    (first, one), (second, two) = outside.asked
    assert first[2:] == query("far.org", size=1400)[2:], "all but the id as it came"
    assert one != two, "each query has a port of its own"


def test_ids_and_ports_are_random(serving, outside):
    client = serving.container(ONE, HERE)
    for _ in range(64):
        client.ask("far.org")
    assert len({data[:2] for data, _ in outside.asked}) > 60
    assert len({sender for _, sender in outside.asked}) > 50


def test_own_servers_are_asked_by_the_sockets_that_came_and_ports_are_random_too(serving, outside):
    client = serving.container(ONE, ("127.0.0.1", False), given=1)
    for _ in range(32):
        assert client.ask("far.org").addresses == ["192.0.2.1"]
    assert len({sender for _, sender in outside.asked}) > 24
    for _ in range(3):
        assert client.over_tcp(query("far.org"))[0].addresses == ["192.0.2.1"]
    assert len({sender for _, sender in outside.asked}) > 27


def test_more_queries_than_sockets_wait_for_one(serving, outside):
    client = serving.container(ONE, ("127.0.0.1", False), given=1)
    held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    held.settimeout(20)
    held.connect(client.address)
    for number in range(20):
        held.send(query(f"far{number}.org", number=number))
    assert {Answer(held.recv(999)).id for _ in range(20)} == set(range(20))
    held.close()


def test_who_is_on_internal_networks_alone_learns_nothing_of_the_outside(serving, outside, rows):
    client = serving.container(THREE, HERE)
    assert client.ask("lonely").addresses == ["10.2.0.2"]
    assert client.ask("far.org").rcode == 2 and not outside.asked
    rows.join("n1", THREE, "10.1.0.9")
    assert client.ask("far.org").addresses == ["192.0.2.1"]


def test_with_ndots_a_name_without_a_dot_is_not_asked_outside(serving, outside):
    client = serving.container(ONE, HERE, ndots=True)
    answer = client.ask("nobody")
    assert (answer.rcode, answer.sections[0], outside.asked) == (0, [], [])


def test_without_servers_it_fails(serving):
    assert serving.container(ONE).ask("far.org").rcode == 2


@pytest.mark.parametrize("stream", [False, True])
def test_the_next_server_is_asked(serving, outside, stream):
    """127.0.0.2 and .3: nobody listens there; 127.0.0.1 answers."""
    client = serving.container(ONE, ("127.0.0.2", True), ("127.0.0.3", True), HERE)
    answer = client.over_tcp(query("far.org"))[0] if stream else client.ask("far.org")
    assert answer.addresses == ["192.0.2.1"]


@pytest.mark.parametrize("rcode", [2, 5])
def test_a_server_that_fails_is_followed_by_the_next(serving, outside, rcode):
    other = Outside(lambda data: respond(data, rcode=rcode), "127.0.0.4", outside.port)
    client = serving.container(ONE, ("127.0.0.4", True), HERE)
    assert client.ask("far.org").addresses == ["192.0.2.1"] and len(other.asked) == 1
    other.close()


def test_that_there_is_no_such_name_is_an_answer(serving, outside):
    outside.reply = lambda data: respond(data, rcode=3)
    assert serving.container(ONE, HERE, HERE).ask("far.org").rcode == 3 and len(outside.asked) == 1


def test_a_silent_server_is_followed_by_the_next_and_asked_last_from_then_on(serving, outside, monkeypatch):
    monkeypatch.setattr(upstream, "PATIENCE", 0.2)
    silent = Outside(lambda data: None, "127.0.0.4", outside.port)
    client = serving.container(ONE, ("127.0.0.4", True), HERE)
    for _ in range(5):
        assert client.ask("far.org").addresses == ["192.0.2.1"]
    assert len(silent.asked) == 1
    client = serving.container(ONE, ("127.0.0.4", True))
    assert client.ask("far.org").rcode == 2, "when nobody says anything, that is told"
    silent.close()


def test_an_answer_that_is_too_long_for_the_client_is_cut(serving, outside):
    outside.reply = lambda data: respond(data, *[(A, SOME)] * 100)
    client = serving.container(ONE, HERE)
    assert client.ask("far.org").truncated
    assert len(client.ask("far.org", size=4096).addresses) == 100
    assert len(client.over_tcp(query("far.org"))[0].addresses) == 100


def bad_id(data):
    return respond(bytes((data[0] ^ 1, data[1])) + data[2:], (A, b"\x06\x06\x06\x06"))


def other_name(data):
    return respond(query("evil.org", number=int.from_bytes(data[:2], "big")), (A, b"\x06\x06\x06\x06"))


@pytest.mark.parametrize(
    "lie", [bad_id, other_name, lambda data: b"", lambda data: b"\0" * 5, lambda data: data]
)
def test_lies_of_an_upstream_are_not_heard(serving, outside, lie):
    """What is no answer to the query changes nothing; the right one that comes after is taken."""

    def both(data):
        if lie(data):
            sender = outside.asked[-1][1]
            outside.udp.sendto(lie(data), sender)
        return respond(data, (A, SOME))

    outside.reply = both
    assert serving.container(ONE, HERE).ask("far.org").addresses == ["192.0.2.1"]


def test_an_answer_from_elsewhere_is_not_heard(serving, outside):
    def forged(data):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
            elsewhere.bind(("127.0.0.1", 0))
            for _ in range(3):
                elsewhere.sendto(respond(data, (A, b"\x06\x06\x06\x06")), outside.asked[-1][1])
        return respond(data, (A, SOME))

    outside.reply = forged
    assert serving.container(ONE, HERE).ask("far.org").addresses == ["192.0.2.1"]
    assert serving.container(ONE, ("127.0.0.1", False), given=1).ask("far.org").addresses == ["192.0.2.1"]


@pytest.mark.parametrize("sent", [b"", b"\0", b"\0\0", b"\0\x03abc", b"\xff\xff" + b"x" * 100])
def test_an_upstream_that_breaks_off_over_tcp(serving, outside, sent):
    class Broken(Outside):
        def _streams(self):
            while True:
                try:
                    client, _ = self.tcp.accept()
                except OSError:
                    return
                client.recv(999)
                client.sendall(sent)
                client.close()

    broken = Broken(lambda data: None, "127.0.0.5", outside.port)
    client = serving.container(ONE, ("127.0.0.5", True), HERE)
    assert client.over_tcp(query("far.org"))[0].addresses == ["192.0.2.1"]
    broken.close()


@pytest.mark.parametrize("data", [b"\0", respond(query("web")), b"x" * 5000, b""])
def test_what_gets_no_answer(serving, data):
    client = serving.container(ONE, HERE)
    assert client.silent(data)
    assert client.ask("db").addresses == ["10.1.0.3"]


def test_what_is_malformed_is_answered_so(serving, outside):
    client = serving.container(ONE, HERE)
    assert Answer(client.send(query("web")[:-3])).rcode == 1 and not outside.asked
    assert Answer(client.send(query("web", flags=0x2800))).rcode == 4


def test_random_bytes_change_nothing(serving):
    client = serving.container(ONE)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.connect(client.address)
        for _ in range(2000):
            held.send(os.urandom(os.urandom(1)[0]))
            held.send(query("db")[:12] + os.urandom(40))
    assert eventually(lambda: not client.silent(query("db"))), "what was lost in the flood is asked again"


@pytest.mark.parametrize("sent", [b"\0\0", b"\xff\xff" + b"x" * 9000, b"\0\x05abc", b"\0"])
def test_nonsense_over_tcp(serving, sent):
    client = serving.container(ONE, HERE)
    with socket.create_connection(client.stream) as held:
        with contextlib.suppress(ConnectionError):
            held.sendall(sent)
        assert client.over_tcp(query("db"))[0].addresses == ["10.1.0.3"]


def test_a_message_that_comes_byte_by_byte(serving):
    client = serving.container(ONE, HERE)
    data = query("db")
    with socket.create_connection(client.stream) as held:
        held.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in struct.pack("!H", len(data)) + data:
            held.send(bytes((byte,)))
            time.sleep(0.001)
        assert Answer(read_message(held)).addresses == ["10.1.0.3"]


def test_connections_are_bounded_the_one_silent_for_longest_goes(serving):
    client = serving.container(ONE, HERE)
    held = [socket.create_connection(client.stream, 20) for _ in range(server.STREAMS + 4)]
    assert held[0].recv(1) == b""
    assert client.over_tcp(query("db"))[0].addresses == ["10.1.0.3"]
    assert eventually(lambda: len(serving.resolver.streams) <= server.STREAMS)
    for each in held:
        each.close()


def test_idle_connections_end(serving, monkeypatch):
    monkeypatch.setattr(server, "IDLE", 0.3)
    client = serving.container(ONE, HERE)
    with socket.create_connection(client.stream, 20) as held:
        assert held.recv(1) == b""


def test_who_does_not_read_is_let_go_of(serving, outside):
    outside.reply = lambda data: respond(data, *[(A, SOME)] * 3000)
    client = serving.container(ONE, HERE)
    data = query("far.org")
    with socket.create_connection(client.stream, 20) as held:
        held.settimeout(20)
        with pytest.raises(OSError):
            for _ in range(100_000):
                held.sendall(struct.pack("!H", len(data)) + data)
                if not serving.resolver.streams and len(outside.asked) > 10:
                    raise ConnectionResetError
    assert client.ask("db").addresses == ["10.1.0.3"]


def test_what_one_container_may_have_under_way_is_bounded(serving, outside):
    outside.reply = lambda data: None
    client, other = serving.container(ONE, HERE), serving.container(TWO, HERE)
    held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    held.settimeout(20)
    held.connect(client.address)
    for number in range(upstream.EACH + 5):
        held.send(query("far.org", number=number))
    refused = [Answer(held.recv(999)) for _ in range(5)]
    assert {answer.rcode for answer in refused} == {5}
    eventually(lambda: len(outside.asked) == upstream.EACH)
    assert client.ask("db").addresses == ["10.1.0.3"], "names of containers are told all the same"
    outside.reply = lambda data: respond(data, (A, SOME))
    assert other.ask("far.org").addresses == ["192.0.2.1"]
    held.close()


def test_a_flood_of_one_does_not_starve_another(serving):
    loud, quiet = serving.container(ONE, HERE), serving.container(TWO, HERE)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.connect(loud.address)
        held.setblocking(False)
        data = query("db")
        for _ in range(20):
            for _ in range(400):
                with contextlib.suppress(BlockingIOError):
                    held.send(data)
            assert quiet.ask("web").addresses == ["10.1.0.2"]


def test_a_flood_over_tcp_does_not_starve_others(serving):
    """However many queries come at once, one connection has a few answered before it is the others' turn."""
    channel, ours = socket.socketpair()
    sent = b"".join(len(one).to_bytes(2, "big") + one for one in [query("web")] * 140)
    assert len(sent) < server.QUERY
    turns = []

    class Loop:
        poll = None
        watch = forget = staticmethod(lambda *_: None)

    def answer(data, reply):
        turns[-1] += 1

    with channel, ours:
        stream = server.Stream(Loop, ours, answer, lambda _: None)
        channel.sendall(sent)
        while sum(turns) < 140:
            turns.append(0)
            stream._work(server.EPOLLIN)
    assert max(turns) <= 32


def test_a_client_that_has_gone_before_its_answer(serving, outside):
    client = serving.container(ONE, HERE)
    for _ in range(50):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
            held.connect(client.address)
            held.send(query("far.org"))
            held.send(query("db"))
        with socket.create_connection(client.stream) as held:
            held.sendall(struct.pack("!H", len(query("far.org"))) + query("far.org"))
    assert client.ask("db").addresses == ["10.1.0.3"]


def test_a_container_that_ends_takes_all_with_it(serving, outside):
    outside.reply = lambda data: None
    client = serving.container(ONE, HERE)
    own = serving.container(TWO, ("127.0.0.1", False), given=1)
    for each in (client, own):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
            held.connect(each.address)
            for number in range(10):
                held.send(query("far.org", number=number))
    streams = [socket.create_connection(each.stream, 20) for each in (client, own)]
    eventually(lambda: len(serving.resolver.forwarder.pending) == 20 and len(serving.resolver.streams) == 2)
    for channel in serving.made:
        channel.close()
    eventually(lambda: not serving.resolver.containers)
    assert not serving.resolver.forwarder.pending and not serving.resolver.streams
    assert set(serving.resolver.loop.handlers) == {serving.listening.fileno()}
    for held in streams:
        held.close()


@pytest.mark.parametrize(
    ("message", "count"),
    [(b"{", 2), (b"[]", 2), (b'{"id": 7, "servers": []}', 2), (b'{"id": "1", "servers": []}', 1), (b"{}", 2),
     (b'{"id": "1", "servers": [7]}', 2), (b'{"id": "1", "servers": [["x"]]}', 3), (b"\xff", 0)],
)  # fmt: skip
def test_a_packet_that_is_none_is_turned_away_and_its_sockets_are_closed(serving, message, count):
    before = len(os.listdir("/proc/self/fd"))
    pairs = [socket.socketpair() for _ in range(count)]
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as channel:
        channel.connect(serving.path)
        socket.send_fds(channel, [message], [mine.fileno() for mine, _ in pairs])
        channel.settimeout(20)
        assert channel.recv(1) == b""
    for mine, theirs in pairs:
        mine.close()
        theirs.settimeout(20)
        assert theirs.recv(1) == b""
        theirs.close()
    assert eventually(lambda: len(os.listdir("/proc/self/fd")) == before)


def test_it_ends_when_no_container_is_left(serving):
    serving.container(ONE)
    time.sleep(0.5)
    assert serving.thread.is_alive()
    serving.made.pop().close()
    serving.thread.join(20)
    assert not serving.thread.is_alive()
