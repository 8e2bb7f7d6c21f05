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


HEAPS = f"""
import sys, threading
sys.path.insert(0, {str(SOURCE)!r})
from estiva.linux import mallopt

if sys.argv[1] == "shared":
    mallopt.share()
    with mallopt.Kept():  # of a pull, say
        pass
done = threading.Barrier(5)

def work():
    mine = [bytes(5000) for _ in range(100)]
    done.wait()

for _ in range(4):
    threading.Thread(target=work).start()
done.wait()
ranges = (line.split()[0].split("-") for line in open("/proc/self/maps") if " ---p " in line)
print(sum(int(end, 16) - int(start, 16) > 50 << 20 for start, end in ranges))
"""


def test_threads_share_one_heap():
    """Each heap but the first reserves 64 MB of addresses."""
    said = [subprocess.check_output([sys.executable, "-I", "-c", HEAPS, word]) for word in ("shared", "")]
    assert int(said[0]) == 0 < int(said[1])


def test_another_c_library_has_no_such_settings(monkeypatch):
    class Musl:
        def __getitem__(self, name):
            raise AttributeError(f"symbol not found: {name}")

    monkeypatch.setattr(mallopt, "libc", Musl())
    with mallopt.Kept():
        pass
