"""What each RUN of a build may use, and where it runs: the options of `build`, and of estiva.build."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
from collections.abc import Iterator

import pytest

from enginekit import IMAGE, Host, host

LIMITS = (
    "--add-host", "db:10.9.8.7", "--add-host", "six=[fd00::7]", "--add-host", "gate:host-gateway",
    "--shm-size", "8m", "--ulimit", "nofile=100:200", "--memory", "64m", "--memory-swap", "64m",
    "--cpu-shares", "512", "--cpu-period", "50000", "--cpu-quota", "25000", "--cpuset-cpus", "0",
    "--cpuset-mems", "0",
)  # fmt: skip
SHOW = (
    'RUN cat /etc/hosts; ulimit -n; ulimit -Hn; df -k /dev/shm | tail -n 1;'
    ' grep Cpus_allowed_list /proc/self/status; cat /sys/fs/cgroup/memory/memory.limit_in_bytes'
    ' /sys/fs/cgroup/cpu/cpu.shares /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max 2> /dev/null || true'
)  # fmt: skip


@pytest.fixture(scope="module")
def box() -> Iterator[Host]:
    with host() as made:
        yield made


def test_limits_are_those_of_each_run(box: Host, tmp_path: pathlib.Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\n{SHOW}\n")
    done = box.estiva("build", *LIMITS, tmp_path)
    words = done.stderr.split()
    assert "10.9.8.7\tdb" in done.stderr
    assert "fd00::7\tsix" in done.stderr
    gateway = next(line for line in done.stderr.splitlines() if line.endswith("\tgate"))
    assert gateway.split()[2].count(".") == 3
    assert {"100", "200", "8192"} <= set(words)
    assert "Cpus_allowed_list:\t0" in done.stderr
    assert str(64 << 20) in words
    assert "512" in words or "25000 50000" in done.stderr
    image = done.stdout.strip()
    assert box.out("build", "-q", tmp_path) == image  # no limit is an input of a step
    assert box.out("build", "-q", "--memory", "32m", tmp_path) == image


def test_the_cgroup_of_a_run_is_below_the_one_that_is_named(box: Host, tmp_path: pathlib.Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN echo started; exec sleep 1001\n")
    words = ("build", "--network", "none", "--cgroup-parent", f"{box.cgroup}/steps", tmp_path)
    child = box.start(*words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert child.stderr is not None
    while "started" not in child.stderr.readline().split():
        assert child.poll() is None
    above = {path for path in box.cgroups() if path.endswith("/steps")}
    within = {entry.name for path in above for entry in os.scandir(path) if entry.is_dir()}
    child.send_signal(signal.SIGINT)
    assert child.wait(300) != 0
    child.stderr.close()
    assert {len(name) for name in within} == {64}, within
    for path in above:  # what was named stays, as with docker
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(path)


def test_what_cannot_be_is_refused_as_with_run(box: Host, tmp_path: pathlib.Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN true\n")
    for words, told in (
        (("--memory", "1m"), "minimum memory limit allowed is 6MB"),
        (("--memory-swap", "64m"), "you should always set the memory limit"),
        (("--add-host", "db"), 'bad format for add-host: "db"'),
        (("--add-host", "db:nowhere"), 'invalid IP address in add-host: "nowhere"'),
        (("--ulimit", "no=1"), "invalid ulimit type: no"),
        (("--cpuset-cpus", "4096"), "requested CPUs are not available"),
        (("--isolation", "hyperv"), "invalid isolation (hyperv)"),
        (("--security-opt", "seccomp=unconfined"), "--security-opt is not supported"),
    ):
        failed = box.estiva("build", *words, tmp_path, status=1)
        assert told in failed.stderr, failed.stderr
    assert box.estiva("build", "--shm-size", "x", tmp_path, status=125).stderr.startswith(
        "estiva: invalid arg"
    )
    box.out("build", "-q", "--isolation", "default", tmp_path)


def test_a_run_that_needs_more_memory_is_killed(box: Host, tmp_path: pathlib.Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN tail -c 60m /dev/zero > /dev/null\n")
    failed = box.estiva("build", "-m", "8m", "--memory-swap", "8m", tmp_path, status=1)
    assert "exit status 137" in failed.stderr
    assert "ran out of memory" in failed.stderr


def test_from_a_program(box: Host, tmp_path: pathlib.Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN cat /etc/hosts && ulimit -n && df -k /dev/shm\n")
    box.python(
        f"""
import estiva
work = estiva.Engine().images.building(
    {os.fspath(tmp_path)!r}, network="none", add_host={{"db": "10.9.8.7"}}, ulimits={{"nofile": (90, 90)}}, shm_size="4m",
    memory="64m", cpu_shares=100)
said = b"".join(step.output for step in work).split()
assert b"db" in said and b"10.9.8.7" in said and b"90" in said and b"4096" in said, said
try:
    estiva.build({os.fspath(tmp_path)!r}, memory="1m")
except estiva.errors.InvalidInput as error:
    assert "6MB" in str(error)
else:
    raise AssertionError
"""
    )
