"""Build contexts: what is visible, what it amounts to, and that nothing outside is reached."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from estiva.builder.files.tree import Missing, Tree
from estiva.builder.frontend import ignore
from estiva.errors import InvalidInput


@pytest.fixture
def context(tmp_path: Path) -> Path:
    top = tmp_path / "context"
    (top / "src/deep").mkdir(parents=True)
    (top / "src/a.py").write_text("a")
    (top / "src/b.py").write_text("b")
    (top / "src/deep/c.txt").write_text("c")
    (top / "README.md").write_text("read")
    (tmp_path / "outside").write_text("secret")
    return top


@pytest.fixture
def open_tree(context: Path) -> Iterator[list[Tree]]:
    trees: list[Tree] = []
    yield trees
    for tree in trees:
        tree.close()


def make(trees: list[Tree], context: Path, *patterns: str) -> Tree:
    trees.append(Tree.context(str(context), ignore.Matcher(list(patterns))))
    return trees[-1]


def test_walk_and_ignore(context: Path, open_tree: list[Tree]) -> None:
    assert make(open_tree, context).walk("src") == ["src/a.py", "src/b.py", "src/deep", "src/deep/c.txt"]
    assert make(open_tree, context, "**/*.py").walk("") == ["README.md", "src", "src/deep", "src/deep/c.txt"]
    assert make(open_tree, context, "src", "!src/deep/c.txt").walk("") == [
        "README.md",
        "src",
        "src/deep",
        "src/deep/c.txt",
    ]
    assert make(open_tree, context, "*", "!nothing").walk("") == []


def test_ignored_is_missing(context: Path, open_tree: list[Tree]) -> None:
    tree = make(open_tree, context, "src/a.py")
    with pytest.raises(Missing):
        tree.resolve("src/a.py")
    assert tree.resolve("/src/./b.py") == "src/b.py"
    assert tree.resolve("../../src") == "src"


def test_glob(context: Path, open_tree: list[Tree]) -> None:
    tree = make(open_tree, context, "src/b.py")
    assert tree.glob("src/*.py") == ["src/a.py"]
    assert tree.glob("s?c/d*/*") == ["src/deep/c.txt"]
    assert tree.glob("none*") == []
    assert tree.glob("not-there") == ["not-there"]


def test_symlinks_stay_inside(context: Path, open_tree: list[Tree]) -> None:
    (context / "abs").symlink_to("/src/a.py")
    (context / "up").symlink_to("../outside")
    (context / "dir").symlink_to("src/deep")
    (context / "loop").symlink_to("loop")
    tree = make(open_tree, context)
    assert tree.resolve("abs") == "src/a.py"
    assert tree.resolve("dir/c.txt") == "src/deep/c.txt"
    with pytest.raises(Missing):
        tree.resolve("up")
    with pytest.raises(InvalidInput, match="too many symlinks"):
        tree.resolve("loop")
    with pytest.raises(OSError):
        tree.open("up")


def test_a_link_to_an_ignored_file(context: Path, open_tree: list[Tree]) -> None:
    (context / "link").symlink_to("README.md")
    with pytest.raises(Missing):
        make(open_tree, context, "README.md").resolve("link")


def test_digest(context: Path, open_tree: list[Tree]) -> None:
    first = make(open_tree, context).digest("src")
    os.utime(context / "src/a.py", (1, 1))
    assert make(open_tree, context).digest("src") == first
    (context / "src/a.py").chmod(0o755)
    second = make(open_tree, context).digest("src")
    assert second != first
    (context / "src/a.py").write_text("A")
    third = make(open_tree, context).digest("src")
    assert third != second
    (context / "src/a.py").rename(context / "src/z.py")
    assert make(open_tree, context).digest("src") != third
    assert make(open_tree, context, "src/z.py").digest("src") == make(open_tree, context).digest(
        "src", exclude=ignore.Matcher(["z.py"])
    )
