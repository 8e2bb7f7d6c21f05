"""The lines of a Dockerfile that an error is about, with their numbers and the word underlined that it names.

3 | FROM base AS build
4 | RUN --mount=type=cash,target=/c make
  |                  ^^^^
5 | COPY . .
"""

from __future__ import annotations

import re
from itertools import islice
from unicodedata import east_asian_width

from estiva.errors import oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


AROUND = 2  # lines before and after the instruction
MOST = 8  # lines of an instruction
NAMED = 5  # words of a message that are looked for
WIDTH = 100  # characters of a line; of a longer one, what is around the word
# What a message names: in quotes, a flag, a stage, or after its last colon.
_NAMED = re.compile(r"'([^']+)'|\"([^\"]+)\"|(--[a-z][a-z-]*)|\bstage ([^\s:,]+)|([^\s:,]+)$")


def excerpt(lines: Sequence[str], first: int, last: int, message: str) -> str:
    """Lines `first` to `last`, counted from 1, and some around them; "" where there are none. What can't be
    printed is shown escaped (K9)."""
    first, last = max(first, 1), min(last, len(lines))
    if first > last:
        return ""
    row, start, end = _marked(lines, first, last, message)
    found = []
    margin = len(str(min(last + AROUND, len(lines)))) + 4
    for number in _shown(first, last, row, len(lines)):
        if not number:
            found.append(f"{'...':>{margin}} |")
            continue
        text = lines[number - 1].rstrip("\r\n").replace("\t", " ")
        from_ = max(0, min(start - WIDTH // 2, len(text) - WIDTH)) if number == row else 0
        cut = text[from_ : from_ + WIDTH]
        dots = "…" if from_ else "", "…" if from_ + WIDTH < len(text) else ""
        found.append(f"{number:>{margin}} | {dots[0]}{oneline(cut)}{dots[1]}".rstrip())
        if number == row:
            before = _columns(oneline(cut[: start - from_])) + len(dots[0])
            under = max(1, _columns(oneline(cut[start - from_ : end - from_])))
            found.append(f"{'':>{margin}} | {'':>{before}}{'^' * under}")
    return "\n".join(found)


def _shown(first: int, last: int, row: int, count: int) -> Iterator[int]:
    """The numbers of the lines to show, 0 for what is left out."""
    yield from range(max(first - AROUND, 1), first)
    within = range(first, last + 1)
    if len(within) > MOST:
        near = range(max(row - MOST // 2, first), min(row + MOST // 2, last + 1))
        if near[0] > first:
            yield first
        if near[0] > first + 1:
            yield 0
        yield from near
        if near[-1] < last:
            yield 0
    else:
        yield from within
    yield from range(last + 1, min(last + AROUND, count) + 1)


def _marked(lines: Sequence[str], first: int, last: int, message: str) -> tuple[int, int, int]:
    """(line, column, column behind it) of the first word that the message names and the lines have; else of
    all that the first line says."""
    for match in islice(_NAMED.finditer(message), NAMED):
        word = next(filter(None, match.groups()))
        for number in range(first, last + 1):
            text = lines[number - 1].replace("\t", " ")
            place = _find(text, word)
            if place >= 0:
                return number, place, place + len(word)
    text = lines[first - 1].rstrip().replace("\t", " ")
    return first, len(text) - len(text.lstrip()), len(text)


def _find(text: str, word: str) -> int:
    """Where a word stands by itself; -1."""
    found = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text)
    return found.start() if found else -1


def _columns(text: str) -> int:
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)
