"""K21: what the host opens and takes out of a container's tree, by the Python API's `get`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bundle import requires_kernel
from enginekit import Host, host

pytestmark = requires_kernel
pytest_plugins = ["bundle"]


@pytest.fixture(scope="module")
def box() -> Iterator[Host]:
    with host() as made:
        yield made


def test_what_leaves_a_container_is_the_callers(box: Host) -> None:
    """no setuid or setgid file, capability or foreign owner comes out, and what is there keeps its mode."""
    out = box.python("""
import estiva, os, pathlib, stat
def shown(path):
    found = os.lstat(path)
    return f"{stat.S_IMODE(found.st_mode):o} {found.st_uid}:{found.st_gid} {os.listxattr(path, follow_symlinks=False)}"
with estiva.container("box:1", network="none") as box:
    script = "mkdir -p /d/sub; cp /bin/busybox /d/root; cp /d/root /d/sub/caps; ln -s root /d/link; chown 7:8 /d/sub/caps"
    print(box.exec(["sh", "-c", script + "; chmod 6755 /d/root; chown 7:8 /d/sub; chmod 2777 /d/sub; chmod 700 /d; chown -h 7:8 /d/link"]).status)
    root = f"/proc/{box.inspect()['State']['Pid']}/root"
    os.setxattr(root + "/d/sub/caps", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    os.setxattr(root + "/d/sub/caps", "user.mine", b"kept")
    os.mkdir("there", 0o755)
    box.get("/d", "there")
    box.get("/d", "made")
    box.get("/d/root", "file")
for path in ("made", "made/root", "made/link", "made/sub", "made/sub/caps", "there", "there/sub/caps", "file"):
    print(path, shown(path))
""")
    assert out.splitlines() == [
        "0", "made 700 0:0 []", "made/root 755 0:0 []", "made/link 777 0:0 []", "made/sub 777 0:0 []",
        "made/sub/caps 755 0:0 ['user.mine']", "there 755 0:0 []", "there/sub/caps 755 0:0 ['user.mine']",
        "file 755 0:0 []",
    ]  # fmt: skip


def test_the_kernels_files_do_not_leave_a_container(box: Host) -> None:
    """read by the host's root, they block, or tell what the container must not know."""
    out = box.python("""
import estiva, os
with estiva.container("box:1", network="none") as box:
    print(box.exec(["sh", "-c", "ln -s /proc/kmsg /k; mkdir /d; ln -s /proc/kallsyms /d/link; echo x > /d/f"]).status)
    for path in ("/k", "/d/link", "/proc/version", "/sys/kernel/notes", "/proc", "/sys/fs"):
        for target in (None, "never"):
            try: print(box.get(path, target))
            except estiva.EstivaError as error: print(path, "the kernel's own" in str(error))
    print(os.path.exists("never"))
    box.get("/", "all")
    print(os.listdir("all/proc"), sorted(os.listdir("all/d")), os.readlink("all/d/link"))
    box.put("/proc/version", "/version")
    print(box.get("/version").startswith(b"Linux version"))
""")
    paths = ("/k", "/d/link", "/proc/version", "/sys/kernel/notes", "/proc", "/sys/fs")
    assert out.splitlines() == [
        "0", *[f"{path} True" for path in paths for _ in range(2)], "False", "[] ['f', 'link'] /proc/kallsyms", "True",
    ]  # fmt: skip


def test_a_huge_file_takes_no_memory(box: Host) -> None:
    out = box.python("""
import estiva, os, resource
with estiva.container("box:1", network="none") as box:
    print(box.exec(["sh", "-c", "dd if=/dev/zero of=/huge bs=1 count=1 seek=4294967296; echo x >> /huge"]).status)
    try: box.get("/huge")
    except estiva.EstivaError as error: print(error, "|", error.hint)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    box.exec(["sh", "-c", "rm /huge; dd if=/dev/zero of=/big bs=1M count=200"])
    print(len(box.get("/big")) >> 20)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10 < 300)
    box.get("/big", "big")
    print(os.path.getsize("big") >> 20)
""")
    assert out.splitlines() == [
        "0", "/huge is larger than 256 MiB | give a target: it is copied there, whatever its size", "200", "True", "200",
    ]  # fmt: skip
