"""rpm's database: as rpm 4.20 has written it, in both forms, and as a hostile image may have it."""

from __future__ import annotations

import lzma
import os
import pathlib
import random
import sqlite3
import struct

import pytest

from estiva.builder.exporters.sbom import packages, rpmdb
from estiva.errors import InvalidInput

REAL = pathlib.Path(__file__).parent / "rpmdb"
FORMS = ("rpmdb.sqlite", "Packages.db")


def real(form: str) -> bytes:
    """Three packages that were built and installed (--justdb) by rpm: hello-0 to hello-2, of epoch none, 1, 2."""
    return lzma.decompress((REAL / f"{form}.xz").read_bytes())


def found(root: pathlib.Path) -> list[packages.Package]:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return packages.find(fd)
    finally:
        os.close(fd)


def put(root: pathlib.Path, path: str, data: bytes) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(data)


def header(**fields: str | int) -> bytes:
    tags = {word: tag for tag, word in rpmdb._TAGS.items()}
    entries, data = b"", b""
    for word, value in fields.items():
        if isinstance(value, int):
            data += bytes(-len(data) % 4)
        kind = 4 if isinstance(value, int) else 6
        entries += struct.pack(">IIII", tags[word], kind, len(data), 1)
        data += struct.pack(">I", value) if isinstance(value, int) else value.encode() + b"\0"
    return struct.pack(">II", len(fields), len(data)) + entries + data


def sqlite(tmp_path: pathlib.Path, blobs: list[bytes], page: int = 4096) -> bytes:
    path = tmp_path / "made.sqlite"
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as made:
        made.execute(f"PRAGMA page_size = {page}")
        made.execute("CREATE TABLE other (a)")
        made.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
        made.executemany("INSERT INTO Packages (blob) VALUES (?)", [(blob,) for blob in blobs])
    made.close()
    return path.read_bytes()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("folder", packages.RPM)
def test_what_rpm_has_written(tmp_path: pathlib.Path, form: str, folder: str) -> None:
    put(tmp_path, "etc/os-release", b'ID=fedora\nVERSION_ID="40"\n')
    put(tmp_path, f"{folder}/{form}", real(form))
    listed = found(tmp_path)
    assert [each.purl for each in listed] == [
        "pkg:rpm/fedora/hello-0@1.0-3.fc40?arch=noarch&distro=fedora-40",
        "pkg:rpm/fedora/hello-1@1.1-3.fc40?arch=noarch&distro=fedora-40&epoch=1",
        "pkg:rpm/fedora/hello-2@1.2-3.fc40?arch=noarch&distro=fedora-40&epoch=2",
    ]
    assert {(each.license, each.where) for each in listed} == {
        ("GPL-2.0-or-later AND MIT", f"{folder}/{form}")
    }


@pytest.mark.parametrize("page", [512, 4096, 65536])
def test_many_and_long_rows(tmp_path: pathlib.Path, page: int) -> None:
    """Trees of several levels, and rows over several pages, as SQLite writes them."""
    blobs = [
        header(name=f"p{number}", version="1", license="x" * (number * 7 % 4000), epoch=number)
        for number in range(600)
    ]
    listed = list(rpmdb.packages(sqlite(tmp_path, blobs, page)))
    assert [each["name"] for each in listed] == [f"p{number}" for number in range(600)]
    assert [len(each["license"]) for each in listed] == [number * 7 % 4000 for number in range(600)]
    assert listed[7]["epoch"] == "7" and listed[7]["arch"] == ""


def test_keys_are_no_packages(tmp_path: pathlib.Path) -> None:
    blobs = [header(name="gpg-pubkey", version="1"), header(name="a", version="1")]
    put(tmp_path, "var/lib/rpm/rpmdb.sqlite", sqlite(tmp_path, blobs))
    assert [each.purl for each in found(tmp_path)] == ["pkg:rpm/rpm/a@1?distro=rpm"]


@pytest.mark.parametrize("form", FORMS)
def test_a_damaged_one_is_refused_or_read(form: str) -> None:
    """Bytes changed at random, and any end: packages, or InvalidInput, soon, and nothing else."""
    whole, chance = real(form), random.Random(7)
    for number in range(300):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 5, 50))):
            data[chance.randrange(min(len(data), 40_000))] = chance.randrange(256)
        part = bytes(data[: chance.randrange(len(data))] if number % 3 == 0 else data)
        try:
            assert len(list(rpmdb.packages(part))) <= 300
        except InvalidInput:
            pass


def test_what_is_damaged_is_said(tmp_path: pathlib.Path) -> None:
    loop = bytearray(sqlite(tmp_path, [header(name="a")] * 2000, 512))
    root = (2 * 512, 512)  # page 3 is the table's: an inner one, whose right child becomes itself
    struct.pack_into(">I", loop, root[0] + 8, 3)
    twice = bytearray(real("Packages.db"))
    for at in range(32, 4096, 16):
        twice[at : at + 16] = twice[32:48] if twice[40:44] != bytes(4) else twice[48:64]
    for data, why in (
        (bytes(twice), "more than once"),
        (sqlite(tmp_path, [b""]), "too soon"),
        (b"", "no form"),
        (b"SQLite format 3\0", "too soon"),
        (bytes(loop), "has it twice"),
        (sqlite(tmp_path, [struct.pack(">II", 1 << 20, 0)]), "longer than it is"),
        (sqlite(tmp_path, [struct.pack(">IIIIII", 1, 4, 1000, 6, 90, 1) + b"abcd"]), "leads out"),
        (sqlite(tmp_path, [struct.pack(">IIIIII", 1, 4, 1000, 6, 0, 1) + b"abcd"]), "no end"),
        (b"RpmP" + struct.pack("<III", 0, 0, 1) + bytes(5000), "slot is none"),
        (b"RpmP" + struct.pack("<III", 0, 0, 1 << 31), "version"),
    ):
        with pytest.raises(InvalidInput, match=why):
            list(rpmdb.packages(data))


def test_what_can_t_be_read_is_said_not_left_out(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an image could hide what it holds."""
    for name, data, why in (
        ("Packages", b"x", "Berkeley DB"),
        ("rpmdb.sqlite-wal", b"x", "not in it yet"),
        ("rpmdb.sqlite", bytes(5000), "no file of up to"),
    ):
        root = tmp_path / name
        put(root, f"var/lib/rpm/{name}", data)
        if name.endswith("wal"):
            put(root, "var/lib/rpm/rpmdb.sqlite", real("rpmdb.sqlite"))
        monkeypatch.setattr(packages, "RPM_DATABASE", 4096 if name == "rpmdb.sqlite" else 256 << 20)
        with pytest.raises(InvalidInput, match=why):
            found(root)
    monkeypatch.setattr(rpmdb, "PACKAGES", 2)
    with pytest.raises(InvalidInput, match="more than 2 packages"):
        list(rpmdb.packages(real("Packages.db")))
