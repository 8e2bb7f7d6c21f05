"""Regular expressions of names, as the filter `name` has them (Go's regexp, https://golang.org/s/re2syntax).

Literals, `.`, classes, `^`, `$`, groups, `|`, and the repetitions `*`, `+`, `?`, `{n,m}`. The expression
becomes a program whose threads go side by side through the text, each place of the program at most once for
a character (Thompson, 1968): no expression takes longer than its program times the text (K22), where `re` may
try for ever.
"""

from __future__ import annotations

from collections.abc import Callable

from estiva.errors import InvalidInput, brief

LIMIT = 256  # characters of an expression, as many as a name can have
PROGRAM = 2048  # instructions
DEPTH = 32  # groups within each other

Accepts = Callable[[str], bool]  # whether an instruction takes a character
FORK, BEGIN, END, MATCH = "fork", "begin", "end", "match"
# What each instruction is, and how far away those are that come next: a character that it accepts; a FORK to
# each of them; BEGIN, END of the text; the MATCH
Program = list[tuple[str | Accepts, list[int]]]

SETS: dict[str, Accepts] = {
    "d": lambda char: "0" <= char <= "9",
    "w": lambda char: char == "_" or (char.isascii() and char.isalnum()),
    "s": lambda char: char in "\t\n\f\r ",
}


def _any(char: str) -> bool:
    return char != "\n"


def _range(low: str, high: str) -> Accepts:
    return lambda char: low <= char <= high


GROUPS = ("(?:", "(?P<", "(?<")


def any_of(values: list[str]) -> Callable[[str], bool]:
    """Whether a name is one of the values of a filter, or has a part that one of them, as an expression,
    matches. Raises InvalidInput for what is no expression.
    """
    expressions = [Expression(value) for value in values]
    return lambda name: name in values or any(expression.search(name) for expression in expressions)


class Expression:
    """A compiled expression. Raises InvalidInput for what is none."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = self._depth = 0
        if len(text) > LIMIT:
            raise self._wrong(f"longer than {LIMIT} characters")
        self._program = [*self._either(), (MATCH, [])]
        if self._position < len(text):
            raise self._wrong("a ) without its (")

    def search(self, text: str) -> bool:
        """Whether some part of the text matches."""
        threads: list[int] = []
        for position in range(len(text) + 1):
            reached = self._reach([*threads, 0], position == 0, position == len(text))
            if reached is None:
                return True
            threads = []
            for place in reached if position < len(text) else ():
                what, following = self._program[place]
                if callable(what) and what(text[position]):
                    threads += [place + step for step in following]
        return False

    def _reach(self, places: list[int], begins: bool, ends: bool) -> set[int] | None:
        """The places that are come to without a character; None if one of them is the match."""
        seen: set[int] = set()
        while places:
            place = places.pop()
            if place in seen:
                continue
            seen.add(place)
            what, following = self._program[place]
            if what == MATCH:
                return None
            if what == FORK or (what == BEGIN and begins) or (what == END and ends):
                places += [place + step for step in following]
        return seen

    def _wrong(self, why: str) -> InvalidInput:
        return InvalidInput(
            f"invalid filter 'name={brief(self._text, 60)}': {why}",
            hint="a regular expression, such as '^web[0-9]+$'",
        )

    def _bounded(self, size: int) -> None:
        if size > PROGRAM:
            raise self._wrong("it repeats too much")

    def _next(self, *words: str) -> str:
        """The one of `words` that comes next, taken, or ""."""
        for word in words:
            if self._text.startswith(word, self._position):
                self._position += len(word)
                return word
        return ""

    def _char(self, what: str) -> str:
        if self._position >= len(self._text):
            raise self._wrong(f"{what} does not end")
        self._position += 1
        return self._text[self._position - 1]

    def _either(self) -> Program:
        """ROW | ROW | ..."""
        rows = [self._row()]
        while self._next("|"):
            rows.append(self._row())
        program = rows.pop()
        while rows:
            row = rows.pop()
            program = [(FORK, [1, len(row) + 2]), *row, (FORK, [len(program) + 1]), *program]
            self._bounded(len(program))
        return program

    def _row(self) -> Program:
        program: Program = []
        while self._position < len(self._text) and self._text[self._position] not in "|)":
            program += self._repeated(self._one())
            self._bounded(len(program))
        return program

    def _repeated(self, body: Program) -> Program:
        """What was read last, as often as the sign behind it says."""
        sign = self._next("*", "+", "?")
        bounds = {"*": (0, -1), "+": (1, -1), "?": (0, 1)}[sign] if sign else self._counted()
        if bounds is None:
            return body
        low, high = bounds
        self._next("?")  # it takes less first: all the same to whether it matches
        if self._next("*", "+", "?") or self._counted() is not None:
            raise self._wrong("a repetition of a repetition")
        size = len(body)
        self._bounded((size + 2) * max(low, high, 1))
        if high < 0:
            return body * low + [(FORK, [1, size + 2]), *body, (FORK, [-size - 1])]
        return body * low + [(FORK, [1, size + 1]), *body] * (high - low)

    def _counted(self) -> tuple[int, int] | None:
        """{n}, {n,} or {n,m}, taken: the least and the most times, -1 for any; what is none is literal."""
        end = self._text.find("}", self._position)
        if not self._text.startswith("{", self._position) or end < 0:
            return None
        low, comma, high = self._text[self._position + 1 : end].partition(",")
        if not all(number.isascii() and number.isdigit() for number in (low, high or "0")):
            return None
        self._position = end + 1
        least, most = int(low), (int(high) if high else -1) if comma else int(low)
        if max(least, most) > 1000 or 0 <= most < least:
            raise self._wrong(f"bad repetition {{{low}{comma}{high}}}")
        return least, most

    def _one(self) -> Program:
        char = self._char("it")
        if char == "(":
            return self._group()
        if char in "*+?":
            raise self._wrong(f"nothing before {char} to repeat")
        edge = {"^": BEGIN, "$": END}.get(char)
        if char == "\\":
            edge = {"A": BEGIN, "z": END, "": None}[self._next("A", "z")]
        if edge is not None:
            return [(edge, [1])]
        accepts: Accepts
        if char == ".":
            accepts = _any
        elif char == "[":
            accepts = self._class()
        else:
            accepts = self._escaped() if char == "\\" else char.__eq__
        return [(accepts, [1])]

    def _group(self) -> Program:
        self._position -= 1
        opening = self._next(*GROUPS, "(?", "(")
        if opening == "(?":
            raise self._wrong("flags are not supported")
        if opening.endswith("<"):
            while self._char("the name of a group") != ">":
                pass
        self._depth += 1
        if self._depth > DEPTH:
            raise self._wrong("it is nested too deeply")
        program = self._either()
        self._depth -= 1
        if not self._next(")"):
            raise self._wrong("a ( without its )")
        return program

    def _escaped(self) -> Accepts:
        """What stands behind a backslash."""
        char = self._char("a backslash")
        known = SETS.get(char.lower())
        if known is not None:
            return known if char.islower() else lambda other: not known(other)
        if char.isalnum():
            raise self._wrong(f"bad escape \\{char}")
        return char.__eq__

    def _class(self) -> Accepts:
        """A class `[^lo-hi\\d...]` whose bracket has been taken."""
        negated, sets = bool(self._next("^")), list[Accepts]()
        first = True
        while first or not self._next("]"):
            first = False
            low = self._char("a class")
            if low == "\\":
                if self._position < len(self._text) and self._text[self._position].isalnum():
                    sets.append(self._escaped())
                    continue
                low = self._char("a class")
            high = low
            if self._text.startswith("-", self._position) and not self._text.startswith("-]", self._position):
                self._next("-")
                high = self._char("a class")
                high = self._char("a class") if high == "\\" else high
                if high < low:
                    raise self._wrong(f"bad range {low}-{high}")
            sets.append(_range(low, high))
        return lambda char: any(accepts(char) for accepts in sets) != negated
