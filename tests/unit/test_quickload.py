"""The modules of a cold start come from one file, and never a stale one (quickload.py)."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

SOURCE = pathlib.Path(__file__).parents[2] / "src"
ASK = """
import sys
sys.path.insert(0, sys.argv[1])
from estiva import quickload
quickload.install("estiva-oci")
from estiva.runtime import sync
print(type(sync.__spec__.loader).__name__, getattr(sync, "CHANGED", ""), sync.__file__)
"""


@pytest.fixture
def tree(tmp_path):
    shutil.copytree(SOURCE, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "estiva.quickload", "estiva-oci"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(command, env=env, check=True)
    return tmp_path / "src"


def ask(tree):
    asked = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", ASK, str(tree)], capture_output=True, text=True, check=True
    )
    assert asked.stderr == ""
    loader, changed, file = asked.stdout.split(" ", 2)
    assert file.strip() == str(tree / "estiva/runtime/sync.py")
    return loader, changed


def test_a_module_comes_from_the_file(tree):
    assert ask(tree) == ("Finder", "")


def test_a_changed_source_is_what_counts(tree):
    with open(tree / "estiva/runtime/sync.py", "a") as source:
        source.write("CHANGED = 'yes'\n")
    assert ask(tree) == ("SourceFileLoader", "yes")


def test_a_source_of_the_same_size_and_another_time(tree):
    path = tree / "estiva/runtime/sync.py"
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 1))
    assert ask(tree)[0] == "SourceFileLoader"


@pytest.mark.parametrize("content", [b"", b"[", b"{" + bytes(100), b"\xa5" * 64, b"i\0\0\0\0"])
def test_a_broken_file_is_passed_over(tree, content):
    (file,) = (tree / "estiva/__pycache__").glob("quickload-estiva-oci.*.bin")
    file.write_bytes(content)
    assert ask(tree)[0] == "SourceFileLoader"


def test_a_moved_tree(tree):
    moved = tree.parent / "moved"
    tree.rename(moved)
    assert ask(moved) == ("Finder", "")
