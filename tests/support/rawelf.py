"""Programs of a few system calls as ELF files, made here: no compiler is needed. x86_64 only.

`program([(39,), (89, b"/proc/self/exe", SCRATCH, 4096)])` makes the calls one after the other and writes their
results, 8 bytes each, and then the SCRATCH memory to stdout; `results` reads that.
"""

from __future__ import annotations

import platform
import struct

import pytest

requires_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="machine code of x86_64")

BASE = 0x10000000  # below 4 GiB: 32-bit calls can use it
_DATA = 0x8000  # where in the image the data begins
SCRATCH = BASE + 0xC000
SCRATCH_SIZE = 4096
_REGISTERS = ("48bf", "48be", "48ba", "49ba", "49b8", "49b9")  # rdi rsi rdx r10 r8 r9: movabs
_REGISTERS_32 = ("48bb", "48b9", "48ba", "48be", "48bf", "48bd")  # ebx ecx edx esi edi ebp
X32 = 0x40000000
I386 = object()  # first in a call: the number is one of i386, and int 0x80 makes it


def program(calls, then=()):
    """`calls` are (number, argument...); an argument is a number, or bytes whose address is meant (a NUL is
    added). `then` are calls after the output, whose results nobody sees: an execve for one."""
    code, data = b"", b""
    table = BASE + _DATA

    def place(value):
        nonlocal data
        at = table + 8 * len(calls) + len(data)
        data += value + b"\0"
        data += b"\0" * (-len(data) % 8)
        return at

    def call(number, *args):
        nonlocal code
        registers, enter = _REGISTERS, "0f05"
        if number is I386:
            number, *args = args
            registers, enter = _REGISTERS_32, "cd80"
        for register, value in zip(registers, args, strict=False):
            value = place(value) if isinstance(value, bytes) else value
            code += bytes.fromhex(register) + struct.pack("<Q", value & (1 << 64) - 1)
        code += bytes.fromhex("48b8") + struct.pack("<Q", number) + bytes.fromhex(enter)

    for index, words in enumerate(calls):
        call(*words)
        code += bytes.fromhex("48a3") + struct.pack("<Q", table + 8 * index)  # movabs [table], rax
    call(1, 1, table, 8 * len(calls))
    call(1, 1, SCRATCH, SCRATCH_SIZE)
    for words in then:
        call(*words)
    call(231, 0)
    image = bytearray(0xC000 + SCRATCH_SIZE)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, BASE + 120, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 1, 7, 0, BASE, BASE, len(image), len(image), 0x1000)
    image[: len(header + segment)] = header + segment
    assert len(code) < _DATA - 120 and 8 * len(calls) + len(data) < 0x4000
    image[120 : 120 + len(code)] = code
    image[_DATA + 8 * len(calls) : _DATA + 8 * len(calls) + len(data)] = data
    return bytes(image)


def results(output, count, *, bits=64):
    """(the results as signed numbers, the scratch memory up to the first NUL)."""
    assert len(output) == 8 * count + SCRATCH_SIZE, output[:200]
    half = (1 << 64) - 1 if bits == 64 else (1 << 32) - 1
    values = [value & half for value in struct.unpack(f"<{count}Q", output[: 8 * count])]
    values = [v - half - 1 if v > half >> 1 else v for v in values]
    return values, output[8 * count :].split(b"\0")[0]
