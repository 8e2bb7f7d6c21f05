"""The log as its monitor writes it, and as it is read back: entries, rotation, tails, followers."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estiva.engine.containers import logreader, logs
from estiva.engine.state import logfile


class Place:
    """A container's folder and the folder of followers, with a writer."""

    def __init__(self, top: Path) -> None:
        self.container = top / "containers" / ("0" * 64)
        self.ingest = top / "ingest"
        self.container.mkdir(parents=True)
        self.ingest.mkdir()
        self.path = str(self.container / "log.json")
        self.writer = logfile.Writer(self.path, str(self.ingest))

    def text(self) -> bytes:
        log, out = logreader.Log(self.path), bytearray()
        for fd in log.fds:
            logs.drain(fd, 0, logs.Show(out.extend, out.extend, None, None, False))
        log.close()
        return bytes(out)

    def follower(self) -> logreader.Follower:
        return logreader.Follower(self.path, str(self.ingest))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def numbers(first: int, last: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(first, last))


# --- entries ----------------------------------------------------------------------------------------------


@given(st.lists(st.one_of(st.binary(max_size=60), st.text(max_size=30).map(str.encode)), max_size=8))
def test_what_was_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]) -> None:
    place = Place(tmp_path_factory.mktemp("log"))
    for piece in pieces:
        place.writer.write("stdout", piece)
    place.writer.close()
    said = b"".join(pieces).decode("utf-8", "replace")
    assert place.text() == said.encode()
    if not said:
        assert not os.path.exists(place.path)
        return
    lines = Path(place.path).read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert "".join(entry["log"] for entry in found) == said
    assert all(entry["log"].count("\n") <= 1 and list(entry) == ["log", "stream", "time"] for entry in found)


@pytest.mark.parametrize("size", [logfile.LINE - 1, logfile.LINE, logfile.LINE + 1, 3 * logfile.LINE + 5])
@pytest.mark.parametrize("end", [b"\n", b"", b"\nnext\n"])
def test_long_lines_are_cut(place: Place, size: int, end: bytes) -> None:
    said = b"x" * size + end
    for start in range(0, len(said), 5000):
        place.writer.write("stderr", said[start : start + 5000])
    place.writer.write("stdout", b"other\n" + said)
    place.writer.close()
    found = [json.loads(line) for line in Path(place.path).read_text().splitlines()]
    for stream, text in (("stderr", said), ("stdout", b"other\n" + said)):
        mine = [entry["log"] for entry in found if entry["stream"] == stream]
        assert "".join(mine).encode() == text
        assert max(len(text.rstrip("\n")) for text in mine) <= logfile.LINE


def test_no_character_is_cut(place: Place) -> None:
    for shift in range(5):
        place.writer.write("stdout", b"x" * shift + "\N{ANCHOR}\N{SHIP}".encode() * 8000 + b"\n")
    assert "\N{REPLACEMENT CHARACTER}" not in place.text().decode()


def test_garbled_lines_are_passed_over(place: Place) -> None:
    place.writer.write("stdout", b"one\n")
    junk = [b"{", b"\0" * 300, b"[]", b'{"log":"x"}', b'{"log":1,"stream":"stdout","time":"Z"}', b'{"log":"a']
    for line in junk:
        place.writer.append(line + b"\n")
    place.writer.write("stderr", b'"two"\\\t\n')
    place.writer.append(b'{"log":"half')
    assert place.text() == b'one\n"two"\\\t\n'


# --- tails ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [7, 100, 1 << 20])
def test_a_tail_is_read_from_the_end(place: Place, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "ROTATE", 1500)
    for number in range(100):
        place.writer.write("stdout", b"%d\n" % number)
    place.writer.append(b'{"log":"half')
    there = place.text()
    assert there.endswith(b"\n99\n") and sorted(os.listdir(place.container)) == [
        "log.json", "log.json.1", "log.json.2",
    ]  # fmt: skip
    lines = there.splitlines(keepends=True)
    log = logreader.Log(place.path)
    for count in (*range(len(lines) + 2), 10**9):
        with monkeypatch.context() as small:
            small.setattr(logreader, "BLOCK", block)
            starts = log.tail(count)
        out = bytearray()
        for fd, start in zip(log.fds, starts, strict=True):
            logs.drain(fd, start, logs.Show(out.extend, out.extend, None, None, False))
        assert bytes(out) == b"".join(lines[max(0, len(lines) - count) :])
    log.close()


def test_a_tail_leaves_the_rest_unread(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.writer.write("stdout", numbers(0, 200_000))
    read, pread = [], os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: read.append(size) or pread(fd, size, at))
    assert max(logreader.Log(place.path).tail(5)) > sum(read) > 0


# --- followers --------------------------------------------------------------------------------------------


class Following:
    """A reader that looks when it is told to, through `logs.go_on`'s own steps."""

    def __init__(self, place: Place) -> None:
        self.out = bytearray()
        self.missed = 0
        self.follower = place.follower()
        self.log = logreader.Log(place.path)
        if self.log.fds:
            self.follower.skip(self.log.fds[-1])

    def finish(self) -> bytes:
        show = logs.Show(self.out.extend, self.out.extend, None, None, False)
        for fd in self.log.fds[:-1]:
            logs.drain(fd, 0, show)
        current = self.log.fds.pop() if self.log.fds else -1

        def miss() -> None:
            self.missed += 1

        last = logs.go_on(self.follower, current, 0, show, lambda: False, miss)
        if last >= 0:
            os.close(last)
        self.log.close()
        self.follower.close()
        assert not os.path.exists(self.follower.folder)
        return bytes(self.out)


@pytest.mark.parametrize("before", [0, 1, 30, 300])
@pytest.mark.parametrize("gone", [False, True])
def test_a_follower_sees_every_line_once(
    place: Place, before: int, gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many rotations between two looks; and the container's folder is removed before the last look."""
    monkeypatch.setattr(logfile, "ROTATE", 1500)
    for number in range(before):
        place.writer.write("stdout", b"%d\n" % number)
    there = place.text()
    following = Following(place)
    for number in range(before, before + 600):
        place.writer.write("stdout", b"%d\n" % number)
        if number % 97 == 0:  # as a monitor that has slept, or of the next run
            place.writer.close()
            place.writer = logfile.Writer(place.path, str(place.ingest))
    place.writer.close()
    if gone:
        shutil.rmtree(place.container)
    assert following.finish() == there + numbers(before, before + 600)
    assert following.missed == 0


def test_a_follower_that_looks_while_the_log_is_written(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfile, "ROTATE", 1500)
    following = Following(place)
    show = logs.Show(following.out.extend, following.out.extend, None, None, False)
    looks = iter(range(1000))

    def goes_on() -> bool:
        number = next(looks)
        if number < 200:
            place.writer.write("stdout", numbers(number * 7, number * 7 + number % 20))
            place.writer.write("stdout", numbers(number * 7 + number % 20, number * 7 + 7))
        return number < 200

    monkeypatch.setattr(logs, "LOOK_AGAIN", 0)
    os.close(logs.go_on(following.follower, -1, 0, show, goes_on, lambda: None))
    expected = b"".join(
        numbers(n * 7, n * 7 + n % 20) + numbers(n * 7 + n % 20, n * 7 + 7) for n in range(200)
    )
    assert bytes(following.out) == expected
    following.follower.close()


def test_several_followers(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "ROTATE", 300)
    joined = []
    for number in range(10):
        joined.append((number, place.text(), Following(place)))
        place.writer.write("stdout", numbers(number * 10, number * 10 + 10))
    for number, there, following in joined:
        assert following.finish() == there + numbers(number * 10, 100)


def test_one_who_is_too_slow_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "ROTATE", 1)
    monkeypatch.setattr(logfile, "BEHIND", 5)
    following = Following(place)
    for number in range(50):
        place.writer.write("stdout", b"%d\n" % number)
    assert len(os.listdir(following.follower.folder)) == 6  # the disk is not filled for one who does not read
    assert following.finish() == numbers(0, 5) and following.missed == 1


def test_half_a_line_is_read_when_it_is_whole(place: Place) -> None:
    following = Following(place)
    place.writer.write("stdout", b"one\n")
    place.writer.append(b'{"log":"tw')
    current = following.follower.next(-1)
    show = logs.Show(following.out.extend, following.out.extend, None, None, False)
    start = logs.drain(current, 0, show)
    os.truncate(place.path, start)  # the disk was full
    place.writer.write("stdout", b"three\n")
    assert logs.drain(current, start, show) > start
    assert bytes(following.out) == b"one\nthree\n"
    os.close(current)
    following.follower.close()


def test_a_follower_on_a_full_disk(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can have no folder, and goes by the name of the log."""

    def full(directory: str, suffix: str) -> tuple[int, str]:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(logfile, "ROTATE", 1500)
    monkeypatch.setattr(logreader, "new_directory", full)
    place.writer.write("stdout", b"0\n")
    following = Following(place)
    place.writer.write("stdout", numbers(1, 30))
    assert not os.path.exists(place.path)
    place.writer.write("stdout", numbers(30, 40))
    show = logs.Show(following.out.extend, following.out.extend, None, None, False)
    os.close(logs.go_on(following.follower, following.log.fds.pop(), 0, show, lambda: False, lambda: None))
    assert bytes(following.out) == numbers(0, 40)
    following.follower.close()


def test_what_killed_followers_left_is_swept(place: Place) -> None:
    for sweep in (lambda: place.writer.write("stdout", b"x\n"), lambda: place.follower().close()):
        killed = place.follower()
        other = place.ingest / "1-ab.snapshot"
        other.mkdir(exist_ok=True)
        os.close(killed.lock)  # the kernel drops it
        sweep()
        assert os.listdir(place.ingest) == [other.name]
