"""The heap that keeps what it is given back, in a process of its own."""

import pathlib
import subprocess
import sys

from estiva.linux import mallopt

SOURCE = pathlib.Path(__file__).resolve().parents[3] / "src"
PROGRAM = f"""
import os, sys
sys.path.insert(0, {str(SOURCE)!r})
from estiva.linux import mallopt

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") >> 20

start = resident()
with mallopt.Kept():
    pieces = [bytearray(b"x") * (1 << 20) for _ in range(100)]
    del pieces
    kept = resident()
print(start, kept, resident())
"""


def test_freed_memory_is_kept_and_given_back_at_the_end():
    output = subprocess.check_output([sys.executable, "-I", "-c", PROGRAM], text=True)
    start, kept, after = map(int, output.split())
    assert kept > start + 80, "the pages went back to the kernel at once"
    assert after < start + 40, "the pages stayed"


def test_another_c_library_has_no_such_settings(monkeypatch):
    class Musl:
        def __getitem__(self, name):
            raise AttributeError(f"symbol not found: {name}")

    monkeypatch.setattr(mallopt, "libc", Musl())
    with mallopt.Kept():
        pass
