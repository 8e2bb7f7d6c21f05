"""A client of the API tells what its build context is: nothing of it leads out of the folder that is filled."""

import os
import pathlib

import pytest

from estiva.engine.builds import mirror
from estiva.engine.builds.mirror import DEVICE, DIR, LINK, PIPE, SOCKET, Mirror, Told
from estiva.errors import EstivaError, InvalidInput


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    made = tmp_path / "context"
    made.mkdir()
    return made


def transfer(folder: pathlib.Path, *entries: tuple[Told, bytes]) -> list[str]:
    """All of a transfer; the paths of which bytes were asked for."""
    asked = []
    made = Mirror(str(folder))
    try:
        wanted = [(made.tell(entry), entry, data) for entry, data in entries]
        for number, entry, data in wanted:
            if number >= 0:
                asked.append(entry.path)
                made.data(number, data)
                made.data(number, b"")
        assert made.done
        made.finish()
    finally:
        made.close()
    return asked


def file(path: str, data: bytes, mtime: int = 10**18, mode: int = 0o644) -> tuple[Told, bytes]:
    return Told(path, mode, len(data), mtime), data


def entry(path: str, mode: int = 0o644, link: str = "") -> tuple[Told, bytes]:
    return Told(path, mode, 0, 10**18, link), b""


def seen(folder: pathlib.Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): "->" + os.readlink(path) if path.is_symlink() else path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_only_what_has_changed_is_asked_for(folder: pathlib.Path) -> None:
    first = [
        file("a", b"1", mode=0o755),
        entry("d", DIR | 0o700),
        file("d/b", b"2"),
        entry("l", LINK | 0o777, "a"),
    ]
    assert transfer(folder, *first) == ["a", "d/b"]
    assert seen(folder) == {"a": "1", "d/b": "2", "l": "->a"}
    assert os.stat(folder / "a").st_mode & 0o7777 == 0o755
    assert transfer(folder, *first) == []
    changed = [file("a", b"9", mtime=10**18 + 1), entry("d", DIR | 0o755), file("d/b", b"2")]
    assert transfer(folder, *changed) == ["a"]
    assert seen(folder) == {"a": "9", "d/b": "2"}
    assert os.stat(folder / "d").st_mode & 0o7777 == 0o755
    assert transfer(folder, entry("a", DIR | 0o755), file("a/b", b"3"), file("d", b"4")) == ["a/b", "d"]
    assert seen(folder) == {"a/b": "3", "d": "4"}


def test_a_broken_transfer_is_made_good(folder: pathlib.Path) -> None:
    made = Mirror(str(folder))
    number = made.tell(file("a", b"1234")[0])
    made.data(number, b"12")
    made.close()
    assert transfer(folder, file("a", b"1234")) == ["a"]
    assert seen(folder) == {"a": "1234"}
    # one that became shorter while it was sent comes again
    shorter = Told("a", 0o644, 9, 10**18 + 5)
    assert transfer(folder, (shorter, b"123")) == ["a"]
    assert transfer(folder, (shorter, b"123456789")) == ["a"]


def test_hard_links(folder: pathlib.Path) -> None:
    told = [file("a", b"1"), entry("b", link="a"), entry("d", DIR | 0o755), entry("d/c", link="a")]
    for asked in (["a"], []):
        assert transfer(folder, *told) == asked
        assert os.path.samefile(folder / "a", folder / "d/c")
        assert os.stat(folder / "a").st_nlink == 3
    for target in ("zzz", "../outside", "/etc/passwd", "d"):
        with pytest.raises(InvalidInput, match="no file that was told"):
            transfer(folder, file("a", b"1"), entry("d", DIR | 0o755), entry("x", link=target))


@pytest.mark.parametrize(
    "path",
    ["", "/", "/etc/passwd", "..", "../x", "a/../../x", "a//b", "./a", "a/.", "a\0b", "x/" * 3000 + "y"],
)
def test_impossible_paths(folder: pathlib.Path, path: str) -> None:
    with pytest.raises(InvalidInput):
        transfer(folder, entry("a", DIR | 0o755), file(path, b"1"))


def test_below_no_folder(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for first in (entry("a", LINK | 0o777, str(outside)), file("a", b"1"), entry("a", PIPE | 0o644)):
        with pytest.raises(InvalidInput, match="below no folder"):
            transfer(folder, first, file("a/x", b"out"))
    with pytest.raises(InvalidInput, match="below no folder"):
        transfer(folder, file("a/x", b"out"))
    assert not list(outside.iterdir())


def test_a_link_that_a_transfer_has_left_is_not_followed_by_the_next(
    folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_text("mine")
    transfer(folder, entry("a", LINK | 0o777, str(outside)), entry("f", LINK | 0o777, str(outside / "x")))
    transfer(folder, entry("a", DIR | 0o755), file("a/x", b"theirs"), file("f", b"theirs"))
    assert (outside / "x").read_text() == "mine"
    assert not (folder / "a").is_symlink()
    transfer(folder, entry("a", LINK | 0o777, str(outside)))
    transfer(folder)
    assert (outside / "x").read_text() == "mine"
    assert not list(folder.iterdir())


def test_order_devices_and_numbers(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="order"):
        transfer(folder, file("b", b""), file("a", b""))
    with pytest.raises(InvalidInput, match="order"):
        transfer(folder, file("b", b""), file("b", b""))
    with pytest.raises(InvalidInput, match="device"):
        transfer(folder, entry("sda", DEVICE | 0o644))
    with pytest.raises(InvalidInput, match="no file"):
        transfer(folder, entry("x", DIR | LINK | 0o644))
    transfer(folder, entry("s", SOCKET | 0o644))
    assert not list(folder.iterdir())
    monkeypatch.setattr(mirror, "ENTRIES", 3)
    with pytest.raises(InvalidInput, match="over 3 entries"):
        transfer(folder, *(file(name, b"") for name in "abcd"))


def test_bytes_that_nobody_wants(folder: pathlib.Path) -> None:
    made = Mirror(str(folder))
    try:
        number = made.tell(file("a", b"12")[0])
        with pytest.raises(InvalidInput, match="not asked for"):
            made.data(number + 1, b"1")
        made.data(number, b"1")
        for _ in range(3):
            made.data(number, b"23")
        made.data(number, b"")
        assert (folder / "a").read_text() == "12"
        assert os.stat(folder / "a").st_mtime_ns != 10**18  # so that it is asked for again
        with pytest.raises(InvalidInput, match="not asked for"):
            made.data(number, b"1")
        for count in range(mirror.OPEN + 1):
            number = made.tell(file(f"b{count:04}", b"1")[0])
            if count < mirror.OPEN:
                made.data(number, b"1")
        with pytest.raises(EstivaError, match="at once"):
            made.data(number, b"1")
    finally:
        made.close()
