"""An end of file that is typed before `estiva` has made the terminal raw: the command hears of it all the same."""

import contextlib
import os
import pty
import select
import shutil
import subprocess

import pytest

from enginekit import ESTIVA, IMAGE, host

HANGS = 240  # seconds; for what would wait for ever, not for a slow machine


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


def typed_ahead(box, keys, *words, **options):
    """The exit status of a command line at a terminal where `keys` have been typed already."""
    master, slave = pty.openpty()
    os.write(master, keys)
    assert select.select([slave], [], [], HANGS)[0]
    streams = {"stdin": slave, "stdout": slave, "stderr": slave, **options}
    child = box.start(*words, **streams)
    os.close(slave)
    try:
        with contextlib.suppress(OSError):  # EIO: the last of them has closed the terminal
            while select.select([master], [], [], HANGS)[0] and os.read(master, 4096):
                pass
        return child.wait(HANGS)
    finally:
        os.close(master)


def test_run(box):
    words = ("run", "--rm", "-it", "--network", "none", IMAGE, "sh", "-c", "cat; exit 7")
    assert typed_ahead(box, b"\x04", *words) == 7


def test_run_with_its_output_in_a_pipe(box):
    words = ("run", "--rm", "-it", "--network", "none", IMAGE, "cat")
    assert typed_ahead(box, b"\x04", *words, stdout=subprocess.DEVNULL) == 0


def test_start(box):
    box.estiva("create", "-it", "--name", "again", "--network", "none", IMAGE, "cat")
    for _ in range(2):
        assert typed_ahead(box, b"\x04", "start", "-ai", "again") == 0


def test_exec(box):
    box.estiva("run", "-d", "--name", "up", "--network", "none", IMAGE, "sleep", "3600")
    for output in ({}, {"stdout": subprocess.DEVNULL}):
        assert typed_ahead(box, b"\x04", "exec", "-it", "up", "sh", "-c", "cat; exit 7", **output) == 7


def test_a_line_before_it_is_read(box):
    words = ("run", "--rm", "-it", "--network", "none", IMAGE, "sh", "-c", 'test "$(cat)" = one')
    assert typed_ahead(box, b"one\r\x04", *words) == 0


@pytest.mark.skipif(not shutil.which("script"), reason="needs script(1)")
def test_script_without_input(box):
    """script(1) types the end of file at once."""
    command = f"{ESTIVA} run --rm -it --network none {IMAGE} sh -c 'echo up; cat'"
    done = subprocess.run(
        [*box.prefix, "script", "-qec", command, "/dev/null"],
        env=box.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=HANGS,
        check=True,
    )
    assert b"up" in done.stdout
