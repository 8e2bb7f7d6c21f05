import contextlib
import os

import pytest

from estiva.errors import Conflict, InvalidInput, NotFound
from estiva.files import remove_tree
from estiva.store.volumes import gone, tree_size
from storekit import make_store


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path)


def use(store, name, container="c" * 64):
    with store.db.write() as transaction:
        transaction.execute("INSERT INTO container_volumes VALUES (?, ?)", (container, name))


def test_create_find_list_remove(store):
    volumes = store.volumes
    old = os.umask(0o077)
    try:
        made = volumes.create("data", {"a": "b"})
    finally:
        os.umask(old)
    assert made.path == f"{store.paths.volumes}/data/_data" == volumes.path("data")
    assert os.stat(made.path).st_mode & 0o777 == 0o755
    assert os.stat(os.path.dirname(made.path)).st_mode & 0o777 == 0o700
    assert (made.labels, made.anonymous) == ({"a": "b"}, False)
    with open(made.path + "/file", "w") as file:
        file.write("x" * 10_000)
    assert volumes.size("data") >= 10_000
    assert volumes.create("data", {"c": "d"}).labels == {"a": "b"}
    assert os.path.exists(made.path + "/file")
    assert [v.name for v in volumes.list()] == ["data"]
    volumes.remove("data")
    assert os.listdir(store.paths.volumes) == []
    assert volumes.find("data") is None
    for call in (volumes.get, volumes.remove):
        with pytest.raises(NotFound):
            call("data")
    volumes.remove("data", force=True)


def test_anonymous_volumes_get_a_name(store):
    volume = store.volumes.create()
    assert volume.anonymous and len(volume.name) == 64
    assert store.volumes.create("x" * 64, anonymous=True).anonymous


def test_a_volume_in_use_stays(store):
    store.volumes.create("data")
    use(store, "data")
    assert store.volumes.in_use_by("data") == ["c" * 64]
    with pytest.raises(Conflict, match="in use by container cccccccccccc"):
        store.volumes.remove("data")
    with pytest.raises(Conflict):
        store.volumes.remove("data", force=True)
    assert store.volumes.prune(all=True) == []


def test_prune(store):
    anonymous, held = store.volumes.create(), store.volumes.create()
    store.volumes.create("named")
    use(store, held.name)
    assert store.volumes.prune() == [anonymous.name]
    assert store.volumes.prune(all=True) == ["named"]
    assert [v.name for v in store.volumes.list()] == [held.name]


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "-a", ".a", "a b", "é", "a\0", "x" * 256])
def test_names_never_leave_the_directory(store, name):
    for call in (store.volumes.create, store.volumes.path, store.volumes.find, store.volumes.remove):
        with pytest.raises(InvalidInput, match="invalid volume name"):
            call(name)
    assert os.listdir(store.paths.volumes) == []


def test_one_that_is_there_is_found_without_a_write(store, monkeypatch):
    volumes = store.volumes
    assert volumes.create("data", user="c" * 64).new
    with_options = volumes.create("ram", options={"type": "tmpfs", "device": "tmpfs"})
    lent = volumes.create("x" * 64, anonymous=True)
    assert volumes.in_use_by("data") == ["c" * 64]
    with monkeypatch.context() as patch:
        patch.setattr(store.db, "write", None)
        there = volumes.create("data", {"other": "label"}, user="d" * 64)
        assert (there.path, there.new, there.labels) == (volumes.path("data"), False, {})
    for one in (with_options.name, lent.name):  # such are the container's at once
        volumes.create(one, user="d" * 64)
        assert volumes.in_use_by(one) == ["d" * 64]
    os.rmdir(volumes.path("data"))
    volumes.create("data", user="d" * 64)
    assert os.path.isdir(volumes.path("data")) and volumes.in_use_by("data") == ["c" * 64, "d" * 64]


def test_volumes_that_are_gone_are_told(store):
    store.volumes.create("here")
    assert gone(store.db, ["here", "away", "far"]) == ["away", "far"]
    assert gone(store.db, []) == []


def test_the_size_of_a_hostile_tree(tmp_path, monkeypatch):
    """A container may nest folders deeper than a path can say, and swap one for a link while it is read (K1)."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "big").write_bytes(b"x" * 500_000)
    top = tmp_path / "top"
    top.mkdir()
    (top / "link").symlink_to(outside)
    fd = os.open(top, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("deeper", dir_fd=fd)
        inner = os.open("deeper", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    try:
        size = tree_size(str(top))
        (top / "swapped").mkdir()
        scan = os.scandir

        def swapping(path):
            found = list(scan(path))
            if os.path.isdir(top / "swapped") and not os.path.islink(top / "swapped"):
                os.rmdir(top / "swapped")
                (top / "swapped").symlink_to(outside)
            return contextlib.nullcontext(found)

        monkeypatch.setattr(os, "scandir", swapping)
        assert size - 1 < tree_size(str(top)) < size + 400_000
        monkeypatch.undo()
        assert tree_size(str(tmp_path / "nothing")) == tree_size(str(top / "link")) == 0
    finally:
        remove_tree(str(top))
