"""K14: what a RUN's mounts can reach, whatever the Dockerfile, a stage, an image or a cache says."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundle import requires_kernel
from enginekit import IMAGE, Host, host
from killkit import kill, monitors

pytestmark = requires_kernel
UP = "../" * 14


@pytest.fixture(scope="module")
def engine() -> Iterator[Host]:
    with host() as made:
        yield made


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of the host's that no build is told of."""
    made = tmp_path / "outside"
    made.mkdir()
    (made / "unmistakable").write_text("unmistakable\n")
    return made


def build(engine: Host, folder: Path, *lines: str, words: tuple[str, ...] = ()) -> tuple[int, str]:
    context = folder / "context"
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text("\n".join((f"FROM {IMAGE}", *lines, "")))
    done = engine.estiva("build", "--no-cache", "--network=none", *words, context, status=None)
    return done.returncode, done.stdout + done.stderr


def untouched(outside: Path, text: str) -> None:
    assert os.listdir(outside) == ["unmistakable"], os.listdir(outside)
    assert (outside / "unmistakable").read_text() == "unmistakable\n"
    assert "unmistakable" not in text, text


KINDS = ("type=cache", "type=tmpfs", "type=bind,rw", "type=secret,id=s", "type=ssh")


@pytest.mark.parametrize("kind", KINDS)
def test_a_target_through_the_links_of_an_image(engine: Host, outside: Path, kind: str) -> None:
    """Mount points are made in the rootfs, links in it lead nowhere else, and none stay in the layer."""
    agent = outside.parent / "agent"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(agent)], check=True)
    status, text = build(
        engine,
        outside.parent,
        f"RUN ln -s {UP}{outside} /rel && ln -s {outside} /abs && ln -s /proc/1/root{outside} /magic",
        f"RUN --mount={kind},target=/rel/new --mount={kind},target=/abs/other true; ls /rel/",
        f"RUN --mount={kind},target={UP}{outside}/dots ls {outside}",
        f"RUN --mount={kind},target=/magic/new true",
        f"RUN ls -R {outside} /rel/ 2>&1 | grep -e new -e other -e dots; true",
        words=("--secret", f"id=s,src={outside.parent}/agent.pub", "--ssh", f"default={agent}"),
    )
    untouched(outside, text)
    assert status == 0 or "Dockerfile:5" in text, text  # only the way through /proc may be refused


@pytest.mark.parametrize(
    "target", ["/proc", "/proc/sys/kernel", "/proc/self/fd", "/sys", "/sys/fs/cgroup", "/dev", "/"]
)
def test_a_target_in_what_the_kernel_shows(engine: Host, outside: Path, target: str) -> None:
    """The container's own is hidden at most: nothing of the host's is, and the confinement stands."""
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    _, text = build(
        engine,
        outside.parent,
        f"RUN --mount=type=cache,id=k{target},target={target} touch {target}/made; "
        "cat /proc/sysrq-trigger /proc/kcore 2>/dev/null | head -c 9; echo x > /proc/sys/kernel/core_pattern; "
        f"ls /proc/1/root{outside}",
    )
    untouched(outside, text)
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before
    assert not os.path.exists(target.rstrip("/") + "/made")


@pytest.mark.parametrize("kind", ["type=bind", "type=cache,id=i"])
def test_a_hostile_source(engine: Host, outside: Path, kind: str) -> None:
    """Of a stage or an image: links are resolved in it, devices are dead, setuid files too."""
    status, text = build(
        engine,
        outside.parent,
        f"RUN mkdir /d && ln -s {UP}{outside} /d/rel && ln -s {outside} /abs && mknod /d/zero c 1 5 && "
        "cp /bin/busybox /d/busybox && chmod 4755 /d/busybox && mkfifo /d/fifo && ln -s /d /inside",
        f"FROM {IMAGE} AS safe",
        f"RUN --mount={kind},from=0,source=/inside,target=/c grep ' /c ' /proc/self/mountinfo | grep nosuid && "
        "test -p /c/fifo && ! head -c 1 /c/zero; ls -l /c/rel/ /c/rel/unmistakable; true",
        "USER user",
        f"RUN --mount={kind},from=0,source=/inside,target=/c test $(/c/busybox grep Uid: /proc/self/status | tr -s '[:blank:]' ' ' | cut -d ' ' -f 3) = 1000",
    )
    assert status == 0, text
    untouched(outside, text.replace(f"{outside}", "").replace("/c/rel/unmistakable", ""))
    for source in (
        "/abs",
        "/d/rel",
        "/d/rel/unmistakable",
        f"{UP}{outside}",
        "/proc/1/root",
        "/proc/self/fd/3",
    ):
        status, text = build(
            engine,
            outside.parent,
            f"RUN mkdir /d && ln -s {UP}{outside} /d/rel && ln -s {outside} /abs",
            f"FROM {IMAGE}",
            f"RUN --mount={kind},from=0,source={source},target=/c ls -R /c; cat /c; touch /c/made; true",
        )
        assert status != 0 and "to mount" in text, text
        untouched(outside, text.replace(f"source={source},", "").replace(source, ""))


def test_a_poisoned_cache(engine: Host, outside: Path) -> None:
    """What one build leaves in a cache harms the next one at most, inside of its container."""
    mount = "RUN --mount=type=cache,id=poison,target=/c"
    status, text = build(
        engine,
        outside.parent,
        f"{mount} ln -s {UP}{outside} /c/rel && ln -s /etc /c/etc && mknod /c/zero c 1 5 && mkfifo /c/fifo && "
        f"ln -s /proc/1/root{outside} /c/magic && mkdir /c/sub && ln -s {outside} /c/sub/abs",
    )
    assert status == 0, text
    for target in (
        "/c/rel/new",
        "/c/sub/abs/new",
        "/c/magic/new",
        "/c/etc/new",
        "/c/rel",
        "/c/fifo",
        "/c/zero",
    ):
        for inner in ("type=tmpfs", "type=bind,source=Dockerfile", "type=cache,id=other"):
            _, text = build(
                engine, outside.parent, f"{mount} --mount={inner},target={target} ls {target}; true"
            )
            untouched(outside, text)
    status, text = build(
        engine, outside.parent, f"{mount} ! head -c 1 /c/zero && test -L /c/rel && test -p /c/fifo"
    )
    assert status == 0, text


def test_a_secret_is_in_no_file(engine: Host, outside: Path) -> None:
    """Neither while the command has it as a file and as a variable, nor after all that had it was killed."""
    context = outside.parent / "context"
    context.mkdir()
    (outside / "secret").write_text("confidential")
    run = (
        "RUN --mount=type=secret,id=s --mount=type=secret,id=s,env=S test ${#S} = 12; echo started; sleep 600"
    )
    (context / "Dockerfile").write_text(f"FROM {IMAGE}\n{run}\n")
    words = (
        "build",
        "--network",
        "none",
        "--no-cache",
        "--secret",
        f"id=s,src={outside}/secret",
        context,
    )
    child = engine.start(*words, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    while "started" not in child.stderr.readline().split():
        assert child.poll() is None

    def found() -> bytes:
        search = [
            "grep",
            "-rl",
            "--exclude-dir=layers",
            "confidential",
            f"{engine.folder}/run",
            f"{engine.folder}/root",
        ]
        return subprocess.run(search, capture_output=True).stdout

    try:
        assert found() == b""
        words_of = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in [child.pid, *monitors(engine)]]
        assert not [text for text in words_of if b"confidential" in text]
    finally:
        kill(child.pid, *monitors(engine))
        child.wait()
        child.stderr.close()
    assert found() == b""
    engine.estiva("system", "check", status=None)


def test_what_other_steps_hold(engine: Host, outside: Path) -> None:
    """A step that runs beside one with a secret and an agent sees neither its processes, nor files, nor memory."""
    agent = outside.parent / "agent"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(agent)], check=True)
    both = "--mount=type=cache,id=meet,target=/m"
    status, text = build(
        engine,
        outside.parent,
        f"RUN {both} --mount=type=ssh,mode=0666 --mount=type=secret,id=s,mode=0444,env=S touch /m/one; "
        "i=0; while [ ! -e /m/two ] && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done; test -e /m/two",
        f"FROM {IMAGE} AS other",
        f"RUN {both} i=0; while [ ! -e /m/one ] && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done; "
        "cat /proc/[0-9]*/environ /proc/[0-9]*/root/run/secrets/* /run/secrets/* 2>/dev/null | tr '\\0' '\\n'; "
        "ls /proc | grep -c '^[0-9]*$'; find / -xdev -name 'ssh_agent*'; mount | grep -e secret -e agent; touch /m/two",
        f"FROM {IMAGE}",
        "COPY --from=0 /bin/sh /a",
        "COPY --from=other /bin/sh /b",
        words=("--secret", f"id=s,src={outside}/unmistakable", "--ssh", f"default={agent}"),
    )
    assert status == 0, text
    shown = [line for line in text.splitlines() if "RUN" not in line]
    assert not [line for line in shown if "unmistakable" in line or "ssh_agent" in line], text
