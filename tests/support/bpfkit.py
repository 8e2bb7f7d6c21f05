"""An interpreter of classic BPF, as seccomp(2) runs it: no privilege, any architecture."""

import struct

from estiva.linux import seccomp


def answer(program: bytes, arch: int, number: int, *args: int) -> int:
    """Run the filter on a struct seccomp_data: what SECCOMP_RET_* value comes out."""
    padded = (list(args) + [0] * 6)[:6]
    data = struct.pack("<iIQ6Q", number - (1 << 32) if number >= 1 << 31 else number, arch, 0, *padded)
    code = seccomp.instructions(program)
    accumulator, index, memory = 0, 0, [0] * 16
    for _ in range(len(code) + 1):
        op, yes, no, k = code[index]
        index += 1
        if op == 0x20:
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
        elif op in (0x15, 0x25, 0x35, 0x45):
            tests = {
                0x15: accumulator == k,
                0x25: accumulator > k,
                0x35: accumulator >= k,
                0x45: accumulator & k,
            }
            index += yes if tests[op] else no
        else:
            raise AssertionError(f"instruction {op:#x}")
    raise AssertionError("the filter does not end")
