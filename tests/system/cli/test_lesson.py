"""`lesson`: all that it says is so, and nothing of it is left, however it ends."""

import glob
import os
import pathlib
import re
import shutil
import signal
import subprocess
import termios

import pytest

from enginekit import ESTIVA, eventually
from estiva.cli.explain import stage as stages
from estiva.errors import Unsupported

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("busybox") is None, reason="needs busybox-static"),
]


def left(name):
    """What the lesson of a folder has left behind on this machine: others may go on meanwhile."""
    places = glob.glob(f"/var/tmp/{name}")
    cgroups = glob.glob(f"/sys/fs/cgroup/{name}") + glob.glob(f"/sys/fs/cgroup/*/{name}")
    mounts = [line for line in pathlib.Path("/proc/self/mounts").read_text().splitlines() if name in line]
    return places + cgroups + mounts


def named(text):
    return re.search(r"/var/tmp/(estiva-lesson-\w+)", text)[1]


def lesson(*words, status=0):
    done = subprocess.run(
        [ESTIVA, "lesson", "--no-wait", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == status, (done.stdout[-2000:], done.stderr)
    assert not left(named(done.stdout))
    return done.stdout


def test_all_eight_steps():
    text = lesson()
    assert re.findall(r"^== Step (\d) of 8: ", text, re.MULTILINE) == list("12345678")
    assert text.count("\nBefore: ") == text.count("\nAfter: ") == 8
    for said in (
        "1 root     sleep 1000",  # a process: number 1 inside
        "I am 1",
        "D /usr/bin/who",
        "c--------- root     0 /usr/bin/who",
        "CapEff: 0000000000000000",
        "Connecting to 127.0.0.1:8080: hello from the container",
        "killed by its memory limit of 16 MiB",
        "can't fork",
        "it runs",
        "#2 CACHED",
        "other words",
    ):
        assert said in text, said
    check = text.partition("system check --deep --repair")[2].partition("\n\n")[0]
    assert "fetched again" in check and check.count("repaired: layer") == 1, check
    assert all(line.isprintable() for line in text.splitlines())


def test_one_step():
    text = lesson("--step", "3")
    assert re.findall(r"^== Step (\d) of 8: ", text, re.MULTILINE) == ["3"]
    done = subprocess.run([ESTIVA, "lesson", "--step", "9"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == "estiva: there is no step 9\nhint: 1 to 8\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_ended_in_the_middle(number):
    words = [ESTIVA, "lesson", "--no-wait", "--step", "1"]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    name = ""
    for line in child.stdout:
        name = name or ("estiva-lesson-" in line and named(line))
        if "estiva exec one" in line:
            break
    child.send_signal(number)
    child.wait(120)
    child.stdout.close()
    if number == signal.SIGKILL:
        assert left(name)
        stages.sweep()
    eventually(lambda: not left(name), 30)


def test_without_busybox(monkeypatch):
    monkeypatch.setattr(stages.programs, "find", lambda name: "")
    with pytest.raises(Unsupported, match="busybox") as error, stages.Stage(None, False):
        pass
    assert error.value.hint == "apt install busybox-static"


@pytest.mark.parametrize(("columns", "width"), [(60, 60), (200, 96), (0, 96)])
def test_a_paragraph_is_as_wide_as_the_terminal(columns, width):
    leader, follower = os.openpty()
    try:
        termios.tcsetwinsize(follower, (24, columns))
        with open(follower, "w") as out:
            stages.Stage(out, False).say("word " * 40)
        lines = os.read(leader, 4096).decode().split("\r\n")
    finally:
        os.close(leader)
    assert width - 5 < max(map(len, lines)) <= width
