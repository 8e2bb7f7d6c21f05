"""RUN --mount=type=ssh: a command that asks an agent from inside of its container."""

from __future__ import annotations

import os
import pathlib
import subprocess
from collections.abc import Iterator

import pytest

from enginekit import IMAGE, Host, eventually, host
from killkit import assert_nothing_left, children

BASE = "FROM ssh:1\n"


@pytest.fixture(scope="module")
def box() -> Iterator[Host]:
    with host() as made:
        made.estiva("image", "from-host", "--tag", "bare:1", "/usr/bin/ssh-add")
        context = pathlib.Path(made.folder, "base")
        context.mkdir()
        text = f"FROM bare:1\nCOPY --from={IMAGE} /bin/ /bin/\nCOPY --from={IMAGE} /etc/passwd /etc/group /etc/\n"
        (context / "Dockerfile").write_text(text)
        made.estiva("build", "-q", "-t", "ssh:1", context)
        yield made


def key(folder: pathlib.Path, name: str) -> str:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)], check=True
    )
    return str(folder / name)


def build(box: Host, folder: pathlib.Path, text: str, *words: str, status: int = 0) -> str:
    context = folder / "context"
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text(BASE + text)
    return box.estiva("build", "--no-cache", *words, context, status=status).stderr


def test_keys_and_agents_by_their_ids(box: Host, tmp_path: pathlib.Path) -> None:
    """The default target, two at once, owner and mode, a user who is not root; nothing is left in the image."""
    one, two = key(tmp_path, "one"), key(tmp_path, "two")
    with subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(tmp_path / "sock")], stdout=subprocess.DEVNULL
    ) as agent:
        try:
            eventually(lambda: (tmp_path / "sock").exists())
            env = {**os.environ, "SSH_AUTH_SOCK": str(tmp_path / "sock")}
            subprocess.run(["ssh-add", "-q", two], env=env, check=True)
            said = build(
                box,
                tmp_path,
                """
RUN --mount=type=ssh --mount=type=ssh,id=other echo $SSH_AUTH_SOCK && ssh-add -L && \
  SSH_AUTH_SOCK=/run/buildkit/ssh_agent.1 ssh-add -L && ! SSH_AUTH_SOCK=/run/buildkit/ssh_agent.1 ssh-add -D
USER user
RUN --mount=type=ssh,uid=1000,gid=5,mode=0640,target=here stat -c '%a %u %g' /here && ssh-add -L
RUN --mount=type=ssh ! ssh-add -L
RUN --mount=type=ssh,id=absent test -z "$SSH_AUTH_SOCK" -a ! -e /run/buildkit
""",
                "--ssh",
                f"default={one}",
                "--ssh",
                f"other={tmp_path}/sock",
                "-t",
                "used",
            )
            assert (
                subprocess.run(["ssh-add", "-L"], env=env, capture_output=True).returncode == 0
            )  # none removed
        finally:
            agent.kill()
    lines = said.splitlines()
    for shown in ("/run/buildkit/ssh_agent.0", "640 1000 5"):
        assert any(line.endswith(shown) for line in lines), said
    public = {name: pathlib.Path(f"{name}.pub").read_text().split()[1] for name in (one, two)}
    assert sum(public[one] in line for line in lines) == 2
    assert sum(public[two] in line for line in lines) == 1
    assert "buildkit" not in box.out(
        "run", "--rm", "--network", "none", "-u", "0", "used", "ls", "-a", "/", "/run"
    )
    private = pathlib.Path(one).read_text().split("\n")[1]
    assert not subprocess.run(["grep", "-r", "-l", private, box.folder], capture_output=True).stdout


def test_what_is_missing_or_can_t_be_used(box: Host, tmp_path: pathlib.Path) -> None:
    required = "RUN --mount=type=ssh,required true\n"
    assert "Dockerfile:2: ssh agent default is required" in build(box, tmp_path, required, status=1)
    said = build(box, tmp_path, required, "--ssh", "default=/nowhere", status=1)
    assert "no agent or key for --ssh default=/nowhere: /nowhere is not there" in said
    (tmp_path / "text").write_text("text")
    said = build(box, tmp_path, required, "--ssh", f"default={tmp_path}/text", status=1)
    assert f"Dockerfile:2: ssh key {tmp_path}/text: it is no private key" in said
    assert os.listdir(f"{box.folder}/run/build") == []


def test_killed_it_leaves_no_agent(box: Host, tmp_path: pathlib.Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(BASE + "RUN --mount=type=ssh echo started; exec sleep 3333\n")
    words = ("build", "--no-cache", "--ssh", f"default={key(tmp_path, 'k')}", context)
    child = box.start(*words, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    while "started" not in child.stderr.readline().split():
        assert child.poll() is None
    agents = [
        pid
        for pid in children(child.pid)
        if b"ssh agent" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert len(agents) == 1
    child.kill()
    child.wait()
    child.stderr.close()
    eventually(lambda: not os.path.exists(f"/proc/{agents[0]}"))
    box.estiva("system", "check", status=None)
    assert_nothing_left(box)
