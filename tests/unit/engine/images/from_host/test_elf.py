"""The ELF reader, the library search and ld.so.cache, on files made here."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from estiva.engine.images.from_host import elf, ldcache
from estiva.errors import NotFound

X86_64, I386 = 62, 3


def build(
    needed: tuple[str, ...] = (),
    *,
    rpath: str = "",
    runpath: str = "",
    interpreter: str = "",
    wide: bool = True,
    machine: int = X86_64,
    order: str = "<",
) -> bytes:
    """A minimal ELF file with one PT_LOAD over all of it, and a dynamic section."""
    ehdr, phdr = (64, 56) if wide else (52, 32)
    count = 3 if interpreter else 2
    start = ehdr + phdr * count
    strings = b"\0"
    tags = []

    def string(text: str) -> int:
        nonlocal strings
        offset = len(strings)
        strings += os.fsencode(text) + b"\0"
        return offset

    tags += [(elf.DT_NEEDED, string(name)) for name in needed]
    tags += [(tag, string(text)) for tag, text in ((elf.DT_RPATH, rpath), (elf.DT_RUNPATH, runpath)) if text]
    interp_at = string(interpreter)
    base = 0x10000
    tags += [(elf.DT_STRTAB, base + start), (elf.DT_STRSZ, len(strings)), (0, 0)]
    strings += b"\0" * (-len(strings) % 16)
    dynamic = b"".join(struct.pack(order + ("qQ" if wide else "iI"), *tag) for tag in tags)
    total = start + len(strings) + len(dynamic)
    segments = [
        (elf.PT_LOAD, 0, base, total),
        (elf.PT_DYNAMIC, start + len(strings), base + start + len(strings), len(dynamic)),
    ]
    if interpreter:
        segments.append((elf.PT_INTERP, start + interp_at, base, len(interpreter) + 1))
    ident = b"\x7fELF" + bytes((2 if wide else 1, 1 if order == "<" else 2, 1)) + b"\0" * 9
    if wide:
        header = struct.pack(
            order + "HHIQQQIHHHHHH", 3, machine, 1, 0, ehdr, 0, 0, ehdr, phdr, count, 0, 0, 0
        )
        table = [struct.pack(order + "IIQQQQQQ", t, 4, o, v, v, n, n, 8) for t, o, v, n in segments]
    else:
        header = struct.pack(
            order + "HHIIIIIHHHHHH", 3, machine, 1, 0, ehdr, 0, 0, ehdr, phdr, count, 0, 0, 0
        )
        table = [struct.pack(order + "IIIIIIII", t, o, v, v, n, n, 4, 8) for t, o, v, n in segments]
    return ident + header + b"".join(table) + strings + dynamic


def put(path: Path, data: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_reads_both_classes_and_byte_orders(tmp_path: Path, wide: bool, order: str) -> None:
    data = build(
        ("liba.so.1", "libb.so"), runpath="/x:$ORIGIN/y", interpreter="/lib/ld.so", wide=wide, order=order
    )
    found = elf.read(put(tmp_path / "p", data))
    assert found is not None
    assert found.abi == (2 if wide else 1, 1 if order == "<" else 2, X86_64)
    assert found.needed == ["liba.so.1", "libb.so"]
    assert found.runpath == ["/x", "$ORIGIN/y"] and found.rpath == []
    assert found.interpreter == "/lib/ld.so"


def test_every_truncation_and_flip_is_survived(tmp_path: Path) -> None:
    data = build(("liba.so",), rpath="/x", interpreter="/lib/ld.so")
    path = tmp_path / "p"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        elf.read(str(path))
    for position in range(len(data)):
        for value in (0, 0x7F, 0xFF):
            path.write_bytes(data[:position] + bytes((value,)) + data[position + 1 :])
            elf.read(str(path))


def test_what_is_no_elf(tmp_path: Path) -> None:
    assert elf.read(put(tmp_path / "script", b"#!/bin/sh\n" * 20)) is None
    assert elf.read(put(tmp_path / "empty", b"")) is None


def test_search_order_of_runpath_rpath_and_cache(tmp_path: Path) -> None:
    program = put(tmp_path / "bin/p", build(("liba.so",), rpath=f"{tmp_path}/old", runpath="$ORIGIN/../new"))
    new = put(tmp_path / "new/liba.so", build())
    old = put(tmp_path / "old/liba.so", build())
    cached = put(tmp_path / "cached/liba.so", build())
    cache = [ldcache.Entry("liba.so", cached, 0x303)]
    assert [os.path.realpath(path) for path in elf.Loader(cache).libraries(program)] == [new]
    os.unlink(new)
    loader = elf.Loader(cache)
    assert loader.libraries(program) == [cached]  # a RUNPATH switches the RPATH off
    assert loader.used == cache
    put(tmp_path / "bin/p", build(("liba.so",), rpath=f"{tmp_path}/old"))
    assert elf.Loader(cache).libraries(program) == [old]


def test_rpath_is_inherited_and_runpath_is_not(tmp_path: Path) -> None:
    put(tmp_path / "lib/liba.so", build(("libb.so",)))
    libb = put(tmp_path / "lib/libb.so", build())
    program = put(tmp_path / "p", build(("liba.so",), rpath="${ORIGIN}/lib"))
    assert libb in elf.Loader([]).libraries(program)
    program = put(tmp_path / "q", build(("liba.so",), runpath="${ORIGIN}/lib"))
    with pytest.raises(NotFound, match=r"library libb\.so, which .*liba\.so needs"):
        elf.Loader([]).libraries(program)
    assert elf.Loader([]).libraries(program, lenient=True) == [f"{tmp_path}/lib/liba.so"]


def test_a_library_of_another_machine_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path / "one/liba.so", build(wide=False, machine=I386))
    right = put(tmp_path / "two/liba.so", build())
    program = put(tmp_path / "p", build(("liba.so",), runpath=f"{tmp_path}/one:{tmp_path}/two"))
    assert elf.Loader([]).libraries(program) == [right]


def test_libraries_that_need_each_other(tmp_path: Path) -> None:
    put(tmp_path / "liba.so", build(("libb.so",)))
    put(tmp_path / "libb.so", build(("liba.so",)))
    program = put(tmp_path / "p", build(("liba.so", "liba.so"), rpath="$ORIGIN"))
    assert elf.Loader([]).libraries(program) == [f"{tmp_path}/liba.so", f"{tmp_path}/libb.so"]


def test_cache_is_read_back_and_sorted() -> None:
    entries = [
        ldcache.Entry(name, f"/lib/{name}", 0x303)
        for name in ("libz.so.1", "liba.so.10", "liba.so.9", "liba.so", "lib2.so", "libA.so")
    ]
    data = ldcache.build(entries)
    assert data == ldcache.build(entries[::-1] + entries)
    names = [entry.name for entry in ldcache.parse(data)]
    assert names == ["lib2.so", "libz.so.1", "liba.so.10", "liba.so.9", "liba.so", "libA.so"]
    assert all(ldcache.compare(a, b) > 0 for a, b in zip(names, names[1:], strict=False))
    assert ldcache.compare("liba.so.10", "liba.so.9") > 0 > ldcache.compare("lib.so", "lib2.so")


def test_the_hosts_cache_has_the_order_that_is_built() -> None:
    try:
        data = Path("/etc/ld.so.cache").read_bytes()
    except OSError:
        pytest.skip("no ld.so.cache here")
    names = [entry.name for entry in ldcache.parse(data)]
    assert names
    assert all(ldcache.compare(a, b) >= 0 for a, b in zip(names, names[1:], strict=False))


def test_damaged_cache(tmp_path: Path) -> None:
    data = ldcache.build([ldcache.Entry("liba.so", "/lib/liba.so", 0x303)])
    assert ldcache.parse(b"") == [] and ldcache.parse(b"x" * 100) == []
    for length in range(len(data)):
        ldcache.parse(data[:length])
    assert ldcache.parse(b"ld.so-1.7.0\0" + b"\0" * 20 + data)[0].path == "/lib/liba.so"
    wrong = data.replace(struct.pack("=I", 1), struct.pack("=I", 0xFFFFFFFF), 1)
    assert len(ldcache.parse(wrong)) <= 2
