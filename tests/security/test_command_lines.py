"""K24: secrets in the words of a command line are in no process's but the user's own, and there not for long."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundle import requires_kernel
from enginekit import IMAGE, Host, eventually, host

pytestmark = requires_kernel
NONE = ("--network", "none")
SECRET = f"hush-{os.urandom(8).hex()}"  # other processes run the same tests with one of theirs


@pytest.fixture(scope="module")
def engine() -> Iterator[Host]:
    with host() as made:
        yield made


class Watch(threading.Thread):
    """Looks at every command line of the host, again and again, for SECRET."""

    def __init__(self, own: set[int]) -> None:
        super().__init__()
        self.own = own
        self.seen: dict[int, bytes] = {}
        self.rounds = 0
        self.over = False

    def run(self) -> None:
        while not self.over:
            self.look()
            self.rounds += 1

    def look(self) -> None:
        for name in os.listdir("/proc"):
            if name.isdecimal() and int(name) not in self.own:
                with contextlib.suppress(OSError):
                    words = Path(f"/proc/{name}/cmdline").read_bytes()
                    if SECRET.encode() in words:
                        self.seen[int(name)] = words


@contextlib.contextmanager
def watched(engine: Host, *words: str) -> Iterator[Watch]:
    """The command line in the background, with its looker; its end is waited for."""
    own: set[int] = set()
    watch = Watch(own)
    child = engine.start(*words)
    own.add(child.pid)
    watch.start()
    try:
        yield watch
        assert child.wait(60) == 0
        if "-d" in words:
            watch.look()
    finally:
        watch.over = True
        watch.join()
    assert watch.rounds
    assert not watch.seen


OPTIONS = [["-e", f"A={SECRET}"], [f"-eA={SECRET}"], [f"--env=A={SECRET}", "-e", f"B={SECRET}"]]


@pytest.mark.parametrize("options", OPTIONS, ids=["word", "letter", "long"])
def test_of_a_container(engine: Host, options: list[str]) -> None:
    with watched(engine, "run", "--rm", *NONE, *options, IMAGE, "sh", "-c", "test $A && usleep 200000"):
        pass


def test_of_a_detached_container(engine: Host) -> None:
    with watched(engine, "run", "-d", "--name", "quiet", *NONE, "-e", f"A={SECRET}", IMAGE, "sleep", "1000"):
        pass
    assert SECRET in engine.out("exec", "quiet", "env")
    engine.estiva("rm", "-f", "quiet")


def test_of_an_exec(engine: Host) -> None:
    engine.estiva("run", "-d", "--name", "host", *NONE, IMAGE, "sleep", "1000")
    for detached in ((), ("-d",)):
        script = "test $A && usleep 200000"
        with watched(engine, "exec", *detached, "-e", f"A={SECRET}", "host", "sh", "-c", script):
            pass
    engine.estiva("rm", "-f", "host")


def test_of_a_build(engine: Host, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "Dockerfile").write_text(
        f"FROM {IMAGE}\nARG A\nRUN --mount=type=secret,id=s test $A && usleep 200000 && cat /run/secrets/s\n"
    )
    secret = f"id=s,src={tmp_path}/secret"
    words = ["--build-arg", f"A={SECRET}", "--secret", secret, "--network", "none", "--no-cache"]
    with watched(engine, "build", *words, str(tmp_path)):
        pass


def test_the_own_process_hides_it_too(engine: Host) -> None:
    child = engine.start("run", "--rm", *NONE, "-e", f"A={SECRET}", IMAGE, "sh", "-c", "usleep 1500000")
    eventually(lambda: b"A=***" in Path(f"/proc/{child.pid}/cmdline").read_bytes() or None)
    assert child.wait(60) == 0
