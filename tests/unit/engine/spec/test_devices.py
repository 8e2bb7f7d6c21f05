import os

import pytest

from estiva.engine.spec import devices
from estiva.errors import InvalidInput


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("/dev/null", ("/dev/null", "/dev/null", "rwm")),
        ("/dev/null:/dev/x", ("/dev/null", "/dev/x", "rwm")),
        ("/dev/null:r", ("/dev/null", "/dev/null", "r")),
        ("/dev/null:/dev/x:mr", ("/dev/null", "/dev/x", "mr")),
    ],
)
def test_words(word, expected):
    keys = ("PathOnHost", "PathInContainer", "CgroupPermissions")
    assert devices.from_word(word) == dict(zip(keys, expected, strict=True))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("", " is not an absolute path"),
        ("x", "x is not an absolute path"),
        ("/a:b", "b is not an absolute path"),
        ("r:/a", "r is not an absolute path"),
        ("r", "r is not an absolute path"),
        ("/a:", " is not an absolute path"),
        ("/a:/b:q", "bad mode specified: q"),
        ("/a:/b:rr", "bad mode specified: rr"),
        ("/a:/b:", "bad mode specified: "),
        ("/a:/b:r:w", "invalid device specification: /a:/b:r:w"),
    ],
)
def test_words_that_are_none(word, message):
    with pytest.raises(ValueError) as caught:
        devices.from_word(word)
    assert str(caught.value) == message


def test_block_devices_by_number():
    with pytest.raises(InvalidInput, match="/dev/null is not a block device"):
        devices.block_device("/dev/null")
    with pytest.raises(InvalidInput, match="device /nosuch can't be used"):
        devices.block_device("/nosuch")


def given(path, **fields):
    return devices.linux_devices([{"PathOnHost": path, **fields}])


def test_the_host_s_node_says_what_it_is():
    (entry,) = given("/dev/null", PathInContainer="/dev/x", CgroupPermissions="r")
    assert (entry["path"], entry["type"], entry["major"], entry["minor"], entry["access"]) == (
        "/dev/x",
        "c",
        1,
        3,
        "r",
    )
    (entry,) = given("/dev/null", PathInContainer="", CgroupPermissions=None)
    assert (entry["path"], entry["access"]) == ("/dev/null", "rwm")
    assert devices.linux_devices(None) == []


def test_a_folder_stands_for_the_devices_in_it(tmp_path):
    with pytest.raises(InvalidInput, match=f"there is no device in {tmp_path}"):
        given(str(tmp_path))
    (tmp_path / "link").symlink_to("/dev/null")
    with pytest.raises(InvalidInput, match="there is no device"):
        given(str(tmp_path))
    if os.path.isdir("/dev/net"):
        found = given("/dev/net", PathInContainer="/dev/other")
        assert {entry["path"] for entry in found} == {f"/dev/other/{name}" for name in os.listdir("/dev/net")}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/etc/passwd", "/etc/passwd is not a device"),
        ("/nosuch", "device /nosuch can't be used: no such file"),
        ("/" + "x" * 5000, "can't be used: file name too long"),
    ],
)
def test_what_is_no_device(path, message):
    with pytest.raises(InvalidInput, match=message):
        given(path)


def test_not_endlessly_many(monkeypatch):
    monkeypatch.setattr(devices, "MAX_DEVICES", 2)
    with pytest.raises(InvalidInput, match="more than 2 devices are asked for"):
        devices.linux_devices([{"PathOnHost": "/dev/null"}] * 3)
    assert len(devices.linux_devices([{"PathOnHost": "/dev/null"}] * 2)) == 2


def test_the_host_s_devices_are_those_of_dev():
    found = {entry["path"] for entry in devices.host_devices()}
    assert "/dev/null" in found and not any(path.startswith(("/dev/pts/", "/dev/shm/")) for path in found)


def test_a_folder_of_other_things_is_not_looked_through_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "MAX_SEEN", 10)
    for number in range(11):
        (tmp_path / str(number)).touch()
    with pytest.raises(InvalidInput, match=f"more than 10 files are in {tmp_path}"):
        devices.linux_devices([{"PathOnHost": str(tmp_path)}])
