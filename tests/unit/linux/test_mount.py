"""estiva.linux.mount in a private mount namespace."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from estiva.linux import fs, mount, namespace

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def privately(body: Callable[[str], None], directory: Path) -> None:
    """Run `body` in a child with a mount namespace of its own and a tmpfs at `directory`."""
    pid = os.fork()
    if pid == 0:
        try:
            namespace.unshare(namespace.CLONE_NEWNS)
            mount.mount(None, "/", None, mount.MS_REC | mount.MS_PRIVATE)
            mount.mount("tmpfs", str(directory), "tmpfs")
            body(str(directory))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def names(fd: int) -> list[str]:
    return sorted(os.listdir(f"/proc/self/fd/{fd}"))


def layers(base: str, count: int, prefix: str = "l") -> list[str]:
    made = [f"{base}/{prefix}{number}" for number in range(count)]
    for number, directory in enumerate(made):
        os.makedirs(directory)
        Path(directory, f"f{number}").write_text("")
    return made


def test_overlay_of_many_layers(tmp_path: Path) -> None:
    def body(base: str) -> None:
        lower = layers(base, 500)
        os.mkdir(base + "/upper")
        os.mkdir(base + "/work")
        Path(lower[3], "same").write_text("upper one")
        Path(lower[4], "same").write_text("lower one")
        fd = mount.overlay(lower, base + "/upper", base + "/work")
        assert fs.fstatfs(fd) == fs.OVERLAYFS_SUPER_MAGIC
        assert len(names(fd)) == 501
        assert Path(f"/proc/self/fd/{fd}/same").read_text() == "upper one"
        Path(f"/proc/self/fd/{fd}/new").write_text("x")
        assert Path(base, "upper/new").read_text() == "x"
        with pytest.raises(OSError, match="too many layers"):
            mount.overlay([*lower, base], base + "/upper", base + "/work")

    privately(body, tmp_path)


def test_overlay_of_long_paths(tmp_path: Path) -> None:
    def body(base: str) -> None:
        deep = base + "/" + "/".join(["x" * 200] * 3)
        lower = layers(deep, 2)
        os.mkdir(deep + "/upper")
        os.mkdir(deep + "/work")
        assert names(mount.overlay(lower, deep + "/upper", deep + "/work")) == ["f0", "f1"]

    privately(body, tmp_path)


def test_overlay_without_an_upper_is_read_only(tmp_path: Path) -> None:
    def body(base: str) -> None:
        lower = layers(base, 2)
        for dirs in (lower, lower[:1]):
            fd = mount.overlay(dirs, None, None)
            with pytest.raises(OSError, match="Read-only"):
                Path(f"/proc/self/fd/{fd}/new").write_text("x")
        assert names(fd) == ["f0"]

    privately(body, tmp_path)


def test_overlay_before_linux_6_7(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way for kernels without lowerdir+ gives the same."""

    def body(base: str) -> None:
        odd = base + "/a:b\\c,d"
        lower = layers(odd, 3)
        os.mkdir(base + "/upper")
        os.mkdir(base + "/work")
        fd = mount._overlay_by_string(lower, base + "/upper", base + "/work", 0, ())
        assert names(fd) == ["f0", "f1", "f2"]
        Path(f"/proc/self/fd/{fd}/new").write_text("x")
        with open("/proc/self/mountinfo") as file:
            assert f" {base}/upper " not in file.read()

    privately(body, tmp_path)


def test_the_kernels_words_come_along(tmp_path: Path) -> None:
    def body(base: str) -> None:
        lower = layers(base, 2)
        os.mkdir(base + "/upper")
        with pytest.raises(OSError) as caught:
            mount.overlay(lower, base + "/upper", base + "/upper/work")
        assert "workdir" in str(caught.value) or "work" in str(caught.value)
        with pytest.raises(OSError) as caught:
            mount.new_filesystem("tmpfs", (("size", "lots"),))
        assert caught.value.filename == "size=lots"

    privately(body, tmp_path)


def test_fsmount_and_move_mount(tmp_path: Path) -> None:
    def body(base: str) -> None:
        os.mkdir(base + "/d")
        fd = mount.new_filesystem("tmpfs", (("mode", "700"),), mount.MOUNT_ATTR_NOSUID)
        target = os.open(base + "/d", os.O_PATH)
        mount.move_mount(fd, "", target, "")
        assert os.stat(base + "/d").st_mode & 0o777 == 0o700
        mount.mount_setattr(fd, "", mount.MOUNT_ATTR_RDONLY)
        with pytest.raises(OSError, match="Read-only"):
            Path(base, "d/x").write_text("")
        mount.umount2(base + "/d", mount.MNT_DETACH)
        assert os.stat(base + "/d").st_mode & 0o777 == 0o755

    privately(body, tmp_path)


def test_errors_name_what_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        mount.mount("/nowhere/a", "/nowhere/b", None, mount.MS_BIND)
    assert (caught.value.filename, caught.value.filename2) == ("/nowhere/a", "/nowhere/b")
