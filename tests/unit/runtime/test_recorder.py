"""What is written down of a start: what was really called, with what came of it; all as it was afterwards."""

import os

import pytest

from estiva.linux import fs, mount
from estiva.runtime import records, sync
from estiva.runtime.recorder import CHILD, Recorder
from estiva.runtime.records import CALL, STEP, packed, unpacked
from estiva.view import start


class Steps:
    @staticmethod
    def fine(folder):
        os.mkdir(folder)
        return 7

    @staticmethod
    def fails():
        raise ValueError("no\x1b good")


def told(made):
    return [(kind, text, thing, result) for _, _, _, kind, text, thing, result in made.records]


@pytest.fixture
def made():
    before = {name: getattr(os, name) for name in ("open", "write", "close", "mkdir", "execve")}
    recording = Recorder("test", [(Steps, "fine", "make a folder"), (Steps, "fails", "fail")])
    yield recording
    recording.end()
    assert {name: getattr(os, name) for name in before} == before
    assert "step" not in sync.Channel.__dict__ and fs.openat2.__module__ == "estiva.linux.fs"


def test_steps_and_what_is_done_in_them(made, tmp_path):
    made.records.clear()  # what pytest does before a test
    assert Steps.fine(f"{tmp_path}/new") == 7
    with pytest.raises(ValueError):
        Steps.fails()
    assert told(made) == [
        (STEP, "make a folder", "", ""),
        (CALL, "mkdir", f"{tmp_path}/new", ""),
        (STEP, "fail", "", r"no\x1b good"),
    ]


def test_a_call_that_fails_is_told_with_its_reason_and_raised(made):
    made.records.clear()  # what pytest does before a test
    with pytest.raises(FileNotFoundError):
        os.mkdir("/no/such/place")
    with pytest.raises(OSError):
        mount.umount2("/no/such/place")
    assert [row[1:] for row in told(made)] == [
        ("mkdir", "/no/such/place", "no such file or directory"),
        ("umount2", "/no/such/place", "no such file or directory"),
    ]


def test_fds_are_told_by_what_they_were_opened_by(made, tmp_path):
    made.records.clear()  # what pytest does before a test
    fd = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"words")
    os.close(fd)
    again = os.open("/dev/null", os.O_RDONLY)
    assert again == fd and made.names[again] == "/dev/null"
    os.close(again)
    assert told(made) == [(CALL, "write", f"{tmp_path}/file <- words", "")]


def test_only_the_innermost_call_is_told(made, tmp_path):
    made.records.clear()  # what pytest does before a test
    root = os.open(tmp_path, os.O_RDONLY)
    os.close(fs.mkdir_in_root(root, "/a/b"))
    os.close(root)
    texts = [row[1] for row in told(made)]
    assert "mkdir" in texts and "openat2" in texts
    assert texts.count("mkdir") == 2


def test_a_cloned_child_sends_what_it_did(made, tmp_path):
    made.records.clear()  # what pytest does before a test
    mine, theirs = sync.pair(3)
    if os.fork() == 0:
        theirs.step = "begin"
        os.mkdir(tmp_path / "by the child")
        theirs.step = "go on"
        theirs.send(sync.READY)
        os._exit(0)
    theirs.close()
    kind, _, _ = mine.receive()
    os.wait()
    mine.close()
    assert kind == sync.READY
    child = [(row[3], row[4]) for row in made.records if row[2] == CHILD]
    assert child == [(CALL, "mkdir"), (STEP, "begin")]
    assert told(made)[-1][1] == "<- READY"


def test_an_error_of_the_child_keeps_its_words(made):
    made.records.clear()  # what pytest does before a test
    mine, theirs = sync.pair(3)
    if os.fork() == 0:
        theirs.step = "do the impossible"
        theirs.report(OSError(2, "no such thing", "/x"))
        os._exit(0)
    theirs.close()
    kind, payload, _ = mine.receive()
    os.wait()
    mine.close()
    assert kind == sync.ERROR and str(sync.decode(payload)) == "do the impossible: /x: no such thing"
    assert ("do the impossible", "[Errno 2] no such thing: '/x'") in [
        (row[4], row[6]) for row in made.records
    ]


def test_records_cross_a_message_and_hostile_ones_do_no_harm():
    record = (1, 2, "init", CALL, "mkdir", "/a b", "")
    assert unpacked(packed(record)) == [record]
    evil = packed((1, 2, "init", CALL, "x", "\x1b[2J\udcff", "\x07"))
    assert all(text.isprintable() for text in unpacked(evil)[0][5:])
    for payload in (
        b"",
        b"\x1e\x1e",
        b"\xff" * 100,
        b"1\x1f2\x1fx\x1fother\x1fa\x1fb\x1fc\x1e",
        b"-1\x1f2\x1f\x1fcall\x1f\x1f\x1f\x1e",
    ):
        assert unpacked(payload) == []
    assert len(unpacked(packed(record) * 20_000)) == records.MOST


def test_the_order_of_what_was_done():
    records = [
        (30, 5, "init", CALL, "b", "", ""),
        (20, 50, "init", STEP, "a step", "", ""),
        (10, 1, "monitor", CALL, "a", "x", ""),
        (11, 1, "monitor", CALL, "a", "x", ""),
        (12, 1, "monitor", CALL, "a", "x", "refused"),
    ]
    done = start.ordered(records)
    assert [(each.text, each.times, each.result) for each in done] == [
        ("a", 2, ""), ("a", 1, "refused"), ("a step", 1, ""), ("b", 1, ""),
    ]  # fmt: skip
    assert done[0].at == 0 and done[2].at == pytest.approx(1e-8)
    assert "a x (2 times)" in start.lines(done)[0] and "-> refused" in start.lines(done)[1]
    assert start.ordered([]) == ()
