"""Limits of `run`, seen in the kernel's own files, on cgroup v1 and v2; contradictions are refused before all else."""

import functools
import json
import os
from pathlib import Path

import pytest

from enginekit import IMAGE, can_hibernate, eventually, host

V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
CGROUP = Path("/sys/fs/cgroup")


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


def removed(folder):
    """Whether a cgroup could be removed: not while what was below it is still going, after its end was told."""
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


def run(box, *words, **options):
    return box.estiva("run", "--rm", "--network", "none", *words, **options)


def limit(box, options, v1, v2):
    """What a control file of a container says that was run with `options`."""
    return run(box, *options, IMAGE, "cat", f"/sys/fs/cgroup/{v2 if V2 else v1}").stdout.strip()


LIMITS = [
    (["-m", "64m"], "memory/memory.limit_in_bytes", "memory.max", "67108864", "67108864"),
    (["-m", "64m", "--memory-reservation", "32m"], "memory/memory.soft_limit_in_bytes", "memory.low", "33554432", "33554432"),
    (["--cpus", "0.5"], "cpu/cpu.cfs_quota_us", "cpu.max", "50000", "50000 100000"),
    (["--cpu-quota", "20000", "--cpu-period", "50000"], "cpu/cpu.cfs_period_us", "cpu.max", "50000", "20000 50000"),
    (["--cpu-shares", "512"], "cpu/cpu.shares", "cpu.weight", "512", "59"),
    (["--cpuset-cpus", "0"], "cpuset/cpuset.cpus", "cpuset.cpus", "0", "0"),
    (["--cpuset-mems", "0"], "cpuset/cpuset.mems", "cpuset.mems", "0", "0"),
    (["--pids-limit", "77"], "pids/pids.max", "pids.max", "77", "77"),
    (["--pids-limit", "0"], "pids/pids.max", "pids.max", "max", "max"),
    ([], "pids/pids.max", "pids.max", "2048", "2048"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "v1", "v2", "on_v1", "on_v2"), LIMITS, ids=[str(row[0]) for row in LIMITS]
)
def test_the_kernel_has_the_limit(box, options, v1, v2, on_v1, on_v2):
    assert limit(box, options, v1, v2) == (on_v2 if V2 else on_v1)


@pytest.mark.skipif(
    not V2 and not (CGROUP / "memory/memory.memsw.limit_in_bytes").exists(),
    reason="the kernel counts no swap",
)
@pytest.mark.parametrize(("swap", "v1", "v2"), [("96m", 96, 32), ("64m", 64, 0), (None, 128, 64)])
def test_swap_is_counted_with_memory(box, swap, v1, v2):
    options = ["-m", "64m", *(["--memory-swap", swap] if swap else [])]
    found = limit(box, options, "memory/memory.memsw.limit_in_bytes", "memory.swap.max")
    assert int(found) == (v2 if V2 else v1) << 20


WARNED = [
    (["--memory-swappiness", "10"], "memory swappiness has no effect", V2),
    (["-m", "64m", "--oom-kill-disable"], "oom-kill-disable has no effect", V2),
    (["--kernel-memory", "64m"], "the kernel memory limit has no effect", True),
    (
        ["--oom-kill-disable"],
        "the OOM killer is disabled for the container, but no memory limit is set",
        True,
    ),
]


@pytest.mark.parametrize(("options", "message", "expected"), WARNED, ids=[str(row[0]) for row in WARNED])
def test_what_has_no_effect_is_said_in_one_line_and_the_run_goes_on(box, options, message, expected):
    done = run(box, *options, IMAGE, "echo", "ran")
    assert done.stdout == "ran\n"
    assert (f"WARNING: {message}" in done.stderr) == expected
    assert len(done.stderr.splitlines()) <= 2


def test_a_refused_limit_leaves_nothing_and_pulls_nothing(box):
    for words in (["-m", "1m"], ["--cpuset-cpus", "4000"], ["-m", "64m", "--memory-swap", "32m"]):
        done = run(box, *words, "localhost:1/no/such:image", "true", status=125)
        assert len([line for line in done.stderr.splitlines() if not line.startswith("hint:")]) == 1
        assert "pull" not in done.stderr and "image" not in done.stderr
    assert box.out("ps", "-aq") == ""


def test_the_python_api_refuses_the_same(box):
    code = (
        "import estiva\n"
        "for options in ({'memory': '1m'}, {'cpus': 4096}, {'blkio_weight': 5}, {'memory_swap': '64m'}):\n"
        "    try:\n"
        f"        estiva.run({IMAGE!r}, ['true'], network='none', **options)\n"
        "    except estiva.errors.InvalidInput as error:\n"
        "        print(error)\n"
    )
    assert len(box.python("import estiva.errors\n" + code).splitlines()) == 4


def test_devices_of_a_folder_and_rules(box):
    names = sorted(os.listdir("/dev/net")) if os.path.isdir("/dev/net") else []
    if names:
        assert run(box, "--device", "/dev/net:/dev/other", IMAGE, "ls", "/dev/other").stdout.split() == names
    assert "there is no device in /etc" in run(box, "--device", "/etc", IMAGE, "true", status=125).stderr
    if os.path.exists("/dev/net/tun"):
        script = "mknod /tmp/tun c 10 200; : < /tmp/tun && echo open"
        assert "open" not in run(box, IMAGE, "sh", "-c", script, status=None).stdout
        allowed = run(box, "--device-cgroup-rule", "c 10:200 rw", IMAGE, "sh", "-c", script)
        assert allowed.stdout == "open\n"


def test_throttles_name_the_disk(box):
    disks = [name for name in os.listdir("/sys/block") if name[:2] in ("vd", "sd", "nv")]
    if not disks or not os.path.exists(f"/dev/{disks[0]}"):
        pytest.skip("no disk to throttle")
    disk = f"/dev/{disks[0]}"
    number = Path(f"/sys/block/{disks[0]}/dev").read_text().strip()
    options = ["--device-read-bps", f"{disk}:1mb"]
    found = limit(box, options, "blkio/blkio.throttle.read_bps_device", "io.max")
    assert found.startswith(number) and "1048576" in found
    container = box.out("create", *options, IMAGE, "true")
    field = box.out("inspect", "-f", "{{json .HostConfig.BlkioDeviceReadBps}}", container)
    assert field == f'[{{"Path":"{disk}","Rate":1048576}}]'
    box.estiva("rm", container)


def test_cgroup_parents_by_path_and_by_slice(box):
    show = [IMAGE, "cat", "/proc/self/cgroup"]
    top = f"{box.cgroup[1:].replace('-', '_')}.slice"
    try:
        for given, expected in (
            (f"{box.cgroup}/deep/er", f"{box.cgroup}/deep/er/"),
            ("inside", f"{box.cgroup}/inside/"),
            (f"{top[:-6]}-b.slice", f"/{top}/{top[:-6]}-b.slice/estiva-"),
        ):
            text = run(box, "--cgroupns", "host", "--cgroup-parent", given, *show).stdout
            assert expected in text, (given, text)
    finally:
        for mount in (CGROUP, *CGROUP.glob("*/")):
            for below in (
                f"{top}/{top[:-6]}-b.slice",
                top,
                f"{box.cgroup}/deep/er",
                f"{box.cgroup}/deep",
                f"{box.cgroup}/inside",
            ):
                folder = mount / below.lstrip("/")
                if folder.is_dir():
                    eventually(functools.partial(removed, folder))


def test_a_killed_monitor_s_container_is_found_below_its_parent(box):
    import signal
    import time

    container = box.out("run", "-d", "--network", "none", "--cgroup-parent", "inside", IMAGE, "sleep", "600")
    state = Path(box.folder, "run/containers", container, "state.json")
    import json

    os.kill(json.loads(state.read_text())["monitor"], signal.SIGKILL)
    end = time.monotonic() + 300
    while box.out("inspect", "-f", "{{.State.Running}}", container) == "true" and time.monotonic() < end:
        time.sleep(0.05)
    assert box.out("inspect", "-f", "{{.State.ExitCode}}", container) == "137"
    folders = list(CGROUP.glob(f"*{box.cgroup}/inside/{container}")) + list(
        CGROUP.glob(f"{box.cgroup[1:]}/inside/{container}")
    )
    assert not folders
    box.estiva("rm", container)
    for mount in (CGROUP, *CGROUP.glob("*/")):
        folder = mount / box.cgroup[1:] / "inside"
        if folder.is_dir():
            eventually(functools.partial(removed, folder))


def test_sysctls_only_of_namespaces_that_are_the_container_s(box):
    name = "net.ipv4.ip_forward"
    assert run(box, "--sysctl", f"{name}=1", IMAGE, "cat", "/proc/sys/net/ipv4/ip_forward").stdout == "1\n"
    done = box.estiva("run", "--network", "host", "--sysctl", f"{name}=1", IMAGE, "true", status=125)
    assert name in done.stderr and "network namespace is the host's" in done.stderr
    done = run(box, "--ipc", "host", "--sysctl", "kernel.shmmax=1", IMAGE, "true", status=125)
    assert "ipc namespace is the host's" in done.stderr
    assert "not allowed" in run(box, "--sysctl", "kernel.panic=1", IMAGE, "true", status=125).stderr
    assert box.out("ps", "-aq") == ""


def test_system_paths_masked_and_not(box):
    def hidden(*options):
        script = "head -c1 /proc/keys | wc -c; wc -c < /etc/passwd; touch /proc/sys/kernel/hostname 2>/dev/null && echo rw"
        return run(box, *options, IMAGE, "sh", "-c", script, status=None).stdout.split()

    assert hidden()[0] == "0" and "rw" not in hidden()
    opened = hidden("--security-opt", "systempaths=unconfined")
    assert opened[0] == "1" and "rw" in opened
    assert hidden("--security-opt", "unmask=ALL")[0] == "1"
    some = hidden("--security-opt", "mask=/etc/passwd", "--security-opt", "unmask=/proc/k*")
    assert some[:2] == ["1", "0"] and "rw" not in some
    container = box.out("create", "--security-opt", "systempaths=unconfined", IMAGE, "true")
    assert box.out("inspect", "-f", "{{json .HostConfig.MaskedPaths}}", container) == "[]"
    box.estiva("rm", container)
    container = box.out("create", IMAGE, "true")
    assert "/proc/kcore" in box.out("inspect", "-f", "{{json .HostConfig.MaskedPaths}}", container)
    box.estiva("rm", container)


def test_labels_where_the_kernel_has_none(box):
    run(box, "--security-opt", "label=disable", "--security-opt", "apparmor=unconfined", IMAGE, "true")
    if not os.path.isdir("/sys/fs/selinux/class"):
        done = run(box, "--security-opt", "label=type:x", IMAGE, "true", status=125)
        assert "SELinux is not enabled here" in done.stderr
    if not os.path.isdir("/sys/module/apparmor"):
        done = run(box, "--security-opt", "apparmor=x", IMAGE, "true", status=125)
        assert "no AppArmor" in done.stderr


HUNGRY = 'sh -c "x=\\$(yes | head -c 60000000)" 2>/dev/null; echo after >{}; sleep 300'


def ooms(box):
    """The events of containers that begin, end and run out of memory."""
    lines = box.out("events", "--since", "1h", "--until", "0s", "--format", "{{.Action}}").splitlines()
    return [line for line in lines if line in ("oom", "die", "start")]


def test_oom_is_an_event_when_it_happens(box):
    before = len(ooms(box))
    box.start(
        "run",
        "--name",
        "hungry",
        "--network",
        "none",
        "-m",
        "16m",
        IMAGE,
        "sh",
        "-c",
        HUNGRY.format("/dev/null"),
    )
    assert eventually(lambda: [line for line in ooms(box)[before:] if line == "oom"])
    assert box.out("inspect", "-f", "{{.State.Status}}", "hungry") == "running"
    box.estiva("stop", "-t", "0", "hungry")
    assert list(dict.fromkeys(ooms(box)[before:])) == [
        "start",
        "oom",
        "die",
    ]  # one of its processes, or several
    assert box.out("inspect", "-f", "{{.State.OOMKilled}}", "hungry") == "true"
    box.estiva("rm", "hungry")


def test_oom_while_its_monitor_hibernates_is_told_when_it_wakes_up(box):
    before = len(ooms(box))
    script = "while ! test -e /go; do sleep 0.1; done; " + HUNGRY.format("/done")
    box.estiva("run", "-d", "--name", "hungry", "--network", "none", "-m", "16m", IMAGE, "sh", "-c", script)
    folder = Path(box.folder, "run/containers", box.out("inspect", "-f", "{{.Id}}", "hungry"))
    pid = json.loads((folder / "state.json").read_text())["monitor"]
    if can_hibernate():
        eventually(lambda: os.readlink(f"/proc/{pid}/exe").endswith("/dash"))
    box.estiva("exec", "hungry", "touch", "/go")
    box.estiva("exec", "hungry", "sh", "-c", "until test -e /done; do sleep 0.1; done; echo > /proc/1/fd/1")
    assert eventually(lambda: [line for line in ooms(box)[before:] if line == "oom"])
    box.estiva("stop", "-t", "0", "hungry")
    assert list(dict.fromkeys(ooms(box)[before:])) == ["start", "oom", "die"]
    box.estiva("rm", "hungry")
