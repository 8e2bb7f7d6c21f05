"""estiva.linux.fs and libc without privileges."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from estiva.linux import fs, libc


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def name(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def test_open_in_root_takes_the_directory_for_the_root(root: int, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    os.symlink("/f", tmp_path / "absolute")
    for path in ("f", "/f", "../../f", "/../f", "absolute"):
        assert name(fs.open_in_root(root, path, os.O_PATH)) == str(tmp_path / "f")
    with pytest.raises(OSError) as caught:
        fs.open_in_root(root, "absolute", os.O_PATH, follow=False)
    assert caught.value.errno == errno.ELOOP
    assert caught.value.filename == "absolute"


def test_magic_links_are_refused(root: int, tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        fs.openat2(libc.AT_FDCWD, "/proc/self/exe", os.O_PATH, 0, fs.RESOLVE_NO_MAGICLINKS)
    assert caught.value.errno == errno.ELOOP


def test_fds_are_close_on_exec(root: int) -> None:
    fd = fs.open_in_root(root, "/", os.O_PATH)
    assert not os.get_inheritable(fd)
    os.close(fd)


@pytest.mark.parametrize(
    ("path", "made"),
    [
        ("a/b/c", "a/b/c"),
        ("/a//b/./c/", "a/b/c"),
        ("a/missing/../b", "a/b"),
        ("../../a", "a"),
        ("dangling/x", "target/deep/x"),
        ("relative/x", "away/x"),
        ("relative", "away"),
        ("dangling", "target/deep"),
        ("dangling/x/y", "target/deep/x/y"),
    ],
)
def test_mkdir_in_root(root: int, tmp_path: Path, path: str, made: str) -> None:
    os.symlink("/target/deep", tmp_path / "dangling")
    os.symlink("away", tmp_path / "relative")
    assert name(fs.mkdir_in_root(root, path, 0o711)) == str(tmp_path / made)
    assert (tmp_path / made).stat().st_mode & 0o7777 == 0o711
    assert name(fs.mkdir_in_root(root, path)) == str(tmp_path / made)  # again


def test_mkdir_in_root_refuses(root: int, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    os.symlink("loop", tmp_path / "loop")
    os.symlink("nothing", tmp_path / "link")
    for path, number in (("f/x", errno.ENOTDIR), ("loop/x", errno.ELOOP)):
        with pytest.raises(OSError) as caught:
            fs.mkdir_in_root(root, path)
        assert caught.value.errno == number
    with pytest.raises(OSError) as caught:
        fs.mkdir_in_root(root, "link/x", follow=False)
    assert caught.value.errno == errno.ELOOP
    assert not (tmp_path / "nothing").exists()


def test_create_in_root(root: int, tmp_path: Path) -> None:
    assert name(fs.create_in_root(root, "a/b")) == str(tmp_path / "a/b")
    os.symlink("/run/stub", tmp_path / "link")
    assert name(fs.create_in_root(root, "link")) == str(tmp_path / "run/stub")
    os.mkfifo(tmp_path / "fifo")
    assert name(fs.create_in_root(root, "fifo")) == str(tmp_path / "fifo")  # and does not block


def test_no_fd_is_left_behind(root: int, tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    for path in ("a/b/c", "a/b/c/d"):
        os.close(fs.mkdir_in_root(root, path))
        os.close(fs.create_in_root(root, path + "/f"))
    (tmp_path / "f").write_text("")
    with pytest.raises(OSError):
        fs.mkdir_in_root(root, "f/x/y")
    assert set(os.listdir("/proc/self/fd")) <= set(before)


def test_rename_exchange(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    fs.rename_exchange(str(tmp_path / "a"), str(tmp_path / "b"))
    assert (tmp_path / "a").read_text() == "2"
    with pytest.raises(FileExistsError) as caught:
        fs.renameat2(
            libc.AT_FDCWD, str(tmp_path / "a"), libc.AT_FDCWD, str(tmp_path / "b"), fs.RENAME_NOREPLACE
        )
    assert caught.value.filename2 == str(tmp_path / "b")


def test_fstatfs_tells_the_filesystem() -> None:
    fd = os.open("/proc", os.O_PATH)
    assert fs.fstatfs(fd) == fs.PROC_SUPER_MAGIC
    os.close(fd)


@pytest.mark.parametrize(
    "path",
    ["/proc/kmsg", "/proc/version", "/sys/kernel/mm/transparent_hugepage/enabled", "/dev/zero", "fifo", "."],
)
def test_what_has_no_content_of_its_own_is_not_opened(path: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    found = os.open(tmp_path / path, os.O_PATH)
    with pytest.raises(OSError) as caught:
        fs.reopen_regular(found, path)
    assert (caught.value.errno, caught.value.filename) == (errno.EINVAL, path)
    os.close(found)


def test_a_leased_file_does_not_block(tmp_path: Path) -> None:
    """A process in a container may hold a write lease on a file: who opens it waits for a while."""
    (tmp_path / "f").write_text("x")
    holder = os.open(tmp_path / "f", os.O_RDWR)
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    found = os.open(tmp_path / "f", os.O_PATH)
    try:
        with pytest.raises(BlockingIOError):
            fs.reopen_regular(found)
    finally:
        fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        signal.signal(signal.SIGIO, signal.SIG_DFL)
        os.close(holder)
    os.close(fs.reopen_regular(found))
    os.close(found)


def test_a_file_is_read_within_bounds(root: int, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    assert fs.read_in_root(root, "f", 5) == b"12345"
    os.truncate(tmp_path / "f", 1 << 40)
    for limit in (4, 5):
        with pytest.raises(OSError) as caught:
            fs.read_in_root(root, "f", limit)
        assert caught.value.errno == errno.EFBIG
    (tmp_path / "empty").touch()
    assert fs.read_in_root(root, "empty", 0) == b""


def test_a_sealed_memfd_is_immutable() -> None:
    fd = fs.memfd("x", b"data", seal=True)
    assert os.read(fd, 10) == b"data"
    with pytest.raises(PermissionError):
        os.write(fd, b"x")
    os.close(fd)


def test_a_nul_byte_is_refused() -> None:
    with pytest.raises(OSError) as caught:
        fs.openat2(libc.AT_FDCWD, "/etc\0/passwd", os.O_PATH)
    assert caught.value.errno == errno.EINVAL
