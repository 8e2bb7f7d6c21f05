"""Builds that are killed: nothing runs or stands afterwards, and what the next one takes from the cache is right."""

from __future__ import annotations

import contextlib
import os
import pathlib
import random
import signal
import subprocess
from collections.abc import Iterator

import pytest

import enginekit
from enginekit import IMAGE, Host, eventually, host
from killkit import assert_nothing_left, assert_well, children, kill, monitors, traces

# Two stages at once, which want one cache alone; secret, agent, files of the context, a cache that begins with files.
TEXT = f"""FROM {IMAGE} AS a
RUN --mount=type=secret,id=s,required --mount=type=cache,id=l,target=/c,sharing=locked sleep 0.2; \\
  test "$(cat /run/secrets/s)" = unmistakable && for i in 1 2 3; do echo a$i >> /out; sleep 0.1; done
FROM {IMAGE} AS b
RUN --mount=type=ssh,required --mount=type=cache,id=l,target=/c,sharing=locked --mount=target=/in,rw \\
  --mount=type=tmpfs,target=/t cat /in/f > /out; sleep 0.3; echo end >> /out
FROM {IMAGE} AS d
RUN --mount=type=cache,id=m,from=a,source=/out,target=/c cat /c > /out; sleep 0.2; echo end >> /out
FROM {IMAGE}
COPY --from=a /out /a
COPY --from=b /out /b
COPY --from=d /out /d
RUN cat /a /b /d > /all
"""
WANTED = "a1\na2\na3\ncontext\nend\na1\na2\na3\nend"


@pytest.fixture(scope="module")
def machine() -> Iterator[Host]:
    with host() as made:
        key = f"{made.folder}/key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        made.env["SECRET"] = "unmistakable"
        yield made


@pytest.fixture
def box(machine: Host) -> Iterator[Host]:
    """With nothing of the build before."""
    yield machine
    machine.estiva("rmi", "k")
    machine.estiva("builder", "prune", "-af")


def below(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        found += children(each)
    return found[1:]


def stands(box: Host) -> list[str]:
    """What runs or is mounted, or a secret: all but what the next command sweeps."""
    left = [line for line in traces(box) if not line.startswith(("run/", "root/"))]
    grep = ["grep", "-rl", "--exclude-dir=layers", "unmistakable", f"{box.folder}/run"]
    left += subprocess.run(grep, capture_output=True, text=True).stdout.split()
    return left


def agents(pids: list[int]) -> list[int]:
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"estiva: ssh agent"):
                found.append(pid)
    return found


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "victim", ["command", "monitor", "all", signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
)
def test_killed_at_any_moment(
    box: Host, tmp_path: pathlib.Path, victim: str | signal.Signals, seed: int
) -> None:
    chance = random.Random(f"{victim} {seed}")
    (tmp_path / "context").mkdir()
    (tmp_path / "context/f").write_text("context\n")
    (tmp_path / "context/Dockerfile").write_text(TEXT)
    words = ["build", "-q", "-t", "k", "--secret", "id=s,env=SECRET", "--ssh", f"default={box.folder}/key"]
    words += [str(tmp_path / "context")]
    child = subprocess.Popen(
        [*box.prefix, enginekit.ESTIVA, *words],
        env=box.env,
        cwd=box.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        child.wait(chance.uniform(0.1, 4))
    except subprocess.TimeoutExpired:
        pass
    victims = below(child.pid)
    helpers = agents(victims)
    if victim == "command":
        child.kill()
    elif victim == "monitor":
        kill(*(monitors(box) or [child.pid])[:1])
    elif victim == "all":
        kill(child.pid, *victims)
    else:
        assert isinstance(victim, signal.Signals)
        child.send_signal(victim)
    said = child.communicate(timeout=300)[0]
    assert "Traceback" not in said and "internal error" not in said, said
    if victim != "all":  # with the monitors goes who cleans up
        eventually(lambda: not stands(box))
    eventually(lambda: not [pid for pid in helpers if os.path.exists(f"/proc/{pid}")])
    box.estiva(*words)
    eventually(lambda: not stands(box))
    assert box.out("run", "--rm", "--network", "none", "k", "cat", "/all") == WANTED
    box.estiva("system", "check", status=None)
    assert_nothing_left(box)
    assert_well(box)
