"""Contexts that change at any moment of a COPY: what is outside stays outside, and a key is of what is in the layer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildlab import Lab
from estiva.builder.files import direct
from estiva.builder.files.record import Record
from estiva.builder.files.tree import Tree
from estiva.builder.steps.copy import CopyStep
from estiva.errors import EstivaError, Unavailable
from estiva.store.images import Image

SECRET = "what nobody may read"
LARGE = (1 << 20) + 5


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = Lab()
    (made.context / "../outside/sub").mkdir(parents=True)
    for name in ("x", "sub/x", "z"):
        (made.context / "../outside" / name).write_text(SECRET)
    yield made
    made.close()


def fill(lab: Lab) -> Path:
    """d/x, d/large, d/sub/x, and two names of one file"""
    top = lab.context / "d"
    if top.is_symlink():
        top.unlink()
    shutil.rmtree(top, ignore_errors=True)
    lab.write(d__x="of ours", d__sub__x="of ours", d__y="1", d__z="2")
    lab.put("d/large", b"a" * LARGE)
    os.link(top / "y", top / "sub/y")
    return top


def replace(path: Path, by: Callable[[Path], object]) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    by(path)


OUT = "../../outside"
CHANGES: dict[str, Callable[[Path], object]] = {
    "a file is a link out": lambda d: replace(d / "x", lambda path: path.symlink_to(OUT + "/x")),
    "a file is a fifo": lambda d: replace(d / "x", os.mkfifo),
    "a file is a directory": lambda d: replace(d / "x", Path.mkdir),
    "a file is another": lambda d: replace(d / "x", lambda path: path.write_text("another, which is longer")),
    "a file is none": lambda d: (d / "x").unlink(),
    "a directory is a link out": lambda d: replace(d / "sub", lambda path: path.symlink_to(OUT + "/sub")),
    "a directory is another": lambda d: replace(
        d / "sub", lambda path: shutil.copytree(d.parent / "o", path)
    ),
    "the top is a link out": lambda d: replace(d, lambda path: path.symlink_to("../outside")),
    "a file grows": lambda d: (d / "large").open("ab").write(b"b" * LARGE),
    "a file shrinks": lambda d: os.truncate(d / "large", 5),
    "a small one grows": lambda d: (d / "z").open("ab").write(b"b" * LARGE),
    "a name goes": lambda d: (d / "sub/y").unlink(),
    "the first name is another": lambda d: replace(d / "sub/y", lambda path: path.write_text("other")),
}


class At:
    """Makes a change when it is looked for the `number`th time whether the build goes on."""

    def __init__(self, number: int, change: Callable[[], object]) -> None:
        self.number = number
        self.change = change

    def __call__(self) -> None:
        self.number -= 1
        if not self.number:
            self.change()


def in_layer(lab: Lab, image: Image, path: str) -> str:
    """What a record tells of it."""
    view = lab.store.snapshots.view(image.diff_ids)
    tree = Tree(os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=view))
    os.close(view)
    total = Record(False)
    try:
        tree.look(path, total)
    finally:
        tree.close()
    return total.digest()


@pytest.mark.parametrize("line", ["COPY d /d", "COPY d one /d/"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_context_that_changes(change: str, line: str, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write(o__x="of ours", one="1")
    told: list[str] = []
    for way in ("_direct", "_copy"):
        plain = getattr(CopyStep, way)

        def spy(*args: object, plain: Callable[..., list[object]] = plain) -> list[object]:
            found = plain(*args)
            told.append(str(found[2] if isinstance(found[0], str) else found[0][2]))  # type: ignore[index]
            return found

        monkeypatch.setattr(CopyStep, way, spy)
    number, done = 0, False
    while not done:
        number += 1 if number < 8 else 7
        top = fill(lab)
        look = At(number, lambda top=top: CHANGES[change](top))  # type: ignore[misc]
        try:
            image = lab.build(f"FROM scratch\n{line}\n", look=look, no_cache=True)
        except EstivaError as error:
            assert error.message.startswith("Dockerfile:2: ")
            continue
        done = look.number > 0
        with lab.store.layers.tar(image.diff_ids[-1]) as file:
            assert SECRET.encode() not in file.read()
        if " one " not in line:
            assert told[-1] == in_layer(lab, image, "d")


def test_a_file_larger_than_the_disk_is_not_read(lab: Lab) -> None:
    disk = os.statvfs(lab.store.paths.ingest)
    path = lab.put("huge", "")
    try:
        os.truncate(path, disk.f_blocks * disk.f_frsize + 1)
    except OSError:
        pytest.skip("no file may be that large here")
    looks: list[int] = []
    with pytest.raises(Unavailable, match="huge has [0-9]+ bytes, more than the disk"):
        lab.build("FROM scratch\nCOPY huge /\n", look=lambda: looks.append(1))
    assert len(looks) < 100
    path.unlink()


def test_nor_is_one_written_that_there_is_no_room_for(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.put("some", b"x" * LARGE)
    found = os.statvfs(lab.store.paths.ingest)
    full = os.statvfs_result((*found[:3], 10, 10, *found[5:]))
    monkeypatch.setattr(direct.os, "fstatvfs", lambda fd: full)
    with pytest.raises(Unavailable, match="no space left in .*/ingest"):
        lab.build("FROM scratch\nCOPY some /\n")


def test_what_a_read_gives_in_pieces_is_all_there(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.put("pieces", "0123456789" * 10)
    plain = os.read
    with monkeypatch.context() as patch:
        patch.setattr(direct.os, "read", lambda fd, size: plain(fd, min(size, 7)))
        image = lab.build("FROM scratch\nCOPY pieces /\n")
    assert lab.read(image, "/pieces") == "0123456789" * 10
