"""store/tar/scanner.py: what is understood, in pieces of any size, and what is refused."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile

import pytest

from estiva.errors import LayerError
from estiva.store.tar.entry import BLOCK, Entry
from estiva.store.tar.scanner import Scanner
from estiva.store.tar.writer import END, Member, header
from layerkit import CHR, DIR, HARD, LINK, member, tar_of, xattr


def scan(data: bytes, step: int = 1 << 20, **limits: int) -> list[Entry]:
    found: list[Entry] = []
    scanner = Scanner(found.append, **limits)
    for at in range(0, len(data), step):
        scanner.feed(data[at : at + step])
    scanner.close()
    return found


def raw(name: bytes = b"f", type: bytes = b"0", **fields: object) -> bytes:
    return header(Member(name, type, **fields))  # type: ignore[arg-type]


def patched(block: bytes, at: int, value: bytes) -> bytes:
    """A header with a field replaced and its checksum made right."""
    block = block[:at] + value + block[at + len(value) :]
    block = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


LONG = "d" * 60 + "/" + "e" * 120 + "/" + "f" * 90
MEMBERS = (
    member("dir/", DIR, mode=0o1750, uid=7, gid=8),
    member("dir/file", data=b"x" * 1000, mode=0o4755, mtime=1_600_000_000),
    member("dir/link", LINK, link="../else" * 30),
    member("dir/hard", HARD, link="dir/file"),
    member("dev", CHR, devmajor=1, devminor=3),
    member(LONG, data=b"y" * 513),
    member("ümlaut", data=b"", uid=3_000_000, pax={"mtime": "1600000000.25"}),
)


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("step", [1, 7, 511, 512, 513, 4096, 1 << 20])
def test_members_in_pieces_of_any_size(format: int, step: int) -> None:
    data = tar_of(*MEMBERS, format=format)
    found = scan(data, step)
    assert [e.name.decode() for e in found] == [
        "dir",
        "dir/file",
        "dir/link",
        "dir/hard",
        "dev",
        LONG,
        "ümlaut",
    ]
    directory, file, link, hard, device, long, last = found
    assert (directory.mode, directory.uid, directory.gid) == (0o1750, 7, 8)
    assert (file.mode, file.size, file.mtime) == (0o4755, 1000, 1_600_000_000 * 10**9)
    assert data[file.offset : file.offset + 1000] == b"x" * 1000
    assert data[long.offset : long.offset + 513] == b"y" * 513
    assert link.link == b"../else" * 30
    assert (hard.kind, hard.link) == (0, b"dir/file")
    assert device.rdev == (1, 3)
    assert last.uid == 3_000_000
    if format == tarfile.PAX_FORMAT:
        assert last.mtime == 1_600_000_000_250_000_000


def test_extended_attributes_that_a_layer_may_carry() -> None:
    pax = {
        **xattr("user.note", b"hello"),
        **xattr("user.empty", b""),
        **xattr("trusted.overlay.redirect", b"/etc"),
        **xattr("user.overlay.opaque", b"y"),
        **xattr("security.selinux", b"label"),
        "LIBARCHIVE.xattr.user.a%20b": "aGk",
    }
    (found,) = scan(tar_of(member("f", pax=pax)))
    assert found.xattrs == {b"user.note": b"hello", b"user.empty": b"", b"user.a b": b"hi"}


def test_global_header_holds_until_overridden() -> None:
    body = b"19 mtime=123456789\n" + b"11 uid=500\n"
    block = raw(b"g", b"g", size=len(body))
    data = block + body + b"\0" * (-len(body) % 512) + raw() + raw(b"second") + END
    assert [(e.uid, e.mtime) for e in scan(data)] == [(500, 123456789 * 10**9)] * 2


@pytest.mark.parametrize(
    "options", [["--format=gnu"], ["--sparse-version=0.0"], ["--sparse-version=0.1"], []]
)
@pytest.mark.parametrize("step", [512, 100, 1 << 20])
def test_sparse_members_as_gnu_tar_writes_them(
    tmp_path: os.PathLike[str], options: list[str], step: int
) -> None:
    with open(f"{tmp_path}/sparse", "wb") as file:
        for place in range(30):  # more than the four segments a header holds
            file.seek(place * 1_000_000)
            file.write(b"%04d" % place * 1024)
        file.truncate(40_000_000)
    if "--format=gnu" not in options:
        options = ["--format=pax", *options]
    data = subprocess.run(
        ["tar", "-C", str(tmp_path), "-c", "-S", *options, "sparse"], check=True, capture_output=True
    ).stdout
    (entry,) = scan(data, step)
    assert entry.name == b"sparse"
    assert entry.size == 40_000_000 and entry.sparse
    image = io.BytesIO()
    at = entry.offset
    for offset, length in entry.sparse:
        image.seek(offset)
        image.write(data[at : at + length])
        at += length
    assert image.getvalue().rstrip(b"\0") == open(f"{tmp_path}/sparse", "rb").read().rstrip(b"\0")


def test_names_are_cleaned_as_docker_cleans_them() -> None:
    names = ["/abs", "./dot", "a//b", "a/./c", "a/../d", "./", ".hidden", "..."]
    found = scan(tar_of(*(member(n, DIR if n == "./" else tarfile.REGTYPE) for n in names)))
    assert [e.name for e in found] == [b"abs", b"dot", b"a/b", b"a/c", b"d", b"", b".hidden", b"..."]


def test_old_directories_and_numbers() -> None:
    data = raw(b"old/", b"\0") + patched(raw(b"n"), 108, b"\x80\0\0\0\0\x01\0\0")
    found = scan(data + patched(raw(b"neg"), 136, b"\xff" * 12) + END)
    assert found[0].kind == 0o040000
    assert found[1].uid == 65536
    assert found[2].mtime == -(10**9)


def test_an_archive_without_an_end_mark_and_an_empty_one() -> None:
    assert [e.name for e in scan(raw())] == [b"f"]
    assert scan(b"") == [] and scan(END + b"anything behind the end") == []


REFUSED = {
    "leaves": raw(b"../x"),
    "leaves later": raw(b"a/../../x"),
    "hard link out": raw(b"h", b"1", link=b"../../etc/passwd"),
    "long component": tar_of(member("x" * 256)),
    "long name": tar_of(member("x/" * 2100)),
    "root as file": raw(b"."),
    "bad checksum": raw()[:100] + b"1" + raw()[101:],
    "unknown type": raw(b"f", b"V"),
    "truncated header": raw()[:300],
    "truncated data": raw(size=1000) + b"x" * 700,
    "missing padding": raw(size=1000) + b"x" * 1000,
    "pax then end": tar_of(member("é"))[:1024],
    "negative size": patched(raw(), 124, b"\xff" * 12),
    "not octal": patched(raw(), 100, b"00009\0\0\0"),
    "signed": patched(raw(), 124, b"+0000000001\0"),
    "underscore": patched(raw(), 124, b"0000_000001\0"),
    "huge": patched(raw(), 124, b"\x80" + b"\x7f" * 11),
    "owner -1": patched(raw(), 108, b"\xff" * 8),
    "empty link": raw(b"l", b"2"),
    "hard link to nothing": raw(b"l", b"1"),
    "goes on after zeros": b"\0" * 512 + raw(),
    "directory with data": raw(b"d/", b"0", size=5) + b"\0" * 512,
    "pax header too large": patched(raw(b"x", b"x"), 124, b"%011o\0" % (2 << 20)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    with pytest.raises(LayerError):
        scan(REFUSED[name])


@pytest.mark.parametrize(
    "body",
    [
        b"6 a=\n",
        b"99 path=x\n",
        b"path=x\n",
        b"0 path=x\n",
        b"10 path=xy\n",
        b"14 path=nu\0xy\n",
        b"13 size=-512\n",
        b"32 uid=99999999999999999999999\n",
        b"18 mtime=someday\n",
        b"29 LIBARCHIVE.xattr.user.a=?\n",
    ],
)
def test_malformed_pax_records(body: bytes) -> None:
    data = raw(b"x", b"x", size=len(body)) + body + b"\0" * (-len(body) % 512) + raw() + END
    with pytest.raises(LayerError):
        scan(data)


def test_two_names_for_one_entry_are_refused() -> None:
    body = b"10 path=x\n"
    pax = raw(b"x", b"x", size=len(body)) + body + b"\0" * 502
    with pytest.raises(LayerError):
        scan(pax + pax + raw() + END)


def test_too_many_entries() -> None:
    with pytest.raises(LayerError, match="more than 3 entries"):
        scan(raw(b"a") + raw(b"b") + raw(b"c") + raw(b"d"), max_entries=3)


def test_messages_name_the_entry_on_one_line() -> None:
    with pytest.raises(LayerError) as caught:
        scan(raw(b"../a\nb\x1b[31m"))
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
    assert "a" in str(caught.value)


def test_all_metadata_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("estiva.store.tar.scanner.MAX_METADATA", 10_000)
    data = tar_of(*(member(f"f{i}", pax=xattr("user.a", b"v" * 3000)) for i in range(5)))
    with pytest.raises(LayerError, match="names and attributes"):
        scan(data)


def test_global_records_are_bounded() -> None:
    body = b"".join(b"%d user.k%03d=%s\n" % (18, i, b"v" * 4) for i in range(100))
    with pytest.raises(LayerError):
        scan(raw(b"g", b"g", size=len(body)) + body + b"\0" * (-len(body) % 512) + raw() + END)


def test_the_last_padding_may_be_missing_where_that_is_asked_for() -> None:
    whole = raw(size=5) + b"12345"
    for length, fine in (
        (len(whole), True),
        (len(whole) - 1, False),
        (BLOCK + 5 + 3, True),
        (BLOCK - 1, False),
    ):
        data = whole.ljust(BLOCK * 2, b"\0")[:length]
        for unpadded in (True, False):
            scanner = Scanner(lambda entry: None)
            scanner.feed(data)
            if fine and unpadded:
                scanner.close(unpadded=True)
            else:
                with pytest.raises(LayerError, match="truncated"):
                    scanner.close(unpadded=unpadded)
