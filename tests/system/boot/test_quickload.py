"""The modules of a cold start come from one file, and never a stale one (quickload.py)."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from enginekit import IMAGE, host

SOURCE = pathlib.Path(__file__).parents[3] / "src"
ASK = """
import sys
sys.path.insert(0, sys.argv[1])
from estiva.boot import quickload
quickload.install("estiva-oci")
from estiva.runtime import sync
print(type(sync.__spec__.loader).__name__, getattr(sync, "CHANGED", ""), sync.__file__)
"""


def copy(folder, program):
    shutil.copytree(SOURCE, folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "estiva.boot.quickload", program]
    env = {**os.environ, "PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(command, env=env, check=True)
    return folder / "src"


@pytest.fixture
def tree(tmp_path):
    return copy(tmp_path, "estiva-oci")


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


@pytest.mark.parametrize("content", [b"", b"[", b"{" + bytes(100), b"\xa5" * 64, b"i\0\0\0\0", b"\xff" * 64])
def test_a_broken_file_is_passed_over(tree, content):
    (file,) = (tree / "estiva/__pycache__").glob("quickload-estiva-oci.*.bin")
    file.write_bytes(content)
    assert ask(tree)[0] == "SourceFileLoader"


def test_a_moved_tree(tree):
    moved = tree.parent / "moved"
    tree.rename(moved)
    assert ask(moved) == ("Finder", "")


@pytest.mark.parametrize("network", ["none", "bridge"])
def test_a_cold_run_finds_all_its_modules_there(tmp_path, network):
    launcher = copy(tmp_path, "estiva") / "estiva/boot/launcher.py"
    with host() as box:
        ran = subprocess.run(
            [*box.prefix, sys.executable, "-I", "-S", "-B", "-v", launcher, "run", "--rm", "--network", network, IMAGE, "true"],
            env={**os.environ, **box.env}, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300,
        )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    loaded = [line.split("'")[1] for line in ran.stderr.splitlines() if line.startswith("import 'estiva")]
    elsewhere = [
        line.split("'")[1]
        for line in ran.stderr.splitlines()
        if "import 'estiva" in line and "SourceFile" in line
    ]
    assert "estiva.engine.monitor.monitor" in loaded and elsewhere == [
        "estiva",
        "estiva.boot",
        "estiva.boot.quickload",
    ]
