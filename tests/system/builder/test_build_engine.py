"""`estiva build` as a user types it: RUN in a real container, its failures, and the image run."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
from collections.abc import Iterator

import pytest

from enginekit import IMAGE, Host, eventually, host


@pytest.fixture(scope="module")
def box() -> Iterator[Host]:
    with host() as made:
        yield made


@pytest.fixture
def context(box: Host, tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "app.sh").write_text('#!/bin/sh\necho "hello $1 from $(id -un)"\n')
    return tmp_path


def write(context: pathlib.Path, *lines: str) -> None:
    (context / "Dockerfile").write_text(f"FROM {IMAGE}\n" + "\n".join(lines) + "\n")


def test_build_and_run(box: Host, context: pathlib.Path) -> None:
    (context / "token").write_text("hunter2")
    write(
        context,
        "RUN --mount=type=secret,id=t --mount=type=cache,target=/c test $(cat /run/secrets/t) = hunter2",
        "RUN --mount=target=/ctx,ro cp /ctx/app.sh /copied",
        f"RUN --mount=from={IMAGE},source=/etc,target=/from,ro --mount=source=app.sh,target=/one,rw"
        " cmp /from/passwd /etc/passwd && cmp /one /copied && ! touch /from/x && echo >> /one",
        "COPY --chmod=755 app.sh /app.sh",
        "USER user",
        "WORKDIR /home/w",
        "RUN id -u > who && echo $HOME >> who",
        "RUN --network=none ip -o link > links",
        "RUN <<EOF",
        "#!/bin/sh",
        "echo script > script",
        "EOF",
        'ENTRYPOINT ["/app.sh"]',
        'CMD ["you"]',
    )
    words = ("build", "-q", "-t", "app", "--secret", f"id=t,src={context}/token", context)
    image = box.out(*words)
    assert box.out("run", "--rm", "--network", "none", "app") == "hello you from user"
    assert box.out("run", "--rm", "--network", "none", "--entrypoint", "cat", "app", "who") == "1000\n/home"
    assert box.out("run", "--rm", "--network", "none", "--entrypoint", "cat", "app", "links").count("\n") == 0
    assert box.out("run", "--rm", "--network", "none", "--entrypoint", "cat", "app", "script") == "script"
    listing = box.out(
        "run",
        "--rm",
        "-u",
        "0",
        "--network",
        "none",
        "--entrypoint",
        "find",
        "app",
        "/",
        "-xdev",
        "-maxdepth",
        "2",
    )
    assert not {"/c", "/ctx", "/from", "/one", "/run/secrets", "/dev/pipes"} & set(listing.split())
    assert box.out(*words) == image
    assert "CACHED" in box.estiva("build", *words[2:]).stderr


def test_a_failing_step(box: Host, context: pathlib.Path) -> None:
    write(context, "RUN echo before; exit 3")
    done = box.estiva("build", context, status=1)
    assert "before" in done.stderr
    assert "Dockerfile:2: RUN echo before; exit 3: exit status 3" in done.stderr
    write(context, 'RUN ["/nosuch"]')
    assert "Dockerfile:2: " in box.estiva("build", context, status=1).stderr
    assert box.out("ps", "-aq") == ""


def test_a_step_has_the_default_confinement(box: Host, context: pathlib.Path) -> None:
    write(
        context,
        "RUN grep -E 'CapEff|Seccomp:' /proc/self/status > /status; mount -t tmpfs x /tmp && exit 1; true",
    )
    box.out("build", "-q", "-t", "confined", context)
    status = box.out("run", "--rm", "--network", "none", "confined", "cat", "/status").split()
    assert status == ["CapEff:", "00000000a80425fb", "Seccomp:", "2"]


def test_an_interrupted_build_leaves_nothing(box: Host, context: pathlib.Path) -> None:
    number = signal.SIGINT
    write(context, f"RUN echo started; exec sleep {1000 + number}")
    child = box.start("build", context, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert child.stderr is not None
    while not child.stderr.readline().endswith(" started\n"):
        assert child.poll() is None
    os.kill(child.pid, number)
    assert child.wait(300) != 0
    child.stderr.close()
    eventually(lambda: not running(f"sleep {1000 + number}"))
    box.estiva("system", "check", status=None)
    write(context, "RUN true")
    box.out("build", "-q", context)
    assert box.estiva("system", "check").returncode == 0


def running(command: str) -> bool:
    wanted = command.replace(" ", "\0").encode()
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if pathlib.Path("/proc", name, "cmdline").read_bytes().startswith(wanted):
                return True
        except OSError:
            continue
    return False


def test_a_program_s_build_mounts_by_fd(box: Host, context: pathlib.Path) -> None:
    """A program with threads has its containers started by the spawner: the mounts go there, too."""
    write(
        context,
        "RUN mkdir /made && echo made > /made/f",
        f"FROM {IMAGE}",
        "RUN --mount=target=/in --mount=from=0,source=/made,target=/stage cat /in/app.sh /stage/f > /out"
        " && ls -l /proc/self/fd > /fds",
    )
    box.python(
        f"""
import estiva, threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
estiva.build({str(context)!r}, tag="by-program", network="none")
"""
    )
    read = ("run", "--rm", "--network", "none", "by-program", "cat")
    assert box.out(*read, "/out") == (context / "app.sh").read_text() + "made"
    held = {line.rpartition(" -> ")[2] for line in box.out(*read, "/fds").splitlines() if " -> " in line}
    assert all(name.startswith(("/dev/null", "pipe:", "/fds", "/proc/")) for name in held), held


def test_a_context_that_changes_while_a_command_reads_it(box: Host) -> None:
    context = pathlib.Path(box.folder, "changing")
    context.mkdir()
    wait = "for i in $(seq 300); do [ -e /in/go ] && break; sleep 0.1; done"
    write(context, f"RUN --mount=target=/in echo started; {wait}; ls /in > /out")
    child = box.start("build", "-t", "changed", context, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    while not child.stderr.readline().endswith(" started\n"):
        assert child.poll() is None
    (context / "go").touch()
    said = child.stderr.read()
    child.stderr.close()
    assert child.wait(300) == 0
    assert "warning: Dockerfile:2: the build context changed while RUN read it (.): not cached\n" in said
    assert box.out("run", "--rm", "--network", "none", "changed", "cat", "/out") == "Dockerfile\ngo"
    assert "CACHED" not in box.estiva("build", "-t", "again", context).stderr
    assert "CACHED" in box.estiva("build", "-t", "again", context).stderr


def test_a_bind_mount_of_another_user_s_folder_is_root_s(box: Host, context: pathlib.Path) -> None:
    write(context, "RUN --mount=target=/in,rw stat -c '%u %g' /in /in/app.sh > /out && echo > /in/new")
    os.chown(context, 1000, 1000)
    os.chown(context / "app.sh", 1000, 1000)
    box.out("build", "-q", "-t", "owned", context)
    assert box.out("run", "--rm", "--network", "none", "owned", "cat", "/out") == "0 0\n0 0"
    assert sorted(os.listdir(context)) == ["Dockerfile", "app.sh"]


def test_the_hostname_of_run_is_always_the_same(box: Host, context: pathlib.Path) -> None:
    write(context, 'RUN test "$(hostname)" = $WANTED && grep -w $WANTED /etc/hosts && ! env | grep ^HOSTNAME')
    text = (context / "Dockerfile").read_text()
    (context / "Dockerfile").write_text(text.replace("RUN", "ARG WANTED=buildkitsandbox\nRUN"))
    box.estiva("build", context)
    other = ("--build-arg", "BUILDKIT_SANDBOX_HOSTNAME=foo", "--build-arg", "WANTED=foo")
    box.estiva("build", *other, context)
    done = box.estiva("build", "--build-arg", "BUILDKIT_SANDBOX_HOSTNAME=a b", context, status=1)
    assert 'invalid hostname "a b"' in done.stderr
    write(context, "ENV HOSTNAME=mine", "RUN test $HOSTNAME = mine")
    box.estiva("build", context)


def test_from_takes_names_and_whole_ids(box: Host, context: pathlib.Path) -> None:
    """The beginning of an id is a name like any other, as in BuildKit: what it means is not left to what is here."""
    whole = box.out("image", "inspect", "-f", "{{.Id}}", IMAGE)
    text = context / "Dockerfile"
    for name in (whole, whole.removeprefix("sha256:")):
        text.write_text(f"FROM {name}\nCOPY --from={name} /etc/passwd /x\n")
        box.estiva("build", context)
    digits = whole.removeprefix("sha256:")
    start = next(digits[:count] for count in range(12, 64) if not digits[:count].isdecimal())  # no stage's
    box.estiva("image", "inspect", start)  # elsewhere it is one
    for line in (f"FROM {start}", f"FROM {IMAGE}\nCOPY --from={start} /etc/passwd /x"):
        text.write_text(line + "\n")
        assert "registry-1.docker.io" in box.estiva("build", context, status=1).stderr
    text.write_text(f"FROM sha256:{start}\n")
    box.estiva("build", context, status=1)


def test_a_cached_build_loads_little(box: Host, context: pathlib.Path) -> None:
    """Each of these takes as long to import as several of its steps."""
    write(context, "COPY app.sh /", "RUN true")
    box.estiva("build", "-q", "--network", "none", context)
    source = pathlib.Path(__file__).parents[3]
    launcher = [
        f"{source}/.venv/bin/python3",
        "-I",
        "-S",
        "-X",
        "importtime",
        f"{source}/src/estiva/boot/launcher.py",
    ]
    done = subprocess.run(
        [*box.prefix, *launcher, "build", "-q", "--network", "none", str(context)],
        env=box.env,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "estiva.builder.solver.executor" in loaded
    dear = {"dataclasses", "inspect", "http.client", "urllib.request", "concurrent.futures", "logging", "asyncio",
            "subprocess", "ssl", "rich", "tarfile", "tempfile"}  # fmt: skip
    assert not loaded & dear
