"""K1, K20, K21 for `cp`: a container that swaps its paths while it is copied from and to (CVE-2018-15664), and what it
offers to read: fifos, devices, files of the kernel's, endless and deep trees. What is outside stays as it is.
"""

import os
import pathlib
import stat
import subprocess
import time

import pytest

from bundle import requires_kernel
from enginekit import IMAGE, eventually, host

pytestmark = requires_kernel
ROUNDS = 16  # of some commands each; the names change places about 100,000 times in a second


def rounds():
    """Numbers to try with; fewer on a slow machine."""
    end = time.monotonic() + 60
    for number in range(ROUNDS):
        if number >= 3 and time.monotonic() > end:
            return
        yield number


@pytest.fixture(scope="module")
def box():
    with host() as made:
        swapper = pathlib.Path(made.folder, "swapper.py")
        swapper.write_text(SWAPPER)
        made.estiva(
            "run", "-d", "--name", "cc", "--network", "none", "--cap-add", "MKNOD", IMAGE, "sleep", "900"
        )
        yield made


def shell(box, script):
    return box.out("exec", "cc", "sh", "-c", script)


# Within the container's root and as its root: exchanges two names as fast as it can, until it is killed.
SWAPPER = """
import ctypes, os, sys
root, first, second = sys.argv[1:]
os.chroot(root)
libc = ctypes.CDLL(None, use_errno=True)
print("ready", flush=True)
while True:
    for _ in range(1000):
        libc.renameat2(-100, first.encode(), -100, second.encode(), 2)
"""


@pytest.fixture
def swap(box):
    """Start to exchange two places of the container."""
    started = []

    def begin(first, second):
        pid = box.out("inspect", "-f", "{{.State.Pid}}", "cc")
        words = ["python3", f"{box.folder}/swapper.py", f"/proc/{pid}/root", first, second]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "ready\n"

    yield begin
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def outside(box, request):
    """A folder of the host whose path leads nowhere inside of the container."""
    path = pathlib.Path(box.folder, f"outside-{request.node.name}")
    path.mkdir()
    (path / "secret").write_text("secret of the host")
    return path


def test_a_target_that_becomes_a_link(box, swap, outside):
    """in: the folder, a folder in the tree, and the file itself become links to the host's places"""
    shell(
        box,
        f"mkdir -p /in/dir /in/real/sub; ln -s {outside} /in/link; ln -s {outside} /in/sublink; ln -s {outside}/secret /in/evil; echo > /in/name",
    )
    source = outside.parent / "sources"
    (source / "sub").mkdir(parents=True)
    for name in ("secret", "sub/secret"):
        (source / name).write_text("from outside")
    swap("/in/dir", "/in/link")
    swap("/in/real/sub", "/in/sublink")
    swap("/in/name", "/in/evil")
    for _ in rounds():
        box.estiva("cp", source / "secret", "cc:/in/dir/secret", status=None)
        box.estiva("cp", f"{source}/.", "cc:/in/real", status=None)
        box.estiva("cp", source / "secret", "cc:/in/name", status=None)
    assert (outside / "secret").read_text() == "secret of the host"
    assert os.listdir(outside) == ["secret"]


def test_a_source_that_becomes_a_link(box, swap, outside, tmp_path):
    """out: nothing of the host is read in the container's stead"""
    shell(
        box,
        f"mkdir -p /out/dir /out/tree/sub; echo inner > /out/dir/secret; ln -s {outside} /out/link; ln -s {outside} /out/sublink",
    )
    shell(box, f"echo inner > /out/file; ln -s {outside}/secret /out/evil; echo inner > /out/tree/sub/secret")
    swap("/out/dir", "/out/link")
    swap("/out/tree/sub", "/out/sublink")
    swap("/out/file", "/out/evil")
    for number in rounds():
        box.estiva("cp", "cc:/out/dir/secret", tmp_path / f"a{number}", status=None)
        box.estiva("cp", "-L", "cc:/out/file", tmp_path / f"b{number}", status=None)
        box.estiva("cp", "-a", "cc:/out/tree", tmp_path / f"c{number}", status=None)
        data = box.estiva("cp", "cc:/out/tree", "-", status=None, text=False).stdout
        assert b"secret of the host" not in data
    for path in tmp_path.rglob("*"):
        if not path.is_symlink() and path.is_file():
            assert path.read_text() == "inner\n"


def test_kinds_of_files(box, swap, tmp_path):
    """fifos are not opened, devices not copied, files of the kernel's not read, also if they come a moment later"""
    shell(
        box,
        "mkdir /kinds; cd /kinds; mknod fifo p; mknod null c 1 3; mknod block b 7 0; echo f > file; ln -s /proc/kmsg kmsg",
    )
    done = box.estiva("cp", "cc:/kinds", tmp_path)
    assert sorted(done.stderr.splitlines()) == [
        f"WARNING: /kinds/{name} was left out: it is a device" for name in ("block", "null")
    ]
    assert sorted(os.listdir(tmp_path / "kinds")) == ["fifo", "file", "kmsg"]
    assert stat.S_ISFIFO(os.stat(tmp_path / "kinds/fifo").st_mode)
    for name, why in (("null", "is a device"), ("block", "is a device")):
        assert why in box.estiva("cp", f"cc:/kinds/{name}", tmp_path / "x", status=1).stderr
        assert (
            why in box.estiva("cp", f"/dev/{'null' if name == 'null' else 'loop0'}", "cc:/x", status=1).stderr
        )
    for path in ("/proc/kmsg", "/proc/1/environ", "/sys/kernel/notes", "/proc", "/dev/pts"):
        for words in ((tmp_path / "x",), ("-",)):
            assert "the kernel's own" in box.estiva("cp", f"cc:{path}", *words, status=1).stderr
        assert "the kernel's own" in box.estiva("cp", "-L", "cc:/kinds/kmsg", tmp_path / "x", status=1).stderr
    assert not (tmp_path / "x").exists()
    for path in ("/proc/1/comm", "/proc/1/", "/sys/kernel/", "/dev/pts/"):
        assert "the kernel's own" in box.estiva("cp", "/etc/hostname", f"cc:{path}", status=1).stderr
    shell(box, "ln -s /proc/1 /kinds/dir-link")
    assert "the kernel's own" in box.estiva("cp", "-", "cc:/kinds/dir-link", input="", status=1).stderr
    swap("/kinds/fifo", "/kinds/file")
    for number in rounds():
        box.estiva("cp", "cc:/kinds/file", tmp_path / f"f{number}", timeout=60)
        box.estiva("cp", tmp_path / "kinds/file", "cc:/kinds/fifo", timeout=60)


def test_what_leaves_has_no_rights(box, tmp_path):
    shell(
        box,
        "mkdir /rights; cp /bin/busybox /rights/root; chmod 6755 /rights/root; mkdir -m 2777 /rights/dir; chown 7:8 /rights/root",
    )
    pid = box.out("inspect", "-f", "{{.State.Pid}}", "cc")
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(f"/proc/{pid}/root/rights/root", "security.capability", capability)
    for words, owner in (((), 0), (("-a",), 7)):
        target = tmp_path / f"to{owner}"
        box.estiva("cp", *words, "cc:/rights", target)
        found = os.stat(target / "root")
        assert (stat.S_IMODE(found.st_mode), found.st_uid, os.listxattr(target / "root")) == (
            0o755,
            owner,
            [],
        )
        assert stat.S_IMODE(os.stat(target / "dir").st_mode) == 0o777


def test_a_hostile_archive(box, outside, tmp_path):
    import tarfile

    path = tmp_path / "evil.tar"

    def entry(tar, name, kind, link="", data=b""):
        import io

        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, link, len(data)
        tar.addfile(info, io.BytesIO(data))

    with tarfile.open(path, "w") as tar:
        entry(tar, "link", tarfile.SYMTYPE, "/etc")
        entry(tar, "link/evil", tarfile.REGTYPE, data=b"x")
        entry(tar, "host", tarfile.SYMTYPE, str(outside))
        entry(tar, "host/evil", tarfile.REGTYPE, data=b"x")
    shell(box, "mkdir /evil")
    with open(path) as file:
        subprocess.run(
            [*box.prefix, f"{pathlib.Path(__file__).parents[2]}/estiva", "cp", "-", "cc:/evil"],
            stdin=file,
            env=box.env,
            check=True,
        )
    assert shell(box, f"ls /etc/evil /evil/etc/evil /evil{outside}/evil 2>/dev/null; true").split() == [
        "/evil/etc/evil",
        f"/evil{outside}/evil",
    ]
    assert os.listdir(outside) == ["secret"]
    with tarfile.open(path, "w") as tar:
        entry(tar, "../up", tarfile.REGTYPE, data=b"x")
    done = box.estiva("cp", "-", "cc:/evil", input=path.read_bytes(), text=False, status=1)
    assert b"can't be unpacked" in done.stderr


def test_a_deep_tree(box, tmp_path):
    """no traceback, and nothing outside of the target"""
    shell(
        box,
        "mkdir /deep; cd /deep; i=0; while [ $i -lt 1500 ]; do mkdir d && cd d || break; i=$((i+1)); done",
    )
    for target in (tmp_path, "-"):
        done = box.estiva("cp", "cc:/deep", target, status=None, text=target != "-")
        assert done.returncode == 0 or "too deep" in str(done.stderr)
    subprocess.run(["rm", "-rf", tmp_path / "deep"], check=True)


def test_a_cp_that_is_killed(box, tmp_path):
    """of a container that does not run: it can be started afterwards, and nothing is mounted"""
    box.estiva("create", "--name", "kk", "--network", "none", IMAGE, "true")
    (tmp_path / "big").write_bytes(b"x" * (200 << 20))
    runs = f"{box.folder}/run/containers"
    for moment in range(6):
        child = box.start("cp", tmp_path / "big", "kk:/big")
        if moment:
            eventually(lambda child=child: os.listdir(runs) or child.poll() is not None)
        child.kill()
        child.wait()
        box.estiva("start", "-a", "kk")
    box.estiva("rm", "kk")
    box.estiva("system", "check")
