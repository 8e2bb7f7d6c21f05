"""A user namespace gives nothing away: its root is nobody on the host, and who lends one is verified."""

import io
import os
import stat
import subprocess
import tarfile

import pytest

from enginekit import IMAGE, host
from estiva.engine.monitor.namespaces import Joined, give, verified
from estiva.errors import Conflict
from estiva.linux import procinfo
from estiva.runtime.rootfs.rootfs import Rootfs


@pytest.fixture(scope="module")
def box():
    with host() as made:
        yield made


def run(box, *words, **options):
    return box.out("run", "--rm", "--network", "none", "--userns", "auto", *words, **options)


@pytest.mark.parametrize(
    "more", [(), ("--privileged",), ("--cap-add", "ALL"), ("--security-opt", "seccomp=unconfined")]
)
def test_its_root_can_not_change_what_is_the_hosts(box, tmp_path, more):
    tmp_path.chmod(0o755)
    (tmp_path / "file").write_text("host\n")
    (tmp_path / "secret").write_text("secret\n")
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    script = (
        "echo x > /h/file; chown 0 /h/file; chmod 777 /h/file; rm -f /h/file; touch /h/new; cat /h/secret;"
        "mv /h/file /h/other; cp /bin/busybox /h/open/sh; chmod 4755 /h/open/sh"
    )
    told = run(box, *more, "-v", f"{tmp_path}:/h", IMAGE, "sh", "-c", script, status=None)
    assert "secret" not in told
    assert sorted(os.listdir(tmp_path)) == ["file", "open", "secret"]
    assert (tmp_path / "file").read_text() == "host\n" and stat.S_IMODE(
        (tmp_path / "file").stat().st_mode
    ) == 0o644
    assert (tmp_path / "open/sh").stat().st_uid >= 0x70000000  # setuid, but of nobody here


@pytest.mark.parametrize("more", [(), ("--privileged",)])
def test_a_device_node_of_a_layer_can_not_be_opened(box, more):
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        node = tarfile.TarInfo("zero")
        node.type, node.mode, node.devmajor, node.devminor = tarfile.CHRTYPE, 0o666, 1, 5
        archive.addfile(node)
        busybox = tarfile.TarInfo("busybox")
        data = open("/usr/bin/busybox", "rb").read()
        busybox.mode, busybox.size = 0o755, len(data)
        archive.addfile(busybox, io.BytesIO(data))
    box.estiva("import", "-", "node:1", input=tar.getvalue(), text=False)
    read = ("node:1", "/busybox", "head", "-c", "1", "/zero")
    assert box.estiva("run", "--rm", "--network", "none", *read, text=False).stdout == b"\0"  # as without
    done = box.estiva("run", "--rm", "--network", "none", "--userns", "auto", *more, *read, status=1)
    assert "Permission denied" in done.stderr


def test_device_nodes_and_mounts_of_the_host_can_not_be_made(box):
    script = "mknod /tmp/d c 1 3; echo $?; mount -t ext4 /dev/vda /mnt 2>/dev/null; echo $?; chmod 700 /dev/null; echo $?"
    assert not [word for word in run(box, "--privileged", IMAGE, "sh", "-c", script).split() if word == "0"]


@pytest.mark.parametrize("words", [(), ("-i",), ("-t",)])
def test_the_hosts_devices_keep_their_owner(box, words):
    paths = ("/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/random")
    before = [(s.st_uid, s.st_gid, s.st_mode) for s in map(os.stat, paths)]
    run(box, *[word for word in words if word != "-t"], IMAGE, "true")
    container = box.out("run", "-d", "--network", "none", "--userns", "auto", IMAGE, "sleep", "600")
    box.estiva("exec", *[word for word in words if word != "-t"], container, "true")
    box.estiva("rm", "-f", container)
    assert [(s.st_uid, s.st_gid, s.st_mode) for s in map(os.stat, paths)] == before


def test_only_pipes_are_given(tmp_path):
    file = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    one, two = os.pipe()
    give((-1, file, one), (12345, 12345))
    assert os.fstat(file).st_uid == os.getuid() and os.fstat(one).st_uid == 12345
    for fd in (file, one, two):
        os.close(fd)


def test_processes_of_the_host_are_out_of_reach(box):
    victim = subprocess.Popen(["sleep", "600"])
    try:
        for more in ((), ("--privileged",)):
            script = f"kill -9 {victim.pid}; cat /proc/{victim.pid}/environ; ls /proc/{victim.pid}/root/; echo x > /proc/sys/kernel/core_pattern"
            told = run(box, "--pid", "host", *more, IMAGE, "sh", "-c", script, status=None)
            assert told == ""
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


def test_a_recycled_pid_lends_nothing():
    child = subprocess.Popen(["sleep", "600"])
    try:
        lender = {
            "kind": "network",
            "pid": child.pid,
            "start_time": procinfo.start_time(child.pid),
            "id": "a" * 64,
        }
        os.close(verified(lender))
        lender["start_time"] += 1
        entries = [{"type": "network", "path": f"/proc/{child.pid}/ns/net"}]
        plan = {
            "sharing": {"lenders": [lender], "shm": -1, "mapped": False},
            "config": {"linux": {"namespaces": entries}},
        }
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(Conflict, match="aaaaaaaaaaaa has ended"):
            Joined(plan, Rootfs(path="/"))
        assert len(os.listdir("/proc/self/fd")) == before
        assert entries[0]["path"].startswith("/proc/")
    finally:
        child.kill()
        child.wait()
    with pytest.raises(Conflict):
        verified({**lender, "start_time": lender["start_time"] - 1})


@pytest.mark.parametrize(
    "script", ["ln -s /etc /dev/shm", "ln -s /proc/1/root/tmp /dev/shm", "mkdir /dev/shm", "true"]
)
def test_a_lender_of_ipc_can_not_lend_another_place(box, script):
    words = ("--network", "none", "--ipc", "shareable", "--privileged", IMAGE)
    made = f"umount /dev/shm; rmdir /dev/shm; {script}; mount -t tmpfs x /dev && {script}; touch /tmp/ready; sleep 600"
    lender = box.out("run", "-d", *words, "sh", "-c", made)
    from enginekit import eventually

    eventually(lambda: box.estiva("exec", lender, "ls", "/tmp/ready", status=None).returncode == 0)
    done = box.estiva(
        "run",
        "--rm",
        "--network",
        "none",
        "--ipc",
        f"container:{lender}",
        IMAGE,
        "ls",
        "/dev/shm",
        status=None,
    )
    if script == "mkdir /dev/shm":  # it lies in the lender's own tmpfs: its to give
        assert (done.returncode, done.stdout) == (0, "")
    else:
        assert done.returncode == 125 and "/dev/shm" in done.stderr and done.stderr.count("\n") <= 2, done
    box.estiva("rm", "-f", lender)
