"""Trees that are nested deep: packed and compared with few folders open, or refused."""

import io
import os
import resource
import stat
import tarfile

import pytest

from estiva.errors import EngineError
from estiva.files import remove_tree
from estiva.store.layers import pack
from estiva.store.layers.changes import Changes
from estiva.store.layers.descent import OPEN, Descent
from estiva.store.layers.tree import MAX_DEPTH, Tree
from estiva.store.tar.entry import Entry

FLAGS = os.O_RDONLY | os.O_DIRECTORY


def nested(top, count):
    """So many folders `d`, each in the one before, each with a file beside it."""
    os.mkdir(top)
    fd = os.open(top, FLAGS)
    for _ in range(count):
        os.close(os.open("z", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=fd))
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", FLAGS, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    return os.open(top, FLAGS)


@pytest.fixture
def few_fds():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    here = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (here + 2 * OPEN + 30, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_tree_deeper_than_the_interpreter_recurses(tmp_path, few_fds):
    deep, empty = nested(tmp_path / "deep", 1500), nested(tmp_path / "empty", 0)
    out = io.BytesIO()
    pack.write_tree(deep, out)
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        names = [member.name for member in tar]
    assert len(names) == 1 + 2 * 1500
    assert names[1:3] == ["d", "d/d"] and names[-1] == "z" and names[-2] == "d/z"
    found = Changes(deep, empty).run()
    assert len(found) == 2 * 1500 and {kind for kind, _ in found} == {"A"}
    assert Changes(deep, deep).run() == []
    os.unlink("z", dir_fd=deep)
    assert Changes(empty, deep).run() == []  # an upper directory says what it hides by whiteouts
    os.close(deep)
    os.close(empty)
    remove_tree(str(tmp_path / "deep"))


def test_one_that_is_too_deep_is_refused_and_nothing_left_open(tmp_path):
    deep, empty = nested(tmp_path / "deep", 5000), nested(tmp_path / "empty", 0)
    before = os.listdir("/proc/self/fd")
    for work in (
        lambda: pack.write_tree(deep, io.BytesIO()),
        lambda: pack.pack(deep, empty, io.BytesIO()),
        lambda: Changes(deep, empty).run(),
    ):
        with pytest.raises(EngineError, match="nested too deep") as caught:
            work()
        assert len(str(caught.value)) < 300
    assert os.listdir("/proc/self/fd") == before
    os.close(deep)
    os.close(empty)
    remove_tree(str(tmp_path / "deep"))


def test_an_archive_that_would_be_cut_is_not_begun(tmp_path):
    deep, out = nested(tmp_path / "deep", pack.MAX_DEPTH + 1), io.BytesIO()
    with pytest.raises(EngineError, match=f"nested too deep: more than {pack.MAX_DEPTH} folders"):
        pack.write_tree(deep, out)
    assert out.getvalue() == b""
    os.close(deep)
    remove_tree(str(tmp_path / "deep"))


def test_a_layer_has_no_more_than_who_unpacks_it_takes(tmp_path):
    deep, empty = nested(tmp_path / "deep", MAX_DEPTH + 1), nested(tmp_path / "empty", 0)
    with pytest.raises(EngineError, match=f"^/d/d.*nested too deep: more than {MAX_DEPTH} folders"):
        pack.pack(deep, empty, io.BytesIO())
    os.close(deep)
    deep, out = nested(tmp_path / "fits", MAX_DEPTH), io.BytesIO()
    pack.pack(deep, empty, out)
    tree = Tree()
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        for member in tar:
            kind = stat.S_IFDIR if member.isdir() else stat.S_IFREG
            tree.add(Entry(os.fsencode(member.name), kind, 0o755))
    os.close(deep)
    os.close(empty)
    remove_tree(str(tmp_path / "deep"))
    remove_tree(str(tmp_path / "fits"))


def test_no_file_is_left_out_of_a_sum_for_want_of_fds(tmp_path, few_fds):
    for number in range(3 * OPEN):
        (tmp_path / f"d{number}").mkdir()
        (tmp_path / f"d{number}" / "file").touch()
    top, seen = os.open(tmp_path, FLAGS), []
    pack.walk_files(top, seen.append)
    assert len(seen) == 2 * 3 * OPEN
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(top)  # the lowest number that is free
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            pack.walk_files(top, seen.append)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    os.close(top)


def test_a_folder_that_is_moved_while_it_is_read_is_told(tmp_path):
    top = nested(tmp_path / "deep", OPEN + 2)
    way = Descent(top)
    for _ in range(OPEN + 2):
        way.down(os.open("d", FLAGS, dir_fd=way.fd))
    first = os.open("d/d", FLAGS, dir_fd=top)
    os.mkdir(tmp_path / "elsewhere")
    os.rename("d", tmp_path / "elsewhere/d", src_dir_fd=first)
    os.close(first)
    with pytest.raises(EngineError, match="was moved while it was read"):
        while way.depth:
            way.up()
    way.close()
    os.close(top)
