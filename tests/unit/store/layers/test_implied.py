"""Directories that a layer needs but does not name: the layer that names them says how they are."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from estiva import fastjson
from estiva.oci.digest import sha256
from estiva.store import Store
from estiva.store.layers import implied
from storekit import make_store

OLD = 1_000_000_000_000_000_000
as_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="trusted attributes and files of root's are root's to make"
)


class Chain:
    """Layers as folders, base first; each `add` lays one on top."""

    def __init__(self, path: Path) -> None:
        self.store: Store = make_store(path)
        self.path = path
        self.lowers: list[str] = []
        self.diff_ids: list[str] = []

    def add(self, named: dict[str, int] | None = None, *, implied: tuple[str, ...] = (), **files: str) -> str:
        """A layer with the directories `named` (path -> mode), and with `implied` ones that it only needs."""
        number = len(self.lowers)
        root = self.path / f"layer{number}"
        root.mkdir()
        for place in sorted((*(named or {}), *implied)):
            (root / place.strip("/")).mkdir(exist_ok=True)
        for name, text in files.items():
            (root / name).write_text(text)
        for place in sorted(named or {}, reverse=True):
            os.chmod(root / place.strip("/"), (named or {})[place])
            os.utime(root / place.strip("/"), ns=(OLD, OLD))
        diff_id = sha256(f"layer {number}".encode())
        with self.store.db.write() as transaction:
            transaction.execute(
                "INSERT INTO layers (diff_id, driver, size, implied, created) VALUES (?, 'dir', 0, ?, 0)",
                (diff_id, fastjson.dumps(list(implied))),
            )
        self.lowers.insert(0, str(root))
        self.diff_ids.insert(0, diff_id)
        return str(root)

    def fix(self) -> tuple[dict[str, int], int]:
        """What the layer on top has, path -> mode, and how many layers count."""
        name, depth = implied.make(self.store.paths, self.store.db, self.lowers, self.diff_ids)
        top = f"{self.store.paths.fixups}/{self.diff_ids[0][7:]}"
        with open(f"{top}/chains") as file:
            assert file.read().splitlines()[-1] == f"{name} {depth} {','.join(self.diff_ids)}"
        if name == implied.NONE:
            return {}, int(depth)
        base = f"{top}/{name}"
        found = {}
        for folder, _, others in os.walk(base):
            assert not others
            found[folder.removeprefix(base) or "/"] = stat.S_IMODE(os.stat(folder).st_mode)
        return found, int(depth)


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path)


def test_a_lower_layer_keeps_its_say(chain: Chain) -> None:
    chain.add({"/": 0o755, "/a": 0o1777})
    chain.add(implied=("/a",))
    found, depth = chain.fix()
    assert found["/a"] == 0o1777 and set(found) == {"/", "/a"} and depth == 2
    base = f"{chain.store.paths.fixups}/{chain.diff_ids[0][7:]}"
    (made,) = [name for name in os.listdir(base) if name not in ("lock", "chains")]
    assert os.stat(f"{base}/{made}/a").st_mtime_ns == OLD


def test_nothing_is_made_where_all_agree(chain: Chain) -> None:
    chain.add({"/": 0o755, "/a": 0o700})
    chain.add({"/a": 0o711})  # names it: its word counts
    assert chain.fix() == ({}, 2)
    assert os.listdir(f"{chain.store.paths.fixups}/{chain.diff_ids[0][7:]}") in (
        ["lock", "chains"],
        ["chains", "lock"],
    )


def test_a_directory_that_no_layer_names_is_as_it_shows_anyway(chain: Chain) -> None:
    chain.add({"/": 0o755})
    chain.add(implied=("/a",))
    chain.add(implied=("/a",))
    assert chain.fix() == ({}, 3)


@as_root
def test_a_directory_that_is_described_as_it_shows_anyway_needs_nothing(chain: Chain) -> None:
    base = chain.add({"/a": 0o755})
    os.utime(f"{base}/a", ns=(0, 0))
    chain.add(implied=("/a",))
    assert chain.fix() == ({}, 2)


def test_the_topmost_layer_that_names_it_decides(chain: Chain) -> None:
    chain.add({"/a": 0o700})
    chain.add({"/a": 0o750})
    chain.add(implied=("/a",))
    chain.add(implied=("/a",))
    assert chain.fix()[0]["/a"] == 0o750


def test_parents_show_what_they_show_without_the_fix(chain: Chain) -> None:
    chain.add({"/a": 0o700, "/a/b": 0o750})
    chain.add({"/a": 0o711}, implied=("/a/b",))
    found = chain.fix()[0]
    assert found["/a"] == 0o711 and found["/a/b"] == 0o750


def test_what_a_file_in_between_hides_has_no_say(chain: Chain) -> None:
    chain.add({"/a": 0o700})
    chain.add(a="a file where the directory was")
    chain.add(implied=("/a",))
    assert chain.fix() == ({}, 3)


def test_a_symlink_is_not_followed(chain: Chain) -> None:
    base = chain.add({"/real": 0o700})
    os.symlink("real", f"{base}/a")
    chain.add(implied=("/a",))
    assert chain.fix() == ({}, 2)


@as_root
def test_what_an_opaque_root_hides_does_not_count(chain: Chain) -> None:
    chain.add({"/a": 0o700})
    opaque = chain.add({"/b": 0o700})
    os.setxattr(opaque, "trusted.overlay.opaque", b"y")
    chain.add(implied=("/a", "/b"))
    found, depth = chain.fix()
    assert depth == 2 and found["/b"] == 0o700 and "/a" not in found


@as_root
def test_what_an_opaque_directory_hides_does_not_count(chain: Chain) -> None:
    chain.add({"/a": 0o711, "/a/b": 0o700})
    above = chain.add({"/a": 0o711})
    os.setxattr(f"{above}/a", "trusted.overlay.opaque", b"y")
    chain.add(implied=("/a", "/a/b"))
    found = chain.fix()[0]
    assert found["/a"] == 0o711 and "/a/b" not in found


@as_root
def test_an_opaque_directory_that_is_not_named_hides_too(chain: Chain) -> None:
    chain.add({"/a": 0o700})
    above = chain.add(implied=("/a",))
    os.setxattr(f"{above}/a", "trusted.overlay.opaque", b"y")
    assert chain.fix() == ({}, 2)


def test_chains_are_remembered_one_after_another(chain: Chain) -> None:
    chain.add({"/a": 0o700})
    chain.add(implied=("/a",))
    chain.fix()
    chain.fix()
    with open(f"{chain.store.paths.fixups}/{chain.diff_ids[0][7:]}/chains") as file:
        names = [line.split()[0] for line in file]
    assert len(names) == len(set(names)) == 2


def test_attributes_are_compared_and_applied_whole(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(mode=0o700)
    two.mkdir(mode=0o755)
    os.utime(one, ns=(OLD, OLD))
    try:
        os.setxattr(one, "user.mark", b"x")
    except OSError:
        pytest.skip("no attributes on this filesystem")
    fds = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (one, two)]
    try:
        mine, other = (implied.Attributes.of(fd) for fd in fds)
        assert mine != other and mine.xattrs == {"user.mark": b"x"}
        assert not mine.plain() and implied.Attributes(0o755, 0, 0, 0, {}).plain()
        mine.apply(fds[1])
        assert implied.Attributes.of(fds[1]) == mine
    finally:
        for fd in fds:
            os.close(fd)
