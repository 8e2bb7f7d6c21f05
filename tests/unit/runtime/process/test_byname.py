"""The file in memory that executes a name."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from estiva.runtime.process import byname

pytestmark = pytest.mark.skipif(
    os.uname().machine not in byname._CODE, reason="this machine's code is not known"
)


def as_a_child(
    name: str, arguments: list[str], env: dict[str, str], program: str = "/bin/cat"
) -> tuple[int, bytes]:
    """(exit status, output) of the fd for `name`, executed in the place of `program`."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(into, 1)
            held = byname.open_program(name, os.open(program, os.O_RDONLY))
            assert held >= 0
            os.execve(held, arguments, env)
        finally:
            os._exit(99)
    os.close(into)
    with open(out, "rb") as pipe:
        text = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text


@pytest.fixture
def link(tmp_path: Path) -> str:
    os.symlink("/bin/cat", tmp_path / "asked-for")
    return str(tmp_path / "asked-for")


def test_the_process_is_called_what_was_asked_for(link: str) -> None:
    assert as_a_child(link, ["x", "/proc/self/comm"], {}) == (0, b"asked-for\n")


def test_arguments_and_environment_pass(link: str) -> None:
    words = ["argv 0", "/proc/self/cmdline", "/proc/self/environ"]
    status, text = as_a_child(link, words, {"A": "1 2", "B": ""})
    assert status == 0
    assert text == "".join(f"{word}\0" for word in words).encode() + b"A=1 2\0B=\0"


def test_a_script_is_called_by_its_own_name(tmp_path: Path) -> None:
    script = tmp_path / "entry.sh"
    script.write_text('#!/bin/sh\nread name </proc/$$/comm; echo "$name $0 $@"\n')
    script.chmod(0o755)
    assert as_a_child(str(script), ["x", "1", "2 3"], {}, "/bin/sh") == (
        0,
        f"entry.sh {script} 1 2 3\n".encode(),
    )


def test_what_can_not_be_executed_after_all_is_126(link: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = byname.program
    monkeypatch.setattr(byname, "program", lambda name, on: real(name + b"-is-gone", on))
    assert as_a_child(link, ["x"], {})[0] == 126


def test_a_name_that_has_become_our_own_binary_never_starts_it(tmp_path: Path) -> None:
    """Who is executed then is the file in memory, again and again."""
    os.symlink("/bin/cat", tmp_path / "evil")
    pid = os.fork()
    if pid == 0:
        try:
            held = byname.open_program(str(tmp_path / "evil"), os.open("/bin/cat", os.O_RDONLY))
            os.symlink("/proc/self/exe", tmp_path / "swap")
            os.rename(tmp_path / "swap", tmp_path / "evil")
            os.execve(held, ["x", "/dev/null"], {})
        finally:
            os._exit(99)
    try:
        seen = set()
        while os.readlink(f"/proc/{pid}/exe") == os.path.realpath(sys.executable):
            pass  # not yet
        for _ in range(200):
            seen.add(os.readlink(f"/proc/{pid}/exe"))
        assert seen == {"/memfd:command (deleted)"}
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
        os.symlink("/bin/cat", tmp_path / "swap")
        os.rename(tmp_path / "swap", tmp_path / "evil")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        pid = 0
    finally:
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@pytest.mark.skipif(shutil.which("qemu-aarch64") is None, reason="needs qemu-aarch64 (package qemu-user)")
def test_the_code_of_the_other_machine(tmp_path: Path) -> None:
    def run(name: bytes, *words: str) -> tuple[int, str]:
        (tmp_path / "arm").write_bytes(byname.program(name, "aarch64"))
        (tmp_path / "arm").chmod(0o755)
        done = subprocess.run(
            ["qemu-aarch64", tmp_path / "arm", *words], env={"A": "1 2"}, capture_output=True, text=True
        )
        return done.returncode, done.stdout

    assert run(b"/bin/sh", "-c", 'echo "$A $0 $1"', "x", "y z") == (0, "1 2 x y z\n")
    assert run(b"/nowhere")[0] == 126


def test_what_is_better_executed_by_its_fd(tmp_path: Path) -> None:
    """Where the kernel may say no it is to say it to us, and where the name is the same nothing is gained."""
    header = Path("/bin/cat").read_bytes()[:64]
    cases = {
        "text": b"no program at all" * 10,
        "short": header[:40],
        "another class": header[:4] + b"\x01" + header[5:],
        "another machine": header[:18] + b"\xb7\0" + header[20:],
        "no program headers": header[:56] + b"\0\0" + header[58:],
        "cut off": header,
        "an object file": header[:16] + b"\x01\0" + header[18:],
    }
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o755)
        os.symlink(name, tmp_path / f"link to {name}")
        fd = os.open(tmp_path / name, os.O_RDONLY)
        assert byname.open_program(f"{tmp_path}/link to {name}", fd) == -1, name
        os.close(fd)
    (tmp_path / "busy").write_bytes(Path("/bin/cat").read_bytes())
    (tmp_path / "busy").chmod(0o755)
    os.symlink("busy", tmp_path / "link")
    fd = os.open(tmp_path / "busy", os.O_RDONLY)
    release = tuple(int(word) for word in os.uname().release.split(".")[:2])
    if release >= (6, 14):
        assert byname.open_program(f"{tmp_path}/busy", fd) == -1
        with open(tmp_path / "busy", "r+b"):
            assert byname.open_program(f"{tmp_path}/link", fd) == -1  # ETXTBSY
    held = byname.open_program(f"{tmp_path}/link", fd)
    assert held >= 0
    os.close(held)
    os.close(fd)


def test_a_machine_that_executes_nothing_unknown(link: str) -> None:
    """The caller then does without."""
    with open("/dev/null", "rb") as refused:
        byname.execute(refused.fileno(), ["x"], {})
