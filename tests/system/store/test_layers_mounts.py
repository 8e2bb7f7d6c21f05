"""Layer mounts on the host: made once, shared, kept while used, swept; and directories that layers do not
name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from estiva.errors import InvalidInput
from estiva.store import Store
from estiva.store.layers.drivers import META
from layerkit import DIR, LINK, add, member, store_at, tar_of, tree, viewed, xattr

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")


@pytest.fixture(params=["erofs", "erofs-lz4", "dir"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with store_at(tmp_path, request.param) as store:
        yield store


@pytest.fixture
def erofs(tmp_path: Path) -> Iterator[Store]:
    with store_at(tmp_path, "erofs") as store:
        yield store


def mounts(store: Store) -> list[str]:
    with open("/proc/self/mountinfo") as file:
        return [line.split()[4] for line in file if store.paths.run_layers in line]


@pytest.mark.erofs
def test_one_mount_for_all(erofs: Store) -> None:
    diff_id = add(erofs, tar_of(member("f", data=b"x")))
    with erofs.layers.mount([diff_id]) as first, erofs.layers.mount([diff_id]) as second:
        assert first == second == mounts(erofs)
    assert erofs.layers.sweep() == 1
    assert mounts(erofs) == [] and os.listdir(erofs.paths.run_layers) == []
    with erofs.layers.mount([diff_id]) as again:
        assert open(again[0] + "/f").read() == "x"


@pytest.mark.erofs
def test_sweep_spares_what_is_being_used_or_kept(erofs: Store) -> None:
    a, b = add(erofs, tar_of(member("a"))), add(erofs, tar_of(member("b")))
    lowers = erofs.layers.mount([a, b])
    assert erofs.layers.sweep() == 0 and len(mounts(erofs)) == 2
    lowers.release()
    assert erofs.layers.sweep(keep=[a]) == 1
    assert mounts(erofs) == [f"{erofs.paths.run_layers}/{a[7:]}"]


@pytest.mark.erofs
def test_an_overlay_survives_the_sweep(erofs: Store) -> None:
    diff_id = add(erofs, tar_of(member("f", data=b"x" * 100_000)))
    with viewed(erofs, diff_id) as view:
        assert erofs.layers.sweep() == 1 and mounts(erofs) == []
        assert len(open(view + "/f").read()) == 100_000


@pytest.mark.erofs
def test_many_processes_mount_at_once(erofs: Store) -> None:
    diff_ids = [add(erofs, tar_of(member(f"f{i}"))) for i in range(5)]
    program = (
        "import sys; from estiva.paths import Paths; from estiva.store import Store\n"
        "store = Store(Paths(*sys.argv[1:3]))\n"
        "with store.layers.mount(sys.argv[3:]) as lowers:\n"
        "    import os; print(len([1 for d in lowers if os.listdir(d)]))\n"
    )
    command = [sys.executable, "-c", program, erofs.paths.root, erofs.paths.run_root, *diff_ids]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) for _ in range(6)]
    assert [process.communicate()[0].split() for process in running] == [[b"5"]] * 6
    assert len(mounts(erofs)) == 5


@pytest.mark.erofs
def test_a_layer_image_can_be_anywhere(tmp_path: Path) -> None:
    deep = tmp_path / "with, comma:and space" / ("x" * 200)
    deep.mkdir(parents=True)
    with store_at(deep, "erofs") as store:
        diff_id = add(store, tar_of(member("f", data=b"far")))
        with viewed(store, diff_id) as view:
            assert open(view + "/f").read() == "far"


@pytest.mark.erofs
def test_what_the_kernel_can_is_asked_once(erofs: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from estiva.store.layers import drivers

    assert drivers.choose(erofs.paths, erofs.db) == "erofs"
    ((value,),) = erofs.db.read("SELECT value FROM meta WHERE key = ?", (META,))
    assert value in ("erofs+directio", "erofs")
    monkeypatch.setattr(drivers, "_probe", lambda *_: pytest.fail("probed again"))
    assert drivers.choose(erofs.paths, erofs.db) == "erofs"
    monkeypatch.setenv("ESTIVA_STORAGE_DRIVER", "dir")
    assert drivers.choose(erofs.paths, erofs.db) == "dir"
    with pytest.raises(InvalidInput):
        drivers.choose(erofs.paths, erofs.db, "btrfs")


def test_an_unnamed_directory_is_as_the_layer_below_has_it(store: Store) -> None:
    base = add(
        store,
        tar_of(
            member("./", DIR, mode=0o711, uid=4, mtime=50),
            member("home", DIR, mode=0o2770, uid=1000, gid=2000, mtime=77, pax=xattr("user.k", b"v")),
            member("home/deep", DIR, mode=0o700, uid=5, mtime=78),
            member("plain", DIR, mode=0o755, mtime=79),
            member("named", DIR, mode=0o700),
        ),
    )
    middle = add(
        store, tar_of(member("home/deep/x/y", data=b"1"), member("named", DIR, mode=0o701), member("named/z"))
    )
    top = add(store, tar_of(member("home/deep/w"), member("plain/p"), member("named/t"), member("new/n")))
    for _ in range(2):  # the second time from what is remembered
        with viewed(store, base, middle, top) as view:
            found = tree(view)
            assert found["."][:3] == ("0o40711", 4, 0) and found["."][4] == 50
            assert found["home"] == ("0o42770", 1000, 2000, None, 77, {"user.k": b"v"})
            assert found["home/deep"][:2] == ("0o40700", 5) and found["home/deep"][4] == 78
            assert found["home/deep/x"] == ("0o40755", 0, 0, None, 0, {})
            assert found["plain"][0] == "0o40755" and found["plain"][4] == 79
            assert found["named"][0] == "0o40701" and found["new"][0] == "0o40755"
            assert {"home/deep/x/y", "home/deep/w", "named/z", "named/t", "plain/p", "new/n"} < set(found)
    assert len([name for name in os.listdir(f"{store.paths.fixups}/{top[7:]}") if len(name) == 12]) == 1
    path = f"{store.paths.fixups}/{top[7:]}/chains"
    for damage in (
        b"\0" * os.path.getsize(path),
        open(path, "rb").read().replace(b" ", b"\0", 1),
        b"\xff 1 x",
    ):
        with open(path, "wb") as file:
            file.write(damage)
        with viewed(store, base, middle, top) as view:
            assert tree(view)["home"] == ("0o42770", 1000, 2000, None, 77, {"user.k": b"v"})
    shutil.rmtree(os.path.dirname(path) + "/" + open(path).read().split(" ")[0])
    with viewed(store, base, middle, top) as view:
        assert tree(view)["home"] == ("0o42770", 1000, 2000, None, 77, {"user.k": b"v"})


def test_a_parent_of_a_fixed_directory_shows_what_its_own_layer_says(store: Store) -> None:
    base = add(store, tar_of(member("a", DIR, mode=0o700), member("a/b", DIR, mode=0o711)))
    top = add(store, tar_of(member("a", DIR, mode=0o750, uid=9), member("a/b/c")))
    with viewed(store, base, top) as view:
        found = tree(view)
        assert found["a"][:2] == ("0o40750", 9) and found["a/b"][0] == "0o40711"


def test_what_is_hidden_below_has_no_say(store: Store) -> None:
    base = add(store, tar_of(*(member(f"{d}/x", DIR, mode=0o700, uid=7) for d in "abcd")))
    hide = add(
        store,
        tar_of(
            member(".wh.a"),
            member("b", DIR),
            member("b/.wh..wh..opq"),
            member("c"),
            member("d", LINK, link="a"),
        ),
    )
    top = add(store, tar_of(*(member(f"{d}/x/y") for d in "abcd")))
    with viewed(store, base, hide, top) as view:
        found = tree(view)
        assert [found[f"{d}/x"][:2] for d in "abcd"] == [("0o40755", 0)] * 4


def test_no_fixup_where_nothing_differs(store: Store) -> None:
    base, top = add(store, tar_of(member("a/b"))), add(store, tar_of(member("a/c")))
    with store.layers.mount([base, top]) as lowers:
        assert len(lowers) == 2
    with store.layers.mount([base, top]) as lowers:
        assert len(lowers) == 2


def test_two_chains_with_one_top(store: Store) -> None:
    one = add(store, tar_of(member("a", DIR, mode=0o700)))
    two = add(store, tar_of(member("a", DIR, mode=0o711)))
    top = add(store, tar_of(member("a/x")))
    for _ in range(2):
        for base, mode in ((one, "0o40700"), (two, "0o40711")):
            with viewed(store, base, top) as view:
                assert tree(view)["a"][0] == mode


def test_the_mount_path_imports_little() -> None:
    heavy = "json re enum signal typing dataclasses collections contextlib pathlib subprocess logging hashlib"
    heavy += " threading queue tempfile shutil argparse"
    program = (
        "import sys; from estiva.store import snapshots; from estiva.store.layers import layers, mounts\n"
        f"print(sorted(set({heavy.split()!r}) & set(sys.modules)))"
    )
    source = next(path for path in sys.path if os.path.isdir(path + "/estiva/store"))
    command = ["/usr/bin/python3", "-I", "-S", "-c", f"import sys; sys.path.insert(0, {source!r}); {program}"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "[]\n"


def test_a_layer_twice_in_a_chain(store: Store) -> None:
    twice = add(store, tar_of(member("a/x", data=b"again"), member(".wh.y")))
    other = add(store, tar_of(member(".wh.a"), member("y"), member("b")))
    with viewed(store, twice, other, twice) as view:
        assert set(tree(view)) == {".", "a", "a/x", "b"}


@pytest.mark.erofs
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_does_not_end_the_parents_lock(erofs: Store) -> None:
    diff_id = add(erofs, tar_of(member("f")))
    lowers = erofs.layers.mount([diff_id])
    pid = os.fork()
    if pid == 0:
        lowers.__del__()
        os._exit(0)
    os.waitpid(pid, 0)
    assert erofs.layers.sweep() == 0
    lowers.release()
    assert erofs.layers.sweep() == 1
