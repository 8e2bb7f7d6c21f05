"""A build's live view on a terminal: while it goes on, at its end, and however it or a part of it is killed."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import time
from collections.abc import Iterator

import pytest

from enginekit import ESTIVA, IMAGE, Host, eventually, host
from screenkit import Terminal

TWO = f"""\
FROM {IMAGE} AS left
RUN echo said left; printf '\\033[2J\\033[?25l'; until test -e /ctx/go; do usleep 50000; done
FROM {IMAGE} AS right
RUN echo said right; exec sleep 1003
FROM {IMAGE}
COPY --from=left /etc/passwd /l
COPY --from=right /etc/passwd /r
"""


@pytest.fixture(scope="module")
def box() -> Iterator[Host]:
    with host() as made:
        yield made


def terminal(
    box: Host, context: pathlib.Path, text: str, *words: str, shell: bool = False, **options: int
) -> Terminal:
    (context / "Dockerfile").write_text(text)
    env = {**box.env, "LANG": "C.UTF-8", "TERM": "xterm", **({"NO_COLOR": "1"} if "--nc" in words else {})}
    kept = [word for word in words if word != "--nc"]
    line = [*box.prefix, ESTIVA, "build", "--network", "none", *kept, str(context)]
    if shell:  # that the terminal belongs to: the builder's end is not the session's
        line = ["sh", "-c", '"$@"; echo "ended with $?"; sleep 2', "sh", *line]
    return Terminal(line, env=env, cwd=box.folder, **options)


def below(pid: int) -> int:
    """The pid of a process's child in its own session: of the builder's that is the view's."""
    children = map(int, pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return next(child for child in children if os.getsid(child) == os.getsid(pid))


def clean(box: Host) -> None:
    eventually(lambda: not box.cgroups(), 30)
    box.estiva("system", "check", status=None)
    assert box.estiva("system", "check").returncode == 0


def test_what_is_seen_of_a_build(box: Host, tmp_path: pathlib.Path) -> None:
    text = f"FROM {IMAGE}\nRUN echo said; printf '\\033]0;title\\007\\033[2J'; usleep 300000\nCOPY Dockerfile /d\n"
    seen = terminal(box, tmp_path, text, "-t", "seen:1")
    seen.read("│ said")
    last = seen.read()
    assert seen.child.returncode == 0
    lines = [re.sub(r"  +\S* ?\d+\.\ds$", "", line) for line in last.splitlines()]
    assert lines[0].startswith("built seen:1  ") and "3/3 steps" in lines[0]
    assert lines[1] == f"✓ [1/3] FROM {IMAGE}"
    assert lines[2].startswith("✓ [2/3] RUN echo said; printf '\\033]0;title")
    assert lines[3] == "✓ [3/3] COPY Dockerfile /d"
    assert re.fullmatch("sha256:[0-9a-f]{64}", lines[4])
    assert lines[5:] == ["named seen:1"]
    assert b"\x1b[32m" in seen.raw and b"\x1b]" not in seen.raw and b"\x1b[2J" not in seen.raw
    seen.close()
    bare = terminal(box, tmp_path, text, "--nc")
    assert "= [2/3]" in bare.read() and "2 cached" in bare.read()
    assert not re.search(rb"\x1b\[[\d;]*m", bare.raw)
    bare.close()


def test_a_terminal_that_is_narrow_and_becomes_narrower(box: Host, tmp_path: pathlib.Path) -> None:
    seen = terminal(
        box,
        tmp_path,
        f"FROM {IMAGE}\nRUN echo said; read line; usleep 400000; false {'x' * 200}\n",
        columns=40,
        rows=8,
    )
    seen.read("│ said")
    assert max(map(len, seen.seen.lines)) <= 39
    seen.resize(20, 8)
    last = seen.read()
    assert seen.child.returncode == 1  # there is no stdin in a RUN: read fails
    assert "failed" in last and "building" not in last  # no rest of an earlier frame
    seen.close()


def test_ctrl_c_ends_steps_that_run_beside_each_other(box: Host, tmp_path: pathlib.Path) -> None:
    seen = terminal(box, tmp_path, TWO)
    seen.read("│ said left")
    seen.read("│ said right")
    seen.type(b"\x03")
    last = seen.read()
    assert seen.child.returncode == 130
    assert "interrupted" in last
    assert len(re.findall(r"^- \[(?:left|right) 2/2\] RUN .* CANCELED \d+\.\ds$", last, re.M)) == 2
    assert "Traceback" not in last
    seen.close()
    clean(box)


def test_ctrl_c_is_no_error_of_the_only_step(box: Host, tmp_path: pathlib.Path) -> None:
    seen = terminal(box, tmp_path, f"FROM {IMAGE}\nRUN echo said so; exec sleep 1004\n")
    seen.read("│ said so")
    seen.type(b"\x03")
    last = seen.read()
    assert seen.child.returncode == 130
    assert re.search(r"^- \[2/2\] RUN .* CANCELED \d+\.\ds$", last, re.M)
    assert "  | said so" not in last, "as of a command that has failed"
    seen.close()
    clean(box)


def test_a_builder_that_is_killed_leaves_the_terminal_as_it_was(box: Host, tmp_path: pathlib.Path) -> None:
    seen = terminal(box, tmp_path, TWO, shell=True)
    seen.read("│ said right")
    builder = below(seen.child.pid)
    view = below(builder)
    os.kill(builder, signal.SIGKILL)
    eventually(lambda: not os.path.exists(f"/proc/{view}"))
    last = seen.read()
    assert "│ said right" in last and "interrupted" not in last and last.splitlines()[-1] == "ended with 137"
    seen.close()
    clean(box)


def test_a_view_that_takes_nothing_can_be_interrupted(box: Host, tmp_path: pathlib.Path) -> None:
    seen = terminal(box, tmp_path, f"FROM {IMAGE}\nRUN echo said; usleep 500000; yes\n")
    seen.read("│ said")
    view = below(seen.child.pid)
    os.kill(view, signal.SIGSTOP)
    waits = pathlib.Path(f"/proc/{seen.child.pid}/wchan")
    eventually(lambda: seen.child.poll() is not None or interrupted(seen, waits), 60)
    assert seen.child.returncode == 130
    assert not os.path.exists(f"/proc/{view}")
    seen.close()
    clean(box)


def interrupted(seen: Terminal, waits: pathlib.Path) -> None:
    """Type Ctrl-C where the builder waits for something."""
    with contextlib.suppress(FileNotFoundError):
        if "poll" in waits.read_text():
            time.sleep(0.5)
            seen.type(b"\x03")


def test_without_its_process_the_rest_is_told_as_lines(box: Host, tmp_path: pathlib.Path) -> None:
    seen = terminal(box, tmp_path, f"FROM {IMAGE}\nRUN echo said; usleep 900000; echo more; exit 3\n")
    seen.read("│ said")
    os.kill(below(seen.child.pid), signal.SIGKILL)
    last = seen.read()
    assert re.search(r"^#2 \d\.\d\d more$", last, re.M)
    assert "exit status 3" in last.replace("\n", "")
    assert seen.child.returncode == 1
    seen.close()


def test_a_command_that_fails_is_told_with_what_it_said_last(box: Host, tmp_path: pathlib.Path) -> None:
    seen = terminal(box, tmp_path, f"FROM {IMAGE}\nRUN seq 100; echo no such thing >&2; exit 4\n")
    last = seen.read()
    assert re.search(r"^✗ \[2/2\] RUN seq 100; .* ERROR \d\.\ds$", last, re.M)
    assert "  | 100\n  | no such thing\n" in last and "| 80\n" not in last
    seen.close()
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN echo said; exit 4\n")
    quiet = box.estiva("build", "-q", "--network", "none", tmp_path, status=1)
    assert quiet.stdout == "" and quiet.stderr.startswith("[2/2] RUN echo said; exit 4\n  | said\nestiva: ")
