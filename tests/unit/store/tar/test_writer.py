"""store/tar/writer.py: what it writes, the standard library and our own scanner read back."""

from __future__ import annotations

import io
import tarfile

import pytest

from estiva.errors import EngineError
from estiva.store.tar.entry import Entry
from estiva.store.tar.scanner import Scanner
from estiva.store.tar.writer import END, Member, header, padding

CASES = [
    Member(b"plain", b"0", mode=0o4755, uid=1, gid=2, size=3, mtime=1_500_000_000),
    Member(b"d" * 100 + b"/" + b"e" * 99, b"0"),
    Member(b"d" * 180, b"0"),
    Member(b"d" * 200 + b"/" + b"e" * 200, b"0", size=5),
    Member("ünï".encode(), b"2", link="zïel".encode()),
    Member(b"not\xffutf8", b"0"),
    Member(b"big", b"0", uid=4_000_000_000, gid=3_000_000, mtime=-5),
    Member(b"dir/", b"5", mode=0o1777),
    Member(b"dev", b"3", rdev=(1, 3)),
    Member(b"attr", b"0", xattrs={b"user.a": b"\0\xff=\n", b"user.b": b""}),
    Member(b"link", b"2", link=b"x" * 300),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.name[:12]))
def test_read_back(case: Member) -> None:
    data = header(case) + b"x" * case.size + padding(case.size) + END
    found: list[Entry] = []
    scanner = Scanner(found.append)
    scanner.feed(data)
    scanner.close()
    (entry,) = found
    assert entry.name == case.name.rstrip(b"/")
    mode = 0o777 if case.type == b"2" else case.mode
    assert (entry.mode, entry.uid, entry.gid, entry.size) == (mode, case.uid, case.gid, case.size)
    assert entry.mtime == case.mtime * 10**9
    assert (entry.link, entry.rdev) == (case.link, case.rdev)
    assert (entry.xattrs or {}) == (case.xattrs or {})
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as archive:
        info = archive.next()
        assert info is not None
        assert info.name.encode("utf-8", "surrogateescape") == case.name.rstrip(b"/")
        assert (info.mode, info.uid, info.gid, info.size) == (case.mode, case.uid, case.gid, case.size)


def test_large_sizes_and_pax_only_when_needed() -> None:
    assert len(header(CASES[0])) == 512
    large = header(Member(b"large", b"0", size=9 << 30))
    assert b"size=9663676416\n" in large and len(large) == 3 * 512


def test_the_sum_of_a_header_is_that_of_its_bytes():
    for name in (b"a", b"\xff" * 100, b"\xff" * 155 + b"/" + b"\xff" * 100, b"\x01" * 100):
        block = header(Member(name, b"2", link=b"\xfe" * 100, mode=0o7777, mtime=8**11 - 1))[-512:]
        assert int(block[148:154], 8) == sum(block[:148]) + 8 * 32 + sum(block[156:])


def test_an_attribute_that_a_record_would_cut_is_refused() -> None:
    with pytest.raises(EngineError, match=r"/file can't be kept in a tar: it has the attribute user\.a=b"):
        header(Member(b"file", b"0", xattrs={b"user.a=b": b"c"}))
