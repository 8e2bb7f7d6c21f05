"""Tasks side by side: all begin before one is waited for, and are told in their order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from estiva.cli.context import Context
from estiva.engine.containers import tasks
from estiva.errors import Conflict, Missing


def task(log: list[str], name: str, waits: int, error: Exception | None = None) -> Iterator[None]:
    log.append(f"begin {name}")
    for _ in range(waits):
        yield
    log.append(f"end {name}")
    if error is not None:
        raise error


def test_all_begin_first_and_are_told_in_order() -> None:
    log: list[str] = []
    wrong = Conflict("no")
    all_of_them = [task(log, "a", 3), task(log, "b", 1, wrong), task(log, "c", 2)]
    for error in tasks.together(all_of_them):
        log.append(f"told {error}")
    assert log == [
        "begin a", "begin b", "begin c", "end b", "end c", "end a", "told None", "told no", "told None",
    ]  # fmt: skip


def test_what_need_not_wait_is_told_at_once() -> None:
    log: list[str] = []
    for _ in tasks.together([task(log, "a", 0), task(log, "b", 0)]):
        log.append("told")
    assert log == ["begin a", "end a", "told", "begin b", "end b", "told"]


def test_one_alone_gives_its_result_or_error() -> None:
    def gives() -> Iterator[None]:
        yield
        return "id"

    assert tasks.run(gives()) == "id"
    with pytest.raises(Conflict):
        tasks.run(task([], "a", 1, Conflict("no")))


def test_what_is_named_twice_is_done_twice_in_turn(capsys: pytest.CaptureFixture[str]) -> None:
    log: list[str] = []
    there = {"a", "b"}

    def take(word: str) -> Iterator[None]:
        yield from task(log, word, 2)
        if word not in there:
            raise Missing("thing", word)
        there.remove(word)

    assert Context().together(["a", "b", "a", "x"], take) == 1
    assert log == [
        "begin a", "begin b", "begin x", "end a", "end b", "begin a", "end x", "end a",
    ]  # fmt: skip
    assert capsys.readouterr() == ("a\nb\n", "estiva: no such thing: a\nestiva: no such thing: x\n")
    there.add("a")
    assert Context().together(["x", "a"], take, missing_is_fine=True) == 0
