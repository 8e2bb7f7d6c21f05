"""The launcher with a cgroup of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import bundle
from bundle import config, requires_kernel, run
from estiva.runtime.cgroup import Cgroup, factory
from estiva.runtime.launch.exec import execute
from estiva.runtime.rootfs.rootfs import Rootfs

pytestmark = requires_kernel


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    made = factory.create(f"/estiva-test-{os.urandom(6).hex()}/launcher", {})
    yield made
    top = factory.open(os.path.dirname(made.path))
    top.kill()
    top.remove()


MOUNT = {
    "destination": "/sys/fs/cgroup",
    "type": "cgroup",
    "source": "cgroup",
    "options": ["nosuid", "noexec", "nodev", "ro"],
}


def test_sees_only_its_own_cgroup_read_only(rootfs: Rootfs, cgroup: Cgroup) -> None:
    spec = config(
        "sh", "-c", "cat /proc/self/cgroup; mkdir /sys/fs/cgroup/x; find /sys/fs/cgroup -name 'launcher*'"
    )
    spec["process"]["args"][2] = (
        "cat /proc/self/cgroup; for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/x && echo made; done; "
        "ls /sys/fs/cgroup; cat /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs"
    )
    spec["mounts"].append(MOUNT)
    text = run(spec, rootfs, cgroup=cgroup)[1]
    lines = [line for line in text.splitlines() if line[:1].isdigit() and ":" in line]
    assert lines and all(line.endswith(":/") for line in lines)
    assert "made" not in text and "Read-only file system" in text
    assert "\n1\n" in text  # its own processes are listed there


def test_is_in_the_cgroup_and_so_is_an_exec(rootfs: Rootfs, cgroup: Cgroup) -> None:
    with bundle.Running(config("sleep", "100"), rootfs, cgroup=cgroup) as it:
        assert cgroup.processes() == [it.init.pid]
        process = config("sleep", "100")["process"]
        init = execute(it.init.pid, process, cgroup=cgroup, stdio=(-1, -1, -1))
        try:
            init.ready()
            init.start()
            assert set(cgroup.processes()) == {it.init.pid, init.pid}
        finally:
            cgroup.kill()
            init.wait()
            init.close()
