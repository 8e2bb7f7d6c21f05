"""comm: a process of a container is called what was asked for, whatever file that is. runc has the same."""

from __future__ import annotations

import os
import pathlib

import pytest

import ocikit
from bundle import box, requires_kernel  # noqa: F401  (a fixture)
from enginekit import IMAGE, eventually, host
from estiva.runtime.process import byname

known = pytest.mark.skipif(os.uname().machine not in byname._CODE, reason="this machine's code is not known")
pytestmark = [requires_kernel, known]


@pytest.fixture
def ours(box):  # noqa: F811
    with ocikit.runtime(box) as made:
        yield made


def test_a_bundle_s_command(ours):
    ours("run", "-d", "-b", ours.bundle("sleep", "1000"), "c")
    pid = ours.state("c")["pid"]
    assert eventually(lambda: pathlib.Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
    assert pathlib.Path(f"/proc/{pid}/exe").readlink().name == "busybox"


def test_a_bundle_s_script(ours):
    root = ours.own_root()
    script = pathlib.Path(root, "entry.sh")
    script.write_text('#!/bin/sh\nread name </proc/self/comm; echo "$name $0 $*"\n')
    script.chmod(0o755)
    assert (
        ours("run", "-b", ours.bundle("/entry.sh", "1", "2 3", rootfs=root), "c")
        == "entry.sh /entry.sh 1 2 3\n"
    )
    ours("run", "-d", "-b", ours.bundle("sleep", "1000", rootfs=root), "c")
    assert ours("exec", "c", "/entry.sh", "1") == "entry.sh /entry.sh 1\n"
    assert ours("exec", "c", "cat", "/proc/self/comm") == "cat\n"


def test_a_filter_and_dropped_rights_make_no_difference(ours):
    """The two execve(2) pass what the profile lets pass; where it knows one of them only, the other serves."""

    def change(config, *denied):
        rules = [{"names": list(denied), "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}
        config["process"] |= {"noNewPrivileges": True, "user": {"uid": 1000, "gid": 1000}, "capabilities": {}}

    for denied, name in (("getppid", "cat"), ("execve", "busybox"), ("execveat", "cat")):
        folder = ours.bundle("cat", "/proc/self/comm", change=lambda c, d=denied: change(c, d))
        assert ours("run", "-b", folder, "c") == f"{name}\n"


@pytest.mark.parametrize(
    ("sets", "name"), [(("bounding",), "cat"), (("bounding", "permitted", "effective"), "busybox")]
)
def test_rights_that_are_lost_by_the_way_are_not_missing(ours, sets, name):
    """A user with CAP_DAC_OVERRIDE starts what he may not enter, as with runc: execve(2) looks it up with that."""

    def change(config):
        config["process"]["user"] = {"uid": 1000, "gid": 1000}
        config["process"]["capabilities"] = {kind: ["CAP_DAC_OVERRIDE"] for kind in sets}

    root = ours.own_root()
    os.chmod(root, 0o755)
    os.chmod(f"{root}/bin", 0o755 if name == "cat" else 0o700)
    assert (
        ours("run", "-b", ours.bundle("cat", "/proc/self/comm", rootfs=root, change=change), "c")
        == f"{name}\n"
    )


def test_limits_that_are_too_small_for_a_file_in_memory(ours):
    limits = [{"type": "RLIMIT_FSIZE", "soft": 0, "hard": 0}]
    with ours.popen("run", "-b", ours.bundle("cat", "/proc/self/comm", rlimits=limits), "c") as process:
        assert process.stdout.read() == "busybox\n"


def test_errors_are_told_as_ever(ours):
    root = ours.own_root()
    for name, data in (("text", "no program"), ("cut", pathlib.Path("/bin/cat").read_bytes()[:64])):
        path = pathlib.Path(root, name)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        path.chmod(0o755)
        pathlib.Path(root, f"link-{name}").symlink_to(name)
        assert "exec format error" in ours.fails("run", "-b", ours.bundle(f"/link-{name}", rootfs=root), "c")
    words = ["sh", *["x" * 130_000] * 20]
    assert "argument list too long" in ours.fails(
        "run",
        "-b",
        ours.bundle(*words, rlimits=[{"type": "RLIMIT_STACK", "soft": 1 << 20, "hard": 1 << 20}]),
        "c",
    )


def test_exec_of_the_engine():
    with host() as box:  # noqa: F811
        box.estiva("run", "-d", "--name", "up", "--network", "none", IMAGE, "sleep", "1000")
        assert box.out("exec", "up", "cat", "/proc/self/comm") == "cat"
        assert eventually(lambda: box.out("exec", "up", "cat", "/proc/1/comm")) == "sleep"
