"""linux.namespaces: each kind new, inherited and by path; id maps; time offsets; exec into all of them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator

import pytest

from bundle import Running, config, finish, requires_kernel, run
from estiva.errors import InvalidInput
from estiva.runtime.launch import exec as runtime_exec
from estiva.runtime.rootfs.rootfs import Rootfs

pytestmark = requires_kernel

KINDS = {
    "pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "mount": "mnt", "cgroup": "cgroup", "time": "time",
}  # fmt: skip
SHARE = {
    "pid": "--pid", "network": "--net", "ipc": "--ipc", "uts": "--uts", "mount": "--mount", "cgroup": "--cgroup",
    "time": "--time",
}  # fmt: skip


@contextlib.contextmanager
def unshared(*options: str) -> Iterator[int]:
    """The pid of a process that is in new namespaces."""
    process = subprocess.Popen(
        ["unshare", *options, "--fork", "--kill-child", "sh", "-c", "echo ready; exec sleep 1000"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
            yield int(file.read().split()[0])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def link(pid: int | str, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def spec_with(kind: str, path: str = "", *, without: bool = False) -> dict:
    spec = config("sleep", "1000")
    del spec["hostname"]
    entries = [e for e in spec["linux"]["namespaces"] if e["type"] != kind]
    if not without:
        entries.append({"type": kind} | ({"path": path} if path else {}))
    spec["linux"]["namespaces"] = entries
    spec["linux"]["maskedPaths"].append("/etc/group")
    return spec


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_by_path(kind: str, rootfs: Rootfs) -> None:
    name = KINDS[kind]
    with unshared(SHARE[kind]) as other, Running(spec_with(kind, f"/proc/{other}/ns/{name}"), rootfs) as it:
        assert link(it.init.pid, name) == link(other, name) != link("self", name)
        inside, _ = execute(it.init.pid, "readlink", f"/proc/self/ns/{name}")
        assert kind == "pid" or inside == link(other, name)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_inherited(kind: str, rootfs: Rootfs) -> None:
    assert rootfs.upper is not None
    with Running(spec_with(kind, without=True), rootfs) as it:
        assert link(it.init.pid, KINDS[kind]) == link("self", KINDS[kind])
        if kind == "mount":
            # Its own tree nevertheless, which nobody else sees.
            assert "busybox" in os.listdir(f"/proc/{it.init.pid}/root/bin")
            assert execute(it.init.pid, "ls", "/bin")[0].split().count("busybox") == 1
            assert execute(it.init.pid, "cat", "/etc/group") == ("", 0)
        assert rootfs.upper not in open("/proc/self/mountinfo").read()


def execute(pid: int, *args: str) -> tuple[str, int]:
    out, into = os.pipe()
    init = runtime_exec.execute(
        pid, {"args": list(args), "env": ["PATH=/bin"], "cwd": "/"}, stdio=(-1, into, into)
    )
    os.close(into)
    status, text = finish(init, out)
    return text.strip(), status


@pytest.mark.parametrize(
    ("kind", "wrong"), [("cgroup", "ipc"), ("mount", "net"), ("pid", "user"), ("user", "uts")]
)
def test_a_path_of_another_kind_is_refused(kind: str, wrong: str, rootfs: Rootfs) -> None:
    real = {"net": "network"}.get(wrong, wrong)
    with pytest.raises(
        InvalidInput, match=f"the {kind} namespace /proc/self/ns/{wrong} is a {real} namespace"
    ):
        run(spec_with(kind, f"/proc/self/ns/{wrong}"), rootfs)


def test_a_path_that_is_no_namespace(rootfs: Rootfs) -> None:
    with pytest.raises(InvalidInput, match="/etc/passwd is not a namespace"):
        run(spec_with("pid", "/etc/passwd"), rootfs)
    with pytest.raises(InvalidInput, match="/nowhere can't be opened: no such file"):
        run(spec_with("mount", "/nowhere"), rootfs)


MAPS = {
    "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
    "gidMappings": [{"containerID": 0, "hostID": 200000, "size": 65536}],
}


def test_user_namespace_with_maps(rootfs: Rootfs) -> None:
    spec = spec_with("user")
    spec["process"]["args"] = [
        "sh",
        "-c",
        "id -u; cat /proc/self/uid_map /proc/self/gid_map; touch /tmp/x && echo made",
    ]
    spec["linux"] |= MAPS
    assert rootfs.upper is not None
    for path, uid in ((os.path.dirname(rootfs.upper), 100000), (rootfs.upper, 100000), (rootfs.work, 100000)):
        os.chown(path, uid, 200000)
    rootfs.options = [("userxattr", "")]
    status, text = run(spec, rootfs)
    lines = text.split("\n")
    assert lines[0] == "0" and lines[1].split() == ["0", "100000", "65536"]
    assert lines[2].split() == ["0", "200000", "65536"]


def test_user_namespace_by_path(tmp_path) -> None:
    from bundle import make_root

    root = make_root(str(tmp_path / "root"))
    os.chmod(tmp_path, 0o755)
    first = spec_with("user")
    first["linux"] |= MAPS
    with Running(first, Rootfs(path=root)) as one:
        second = spec_with("user", f"/proc/{one.init.pid}/ns/user")
        for kind, name in (("network", "net"), ("ipc", "ipc")):
            for entry in second["linux"]["namespaces"]:
                if entry["type"] == kind:
                    entry["path"] = f"/proc/{one.init.pid}/ns/{name}"
        with Running(second, Rootfs(path=root)) as two:
            assert link(two.init.pid, "user") == link(one.init.pid, "user")
            assert link(two.init.pid, "net") == link(one.init.pid, "net")
            assert link(two.init.pid, "pid") not in (link(one.init.pid, "pid"), link("self", "pid"))
            assert os.stat(f"/proc/{two.init.pid}").st_uid == 100000
            assert execute(two.init.pid, "id", "-u") == ("0", 0)
        assert two.init._status is not None  # it was our own child


def test_our_own_user_namespace_by_path(rootfs: Rootfs) -> None:
    with Running(spec_with("user", "/proc/self/ns/user"), rootfs) as it:
        assert link(it.init.pid, "user") == link("self", "user")


def test_time_offsets(rootfs: Rootfs) -> None:
    spec = spec_with("time")
    spec["process"]["args"] = ["cat", "/proc/uptime"]
    spec["linux"]["timeOffsets"] = {"boottime": {"secs": 1000000, "nanosecs": 5}}
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    _, text = run(spec, rootfs)
    after = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before - 1 < float(text.split()[0]) - 1000000 < after + 1


def test_bind_sources_are_the_runtimes_when_a_mount_namespace_is_joined(rootfs: Rootfs, tmp_path) -> None:
    (tmp_path / "file").write_text("from the runtime")
    with unshared("--mount") as other:
        spec = spec_with("mount", f"/proc/{other}/ns/mnt")
        spec["process"]["args"] = ["cat", "/tmp/file"]
        spec["mounts"].append({"destination": "/tmp", "source": str(tmp_path), "options": ["bind"]})
        before = set(open(f"/proc/{other}/mountinfo"))
        assert run(spec, rootfs) == (0, "from the runtime")
        # nothing more; a copy of another test's mount goes when its directory is removed
        assert set(open(f"/proc/{other}/mountinfo")) <= before
