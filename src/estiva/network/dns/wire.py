"""DNS messages: a query taken apart, an answer put together. RFC 1035 section 4, RFC 6891 (EDNS0). No I/O.

A query is hostile until parsed: every length is checked against what has come, a name holds at most 255
bytes, and compression, of which a question has no need, is refused there; elsewhere a pointer ends a name
and is not followed. So parsing takes time in proportion to the message.
"""

from __future__ import annotations

from _struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Record = tuple[bytes, int, bytes]  # owner ("" for the question's name), type, rdata

A, PTR, MX, AAAA, SRV, OPT, ANY = 1, 12, 15, 28, 33, 41, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
QR, AA, TC, RD, RA, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0010
HEADER = 12  # bytes
SMALL = 512  # bytes that an answer over UDP has at most, unless the query says otherwise
OURS = 1232  # bytes over UDP that we say to take: no path cuts them in pieces
LARGEST = 0xFFFF
NAME = 255  # bytes of a whole name
TTL = 10  # seconds: whom a name means changes as containers come and go

_HEADER = Struct("!6H")  # id, flags, counts of questions, answers, authorities, additional records
_FIXED = Struct("!HHIH")  # of a record after its name: type, class, ttl, length of rdata
_QUESTION = Struct("!HH")
_DO = 0x8000


class Malformed(ValueError):
    """The message breaks off, or is none."""


class Query:
    """What was asked. `rcode` is not NOERROR where the query can only be answered with that error.

    name: lower case, labels joined by dots, without the last one; a dot or backslash within a label has a
    backslash before it. question: its bytes. edns: whether there was an OPT record; size: bytes that the
    client takes over UDP.
    """

    __slots__ = ("id", "flags", "name", "type", "klass", "question", "edns", "size", "dnssec", "rcode")

    def __init__(self, id: int, flags: int) -> None:
        self.id = id
        self.flags = flags
        self.name = b""
        self.type = self.klass = 0
        self.question = b""
        self.edns = self.dnssec = False
        self.size = SMALL
        self.rcode = NOERROR


def parse(data: bytes) -> Query | None:
    """A query; None for what is not to be answered at all: no whole header, or an answer itself."""
    if len(data) < HEADER:
        return None
    number, flags, questions, answers, authorities, additional = _HEADER.unpack_from(data)
    if flags & QR:
        return None
    query = Query(number, flags)
    if flags >> 11 & 0xF:
        query.rcode = NOTIMP
        return query
    try:
        if questions != 1:
            raise Malformed("a query has one question")
        query.name, end = _name(data, HEADER)
        query.type, query.klass = _QUESTION.unpack_from(_slice(data, end, 4))
        end += 4
        query.question = data[HEADER:end]
        _extensions(query, data, end, answers + authorities, additional)
    except Malformed:
        query.rcode = FORMERR
    return query


def _slice(data: bytes, start: int, length: int) -> bytes:
    piece = data[start : start + length]
    if len(piece) != length:
        raise Malformed("the message breaks off")
    return piece


def _name(data: bytes, at: int) -> tuple[bytes, int]:
    """The name at `at`, which may not be compressed, and where it ends. Raises Malformed."""
    labels: list[bytes] = []
    start, end = at, len(data)
    while at < end:
        length = data[at]
        at += 1
        if not length:
            if at - start > NAME:
                break
            return b".".join(labels), at
        if length > 63 or at + length > end:
            break
        label = data[at : at + length]
        if b"." in label or b"\\" in label:
            label = label.replace(b"\\", b"\\\\").replace(b".", b"\\.")
        labels.append(label.lower())
        at += length
    raise Malformed("not a name")


def _skip_name(data: bytes, at: int) -> int:
    """Where the name at `at` ends; a pointer is its end. Raises Malformed."""
    end = len(data)
    while at < end:
        length = data[at]
        if not length:
            return at + 1
        if length >= 0xC0:
            return at + 2
        if length > 63:
            break
        at += 1 + length
    raise Malformed("not a name")


def _extensions(query: Query, data: bytes, at: int, others: int, additional: int) -> None:
    """What the OPT record says, which is among the additional ones. Raises Malformed."""
    for index in range(others + additional):
        at = _skip_name(data, at)
        kind, klass, ttl, length = _FIXED.unpack(_slice(data, at, _FIXED.size))
        at += _FIXED.size
        if at + length > len(data):
            raise Malformed("the message breaks off")
        at += length
        if kind != OPT:
            continue
        if index < others or query.edns:
            raise Malformed("an OPT record that may not be")
        query.edns = True
        query.size = max(SMALL, klass)
        query.dnssec = bool(ttl & _DO)
        if ttl >> 16 & 0xFF:
            query.rcode = BADVERS


def encode(name: bytes) -> bytes:
    """A dotted name as labels. Raises Malformed for what is none."""
    labels = name.split(b".") if name else []
    if not all(0 < len(label) <= 63 for label in labels):
        raise Malformed("not a name")
    whole = b"".join([bytes((len(label),)) + label for label in labels]) + b"\0"
    if len(whole) > NAME:
        raise Malformed("not a name")
    return whole


def answer(
    query: Query,
    records: Iterable[Record] = (),
    extra: Iterable[Record] = (),
    *,
    rcode: int = NOERROR,
    limit: int = LARGEST,
) -> bytes:
    """The answer to a query, of at most `limit` bytes: records that don't fit are left out, and TC says so.
    `extra` go to the additional ones, and are left out without a word.
    """
    opt = b""
    if query.edns:
        ttl = (rcode >> 4) << 24 | (_DO if query.dnssec else 0)
        opt = b"\0" + _FIXED.pack(OPT, OURS, ttl, 0)
    flags = QR | RA | query.flags & (RD | CD) | query.flags & 0x7800 | rcode & 0xF
    body, counts, left = [query.question], [0, 0], limit - HEADER - len(query.question) - len(opt)
    for place, listed in enumerate((records, extra)):
        for owner, kind, data in listed:
            name = encode(owner) if owner else b"\xc0\x0c"  # a pointer to the question
            record = name + _FIXED.pack(kind, IN, TTL, len(data)) + data
            if len(record) > left:
                flags |= TC if not place else 0
                left = 0
                break
            left -= len(record)
            counts[place] += 1
            body.append(record)
    questions = 1 if query.question else 0
    head = _HEADER.pack(query.id, flags, questions, counts[0], 0, counts[1] + (1 if opt else 0))
    return head + b"".join(body) + opt


def truncated(data: bytes, question: bytes) -> bytes:
    """Somebody else's answer, cut to what says that it has to be asked for over TCP."""
    number, flags = _QUESTION.unpack_from(data)
    return _HEADER.pack(number, flags | TC, 1, 0, 0, 0) + question


def answers(data: bytes, number: int, question: bytes) -> bool:
    """Whether `data` is an answer to the query of that id and question; letters of its name may differ in
    case."""
    if len(data) < HEADER + len(question):
        return False
    found, flags, questions = Struct("!3H").unpack_from(data)
    if found != number or not flags & QR or questions != 1:
        return False
    asked = data[HEADER : HEADER + len(question)]
    return asked[-4:] == question[-4:] and asked[:-4].lower() == question[:-4].lower()


def question(name: bytes, kind: int) -> bytes:
    """A query for a name that `encode` takes, and nothing else. Raises Malformed."""
    return _HEADER.pack(0, RD, 1, 0, 0, 0) + encode(name) + _QUESTION.pack(kind, IN)


def is_cut(data: bytes) -> bool:
    """Whether an answer has to be asked for over TCP."""
    return bool(data[2] << 8 & TC)


def addresses(data: bytes, kind: int) -> list[bytes]:
    """Of an answer to `question`, the packed addresses among its records, whosever they are: a CNAME leads
    there. As many as there are before what can't be understood.
    """
    found: list[bytes] = []
    try:
        _, _, questions, count, _, _ = _HEADER.unpack(_slice(data, 0, HEADER))
        at = HEADER
        for _ in range(questions):
            at = _skip_name(data, at) + 4
        for _ in range(count):
            at = _skip_name(data, at)
            type, klass, _, length = _FIXED.unpack(_slice(data, at, _FIXED.size))
            at += _FIXED.size
            rdata = _slice(data, at, length)
            at += length
            if type == kind and klass == IN and length == (4 if kind == A else 16):
                found.append(rdata)
    except Malformed:
        pass
    return found


def rcode_of(data: bytes) -> int:
    """The rcode in the header of a whole answer."""
    return data[3] & 0xF


def with_id(data: bytes, number: int) -> bytes:
    """The message under another id."""
    return number.to_bytes(2, "big") + data[2:]


def reverse_address(name: bytes) -> bytes:
    """The packed address that a name below in-addr.arpa (RFC 1035 3.5) or ip6.arpa (RFC 3596 2.5) means;
    empty for any other name.
    """
    labels = name.split(b".")
    if len(labels) == 6 and labels[4:] == [b"in-addr", b"arpa"]:
        numbers = [int(label) for label in reversed(labels[:4]) if label.isdigit() and len(label) <= 3]
        return bytes(numbers) if len(numbers) == 4 and max(numbers) < 256 else b""
    if len(labels) == 34 and labels[32:] == [b"ip6", b"arpa"]:
        digits = b"".join(reversed(labels[:32]))
        if len(digits) == 32 and all(digit in b"0123456789abcdef" for digit in digits):
            return bytes.fromhex(digits.decode())
    return b""
