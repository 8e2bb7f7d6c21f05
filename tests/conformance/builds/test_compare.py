"""The comparison itself: layers become one tree as image-spec says, and each difference is told."""

from __future__ import annotations

import hashlib
import io
import json
import pathlib
import tarfile
from typing import Any

import pytest

import compare
import savekit
from cases.case import ASPECTS, Case, File, Folder, Hard, Link, archive
from peers import Built


def saved(
    path: pathlib.Path, *layers: dict[str, Any], **config: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What an archive of an image with these layers is read as."""
    data = [archive(layer) for layer in layers]
    diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in data]
    document = {"config": config, "rootfs": {"diff_ids": diff_ids}, "history": [{"created_by": "x"}]}
    manifest = [{"Config": "c", "RepoTags": ["i:1"], "Layers": [f"l{n}" for n in range(len(data))]}]
    members = {"manifest.json": json.dumps(manifest).encode(), "c": json.dumps(document).encode()}
    members |= {f"l{n}": layer for n, layer in enumerate(data)}
    with tarfile.open(path / "i.tar", "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    made = savekit.Archive()
    made.add(str(path / "i.tar"))
    return made.image("i:1")


def test_layers_become_one_tree(tmp_path: pathlib.Path) -> None:
    below = {"d": Folder(), "d/a": "a", "d/b": "b", "e": Folder(), "e/x": "x", "f": "f", "g/deep": "g"}
    above = {"d/.wh.a": "", "e/.wh..wh..opq": "", "e/y": "y", "f": Folder(), "f/in": "in", "g": "now a file"}
    _, tree = saved(tmp_path, below, above)
    assert sorted(tree) == ["/d", "/d/b", "/e", "/e/y", "/f", "/f/in", "/g"]
    assert tree["/g"].kind == "file"


TREE = {"d": Folder(), "f": "f", "h": Hard("f"), "l": Link("f")}
SPOILT: list[dict[str, Any]] = [
    {"d": Folder(0o700)},
    {"d": Folder(owner=(1, 0))},
    {"d": Folder(time=5)},
    {"f": "g"},
    {"f": File("f", 0o600)},
    {"f": File("f", attributes={"user.a": b"b"})},
    {"h": "f"},
    {"l": Link("d")},
    {"more": ""},
]


@pytest.mark.parametrize("change", SPOILT, ids=str)
def test_each_difference_is_told(tmp_path: pathlib.Path, change: dict[str, Any], monkeypatch: Any) -> None:
    monkeypatch.setattr(compare, "BEGIN", 1 << 40)
    one, other = saved(tmp_path, TREE), saved(tmp_path, {**TREE, **change})
    case = Case("c", "")
    assert not any(compare.all_of(case, Built(0, "", *one), Built(0, "", *one)).values())
    told = compare.all_of(case, Built(0, "", *one), Built(0, "", *other))
    assert told["tree"] and not told["config"]


def test_verdict_config_and_history(tmp_path: pathlib.Path) -> None:
    same, other = saved(tmp_path, TREE, Cmd=["a"]), saved(tmp_path, TREE, Cmd=["b"])
    other[0]["history"] = [{"created_by": "y"}]
    told = compare.all_of(Case("c", ""), Built(0, "", *same), Built(0, "", *other))
    assert [aspect for aspect in ASPECTS if told[aspect]] == ["config", "history"]
    assert compare.all_of(Case("c", ""), Built(0, "", *same), Built(1, ""))["verdict"]
    assert list(compare.wrong(Case("c", "", fails="why"), Built(1, "other"), Built(1, "")))
    assert not list(compare.wrong(Case("c", "", fails="why"), Built(1, "that is why"), Built(1, "")))
    meant = Case("c", "", differs={"config": "is meant", "history": "too"})
    assert not list(compare.wrong(meant, Built(0, "", *same), Built(0, "", *other)))
    assert list(compare.wrong(meant, Built(0, "", *same), Built(0, "", *same))), "no longer different"
