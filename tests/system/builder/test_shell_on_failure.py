"""build --shell-on-failure, typed at a terminal."""

from __future__ import annotations

import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import termios
import time
from collections.abc import Iterator

import pytest

import enginekit
from enginekit import IMAGE, Host, host
from killkit import assert_nothing_left


@pytest.fixture(scope="module")
def box() -> Iterator[Host]:
    with host() as made:
        yield made


class Typed:
    """A build at a terminal of its own."""

    def __init__(self, box: Host, context: pathlib.Path, text: str, *words: str) -> None:
        (context / "Dockerfile").write_text(f"FROM {IMAGE} AS base\n" + text)
        self.master, self.slave = pty.openpty()
        self.mode = termios.tcgetattr(self.slave)
        self.said = b""
        self.child = subprocess.Popen(
            [*box.prefix, enginekit.ESTIVA, "build", "--shell-on-failure", *words, str(context)],
            env=box.env,
            cwd=box.folder,
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
        )

    def until(self, text: str) -> None:
        """Read until it says so, from here on."""
        start = len(self.said)
        end = time.monotonic() + 120
        while text.encode() not in self.said[start:]:
            assert time.monotonic() < end, self.said.decode()
            if select.select([self.master], [], [], 1)[0]:
                self.said += os.read(self.master, 4096)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def end(self) -> int:
        """Its exit status; the terminal is as it was."""
        while self.child.poll() is None:
            if select.select([self.master], [], [], 0.1)[0]:
                self.said += os.read(self.master, 4096)
        while select.select([self.master], [], [], 0)[0]:
            self.said += os.read(self.master, 4096)
        assert termios.tcgetattr(self.slave) == self.mode
        os.close(self.master)
        os.close(self.slave)
        return self.child.returncode


def test_the_step_as_it_was_left(box: Host, tmp_path: pathlib.Path) -> None:
    (tmp_path / "f").write_text("context")
    tmp_path.chmod(0o755)
    box.env["SECRET"] = "hidden"
    run = Typed(
        box,
        tmp_path,
        """ENV A=b
WORKDIR /w
USER user
SHELL ["/bin/sh", "-ec"]
RUN --network=none --mount=type=tmpfs,target=/t --mount=target=/in,rw --mount=type=secret,id=s,mode=444 \\
  --mount=type=cache,target=/c,uid=1000 echo tmpfs > /t/x; echo cache > /c/c; echo made > /tmp/made; exit 7
""",
        "--secret",
        "id=s,env=SECRET",
    )
    run.until("what is changed is thrown away")
    run.type("echo $(id -u) $PWD $A $(cat /t/x /c/c /tmp/made /in/f /run/secrets/s) $(ip -o link | wc -l).\n")
    run.until("1000 /w b tmpfs cache made contexthidden 1.")
    run.type("echo $((6 * 7)) > /tmp/new; exit 3\n")
    assert run.end() == 1
    assert re.search(rb"\nestiva: Dockerfile:6: [^\n]*exit status 7", run.said)
    assert_nothing_left(box)
    assert "CACHED" not in box.estiva("build", tmp_path, status=1).stderr.split("RUN")[1]


def test_what_has_no_shell_says_so(box: Host, tmp_path: pathlib.Path) -> None:
    run = Typed(box, tmp_path, 'FROM scratch\nCOPY Dockerfile /\nRUN ["/absent"]\n')
    assert run.end() == 1
    assert b"no shell in this step: " in run.said
    assert b'estiva: Dockerfile:4: exec: "/absent"' in run.said


def test_the_first_of_several(box: Host, tmp_path: pathlib.Path) -> None:
    """The others wait, say nothing meanwhile, and are not what the build ends with."""
    run = Typed(
        box,
        tmp_path,
        """RUN --network=none exit 5
FROM base AS b
FROM box:1 AS c
RUN --network=none sleep 1; echo other; exit 6
FROM box:1
COPY --from=b /bin/sh /b
COPY --from=c /bin/sh /c
""",
    )
    run.until("what is changed is thrown away")
    time.sleep(2)
    run.type("echo fir''st\n")
    run.until("first")
    assert b"other" not in run.said.split(b"thrown away")[1]
    run.type("exit\n")
    assert run.end() == 1
    assert run.said.count(b"a shell in this step") == 1
    assert re.search(rb"\nestiva: Dockerfile:2: [^\n]*exit status 5", run.said)
    assert_nothing_left(box)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_shell_has_the_terminal(
    box: Host, tmp_path: pathlib.Path, number: signal.Signals
) -> None:
    run = Typed(box, tmp_path, "RUN --network=none false\n")
    run.until("what is changed is thrown away")
    run.type("echo he''re\n")
    run.until("here")
    run.child.send_signal(number)
    assert run.end() == -number
    box.estiva("system", "check", status=None)
    assert_nothing_left(box)


def test_without_a_terminal_it_is_refused(box: Host, tmp_path: pathlib.Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN false\n")
    said = box.estiva("build", "--shell-on-failure", tmp_path, status=None)
    assert said.returncode != 0 and "build --shell-on-failure needs a terminal" in said.stderr
    assert "[1/2]" not in said.stderr
