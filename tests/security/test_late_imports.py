"""K2: nothing that an image holds runs as the engine, however Python might come to look for it there."""

import io
import os
import subprocess
import sys
import tarfile

import pytest

from enginekit import CHECKOUT, ESTIVA, busybox_tar, host

MARK = "estiva-was-here"
# What a child might import late: codecs by name, what tracebacks and warnings use, what it uses itself.
MODULES = (
    "encodings/__init__.py", "encodings/unicode_escape.py", "encodings/idna.py", "encodings/latin_1.py",
    "encodings/ascii.py", "warnings.py", "linecache.py", "traceback.py", "tokenize.py", "fcntl.py", "resource.py",
    "json/__init__.py", "re/__init__.py", "re.py", "enum.py", "signal.py", "socket.py", "struct.py", "locale.py",
    "estiva/errors.py", "estiva/runtime/reaper.py", "estiva/linux/fs.py", "sitecustomize.py",
)  # fmt: skip
IMAGE = "hostile:1"
IMPORTING = ("Import", "ModuleNotFound", "LookupError", "internal error")


@pytest.fixture(scope="module")
def box():
    with host() as made:
        made.estiva("import", hostile(made.folder), IMAGE)
        yield made


def search_path():
    """Where the interpreter of ./estiva looks for modules, and where others of its kind would."""
    code = "import sys, encodings; print(*sys.path, *encodings.__path__[:0], sep='\\n')"
    with open(ESTIVA) as file:
        interpreter = file.readline().removeprefix("#!").split()
    found = set()
    for command in ([*interpreter[:1], "-I", "-S"], [sys.executable], ["/usr/bin/python3"]):
        try:
            done = subprocess.run([*command, "-c", code], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        found.update(line for line in done.stdout.splitlines() if line.startswith("/"))
    return found | {str(CHECKOUT / "src")}


def hostile(folder):
    """A tar of busybox with a module at each place that Python may look at, which leaves a mark when it runs."""
    path = f"{folder}/hostile.tar"
    code = f"open('/{MARK}', 'w').close()\n".encode()
    with tarfile.open(busybox_tar()) as source, tarfile.open(path, "w") as tar:
        for member in source:
            tar.addfile(member, source.extractfile(member) if member.isfile() else None)
        for place in search_path():
            for name in MODULES:
                parents = f"{place}/{name}".lstrip("/").split("/")[:-1]
                for depth in range(len(parents)):
                    directory = tarfile.TarInfo("/".join(parents[: depth + 1]))
                    directory.type, directory.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(directory)
                member = tarfile.TarInfo(f"{place}/{name}".lstrip("/"))
                member.size, member.mode = len(code), 0o644
                tar.addfile(member, io.BytesIO(code))
    return path


PROVOCATIONS = [
    (IMAGE, "nosuch"),
    (IMAGE, "a\nb\x1b\udcff"),
    (IMAGE, "/etc/passwd"),
    ("-u", "gh\x1bost\udcff", IMAGE, "true"),
    ("-u", "0:gh\nost", IMAGE, "true"),
    ("-w", "/etc/passwd/\x07", IMAGE, "true"),
    ("--ulimit", "nofile=999999999999", IMAGE, "true"),
    ("--init", IMAGE, "a\nb"),
    ("--init", IMAGE, "true"),
    ("--tmpfs", "/x:non\x1bsense", IMAGE, "true"),
    ("--sysctl", "net.nosuch=\x1b", IMAGE, "true"),
    ("-e", "A=\udcff", IMAGE, "true"),
]


@pytest.mark.parametrize(
    "words", PROVOCATIONS, ids=lambda words: " ".join(words).encode("ascii", "replace").decode()
)
def test_a_run_imports_nothing_of_the_image(box, words):
    done = box.estiva("run", "--name", "provoked", "--network", "none", *words, status=None)
    try:
        assert not any(
            word in done.stderr for word in ("Import", "ModuleNotFound", "Lookup", "internal error")
        )
        if "--tmpfs" not in words:  # which is refused before there is a container
            assert marks(box, "provoked") == []
    finally:
        box.estiva("rm", "-f", "provoked")


@pytest.mark.parametrize(
    "words", [("nosuch",), ("a\nb\x1b\udcff",), ("-u", "ghost\x1b", "true"), ("-it", "true")]
)
def test_an_exec_imports_nothing_of_the_image(box, words):
    box.estiva("run", "-d", "--name", "running", "--network", "none", IMAGE, "sleep", "1000")
    try:
        options = words[:-1] if words[0].startswith("-") else ()
        done = box.estiva("exec", *options, "running", words[-1], status=None)
        assert not any(
            word in done.stderr for word in ("Import", "ModuleNotFound", "Lookup", "internal error")
        )
        assert marks(box, "running") == []
    finally:
        box.estiva("rm", "-f", "running")


def marks(box, name):
    upper = box.out("inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", name)
    return [found for found, _, files in os.walk(upper) if MARK in files]
