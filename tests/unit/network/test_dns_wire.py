"""network/dns/wire: messages, also such that nobody should send."""

import random
import struct

import pytest

from dnskit import AAAA, OPT, SRV, A, Answer, name, query, respond
from estiva.network.dns import wire


def parsed(data):
    found = wire.parse(data)
    assert found is not None
    return found


def test_a_query_is_taken_apart():
    found = parsed(query("WEB.Example.ORG", AAAA, number=7))
    assert (found.id, found.name, found.type, found.klass) == (7, b"web.example.org", AAAA, 1)
    assert (found.rcode, found.edns, found.size) == (0, False, 512)


def test_the_root_is_a_name():
    assert parsed(query("", 2)).name == b""


def test_a_dot_in_a_label_is_no_boundary():
    data = struct.pack("!6H", 1, 256, 1, 0, 0, 0) + b"\x03a.b\x01\\\0" + struct.pack("!HH", A, 1)
    assert parsed(data).name == b"a\\.b.\\\\"


def test_edns_is_heard():
    found = parsed(query("web", size=1400))
    assert (found.edns, found.size) == (True, 1400)
    assert parsed(query("web", size=1)).size == 512, "less than 512 means 512 (RFC 6891 6.2.3)"


@pytest.mark.parametrize("data", [b"", b"\0" * 11, respond(query("web"))])
def test_what_gets_no_answer(data):
    assert wire.parse(data) is None


HEAD = struct.pack("!6H", 9, 256, 1, 0, 0, 0)
TAIL = struct.pack("!HH", A, 1)
OPT_RECORD = b"\0" + struct.pack("!HHIH", OPT, 1232, 0, 0)


@pytest.mark.parametrize(
    "data",
    [
        HEAD,
        HEAD + b"\x03we",
        HEAD + b"\x03web\0\0\1",
        HEAD + b"\xc0\x0c" + TAIL,  # a pointer to itself
        HEAD + b"\x03web\xc0\x0c" + TAIL,
        HEAD + b"\x40" + b"a" * 64 + b"\0" + TAIL,
        HEAD + (b"\x3f" + b"a" * 63) * 4 + b"\0" + TAIL,  # 257 bytes
        struct.pack("!6H", 9, 256, 0, 0, 0, 0),
        struct.pack("!6H", 9, 256, 2, 0, 0, 0) + name("a") + TAIL + name("b") + TAIL,
        struct.pack("!6H", 9, 256, 1, 0, 0, 1) + name("a") + TAIL,
        struct.pack("!6H", 9, 256, 1, 0, 0, 2) + name("a") + TAIL + OPT_RECORD * 2,
        struct.pack("!6H", 9, 256, 1, 1, 0, 0) + name("a") + TAIL + OPT_RECORD,
        struct.pack("!6H", 9, 256, 1, 0, 0, 1) + name("a") + TAIL + OPT_RECORD[:-1] + b"\x09",
        struct.pack("!6H", 9, 256, 1, 65535, 65535, 65535) + name("a") + TAIL + b"\0" * 200,
    ],
)
def test_what_is_malformed_is_answered_so(data):
    found = parsed(data)
    assert found.rcode == wire.FORMERR
    answer = Answer(wire.answer(found, rcode=found.rcode))
    assert (answer.id, answer.rcode, answer.sections[0]) == (9, 1, [])


def test_a_name_may_have_255_bytes():
    longest = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    assert parsed(query(longest)).name == longest.encode()
    assert parsed(query(longest + "d")).rcode == wire.FORMERR


def test_other_opcodes_are_not_implemented():
    found = parsed(query("web", flags=0x2800))
    answer = Answer(wire.answer(found, rcode=found.rcode))
    assert (answer.rcode, answer.flags >> 11 & 15) == (4, 5)


def test_another_version_of_edns_is_refused_as_that():
    data = query("web", size=1232)[:-6] + struct.pack("!IH", 1 << 16, 0)
    found = parsed(data)
    answer = Answer(wire.answer(found, rcode=found.rcode))
    (_, kind, _, _) = answer.sections[2][0]
    assert (answer.rcode, kind) == (0, OPT)
    assert answer.data[-6] == 1, "BADVERS is 16: its upper bits are in the OPT record"


def test_an_answer():
    found = parsed(query("web", size=1400))
    answer = Answer(wire.answer(found, [(b"", A, bytes((10, 1, 2, 3)))]))
    assert answer.questions == [("web", A, 1)]
    assert answer.sections[0] == [("web", A, wire.TTL, "10.1.2.3")]
    assert answer.flags & 0x8180 == 0x8180 and not answer.truncated
    assert answer.sections[2] == [("", OPT, 1232, b"")]
    assert b"\xc0\x0c\0\1" in answer.data, "the question's name is not said twice"


def test_an_answer_without_edns_has_none():
    assert Answer(wire.answer(parsed(query("web")))).sections[2] == []


def test_what_does_not_fit_is_left_out_and_that_is_said():
    found = parsed(query("web"))
    records = [(b"", A, bytes((10, 0, 0, number))) for number in range(100)]
    answer = Answer(wire.answer(found, records, limit=512))
    assert answer.truncated and 400 < len(answer.data) <= 512
    assert answer.addresses == [f"10.0.0.{number}" for number in range(len(answer.addresses))]
    whole = Answer(wire.answer(found, records))
    assert not whole.truncated and len(whole.addresses) == 100


def test_additional_records_are_left_out_without_a_word():
    found = parsed(query("_80._tcp.web", SRV))
    service = b"\0\0\0\0\0\x50" + wire.encode(b"web.net")
    extra = [(b"web.net", A, bytes((10, 0, 0, number))) for number in range(100)]
    answer = Answer(wire.answer(found, [(b"", SRV, service)], extra, limit=512))
    assert answer.sections[0] == [("_80._tcp.web", SRV, wire.TTL, (80, "web.net"))]
    assert 0 < len(answer.sections[2]) < 100 and not answer.truncated and len(answer.data) <= 512


@pytest.mark.parametrize("word", [b"a" * 64, b"a..b", b".", b"a.", b".".join([b"a" * 63] * 4)])
def test_what_can_t_be_a_name(word):
    with pytest.raises(wire.Malformed):
        wire.encode(word)


def test_an_answer_is_one_to_this_very_query():
    asked = query("Web.org", number=0x1234)
    question = parsed(asked).question
    good = respond(asked, (A, b"\1\2\3\4"))
    assert wire.answers(good, 0x1234, question)
    assert wire.answers(respond(query("wEB.org", number=0x1234)), 0x1234, question)
    assert not wire.answers(good, 0x1235, question)
    assert not wire.answers(asked, 0x1234, question), "it is no answer"
    assert not wire.answers(respond(query("web.net", number=0x1234)), 0x1234, question)
    assert not wire.answers(respond(query("web.org", AAAA, number=0x1234)), 0x1234, question)
    assert not wire.answers(good[:20], 0x1234, question)
    assert not wire.answers(b"", 0x1234, question)


def test_a_type_has_no_case():
    """65 (HTTPS) and 97 would be one letter, were they letters."""
    question = query("web", 65)[wire.HEADER :]
    for kind, right in ((65, True), (97, False)):
        assert wire.answers(respond(query("WEB", kind)), 4711, question) is right


def test_an_answer_that_is_too_long_is_cut():
    asked = query("web.org", number=3)
    cut = Answer(wire.truncated(respond(asked, *[(A, b"\1\2\3\4")] * 60), parsed(asked).question))
    assert (cut.id, cut.truncated, cut.sections, cut.questions) == (
        3,
        True,
        [[], [], []],
        [("web.org", A, 1)],
    )


@pytest.mark.parametrize(
    ("word", "address"),
    [
        ("3.2.1.10.in-addr.arpa", bytes((10, 1, 2, 3))),
        ("256.2.1.10.in-addr.arpa", b""),
        ("2.1.10.in-addr.arpa", b""),
        ("x.2.1.10.in-addr.arpa", b""),
        ("0003.2.1.10.in-addr.arpa", b""),
        ("1." + "0." * 30 + "f.ip6.arpa", b"\xf0" + b"\0" * 14 + b"\x01"),
        ("g." + "0." * 30 + "f.ip6.arpa", b""),
        ("10." + "0." * 30 + "f.ip6.arpa", b""),
        ("web", b""),
    ],
)
def test_reverse_names(word, address):
    assert wire.reverse_address(word.encode()) == address


def test_nothing_that_is_sent_breaks_it():
    """Random bytes, and queries with bytes changed, cut off or added."""
    dice = random.Random(9)
    for _ in range(20_000):
        if dice.random() < 0.3:
            data = dice.randbytes(dice.randrange(80))
        else:
            data = bytearray(query("some.name.org", dice.choice((A, AAAA, OPT)), size=dice.choice((0, 1232))))
            for _ in range(dice.randrange(1, 6)):
                data[dice.randrange(len(data))] = dice.randrange(256)
            data = bytes(data[: dice.randrange(len(data) + 1)]) + dice.randbytes(dice.choice((0, 0, 20)))
        found = wire.parse(data)
        if found is None:
            continue
        for limit in (512, 65535):
            answer = wire.answer(
                found, [(b"", A, b"\1\2\3\4")] if not found.rcode else (), rcode=found.rcode, limit=limit
            )
            assert len(answer) <= max(512, limit) and answer[:2] == data[:2] and answer[2] & 0x80
            Answer(answer)
        wire.answers(data, found.id, found.question)
        wire.reverse_address(found.name)
