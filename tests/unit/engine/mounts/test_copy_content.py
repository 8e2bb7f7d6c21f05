"""Content of one file into another: blocks of a large one at once, holes, and a file that gets shorter meanwhile."""

import errno
import os

import pytest

from estiva.engine.mounts import trees
from estiva.linux import fs

SIZE = 4 << 20


@pytest.fixture
def files(tmp_path):
    data = os.urandom(SIZE)
    (tmp_path / "from").write_bytes(data)
    reader = os.open(tmp_path / "from", os.O_RDONLY)
    writer = os.open(tmp_path / "to", os.O_WRONLY | os.O_CREAT)
    yield reader, writer, tmp_path / "to", data
    os.close(reader)
    os.close(writer)


def test_blocks_of_a_large_file_are_there_before_its_content(files, monkeypatch):
    reader, writer, target, data = files
    seen = []
    copy = trees.copy_bytes
    monkeypatch.setattr(
        trees, "copy_bytes", lambda *words: seen.append(target.stat().st_blocks * 512) or copy(*words)
    )
    trees.copy_content(reader, writer, os.fstat(reader))
    assert target.read_bytes() == data and seen[0] >= SIZE


def test_a_file_that_has_got_shorter_leaves_no_blocks_behind(files):
    reader, writer, target, data = files
    status = os.fstat(reader)
    os.truncate(f"/proc/self/fd/{reader}", SIZE // 4)
    trees.copy_content(reader, writer, status)
    assert target.read_bytes() == data[: SIZE // 4]
    assert target.stat().st_blocks * 512 < SIZE // 2


def test_a_full_disk_is_told_before_anything_is_written(files, monkeypatch):
    reader, writer, target, _ = files

    def full(fd, size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fs, "preallocate", full)
    with pytest.raises(OSError, match="No space"):
        trees.copy_content(reader, writer, os.fstat(reader))
    assert target.read_bytes() == b""


def test_preallocate_says_what_is_wrong(files):
    _, writer, _, _ = files
    with pytest.raises(OSError) as caught:
        fs.preallocate(writer, 1 << 62)
    assert caught.value.errno in (errno.EFBIG, errno.ENOSPC)
    fs.preallocate(writer, SIZE)
