"""containerd's shim drives estiva-oci: as BinaryName of io.containerd.runc.v2, which Kubernetes uses too."""

import os
import shutil
import time

import pytest

import ocikit
from bundle import box, requires_kernel  # noqa: F401  (a fixture)

pytestmark = [
    requires_kernel,
    pytest.mark.skipif(
        not all(map(shutil.which, ("containerd", "ctr", "unshare", "nsenter", "ip"))),
        reason="needs containerd",
    ),
]


@pytest.fixture(scope="module")
def ctr():
    machine = ocikit.Machine("oci-containerd-")
    folder = machine.folder
    try:
        machine.daemon(
            "containerd",
            "--root",
            f"{folder}/root",
            "--state",
            f"{folder}/state",
            "--address",
            f"{folder}/sock",
        )
        made = ocikit.Engine(machine, "ctr", "-a", f"{folder}/sock")
        machine.until(*made.command, "version")
        yield made
    finally:
        machine.close()


def flags(box):  # noqa: F811
    os.chmod(box, 0o755)
    return ("--runc-binary", ocikit.PEER, "--rootfs", box)


def listed(ctr, id):
    return [line.split() for line in ctr("task", "ls").splitlines() if line.startswith(id)][0][2]


def said(run):
    """What a command has written. ctr may leave before it has copied that, whatever the runtime (3 of 120
    times with runc 1.1 on a busy machine), so one that has said nothing is asked again: `run` gets a number."""
    for attempt in range(20):
        out = run(attempt)
        if out:
            return out
    pytest.fail("twenty commands said nothing")


def test_run(ctr, box):  # noqa: F811
    ran = said(lambda i: ctr("run", "--rm", *flags(box), f"r1-{i}", "/bin/echo", "hello"))
    assert ran == "hello\n"
    assert ctr.run("run", "--rm", *flags(box), "r2", "/bin/sh", "-c", "exit 7")[0] == 7


def test_a_missing_command(ctr, box):  # noqa: F811
    status, _, err = ctr.run("run", "--rm", *flags(box), "m", "nonexist")
    assert status == 1
    assert "executable file not found in $PATH" in err


def test_a_task_s_life(ctr, box):  # noqa: F811
    ctr("run", "-d", *flags(box), "t", "/bin/sleep", "1000")
    try:
        life(ctr)
    finally:
        ctr.run("task", "rm", "-f", "t")  # its status is the task's
    ctr("container", "rm", "t")
    assert ctr("container", "ls", "-q") == ""


def life(ctr):
    assert listed(ctr, "t") == "RUNNING"
    assert said(lambda i: ctr("task", "exec", "--exec-id", f"e{i}", "t", "/bin/id", "-u")) == "0\n"
    assert ctr.run("task", "exec", "--exec-id", "f", "t", "/bin/sh", "-c", "exit 5")[0] == 5
    ctr("task", "pause", "t")
    assert listed(ctr, "t") == "PAUSED"
    ctr("task", "resume", "t")
    assert listed(ctr, "t") == "RUNNING"
    assert "memory" in ctr("task", "metrics", "t")
    assert len(ctr("task", "ps", "t").splitlines()) == 2
    ctr("task", "kill", "-s", "SIGKILL", "t")
    for _ in range(1200):
        if listed(ctr, "t") == "STOPPED":
            break
        time.sleep(0.1)
    else:
        pytest.fail("it did not stop")
