"""Upper directories as one: what overlayfs would show of them, made by hand (needs root: whiteouts are devices)."""

import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estiva.errors import EngineError
from estiva.store.layers.merge import OPAQUE, merge

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

NAMES = st.sampled_from(["a", "b", "c"])
TREES = st.recursive(
    st.one_of(st.text("xyz", max_size=3), st.none()),  # a file, a whiteout
    lambda inner: st.tuples(st.booleans(), st.dictionaries(NAMES, inner, max_size=3)),  # opaque?, a folder
    max_leaves=8,
)
UPPERS = st.lists(
    st.tuples(st.just(False), st.dictionaries(NAMES, TREES, max_size=3)), min_size=1, max_size=4
)


def build(path, tree):
    if tree is None:
        os.mknod(path, stat.S_IFCHR, 0)
    elif isinstance(tree, str):
        path.write_text(tree)
    else:
        path.mkdir()
        if tree[0]:
            os.setxattr(path, OPAQUE, b"y")
        for name, inner in tree[1].items():
            build(path / name, inner)


def read(path):
    """What there is, as `build` takes it."""
    found = os.lstat(path)
    if stat.S_ISCHR(found.st_mode):
        return None
    if stat.S_ISREG(found.st_mode):
        return path.read_text()
    opaque = OPAQUE in os.listxattr(path)
    return opaque, {name: read(path / name) for name in os.listdir(path)}


def over(upper, lower):
    """One tree over another, both seen as changes to what is below."""
    if not isinstance(upper, tuple):
        return upper
    if not isinstance(lower, tuple):
        return (True, upper[1])  # over a file or a whiteout
    if upper[0]:
        return upper
    names = [*upper[1], *(name for name in lower[1] if name not in upper[1])]
    return lower[0], {
        name: over(upper[1][name], lower[1][name])
        if name in upper[1] and name in lower[1]
        else upper[1].get(name, lower[1].get(name))
        for name in names
    }


def expected(uppers):
    result = uppers[-1]
    for upper in reversed(uppers[:-1]):
        result = over(upper, result)
    return result


@given(UPPERS, st.booleans())
def test_it_is_what_overlayfs_shows(tmp_path_factory, uppers, copied):
    """The model joins two at a time, from the lowest: as if each had been written over the ones before it."""
    top = tmp_path_factory.mktemp("merge")
    for number, tree in enumerate(uppers):
        build(top / str(number), tree)
    (top / "target").mkdir()
    sources = [str(top / str(number)) for number in range(len(uppers))]
    merge(sources, str(top / "target"), copied=len(sources) if copied else 0)
    assert read(top / "target") == expected(uppers)
    assert [read(top / str(number)) for number in range(len(uppers))] == uppers


def test_files_are_as_they_were(tmp_path):
    upper, target = tmp_path / "upper", tmp_path / "target"
    for path in (upper, target):
        path.mkdir()
    upper.chmod(0o1751)
    (upper / "file").write_bytes(b"x" * 100)
    os.chown(upper / "file", 7, 8)
    (upper / "file").chmod(0o4711)
    os.setxattr(upper / "file", "user.a", b"b")
    os.setxattr(upper / "file", "trusted.overlay.origin", b"gone")
    os.setxattr(upper / "file", "trusted.overlay.overlay.x", b"kept")
    os.link(upper / "file", upper / "hard")
    os.symlink("/etc", upper / "soft")
    os.mkfifo(upper / "fifo", 0o640)
    with open(upper / "sparse", "wb") as file:
        file.seek(50 << 20)
        file.write(b"end")
        file.truncate(60 << 20)
    for name in ("file", "soft", "fifo", "sparse"):
        os.utime(upper / name, ns=(1, 2_000_000_003), follow_symlinks=False)
    os.utime(upper, ns=(4, 5_000_000_006))
    merge([str(upper)], str(target), copied=1)
    for name in (".", "file", "hard", "soft", "fifo", "sparse"):
        mine, old = os.lstat(target / name), os.lstat(upper / name)
        same = ("st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_rdev", "st_nlink")
        assert [getattr(mine, key) for key in same] == [getattr(old, key) for key in same], name
    assert sorted(os.listxattr(target / "file")) == ["trusted.overlay.overlay.x", "user.a"]
    assert (
        os.lstat(target / "file").st_ino
        == os.lstat(target / "hard").st_ino
        != os.lstat(upper / "file").st_ino
    )
    assert os.lstat(target / "sparse").st_blocks < 1000
    with open(target / "sparse", "rb") as file:
        file.seek(50 << 20)
        assert file.read(4) == b"end\0"
    assert os.readlink(target / "soft") == "/etc" and (upper / "file").read_bytes() == b"x" * 100


def test_what_is_nested_too_deep_is_refused(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    top = fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=fd)
        fd = os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
    with pytest.raises(EngineError, match="nested too deep"):
        merge([str(tmp_path / ("d" * 200))], str(target), copied=1)
    del top
