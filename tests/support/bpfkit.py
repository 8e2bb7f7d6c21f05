"""An interpreter of classic BPF, as seccomp(2) runs it: no privilege, any architecture."""

import functools
import struct

from estiva.linux import seccomp

instructions = functools.lru_cache(8)(seccomp.instructions)


def answer(program: bytes, arch: int, number: int, *args: int) -> int:
    """Run the filter on a struct seccomp_data: what SECCOMP_RET_* value comes out."""
    padded = (list(args) + [0] * 6)[:6]
    data = struct.pack("<iIQ6Q", number - (1 << 32) if number >= 1 << 31 else number, arch, 0, *padded)
    code = instructions(program)
    accumulator, index, memory = 0, 0, [0] * 16
    for _ in range(len(code) + 1):
        op, yes, no, k = code[index]
        index += 1
        if op == 0x15:
            index += yes if accumulator == k else no
        elif op == 0x25:
            index += yes if accumulator > k else no
        elif op == 0x35:
            index += yes if accumulator >= k else no
        elif op == 0x45:
            index += yes if accumulator & k else no
        elif op == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif op == 0x06:
            return k
        elif op == 0x05:
            index += k
        elif op == 0x54:
            accumulator &= k
        elif op == 0x02:
            memory[k] = accumulator
        elif op == 0x60:
            accumulator = memory[k]
        else:
            raise AssertionError(f"instruction {op:#x}")
    raise AssertionError("the filter does not end")
