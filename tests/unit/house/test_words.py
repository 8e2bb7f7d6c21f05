"""The base modules that carry what users type and read: errors, JSON, files, numbers."""

import errno
import os
import stat

import pytest

from estiva import errors, fastjson, files
from estiva.engine.spec import security_opt
from estiva.errors import EngineError, InvalidInput, StateError, Unavailable
from estiva.store import reserve as reserves
from estiva.store.database import Database


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢", "plain é 漢"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x1b[31m\x00\x7f", r"\x1b[31m\x00\x7f"),
        ("\udcff\u202e\U000e0001", r"\udcff\u202e\U000e0001"),
    ],
)
def test_what_a_terminal_must_not_see_is_escaped(text, shown):
    assert errors.oneline(text) == shown


def test_a_long_message_keeps_both_ends():
    assert errors.brief("short\n") == r"short\n"
    shown = errors.brief("begin" + "x" * 100_000 + "end")
    assert shown.startswith("beginx") and shown.endswith("xend") and "[...]" in shown and len(shown) < 700
    assert len(errors.brief("\x00" * 100_000)) < 700


def test_an_unforeseen_os_error():
    full = errors.from_os(OSError(errno.ENOSPC, "No space left on device", "/a"))
    assert type(full) is Unavailable and full.message == "/a: no space left on device" and full.hint
    both = errors.from_os(OSError(errno.EXDEV, "Invalid cross-device link", "/a", None, "/b"))
    assert type(both) is EngineError and both.message == "/a -> /b: invalid cross-device link"


@pytest.mark.parametrize("text", ["plain", "é", "\udcff", 'a\udcff"é\n'])
def test_words_that_are_no_utf_8_survive_json(text):
    encoded = fastjson.dumps({text: text}).encode()
    assert fastjson.loads(encoded) == {text: text}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('["\\ud800"]', "half of a surrogate pair"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":1,"a":2}', "the same key twice"),
        ("{x", "expecting property name"),
        ("", "ends too early"),
        ('{"a": ', "ends too early"),
        ('{"a":\n  nope}', "expecting value: line 2 column 3 "),
        ("\ufeff{}", "byte order mark"),
        (b"\xff\xfe{\0}\0", "it is not UTF-8 .byte 0xff at 0."),
        ("[NaN]", "there is no NaN in JSON"),
    ],
)
def test_why_a_document_is_refused(text, why):
    with pytest.raises(InvalidInput, match=f"it is not valid json: .*{why}"):
        fastjson.loads(text, what="it", strict=True)
    assert fastjson.loads('"\\ud83d\\ude00"', strict=True) == "😀"


def test_what_we_wrote_ourselves_is_state():
    with pytest.raises(StateError, match="the record is not valid json"):
        fastjson.stored("{", what="the record")


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_directories_have_their_mode_whatever_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        files.make_directory(str(tmp_path / "a"))
        files.make_directory(str(tmp_path / "b"), 0o755)
    finally:
        os.umask(before)
    assert [stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in "ab"] == [0o700, 0o755]
    files.make_directory(str(tmp_path / "a"), exist_ok=True)
    with pytest.raises(FileExistsError):
        files.make_directory(str(tmp_path / "a"))


def test_an_atomic_write_that_fails_names_the_file(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        files.atomic_write(str(tmp_path / "no" / "file"), b"x")
    assert caught.value.filename == str(tmp_path / "no" / "file")


@pytest.mark.parametrize("option", ["seccomp=/a:b=c", "seccomp:/a:b=c", "seccomp=/a:b", "seccomp:/a=b"])
def test_a_profile_path_may_have_both_separators(option):
    assert security_opt.security_options({"SecurityOpt": [option]}) == (option[8:], False)


def test_the_reserve_of_the_database(tmp_path, monkeypatch):
    """Given up by what frees space, and by nothing else; there again after a checkpoint."""
    database = Database(str(tmp_path / "estiva.db"))
    reserve = tmp_path / "estiva.db.reserve"
    database.read("SELECT 1")
    assert reserve.stat().st_size == reserves.SIZE and stat.S_IMODE(reserve.stat().st_mode) == 0o600
    with database.write(freeing=True):
        pass
    assert reserve.exists()
    monkeypatch.setattr("estiva.store.reserve.full", lambda path, least=0: True)
    with database.write():
        pass
    assert reserve.exists()
    with database.write(freeing=True):
        pass
    assert not reserve.exists()
    database.checkpoint()
    assert reserve.exists()
    database.close()


def test_what_is_no_text_names_nothing(tmp_path):
    database = Database(str(tmp_path / "estiva.db"))
    with pytest.raises(InvalidInput, match="is not UTF-8 text"):
        database.read("SELECT 1 FROM names WHERE name = ?", ("\udcff",))
    with pytest.raises(InvalidInput, match="is not UTF-8 text"), database.write() as transaction:
        transaction.execute("INSERT INTO meta VALUES (?, '')", ("\udcff",))
    assert database.read("SELECT key FROM meta") == []
    database.close()
