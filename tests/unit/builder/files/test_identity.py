"""What tells a file from what is made of it later, and when that can be relied on."""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

import pytest

from estiva.builder.files import identity
from estiva.builder.files.tree import Tree


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "f"
    made.write_text("good")
    return made


def test_a_change_of_a_settled_file_is_another_identity(path: Path) -> None:
    while identity.settles(path.stat()) >= identity.clock():
        time.sleep(0.005)
    before = path.stat()
    path.write_text("evil")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert identity.of(path.stat()) != identity.of(before)


def test_a_filesystem_that_keeps_whole_seconds_settles_later() -> None:
    def info(ctime_ns: int) -> os.stat_result:
        return os.stat_result((0o100644, 1, 1, 1, 0, 0, 4, 0, 0, 0), {"st_ctime_ns": ctime_ns})

    assert identity.settles(info(5_000_000_001)) == 5_000_000_001 + identity.SLACK
    assert identity.settles(info(5_000_000_000)) == 6_000_000_000 + identity.SLACK


def test_who_writes_is_found(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        assert identity.unwritten(fd)
        with open(path, "r+b") as file:
            assert not identity.unwritten(fd)
            mapped = mmap.mmap(file.fileno(), 4)
        assert not identity.unwritten(fd)
        mapped.close()
        assert identity.unwritten(fd)
        path.write_text("there is no lease left that this could wait for")
    finally:
        os.close(fd)


def test_content_is_remembered_only_of_files_that_can_be_told_from_others(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change within one tick of the clock leaves the times as they are."""
    tree = Tree.context(str(path.parent))
    try:
        monkeypatch.setattr(identity, "clock", lambda: path.stat().st_ctime_ns)
        tree.digest("", firm=True)
        assert not tree.digests and not tree.firm
        monkeypatch.setattr(identity, "clock", lambda: path.stat().st_ctime_ns + 2 * 10**9)
        tree.digest("")
        assert identity.of(path.stat()) in tree.digests and not tree.firm
        with open(path, "r+b"):
            tree.digest("", firm=True)
            assert not tree.firm
        tree.digest("", firm=True)
        assert identity.of(path.stat()) in tree.firm
    finally:
        tree.close()


@pytest.mark.parametrize("firm", [False, True])
def test_what_is_remembered_is_not_read_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, firm: bool
) -> None:
    monkeypatch.setattr(identity, "clock", lambda: path.stat().st_ctime_ns + 2 * 10**9)
    tree = Tree.context(str(path.parent))
    try:
        digest = tree.digest("", firm=firm)
        monkeypatch.setattr(os, "pread", refuse)
        assert tree.digest("", firm=firm) == digest
    finally:
        tree.close()


def refuse(*_: object) -> bytes:
    raise AssertionError("read")
