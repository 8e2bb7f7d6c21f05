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
from estiva.engine.state.logs import logfile


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


ZEROS = st.integers(1, 200).map(lambda count: b"\\\0" + bytes(count))


@given(st.lists(st.one_of(st.binary(max_size=60), ZEROS, st.text(max_size=30).map(str.encode)), max_size=8))
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
    lines = Path(place.path).read_text().split("\n")[:-1]  # not at what else ends a line: U+0085
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
    assert os.path.exists(place.path + ".1")
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


# --- options ----------------------------------------------------------------------------------------------


def with_options(place: Place, **options: object) -> None:
    place.writer = logfile.Writer(place.path, str(place.ingest), str(place.container), options)  # type: ignore[arg-type]


def names(place: Place) -> list[str]:
    return sorted(name for name in os.listdir(place.container) if not name.endswith((".lock", ".tmp")))


def test_as_many_files_as_are_asked_for(place: Place) -> None:
    for keep in (1, 2, 5):
        with_options(place, size=500, keep=keep)
        for number in range(400):
            place.writer.write("stdout", b"%d\n" % number)
        place.writer.write("stdout", b"last\n")
        place.writer.close()
        assert len(names(place)) <= keep and names(place) == [
            "log.json",
            *(f"log.json.{n}" for n in range(1, keep)),
        ]
        assert place.text().endswith(b"399\nlast\n")
        for name in names(place):
            (place.container / name).unlink()


@pytest.mark.parametrize("keep", [1, 2, 5])
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("chunks", [[60, 61], [5000], [1, 3000, 7], [1] * 300, [14] * 80])
def test_the_newest_lines_are_there_and_no_file_is_too_long(
    place: Place, keep: int, compress: bool, chunks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever comes by one read: the chunk that crosses a limit is not thrown away with the file before it."""
    from estiva.engine.state.logs import pack as logpack

    started: list[int] = []
    monkeypatch.setattr(logpack, "start", lambda path, keep: started.append(keep))
    with_options(place, size=1024, keep=keep, compress=compress)
    following, first = Following(place), 0
    for count in chunks:
        place.writer.write("stdout", numbers(first, first + count))
        first += count
        lengths = [(place.container / name).stat().st_size for name in names(place)]
        assert place.path.endswith(names(place)[0]) and max(lengths) < 1024 + 100
        assert all(length >= 1024 for length in lengths[1:])  # only the one that is written is not full
        there = place.text()
        assert there and numbers(0, first).endswith(there)
    assert len(names(place)) == keep
    assert 0 < len(started) <= len(chunks) if compress else not started  # not one for each file
    assert following.finish() == numbers(0, first) and not following.missed


@given(
    st.lists(st.one_of(st.binary(max_size=60), st.integers(1, 3 * logfile.LINE)), min_size=1, max_size=8),
    st.integers(1, 600),
    st.integers(1, 4),
)
def test_whatever_is_said_is_cut_between_entries(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes | int], size: int, keep: int
) -> None:
    """A number stands for a line of that length."""
    place = Place(tmp_path_factory.mktemp("log"))
    with_options(place, size=size, keep=keep)
    following = Following(place)
    said = b""
    for piece in pieces:
        text = piece if isinstance(piece, bytes) else b"x" * piece + b"\n"
        place.writer.write("stdout", text)
        said += text
    place.writer.close()
    kept = [(place.container / name).read_bytes() for name in names(place)]
    assert len(kept) <= keep and all(text.endswith(b'Z"}\n') for text in kept)
    assert all(len(text[: text[:-1].rfind(b"\n") + 1]) < size for text in kept)  # but for the last entry
    assert following.finish() == said.decode("utf-8", "replace").encode() and not following.missed


def test_a_block_without_a_limit_in_it_is_one_write(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with_options(place, size=1 << 20)
    place.writer.write("stdout", b"0\n")
    calls, writev = [], os.writev
    monkeypatch.setattr(os, "writev", lambda fd, parts: calls.append(fd) or writev(fd, parts))
    place.writer.write("stdout", numbers(1, 10000))
    assert len(calls) == 1 and place.text() == numbers(0, 10000)


def test_a_line_that_is_longer_than_a_file(place: Place) -> None:
    with_options(place, size=1024, keep=2)
    for letter in (b"a", b"b", b"c"):
        place.writer.write("stdout", letter * 5000 + b"\n")
    assert place.text() == b"b" * 5000 + b"\n" + b"c" * 5000 + b"\n"


def test_a_file_that_can_t_be_rotated_grows_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(older: str, newer: str) -> None:
        raise OSError(errno.EROFS, "read-only")

    with_options(place, size=1024, keep=3)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        place.writer.write("stdout", numbers(0, 100))
        place.writer.write("stdout", numbers(100, 200))
    assert names(place) == ["log.json"] and place.text() == numbers(0, 200)
    place.writer.write("stdout", numbers(200, 201))
    assert names(place) == ["log.json", "log.json.1"] and place.text() == numbers(0, 201)


def test_a_disk_that_is_full_in_the_middle_of_a_block(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with_options(place, size=1024, keep=5)
    write_parts, calls = logfile.write_parts, []

    def full(fd: int, parts: list[bytes]) -> None:
        calls.append(fd)
        if len(calls) == 3:
            os.write(fd, parts[0][:90])
            raise OSError(errno.ENOSPC, "full")
        write_parts(fd, parts)

    said = numbers(100, 160)
    monkeypatch.setattr(logfile, "write_parts", full)
    place.writer.write("stdout", said)
    kept = place.text()
    assert said.startswith(kept) and 0 < len(kept) < len(said)
    lost = int((place.container / logfile.LOST).read_text())
    assert lost == len(said) - len(kept)
    place.writer.write("stdout", b"after\n")
    assert place.text().startswith(kept + b"estiva: %d bytes of output are missing here" % lost)
    assert place.text().endswith(b"\nafter\n") and not (place.container / logfile.LOST).exists()


def test_without_a_limit_nothing_is_rotated(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "ROTATE", 100)
    with_options(place, size=0)
    place.writer.write("stdout", numbers(0, 1000))
    place.writer.write("stdout", numbers(1000, 2000))
    assert names(place) == ["log.json"] and place.text() == numbers(0, 2000)


def test_attributes_are_read_as_details(place: Place) -> None:
    with_options(place, attrs='"attrs":{"b":"x y","a":"1"},')
    place.writer.write("stdout", b"one\ntwo\n")
    assert [json.loads(line)["attrs"] for line in open(place.path)] == [{"b": "x y", "a": "1"}] * 2
    assert place.text() == b"one\ntwo\n"
    log, out = logreader.Log(place.path), bytearray()
    logs.drain(log.fds[0], 0, logs.Show(out.extend, out.extend, None, None, False, details=True))
    log.close()
    assert out == b"a=1,b=x+y one\na=1,b=x+y two\n"


def packed(place: Place, count: int, keep: int) -> None:
    """Lines in files that have been rotated and compressed."""
    from estiva.engine.state.logs import pack as logpack

    with_options(place, size=4000, keep=keep)
    for number in range(count):
        place.writer.write("stdout", b"%d\n" % number)
    logpack.compress(place.path, keep)


def read_all(place: Place, tail: int | None = None) -> bytes:
    log, out = logreader.Log(place.path, str(place.ingest)), bytearray()
    starts = [0] * len(log.fds) if tail is None else log.tail(tail)
    for index, start in enumerate(starts):
        if start < logreader.END:
            logs.drain(log.plain(index), start, logs.Show(out.extend, out.extend, None, None, False))
    log.close()
    return bytes(out)


def test_compressed_files_are_read_as_if_they_were_not(place: Place) -> None:
    packed(place, 1000, 5)
    assert [name for name in names(place) if name != "log.json"] == [f"log.json.{n}.gz" for n in range(1, 5)]
    there = read_all(place).splitlines()
    assert there == [b"%d" % number for number in range(int(there[0]), 1000)]
    for count in (0, 1, 40, 100, 10**9):
        assert read_all(place, count).splitlines() == there[max(0, len(there) - count) :]
    assert not os.listdir(place.ingest)


def test_a_compressed_file_that_is_cut_off_costs_its_end_alone(place: Place) -> None:
    packed(place, 1000, 4)
    victim = place.container / "log.json.2.gz"
    whole = read_all(place).splitlines()
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
    left = read_all(place).splitlines()
    assert left[0] == whole[0] and left[-1] == whole[-1] and len(whole) - 120 < len(left) < len(whole)
    victim.write_bytes(b"no gzip")
    assert len(read_all(place).splitlines()) < len(left)


def test_a_rotation_while_a_file_is_compressed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from estiva.engine.state.logs import pack as logpack

    with_options(place, size=4000, keep=4)
    squeeze = logpack.squeeze

    def rotate_first(source: int, target: int) -> None:
        monkeypatch.setattr(logpack, "squeeze", squeeze)
        for number in range(100, 150):
            place.writer.write("stdout", b"%d\n" % number)
        squeeze(source, target)

    for number in range(100):
        place.writer.write("stdout", b"%d\n" % number)
    before = names(place)
    monkeypatch.setattr(logpack, "squeeze", rotate_first)
    logpack.compress(place.path, 4)
    assert len(names(place)) >= len(before) and not (place.container / "log.json.gz.tmp").exists()
    assert read_all(place) == numbers(0, 150)


def test_what_is_lost_is_told_once_there_is_room(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with_options(place)
    place.writer.write("stdout", b"before\n")

    def full(fd: int, parts: list[bytes]) -> None:
        os.write(fd, parts[0])
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(logfile, "write_parts", full)
        place.writer.write("stdout", b"gone\n")
        place.writer.write("stderr", b"gone too\n")
    assert (place.container / logfile.LOST).read_text() == "14"
    assert place.text() == b"before\n"
    place.writer.write("stdout", b"after\n")
    assert place.text() == (
        b"before\nestiva: 14 bytes of output are missing here: no space left on device\nafter\n"
    )
    assert not (place.container / logfile.LOST).exists()
