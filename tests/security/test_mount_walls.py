"""K1, K5: roots and volumes that change while a container is put together; an engine in a chroot; no mount namespace."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bundle
import ocikit
import rawelf
from bundle import config, requires_kernel
from enginekit import IMAGE, host
from estiva.errors import EngineError, EstivaError
from estiva.runtime.rootfs.rootfs import Rootfs

pytestmark = requires_kernel
pytest_plugins = ["bundle"]

SOURCE = str(Path(__file__).parents[2] / "src")
TESTS = str(Path(__file__).parents[1] / "support")
ROUNDS = 20


def mounts() -> list[str]:
    """What is mounted on this machine, but for what other tests do meanwhile in folders of their own."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if not line.split()[4].startswith(("/var/tmp/", "/dev/shm/"))]


@contextlib.contextmanager
def flipping(one: Path, other: Path) -> Iterator[None]:
    """Two names of a shared directory change places, as fast as can be."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from estiva.linux import fs\n"
        "print(flush=True)\nwhile True:\n try: fs.rename_exchange(sys.argv[2], sys.argv[3])\n"
        " except OSError as e:\n  if e.errno not in (2, 16): raise"
    )
    words = [sys.executable, "-c", code, SOURCE, str(one), str(other)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
            assert process.poll() is None, process.stderr and process.stderr.read()
        finally:
            process.kill()


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A root filesystem that is a plain directory, as two containers may share it."""
    return Path(bundle.make_root(str(tmp_path / "root")))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory of the host that nothing may reach."""
    (tmp_path / "outside" / "sub").mkdir(parents=True)
    (tmp_path / "outside" / "file").write_text("host\n")
    return tmp_path / "outside"


def attempt(spec: dict[str, Any], root: Path) -> tuple[int, str]:
    try:
        return bundle.run(spec, Rootfs(path=str(root)))
    except EstivaError as error:
        return -1, str(error)


# --- races (CVE-2021-30465, CVE-2019-19921, CVE-2024-45310, CVE-2025-31133, CVE-2025-52565) ---


@pytest.mark.parametrize("climb", ["", "../" * 20], ids=["absolute", "relative"])
def test_targets_that_become_links_out_while_they_are_mounted_on(
    shared: Path, outside: Path, tmp_path: Path, climb: str
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine").write_text("mine\n")
    (shared / "t").mkdir()
    os.symlink(climb + str(outside).lstrip("/") if climb else outside, shared / "link")
    spec = config("sh", "-c", "cat /t/sub/mine /t/new/deep/mine /t/made; cat /t/file")
    for name in ("/t/sub", "/t/new/deep"):
        spec["mounts"].append({"destination": name, "source": f"{tmp_path}/data", "options": ["rbind"]})
    spec["mounts"] += [
        {"destination": "/t/made", "source": f"{tmp_path}/data/mine", "options": ["bind"]},
        {"destination": "/t/tmpfs", "type": "tmpfs", "source": "tmpfs"},
    ]
    before = mounts()
    seen = set()
    with flipping(shared / "t", shared / "link"):
        for _ in range(ROUNDS):
            seen.add(attempt(spec, shared)[1].count("mine\n"))
    assert sorted(str(p.relative_to(outside)) for p in outside.rglob("*")) == ["file", "sub"]
    assert mounts() == before
    assert seen, "nothing was tried"


def test_a_null_device_that_is_swapped_does_not_unmask(shared: Path, outside: Path) -> None:
    """/dev is the image's own: its null flips between the device and a link to what the mask is to hide."""
    (shared / "dev" / "null").unlink(missing_ok=True)
    os.symlink("/proc/sys/kernel/core_pattern", shared / "dev" / "evil")
    os.mknod(shared / "dev" / "null", 0o20666, os.makedev(1, 3))
    spec = config("sh", "-c", "for f in /proc/keys /proc/timer_list; do stat -c '%n %t,%T' $f; done")
    spec["mounts"] = [m for m in spec["mounts"] if not m["destination"].startswith("/dev")]
    there = [name for name in ("keys", "timer_list") if os.path.exists(f"/proc/{name}")]
    wanted = "".join(f"/proc/{name} 1,3\n" for name in there)
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    good = 0
    with flipping(shared / "dev" / "null", shared / "dev" / "evil"):
        for _ in range(ROUNDS):
            status, text = attempt(spec, shared)
            if status == 0:
                assert text == wanted
                good += 1
    assert good
    assert Path("/proc/sys/kernel/core_pattern").read_text() == pattern


@pytest.mark.parametrize("kind", ["link", "link in proc", "directory", "fifo"])
def test_a_console_of_the_image_is_not_followed(shared: Path, kind: str) -> None:
    where = shared / "dev" / "console"
    (shared / "target").write_text("image\n")
    if kind == "link":
        os.symlink("/target", where)
    elif kind == "link in proc":
        os.symlink("/proc/sys/kernel/core_pattern", where)
    elif kind == "directory":
        where.mkdir()
    else:
        os.mkfifo(where)
    script = "stat -c '%F' /target; cat /proc/self/mountinfo"
    spec = config("sh", "-c", script, terminal=True)
    spec["mounts"] = [
        m for m in spec["mounts"] if m["destination"] not in ("/dev", "/dev/shm", "/dev/mqueue")
    ]
    try:
        init = bundle.container.create(spec, Rootfs(path=str(shared)), id="x", stdio=(-1, -1, -1))
        try:
            init.ready()
            init.start()
            text = bundle.drain(os.dup(init.console)).decode().replace("\r", "")
            init.wait()
        finally:
            init.close()
    except EngineError:
        return  # refused is fine
    assert text.startswith("regular file\n"), text
    assert " /target " not in text and "core_pattern" not in text, text


# --- /proc behind other names (CVE-2019-16884, CVE-2023-27561, CVE-2023-28642, CVE-2025-52881) ---


@pytest.mark.parametrize(
    "where",
    ["/proc", "/proc/self/attr", "/proc/sys/kernel", "/l/sys", "/l/self/attr", "/m/kernel", "/./proc/1"],
)
@pytest.mark.parametrize("kind", ["bind", "tmpfs", "proc"])
def test_nothing_is_mounted_inside_proc(shared: Path, tmp_path: Path, where: str, kind: str) -> None:
    """A volume there would be told what the runtime means for the kernel: labels, sysctls, oom_score_adj."""
    (tmp_path / "data").mkdir()
    os.symlink("/proc", shared / "l")
    os.symlink("proc/sys", shared / "m")
    spec = config("cat", "/proc/self/mountinfo")
    source = str(tmp_path / "data") if kind == "bind" else kind
    spec["mounts"].append(
        {"destination": where, "type": kind, "source": source, "options": ["bind"][: kind == "bind"]}
    )
    status, text = attempt(spec, shared)
    if where == "/proc" and kind == "proc":
        assert status == 0  # one procfs over another, with the masks over both
        assert " /proc/keys " in text or not os.path.exists("/proc/keys")
        return
    assert status == -1, text
    assert list((tmp_path / "data").iterdir()) == []


def test_sysctls_and_scores_are_written_to_the_kernel(shared: Path, tmp_path: Path) -> None:
    """They take effect whatever an image has at those names."""
    for name in ("proc/sys/net/ipv4/ip_forward", "proc/self/oom_score_adj"):
        (shared / name).parent.mkdir(parents=True, exist_ok=True)
        (shared / name).write_text("image\n")
    spec = config("cat", "/proc/sys/net/ipv4/ip_default_ttl", "/proc/self/oom_score_adj", oomScoreAdj=321)
    spec["linux"]["sysctl"] = {"net.ipv4.ip_default_ttl": "33"}
    assert attempt(spec, shared) == (0, "33\n321\n")
    assert (shared / "proc/self/oom_score_adj").read_text() == "image\n"


def test_what_is_no_procfs_is_not_written_to(tmp_path: Path) -> None:
    from estiva.runtime import child

    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="it is not in a procfs"):
        child.put(str(tmp_path / "file"), "x")
    assert (tmp_path / "file").read_text() == ""


# --- volumes of images (CVE-2022-23648, CVE-2024-1753) ---


def test_a_volume_of_an_image_is_filled_from_the_image_only() -> None:
    """VOLUME behind a link that leaves: what the new volume starts with is the image's, never the host's."""
    with host() as engine:
        secret = Path(engine.folder, "secret")
        secret.mkdir()
        (secret / "key").write_text("secret\n")
        climb = "/.." * 12 + str(secret)
        script = f"ln -s {climb} /escape; mkdir -p /sub; ln -s {climb} /sub/link"
        engine.estiva("run", "--name", "made", "--network", "none", IMAGE, "sh", "-c", script)
        engine.estiva("commit", "--change", 'VOLUME ["/escape", "/sub/link/x"]', "made", "escape:1")
        engine.estiva("rm", "made")
        done = engine.estiva(
            "run", "--name", "it", "--network", "none", "escape:1", "find", "/escape", "/sub/", status=None
        )
        assert "key" not in done.stdout, done
        for path in Path(engine.folder, "root", "volumes").rglob("*"):
            assert path.name != "key"
        assert [p.name for p in secret.iterdir()] == ["key"]
        engine.estiva("rm", "-f", "-v", "it", status=None)


# --- an engine in a chroot ---

ESCAPE = [(161, b"/out"), *[(80, b"..")] * 20, (161, b".")]  # chroot(2), chdir(2); then access(2), 21

CHROOTED = """
import os, sys
sys.path[:0] = sys.argv[1:3]
from estiva.linux import mount as mnt, namespace as ns
import bundle
from estiva.runtime.rootfs.rootfs import Rootfs
root, kind, box = sys.argv[3:6]
ns.unshare(ns.CLONE_NEWNS)
mnt.mount(None, "/", None, mnt.MS_REC | mnt.MS_PRIVATE)
mnt.mount("tmpfs", root, "tmpfs", 0, None)
if kind == "directory":
    root += "/deep"
    os.mkdir(root)
for name in os.listdir("/"):
    if os.path.islink("/" + name):
        os.symlink(os.readlink("/" + name), f"{root}/{name}")
    elif os.path.isdir("/" + name) and name != "old_root":
        os.mkdir(f"{root}/{name}")
        mnt.mount("/" + name, f"{root}/{name}", None, mnt.MS_BIND | mnt.MS_REC)
os.chroot(root)
os.chdir("/")
status, text = bundle.run(bundle.config(*sys.argv[6:]), Rootfs(path=box))
sys.stdout.buffer.write(text.encode("latin-1", "replace"))
sys.exit(status)
"""


@rawelf.requires_x86
@pytest.mark.parametrize("kind", ["mount", "directory"])
def test_an_engine_in_a_chroot_leaves_no_way_up(shared: Path, tmp_path: Path, kind: str) -> None:
    """What is above the engine's root must not be above the container's, which may chroot(2)."""
    (shared / "out").mkdir()
    root = tmp_path / "jail"
    root.mkdir()
    # Only the host's real root has the jail at that name with something beside it.
    (tmp_path / "mark").write_text("")
    calls = [*ESCAPE, (21, str(tmp_path / "mark").encode(), 0), (21, b"/bin/busybox", 0)]
    (shared / "escape").write_bytes(rawelf.program(calls))
    (shared / "escape").chmod(0o755)
    words = [sys.executable, "-c", CHROOTED, SOURCE, TESTS, str(root), kind, str(shared)]
    done = subprocess.run([*words, "cat", "/proc/self/mountinfo"], capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    ids = {line.split()[0] for line in done.stdout.splitlines()}
    parents = {line.split()[1] for line in done.stdout.splitlines() if line.split()[4] == b"/"}
    assert len(ids) > 5 and len(parents) == 1
    done = subprocess.run([*words, "/escape"], capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    values, _ = rawelf.results(done.stdout.decode().encode("latin-1", "replace"), len(calls), bits=8)
    assert values[-1] == 0, "it is still in the container"
    assert values[-2] != 0, "it sees the host's files"


# --- without a mount namespace ---


@pytest.mark.parametrize("joined", [False, True], ids=["the host's", "by path"])
def test_without_a_mount_namespace_of_its_own_nothing_is_mounted_there(
    shared: Path, tmp_path: Path, joined: bool
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mark").write_text("mark\n")
    spec = config(
        "sh", "-c", "cat /data/mark; stat -c %t,%T /proc/keys; echo x > /proc/sys/kernel/panic; ls /"
    )
    spec["mounts"].append({"destination": "/data", "source": f"{tmp_path}/data", "options": ["rbind"]})
    spec["linux"]["namespaces"] = [n for n in spec["linux"]["namespaces"] if n["type"] != "mount"]
    if joined:
        spec["linux"]["namespaces"].append({"type": "mount", "path": "/proc/self/ns/mnt"})
    before = mounts()
    status, text = attempt(spec, shared)
    assert mounts() == before
    if status == -1:
        return  # refused is fine
    assert text.startswith("mark\n"), text
    assert ("1,3\n" in text) or not os.path.exists("/proc/keys"), text
    assert "Read-only file system" in text, text
    assert not (shared / "data").is_mount()


@rawelf.requires_x86
def test_without_a_mount_namespace_there_is_no_way_up_either(shared: Path, tmp_path: Path) -> None:
    (shared / "out").mkdir()
    (tmp_path / "mark").write_text("")
    calls = [*ESCAPE, (21, str(tmp_path / "mark").encode(), 0), (21, b"/bin/busybox", 0)]
    (shared / "escape").write_bytes(rawelf.program(calls))
    (shared / "escape").chmod(0o755)
    spec = config("/escape")
    spec["linux"]["namespaces"] = [n for n in spec["linux"]["namespaces"] if n["type"] != "mount"]
    out, into = os.pipe()
    init = bundle.container.create(spec, Rootfs(path=str(shared)), id="x", stdio=(-1, into, into))
    os.close(into)
    try:
        init.ready()
        init.start()
        values, _ = rawelf.results(bundle.drain(out), len(calls))
        init.wait()
    finally:
        init.close()
    assert values[-1] == 0 and values[-2] != 0, values


def test_the_same_through_oci(box: str) -> None:
    """A bundle without a mount namespace through the command line: the host's mounts are as before."""
    with ocikit.runtime(box) as oci:

        def change(spec: dict[str, Any]) -> None:
            spec["linux"]["namespaces"] = [n for n in spec["linux"]["namespaces"] if n["type"] != "mount"]

        before = mounts()
        oci.run("run", "--bundle", oci.bundle("true", rootfs=oci.own_root(), change=change), "box")
        assert mounts() == before
