"""store/layers/tree.py: a tar's entries carried out in memory."""

from __future__ import annotations

import stat

import pytest

from estiva.errors import LayerError
from estiva.store.layers.tree import Tree, is_whiteout
from estiva.store.tar.scanner import Scanner
from layerkit import DIR, HARD, LINK, member, tar_of


def grow(*members: object) -> Tree:
    tree = Tree()
    scanner = Scanner(tree.add)
    scanner.feed(tar_of(*members))  # type: ignore[arg-type]
    scanner.close()
    return tree.finish()


def paths(tree: Tree) -> dict[str, str]:
    kinds = {stat.S_IFDIR: "d", stat.S_IFREG: "f", stat.S_IFLNK: "l", stat.S_IFCHR: "c"}
    return {path.decode(): kinds[node.kind] for path, node in tree.walk() if path}


def test_the_last_of_a_name_wins() -> None:
    tree = grow(member("f", data=b"one"), member("f", data=b"second", mode=0o600))
    assert tree.root.children is not None
    node = tree.root.children[b"f"]
    assert (node.size, node.mode) == (6, 0o600)


def test_a_file_where_a_directory_was_and_the_reverse() -> None:
    tree = grow(
        member("a", DIR),
        member("a/x"),
        member("a"),
        member("b"),
        member("b", DIR),
        member("b/y"),
        member("a2/z"),
    )
    assert paths(tree) == {"a": "f", "b": "d", "b/y": "f", "a2": "d", "a2/z": "f"}


def test_names_below_a_replaced_directory_do_not_come_back() -> None:
    tree = grow(member("a/b/x"), member("a"), member("a", DIR), member("a/b/y"))
    assert paths(tree) == {"a": "d", "a/b": "d", "a/b/y": "f"}


def test_a_directory_named_again_keeps_its_content() -> None:
    tree = grow(member("a/x"), member("a", DIR, mode=0o700, uid=3), member("a", DIR, mode=0o711, uid=4))
    assert tree.root.children is not None
    node = tree.root.children[b"a"]
    assert (node.mode, node.uid, node.implied) == (0o711, 4, False)
    assert paths(tree) == {"a": "d", "a/x": "f"}


def test_implied_directories_are_told() -> None:
    tree = grow(member("a/b/c"), member("a", DIR), member("é/x"))
    assert tree.implied() == ["/", "/a/b", "/" + "é".encode().decode("latin-1")]
    assert grow(member("./", DIR)).implied() == []


def test_symlinked_parents_are_followed_inside_the_layer() -> None:
    tree = grow(
        member("etc", DIR),
        member("abs", LINK, link="/etc"),
        member("abs/x"),
        member("d/up", LINK, link="../../../../etc"),
        member("d/up/new/y"),
    )
    assert paths(tree) == {
        "etc": "d", "etc/x": "f", "etc/new": "d", "etc/new/y": "f", "abs": "l", "d": "d", "d/up": "l"
    }  # fmt: skip


@pytest.mark.parametrize(
    "members",
    [
        (member("a", LINK, link="/etc"), member("a/passwd")),
        (member("a", LINK, link="a"), member("a/x")),
        (member("a"), member("a/x")),
        (member("h", HARD, link="missing"),),
        (member("h", HARD, link="later"), member("later")),
        (member("d", DIR), member("h", HARD, link="d")),
        (member("a", LINK, link="/etc"), member("h", HARD, link="a/passwd")),
        (member(".wh..."),),
        (member(".wh.."),),
        (member(".wh."),),
        (member("a/.wh.b/c"),),
        (member("/".join(["d"] * 600)),),
    ],
)
def test_refused(members: tuple[object, ...]) -> None:
    with pytest.raises(LayerError):
        grow(*members)


def test_an_entry_replaces_a_symlink_and_never_writes_through_it() -> None:
    tree = grow(member("a", LINK, link="/etc/passwd"), member("a", data=b"x"))
    assert paths(tree) == {"a": "f"}


def test_hard_links_are_one_node() -> None:
    tree = grow(member("a", data=b"1"), member("b/c", HARD, link="a"), member("d", HARD, link="./b/c"))
    nodes = [node for path, node in tree.walk() if path in (b"a", b"b/c", b"d")]
    assert len({id(node) for node in nodes}) == 1 and nodes[0].nlink == 3


def test_a_hard_link_to_a_symlink_links_the_symlink() -> None:
    tree = grow(member("s", LINK, link="/x"), member("h", HARD, link="s"))
    assert paths(tree) == {"s": "l", "h": "l"}


def test_whiteouts() -> None:
    tree = grow(member("a/.wh.gone"), member("b", DIR), member("b/.wh..wh..opq"), member("b/k"))
    found = dict(tree.walk())
    assert is_whiteout(found[b"a/gone"])
    assert found[b"b"].opaque and paths(tree) == {"a": "d", "a/gone": "c", "b": "d", "b/k": "f"}


@pytest.mark.parametrize("order", [1, -1])
def test_a_whiteout_never_hides_a_name_of_its_own_layer(order: int) -> None:
    tree = grow(*[member("x", data=b"new"), member(".wh.x")][::order])
    assert paths(tree) == {"x": "f"}
    tree = grow(*[member("d/new"), member(".wh.d")][::order])
    assert paths(tree) == {"d": "d", "d/new": "f"}
    assert dict(tree.walk())[b"d"].opaque  # what a lower layer has in d is gone


def test_aufs_metadata_is_no_content() -> None:
    tree = grow(
        member(".wh..wh.plnk", DIR), member(".wh..wh.plnk/1.2"), member(".wh..wh.aufs"), member("a.wh.b")
    )
    assert paths(tree) == {"a.wh.b": "f"}


def test_the_time_for_parents_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("estiva.store.layers.tree.MAX_STEPS", 5000)
    links = [member("d", DIR), member("l", LINK, link="/".join(["d/.."] * 500))]
    with pytest.raises(LayerError, match="too long"):
        grow(*links, *(member(f"l/x{i}") for i in range(20)))
