"""Who a process runs as, from the files of a root that nobody vouches for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from estiva.errors import InvalidInput
from estiva.runtime.process import user

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
# comment
+nis::::
+plus:x:5:5::/:
-minus:x:5:5::/:
short:x:1
1000:x:0:0::/trap:
big:x:4294967295:0::/:
app:x:42:7:App:/srv/app:/bin/sh
bare:x:43:8
rel:x:44:9::relative:
"""
GROUP = """\
root:x:0:
wheel:x:10:app,other
-nis:x:3:app
video:x:44:app
2000:x:5:
huge:x:99999999999:app
"""


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    fd = os.open(tmp_path, os.O_PATH)
    yield fd
    os.close(fd)


def asked(root: int, name: str, *groups: str) -> user.Identity:
    return user.resolve(root, {"username": name, "additionalGroups": list(groups)}, need_home=True)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("2147483647", 2147483647),
        ("", -1),
        ("-1", -1),
        ("+5", -1),
        (" 5", -1),
        ("٣", -1),
        ("0x1", -1),
    ],
)
def test_numbers(text: str, value: int) -> None:
    assert user.number(text) == value


@pytest.mark.parametrize("text", ["2147483648", "4294967295", "0" * 11, "9" * 5000])
def test_numbers_out_of_range(text: str) -> None:
    with pytest.raises(InvalidInput, match="out of the range of ids"):
        user.number(text)


def test_malformed_lines_are_passed_over() -> None:
    names = [entry[0] for entry in user.parse_passwd(PASSWD)]
    assert names == ["root", "1000", "app", "bare", "rel"]
    assert [entry[0] for entry in user.parse_group(GROUP)] == ["root", "wheel", "video", "2000"]
    assert list(user.parse_group("a:x:1")) == [("a", 1, [])]


@pytest.mark.parametrize(
    ("name", "uid", "gid", "groups", "home"),
    [
        ("", 0, 0, [0], "/root"),
        ("app", 42, 7, [7, 10, 44], "/srv/app"),
        ("app:wheel", 42, 10, [10], "/srv/app"),  # an explicit group: no memberships
        ("app:99", 42, 99, [99], "/srv/app"),
        ("42", 42, 7, [7, 10, 44], "/srv/app"),
        ("1000", 1000, 0, [0], "/"),  # a number, whatever name the image gives root (K7)
        ("4711:2000", 4711, 2000, [2000], "/"),
        ("bare", 43, 8, [8], "/"),
        ("rel", 44, 9, [9], "/"),  # a home that is no absolute path is none
    ],
)
def test_names_and_numbers(root: int, name: str, uid: int, gid: int, groups: list[int], home: str) -> None:
    found = asked(root, name)
    assert (found.uid, found.gid, found.groups, found.home) == (uid, gid, groups, home)


def test_additional_groups(root: int) -> None:
    assert asked(root, "app:7", "video", "77").groups == [7, 44, 77]
    assert asked(root, "4711", "88").groups == [0, 88]
    with pytest.raises(InvalidInput, match="no group 'nowhere'"):
        asked(root, "app", "nowhere")


@pytest.mark.parametrize("name", ["nobody", "big", "app:nogroup", "2147483648", "app:2147483648"])
def test_who_is_not_there_is_an_error(root: int, name: str) -> None:
    with pytest.raises(InvalidInput):
        asked(root, name)


def test_numbers_of_a_bundle_are_taken_as_they_are(root: int) -> None:
    found = user.resolve(root, {"uid": 42, "gid": 5, "additionalGids": [6], "umask": 0o27}, need_home=True)
    assert (found.uid, found.gid, found.groups, found.home, found.umask) == (42, 5, [6], "/srv/app", 0o27)
    assert user.resolve(root, {"uid": 4711}, need_home=True).home == "/"
    assert user.resolve(root, {"uid": 42}, need_home=False).home == ""


@pytest.mark.parametrize(
    "wanted",
    [
        {"uid": -1},
        {"gid": 0xFFFFFFFF},
        {"uid": "0"},
        {"uid": True},
        {"uid": 0, "additionalGids": [-1]},
        {"uid": 0, "additionalGids": [0] * (user.MAX_GROUPS + 1)},
        {"uid": 0, "umask": 0o1000},
        {"uid": 0, "umask": "022"},
    ],
)
def test_wrong_numbers_are_refused(root: int, wanted: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        user.resolve(root, wanted, need_home=False)


def test_a_database_that_is_no_regular_file_is_none(root: int, tmp_path: Path) -> None:
    for make in (os.mkfifo, os.mkdir, lambda path: os.symlink("/proc/self/environ", path)):
        os.unlink(tmp_path / "etc/passwd")
        make(tmp_path / "etc/passwd")
        assert user.read_database(root, "/etc/passwd") == ""
        if (tmp_path / "etc/passwd").is_dir():
            os.rmdir(tmp_path / "etc/passwd")
            (tmp_path / "etc/passwd").touch()


def test_a_database_is_read_within_bounds(root: int, tmp_path: Path) -> None:
    with open(tmp_path / "etc/passwd", "wb") as file:
        file.truncate((4 << 20) + 1)
    with pytest.raises(InvalidInput, match="larger than 4 MiB"):
        user.read_database(root, "/etc/passwd")


@pytest.mark.parametrize("name", ["passwd", "group"])
def test_numbers_need_no_database_that_is_too_large(root: int, tmp_path: Path, name: str) -> None:
    with open(tmp_path / "etc" / name, "ab") as file:
        file.truncate((4 << 20) + 1)
    for wanted in ("", "7", "7:8", "0:0"):
        found = user.resolve(root, {"username": wanted}, need_home=True)
        assert found.uid == int(wanted.partition(":")[0] or 0)
        assert found.gid == (8 if wanted == "7:8" else found.gid)
    assert user.resolve(root, {"uid": 7, "gid": 8}, need_home=True).home.startswith("/")
    by_name = {"passwd": "root", "group": "7:root"}[name]
    with pytest.raises(InvalidInput, match="larger than 4 MiB") as caught:
        user.resolve(root, {"username": by_name}, need_home=True)
    assert "UID:GID" in caught.value.hint
