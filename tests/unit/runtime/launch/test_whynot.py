"""The reason why a command can't be executed, by the tree that it was to be executed in."""

import os
import pathlib
import struct

import pytest

from estiva.errors import CommandNotFound, NotFound
from estiva.runtime import sync
from estiva.runtime.launch import whynot

PATH = "/usr/local/bin:/usr/bin:/bin"
ELF64 = b"\x7fELF\x02\x01\x01" + b"\0" * 9


@pytest.fixture
def tree(tmp_path):
    os.chmod(tmp_path, 0o755)
    for folder in ("bin", "usr/bin", "usr/games", "work", "lib"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("sh", "ls", "cat", "nginx"):
        put(tmp_path, f"bin/{name}", b"\x7fELF")
    put(tmp_path, "usr/bin/python3.13", b"\x7fELF")
    put(tmp_path, "usr/games/fortune", b"\x7fELF")
    return tmp_path


def put(tree, name, content, mode=0o755):
    path = pathlib.Path(tree, name)
    path.write_bytes(content)
    path.chmod(mode)


def hint(tree, name, path=PATH, cwd="/work", user=(0, set())):
    root = os.open(tree, os.O_PATH | os.O_DIRECTORY)
    try:
        return whynot.hint(root, name, path, cwd, user)
    finally:
        os.close(root)


def elf(machine, loader=b""):
    """A header, and a program header for its loader (elf(5))."""
    header = ELF64 + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return header + struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(loader) + 1, 0, 1) + loader + b"\0"


HERE = {"x86_64": 62, "aarch64": 183}.get(os.uname().machine, 62)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ngnix", "did you mean nginx?"),
        ("sl", "did you mean ls?"),
        ("LS", "did you mean ls?"),
        ("python", "did you mean python3.13?"),
        ("python3", "did you mean python3.13?"),
        ("ls -l /", "ls is there, but this is one word with blanks: give each for itself"),
        ("cd", "cd is a word of the shell's, not a program: sh -c 'cd ...'"),
        ("bash", "the image has no bash; it has /bin/sh"),
        ("fortune", f"there is /usr/games/fortune, but PATH is {PATH}"),
        ("run.sh", f"there is /work/run.sh, but PATH is {PATH}"),
        ("broken", "/bin/broken is a symlink to /usr/lib/it, which is not there"),
        ("plain", "chmod +x it in the image (in a Dockerfile: COPY --chmod=755 ... /bin/plain)"),
        ("zzzzzz", ""),
        ("", "the command is empty"),
        ("/usr/bin/ls", "the image has /bin/ls"),
        ("/bin/bash", "the image has /bin/sh"),
        ("/work/run.hs", "did you mean /work/run.sh?"),
        ("./run.hs", "did you mean /work/run.sh?"),
        ("/wrok/run", "did you mean /work/run?"),
        ("/nowhere/run", "there is no folder /nowhere"),
        ("/bin/ls/x", "/bin/ls is a file, not a folder"),
        ("/bin", "it is a folder: give a program in it"),
        ("/work/loop", "/work/loop is a symlink that leads back to itself"),
    ],
)
def test_where_it_is(tree, name, said):
    put(tree, "work/run.sh", b"#!/bin/sh\n")
    put(tree, "bin/plain", b"#!/bin/sh\n", 0o644)
    os.symlink("/usr/lib/it", tree / "bin/broken")
    os.symlink("loop", tree / "work/loop")
    assert hint(tree, name) == said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"#!/bin/bash\n",
            "/work/it begins with #!/bin/bash, and the image has no /bin/bash; it has /bin/sh",
        ),
        (b"#!/bin/perl\n", "/work/it begins with #!/bin/perl, and the image has no /bin/perl"),
        (
            b"#!/opt/cat -x\n",
            "/work/it begins with #!/opt/cat, and the image has no /opt/cat; it has /bin/cat",
        ),
        (b"#!/bin/sh\r\necho\r\n", "the lines of /work/it end as on Windows (CRLF)"),
        (b"#!/bin/sh -e\r\n", "the lines of /work/it end as on Windows (CRLF)"),
        (b"#!sh\n", "/work/it begins with #!sh: that has to be a whole path, such as #!/bin/sh"),
        (b"#!\n", "the first line of /work/it names no interpreter"),
        (b"#!/work/plain\n", "its interpreter /work/plain: chmod +x it in the image"),
        (b"\xef\xbb\xbf#!/bin/sh\n", "it begins with a byte order mark"),
        (b"echo\n", "it is a text: put #!/bin/sh on its first line"),
        (b"", "the file is empty"),
        (b"MZ\0", "it is a program for Windows"),
        (b"PK\x03\x04\0", "it is a zip archive"),
        (b"\xcf\xfa\xed\xfe", "it is a program for macOS"),
        (b"\0\1\2", ""),
        (
            elf(HERE, b"/lib64/ld-linux-x86-64.so.2"),
            "the program was linked against glibc, which this image lacks (it has musl)",
        ),
        (
            elf(HERE, b"/lib/ld-musl-other.so.1"),
            "the program was linked against musl, which this image lacks",
        ),
        (elf(8), ""),  # the message has it
    ],
)
def test_what_it_is(tree, content, said):
    put(tree, "lib/ld-musl-x86_64.so.1", b"")
    put(tree, "work/plain", b"", 0o644)
    put(tree, "work/it", content)
    found = hint(tree, "/work/it")
    assert found.startswith(said) and bool(found) == bool(said)


def test_a_text_of_python(tree):
    put(tree, "work/it.py", b"print()\n")
    assert hint(tree, "./it.py") == "it is a text: put #!/usr/bin/env python3 on its first line"


def test_an_image_without_a_shell_and_one_without_anything(tree, tmp_path_factory):
    (tree / "bin/sh").unlink()
    said = "the image has no shell: start its program itself"
    assert hint(tree, "bash").startswith(said) and hint(tree, "/bin/sh").startswith(said)
    empty = tmp_path_factory.mktemp("empty")
    assert (
        hint(empty, "nginx")
        == "there is no program at all in PATH: give the path of the image's own, with a slash"
    )


def test_what_its_user_may_not(tree):
    put(tree, "work/it", b"#!/bin/sh\n", 0o700)
    stranger, one_of_them = (12345, {12345}), (12345, {os.getgid()})
    assert hint(tree, "/work/it", user=stranger) == "its user may not execute it: its mode is 0700"
    (tree / "work/it").chmod(0o710)
    assert hint(tree, "/work/it", user=stranger) == "its user may not execute it: its mode is 0710"
    assert hint(tree, "/work/it", user=one_of_them) == ""
    (tree / "work").chmod(0o700)
    assert hint(tree, "/work/it", user=stranger) == "its user may not go through /work (mode 0700)"


def test_the_error_keeps_its_words_and_kind(tree):
    error = CommandNotFound('exec: "sl": executable file not found in $PATH')
    payload = b"\0".join([sync.encode(error, "find the command"), b"sl", b"/bin", b"/"])
    root = os.open(tree, os.O_PATH | os.O_DIRECTORY)
    found = whynot.error(payload, root, os.getpid())
    assert type(found) is CommandNotFound and str(found) == str(error) and found.hint == "did you mean ls?"
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(root)


def test_other_errors_stay_as_they_are(tree):
    payload = b"\0".join([sync.encode(NotFound("x", hint="y"), "step"), b"sl", b"/bin", b"/"])
    found = whynot.error(payload, os.open(tree, os.O_PATH | os.O_DIRECTORY), os.getpid())
    assert type(found) is NotFound and found.hint == "y"


# --- hostile trees ----------------------------------------------------------------------------------------


def test_nothing_outside_is_looked_at(tree, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    put(outside, "secret-program", b"MZ")
    os.symlink(outside, tree / "usr/local")
    os.symlink(outside, tree / "out")
    os.symlink("../../../../../../../.." + str(outside / "secret-program"), tree / "bin/up")
    path = f"/out:/bin:{'../' * 20}{str(outside)[1:]}"
    for name in ("secret-progam", "secret-program"):
        assert "secret-program" not in hint(tree, name, path).removeprefix(name)
    assert "Windows" not in hint(tree, "/out/secret-program") + hint(tree, "/bin/up")


def test_a_fifo_a_device_and_the_kernel_s_files_are_not_opened(tree):
    os.mkfifo(tree / "work/fifo", 0o755)
    put(tree, "work/script", b"#!/work/fifo\n")
    for name in ("/work/fifo", "/work/script"):
        assert hint(tree, name) == ""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY)
    try:
        assert whynot.hint(root, "/proc/self/exe", PATH) in ("", "it is a folder: give a program in it")
        assert whynot.hint(root, "cmdlinf", "/proc/1:/proc/self:/sys:/dev/pts") == ""
    finally:
        os.close(root)


def test_interpreters_in_a_circle_and_links_without_end(tree):
    for number in range(100):
        put(tree, f"work/{number}", f"#!/work/{(number + 1) % 100}\n".encode())
        os.symlink(f"link{number + 1}", tree / f"work/link{number}")
    assert hint(tree, "/work/0") == ""
    assert len(hint(tree, "/work/link0")) < 200


def test_a_path_and_folders_without_end_are_bounded(tree):
    for number in range(9000):
        os.close(os.open(tree / f"work/{number:05}", os.O_CREAT, 0o755))
    counted = []
    real = os.scandir

    def scandir(fd):
        class Counting:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                self.entries.close()

            def __iter__(self):
                self.entries = real(fd)
                for entry in self.entries:
                    counted.append(entry)
                    yield entry

        return Counting()

    os.scandir = scandir
    try:
        hint(tree, "0000x", ":".join(["/work", *(f"/work/./{'./' * n}" for n in range(500))]))
    finally:
        os.scandir = real
    assert 4000 < len(counted) <= 8300


def test_names_that_are_long_or_not_for_terminals(tree):
    put(tree, "bin/ev\x1b[31mil", b"")
    assert "\x1b" not in hint(tree, "ev\x1b[32mil")
    assert "\x1b" in os.listdir(tree / "bin")[0] + "".join(os.listdir(tree / "bin"))
    assert hint(tree, "/" + "a/" * 2000) == "" and hint(tree, "x" * 4000) == "" and hint(tree, "a\0b") == ""


@pytest.mark.parametrize("at", range(0, 120, 2))
def test_a_hostile_elf_header(tree, at):
    """Offsets, sizes and counts of any value, one after the other."""
    whole = elf(HERE, b"/lib64/ld-linux-x86-64.so.2")
    for value in (b"\xff\xff", b"\x00\x00", b"\xff\x7f", b"\x00\x80"):
        put(tree, "work/it", whole[:at] + value + whole[at + 2 :])
        assert isinstance(hint(tree, "/work/it"), str)
    put(tree, "work/it", whole[:at])
    assert isinstance(hint(tree, "/work/it"), str)
