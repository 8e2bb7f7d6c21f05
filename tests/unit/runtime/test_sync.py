"""The child's errors on their way to the parent."""

from __future__ import annotations

import os

import pytest

from estiva import errors
from estiva.linux import fs
from estiva.runtime import sync


def passed(error: BaseException, step: str = "do it") -> errors.EstivaError:
    """`error` as the parent raises it."""
    mine, theirs = sync.pair(3)
    theirs.step = step
    theirs.report(error)
    kind, payload, fd = mine.receive()
    mine.close()
    theirs.close()
    assert (kind, fd) == (sync.ERROR, -1)
    return sync.decode(payload)


def raised(kind: type[BaseException], call: object, *args: object) -> BaseException:
    with pytest.raises(kind) as caught:
        call(*args)  # type: ignore[operator]
    return caught.value


def test_a_failed_syscall() -> None:
    error = passed(raised(OSError, fs.openat2, -100, "/no/such\x1b", os.O_PATH))
    assert isinstance(error, sync.StepFailed)
    assert (error.step, error.syscall, error.object, error.errno) == ("do it", "openat2", "/no/such\x1b", 2)
    assert str(error) == "do it: openat2 /no/such\\x1b: no such file or directory"
    assert errors.status(error) == (125, 500)


def test_the_syscall_behind_a_rephrased_error() -> None:
    def rephrase() -> None:
        try:
            fs.openat2(-100, "/no/such", os.O_PATH)
        except OSError as error:
            raise OSError(error.errno, error.strerror, "/other") from error

    error = passed(raised(OSError, rephrase))
    assert isinstance(error, sync.StepFailed) and (error.syscall, error.object) == ("openat2", "/other")


def test_an_error_of_ours_keeps_its_kind_and_hint() -> None:
    error = passed(errors.CommandNotFound("it is gone", hint="look\nfor it"))
    assert type(error) is errors.CommandNotFound
    assert (error.message, error.hint) == ("it is gone", "look\nfor it")


def test_a_bug_is_told_with_its_place() -> None:
    error = passed(raised(ZeroDivisionError, lambda: 1 // 0))
    assert type(error) is errors.EngineError
    assert "ZeroDivisionError" in str(error) and "test_sync.py:" in str(error)


def test_what_is_too_long_is_cut() -> None:
    error = passed(OSError(5, "x" * 100000, "y" * 100000))
    assert isinstance(error, sync.StepFailed) and error.errno == 5


def test_an_unknown_kind_is_an_engine_error() -> None:
    assert type(sync.decode(b"Evil\0step\0\0\0\0text\0")) is errors.EngineError
    assert type(sync.decode(b"")) is errors.EngineError


def test_a_channel_carries_an_fd() -> None:
    mine, theirs = sync.pair(20)
    assert theirs.fd >= 20
    out, into = os.pipe()
    theirs.send_fd(sync.CONSOLE, into)
    kind, _, fd = mine.receive()
    assert kind == sync.CONSOLE and not os.get_inheritable(fd)
    os.write(fd, b"x")
    assert os.read(out, 1) == b"x"
    theirs.close()
    assert mine.receive() == (b"", b"", -1)
    for one in (out, into, fd):
        os.close(one)
    mine.close()


def test_the_childs_wait_ends_with_the_parent() -> None:
    mine, theirs = sync.pair(3)
    mine.close()
    with pytest.raises(sync.ParentGone):
        theirs.expect(sync.GO)
    theirs.close()


def test_what_the_child_said_is_heard_though_it_left_a_message_unread():
    ours, theirs = sync.pair(3)
    ours.send(sync.GO)
    theirs.send(sync.ERROR, b"why")
    theirs.close()
    assert ours.receive() == (sync.ERROR, b"why", -1)
    assert ours.receive() == (b"", b"", -1)
    ours.close()
