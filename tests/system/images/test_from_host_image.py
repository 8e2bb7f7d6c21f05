"""Images of this machine's own programs: what is in them, and that it runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from estiva.engine.images.from_host import ldcache, make
from estiva.errors import InvalidInput, NotFound, Unsupported
from estiva.paths import Paths
from estiva.store import Store
from estiva.store.images import Image

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(Paths(str(tmp_path / "root"), str(tmp_path / "run")))
    yield made
    made.layers.unmount_all()
    made.close()


def unpack(store: Store, image: Image, directory: Path) -> str:
    archive = directory / "layer.tar"
    with store.layers.tar(image.diff_ids[0]) as source, archive.open("wb") as target:
        shutil.copyfileobj(source, target)
    rootfs = directory / "rootfs"
    rootfs.mkdir()
    subprocess.run(["tar", "xpf", str(archive), "-C", str(rootfs)], check=True)
    return str(rootfs)


def inside(rootfs: str, *command: str) -> str:
    done = subprocess.run(
        ["chroot", rootfs, *command],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_programs_run_with_nothing_else(store: Store, tmp_path: Path) -> None:
    image = make.make(store, ["sh", "ls", "cat", "id", "sleep", "env"], tag="base:host")
    assert store.images.resolve("base:host").id == image.id
    assert image.config["config"]["Cmd"] == ["sh"]
    assert image.config["config"]["Env"][0].startswith("PATH=/usr/local/sbin:")
    assert image.config["history"][0]["created_by"] == "estiva image from-host sh ls cat id sleep env"
    rootfs = unpack(store, image, tmp_path)
    assert inside(rootfs, "/bin/sh", "-c", "exec ls /").split() >= ["bin", "dev", "etc"]
    assert inside(rootfs, "id", "-un") == "root\n"  # the C library finds its name service
    assert inside(rootfs, "sh", "-c", "cat /etc/passwd").count("\n") == 2
    assert os.lstat(rootfs + "/tmp").st_mode & 0o7777 == 0o1777
    assert os.lstat(rootfs + "/root").st_mode & 0o7777 == 0o700
    for path in ("/bin", "/lib", "/bin/sh"):
        if os.path.islink(path):
            assert os.readlink(rootfs + path) == os.readlink(path)


def test_ld_so_accepts_the_cache_that_is_built(store: Store, tmp_path: Path) -> None:
    rootfs = unpack(store, make.make(store, ["cat"]), tmp_path)
    entries = ldcache.parse(Path(rootfs, "etc/ld.so.cache").read_bytes())
    libc = next(entry for entry in entries if entry.name == "libc.so.6")
    os.makedirs(rootfs + "/odd/place")
    os.rename(
        os.path.realpath(rootfs + "/usr" + libc.path.removeprefix("/usr")), rootfs + "/odd/place/libc.so.6"
    )
    command = ["chroot", rootfs, "/bin/cat", "/etc/group"]
    assert subprocess.run(command, capture_output=True).returncode != 0
    libc.path = "/odd/place/libc.so.6"
    Path(rootfs, "etc/ld.so.cache").write_bytes(ldcache.build(entries))
    assert inside(rootfs, "/bin/cat", "/etc/group").startswith("root:")


def test_the_same_programs_give_the_same_image(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before = time.time()
    made = make.make(store, ["sh", "cat"]).created
    assert int(before) <= made <= time.time()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    one = make.make(store, ["sh", "cat"])
    two = make.make(store, ["sh", "cat"], tag="again")
    assert one.id == two.id and one.created == 1_700_000_000
    assert make.make(store, ["cat", "sh"]).diff_ids == one.diff_ids


def test_a_script_brings_its_interpreter(store: Store, tmp_path: Path) -> None:
    script = tmp_path / "hello"
    script.write_text("#!/usr/bin/env sh\ncat /etc/group\n")
    script.chmod(0o755)
    image = make.make(store, [str(script), "cat"])
    rootfs = unpack(store, image, tmp_path)
    assert inside(rootfs, str(script)).startswith("root:")


def test_extra_files_and_folders_keep_their_place_and_links(store: Store, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "deep").mkdir(parents=True)
    (data / "deep/file").write_text("hello")
    (data / "link").symlink_to("deep/file")
    (data / "dangling").symlink_to("nowhere")
    os.mkfifo(data / "pipe")
    os.chown(data / "deep/file", 1234, 1234)
    os.chmod(data / "deep/file", 0o6755)
    image = make.make(store, ["cat"], extra_files=[str(data)])
    rootfs = unpack(store, image, tmp_path)
    assert inside(rootfs, "cat", f"{data}/link") == "hello"
    assert os.readlink(f"{rootfs}{data}/dangling") == "nowhere"
    assert not os.path.lexists(f"{rootfs}{data}/pipe")
    status = os.lstat(f"{rootfs}{data}/deep/file")
    # What belonged to another user here is root's there, so it may not run as its owner.
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (0, 0, 0o755)


def test_nothing_of_the_hosts_users_or_settings(store: Store, tmp_path: Path) -> None:
    image = make.make(store, ["sh"])
    with tarfile.open(fileobj=store.layers.tar(image.diff_ids[0])) as archive:
        names = archive.getnames()
        owners = {(member.uid, member.gid, member.uname) for member in archive.getmembers()}
    etc = {name for name in names if name.startswith("etc/")}
    assert etc <= {"etc/passwd", "etc/group", "etc/nsswitch.conf", "etc/ld.so.cache"}
    assert owners == {(0, 0, "")}


def test_no_program_is_executed(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was executed")

    for name in ("fork", "posix_spawn", "execve", "system"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setenv("ESTIVA_STORAGE_DRIVER", "dir")
    tree = make.Tree()
    tree.add_program("ls")
    tree.finish()
    assert tree.has("/bin/ls")


@pytest.mark.parametrize(
    ("programs", "extra", "kind", "words"),
    [
        (["sh", "no-such-program"], [], NotFound, "program no-such-program is not on the PATH"),
        (["/no/such/program"], [], NotFound, "program /no/such/program"),
        ([""], [], NotFound, "program"),
        (["/etc"], [], InvalidInput, "/etc is a folder"),
        (["/dev/null"], [], InvalidInput, "neither a file nor a folder"),
        ([], [], InvalidInput, "at least one program"),
        ([], ["relative"], InvalidInput, "relative is not an absolute path"),
        ([], ["/no/such/file"], NotFound, "no file /no/such/file"),
    ],
)
def test_refused(
    store: Store, programs: list[str], extra: list[str], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        make.make(store, programs, extra_files=extra)
    assert store.images.list() == []


def test_a_script_without_its_interpreter_is_named(store: Store, tmp_path: Path) -> None:
    script = tmp_path / "bad"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    with pytest.raises(NotFound, match=f"/no/such/interpreter, which {script} needs"):
        make.make(store, [str(script)])


def test_another_platform_is_refused(store: Store) -> None:
    with pytest.raises(Unsupported, match="this machine's programs are for"):
        make.make(store, ["sh"], platform="linux/riscv64")
