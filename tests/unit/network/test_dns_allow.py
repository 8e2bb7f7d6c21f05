"""Which hosts a list of words means, which addresses nobody reaches, and what a gate believes."""

import socket

import pytest

import dnskit
from estiva.errors import InvalidInput
from estiva.network.dns import allow, gate, wire


def packed(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def test_words_are_names_and_addresses_with_ports():
    table = allow.table(
        ["PyPI.org.:443", "pypi.org:80/udp", "192.0.2.7:5432", "[2001:db8::1]:53/udp", "10.0.0.1:1"]
    )
    assert table.names == {b"pypi.org": [(6, 443), (17, 80)]} and table.order == [b"pypi.org"]
    assert table.addresses == {
        packed("192.0.2.7"): [(6, 5432)],
        packed("2001:db8::1"): [(17, 53)],
        packed("10.0.0.1"): [(6, 1)],
    }


@pytest.mark.parametrize(
    "word",
    [
        "", "a", "a:", ":80", "a:0", "a:65536", "a:-1", "a:+1", "a:1e3", "a:80/sctp", "a:80/", "*.a.test:80", "a b:80",
        "a..b:80", ".a:80", "a\n:80", "http://a:80", "2001:db8::1:80", "[2001:db8::1]", "[a]:80", "1.2.3:80",
        "0x7f.1:80", "127.1:80", "é.test:80", "a" * 64 + ":80", "a." * 127 + "a:80", "169.254.169.254:80",
        "127.0.0.1:80", "0.0.0.0:80", "[::1]:80", "[::]:80", "[fe80::1]:80", "[::ffff:1.2.3.4]:80",
        "[64:ff9b::7f00:1]:80", "[2002:7f00:1::]:80", "224.0.0.1:80", "255.255.255.255:80", "[fd00:ec2::254]:80",
        "100.100.100.200:80",
    ],
)  # fmt: skip
def test_what_is_no_such_word_is_refused_by_name(word):
    with pytest.raises(InvalidInput, match="allowed host"):
        allow.table([word])


def test_there_are_not_too_many():
    with pytest.raises(InvalidInput, match="the most is 64"):
        allow.table([f"a{n}.test:80" for n in range(65)])


@pytest.mark.parametrize(
    "text", ["8.8.8.8", "203.0.113.9", "100.63.255.255", "172.15.0.1", "2606:4700::1", "3fff::1"]
)
def test_addresses_of_the_internet_may_be_meant_by_a_name(text):
    assert allow.public(packed(text)) and not allow.never(packed(text))


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "100.127.255.255", "198.18.0.1",
        "127.0.0.1", "127.255.255.254", "0.0.0.1", "169.254.169.254", "224.0.0.251", "240.0.0.1", "192.0.0.192",
        "::1", "::", "fe80::1", "fc00::1", "fd00::1", "ff02::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::",
        "2001::1", "4000::1",
    ],
)  # fmt: skip
def test_no_others_are(text):
    assert not allow.public(packed(text))


class Sets:
    """Instead of the kernel's."""

    def __init__(self, monkeypatch):
        self.added = []
        monkeypatch.setattr(
            gate.netfilter, "add_elements", lambda socket, table, maps, family: self.added.append(maps)
        )


def test_a_gate_adds_the_ports_of_the_name_and_believes_nobody(monkeypatch):
    sets = Sets(monkeypatch)
    made = gate.Gate(None, allow.table(["a.test:443", "b.test:80", "b.test:53/udp"]))
    good, number = packed("203.0.113.9"), b"12345678"
    assert made.open(gate.request(number, 1, [good]))
    keys = [good + b"\x06\0\0\0\0\x50\0\0", good + b"\x11\0\0\0\0\x35\0\0"]
    assert sets.added == [{"out4": [(key, b"") for key in keys]}]
    assert made.open(gate.request(number, 0, [packed("2606:4700::1")])) and list(sets.added[1]) == ["out6"]
    for bad in (
        gate.request(number, 2, [good]),
        gate.request(number, 0, [packed("10.0.0.1")]),
        gate.request(number, 0, [good, packed("169.254.169.254")]),
        gate.request(number, 0, [good])[:-1],
        gate.request(number, 0, []) + b"\5" + good.ljust(16, b"\0"),
        b"",
    ):
        assert not made.open(bad)
    assert len(sets.added) == 2


def test_a_gate_takes_so_many_addresses(monkeypatch):
    Sets(monkeypatch)
    made = gate.Gate(None, allow.table(["a.test:1"]))
    many = [(0x08080000 + n).to_bytes(4, "big") for n in range(gate.MOST)]
    assert all(made.open(gate.request(b"n" * 8, 0, many[at : at + 64])) for at in range(0, gate.MOST, 64))
    assert not made.open(gate.request(b"n" * 8, 0, [packed("9.9.9.9")]))
    assert made.open(gate.request(b"n" * 8, 0, many[:3]))  # which are there


def test_addresses_of_an_answer():
    asked = wire.question(b"a.test", wire.A)
    found = dnskit.respond(
        asked,
        (wire.A, b"\1\2\3\4"),
        (5, dnskit.name("b.test")),
        (wire.A, b"\5\6\7\x08"),
        (wire.AAAA, b"x" * 16),
    )
    assert wire.addresses(found, wire.A) == [b"\1\2\3\4", b"\5\6\7\x08"] and wire.addresses(
        found, wire.AAAA
    ) == [b"x" * 16]
    for length in range(len(found)):  # what breaks off tells what was whole
        assert wire.addresses(found[:length], wire.A) in ([], [b"\1\2\3\4"], [b"\1\2\3\4", b"\5\6\7\x08"])
    odd = dnskit.respond(asked, (wire.A, b"\1\2\3"), (wire.A, b"\1\2\3\4\5"))
    assert wire.addresses(odd, wire.A) == []
