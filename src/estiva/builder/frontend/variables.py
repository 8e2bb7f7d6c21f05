"""Variables in a Dockerfile: word splitting, quotes, and `$v`, `${v}` with the modifiers of a POSIX shell.

`${v:-w} ${v-w} ${v:+w} ${v+w} ${v:?w} ${v?w} ${v#p} ${v##p} ${v%p} ${v%%p} ${v/p/r} ${v//p/r}`; in patterns
`*` and `?` are wildcards. The escape character is the Dockerfile's. A name that is not set expands to
nothing.

A few lines that double a variable each would fill the memory, so what variables bring is counted (K22).
"""

from __future__ import annotations

from estiva.builder.frontend import patterns
from estiva.builder.frontend.errors import shorten
from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


_SPECIAL = "@*#?-$!0"
_MAX_DEPTH = 50  # of ${a:-${b:-...}}


class Budget:
    """How many characters one build may make out of variables; shared by all that expand for it."""

    LIMIT = 32 << 20

    def __init__(self) -> None:
        self.left = self.LIMIT

    def spend(self, count: int) -> None:
        """Raises InvalidInput when there is nothing left."""
        self.left -= count
        if self.left < 0:
            raise InvalidInput(f"the variables of this build expand to more than {self.LIMIT >> 20} MiB")


class Expander:
    """Expands words against one snapshot of variables; `used` gathers the names that were looked up."""

    def __init__(self, values: Mapping[str, str], escape: str = "\\", budget: Budget | None = None) -> None:
        self.values = values
        self.escape = escape
        self.budget = budget or Budget()
        self.depth = 0
        self.used: set[str] = set()

    def word(self, text: str) -> str:
        """`text` with quotes removed and variables replaced. Raises InvalidInput for bad syntax."""
        return "".join(piece for piece, _ in self._pieces(text))

    def words(self, text: str) -> list[str]:
        """The same, split at blanks that are not quoted; blanks that a variable brings split too."""
        words: list[str] = []
        current = ""
        for piece, splits in self._pieces(text):
            if not splits:
                current += piece
                continue
            for char in piece:
                if not char.isspace():
                    current += char
                elif current:
                    words.append(current)
                    current = ""
        return [*words, current] if current else words

    def text(self, text: str) -> str:
        """The body of a here-document: variables replaced, quotes kept; a backslash (whatever escapes
        in the Dockerfile) goes, what follows it stays, be it the end of the line.
        """
        scan = _Scan(text)
        out: list[str] = []
        try:
            while not scan.end:
                char = scan.next()
                if char == "$":
                    out.append(self._dollar(scan))
                elif char == "\\" and not scan.end:
                    out.append(scan.next())
                else:
                    out.append(char)
        except _Syntax as error:
            raise InvalidInput(f"can't expand a here-document: {error}") from None
        return "".join(out)

    def _pieces(self, text: str) -> list[tuple[str, bool]]:
        try:
            return self._until(_Scan(text), "", raw=False)
        except _Syntax as error:
            raise InvalidInput(f"can't expand {shorten(text)!r}: {error}") from None

    def _until(self, scan: _Scan, stop: str, *, raw: bool) -> list[tuple[str, bool]]:
        """Pieces up to the character `stop` (or the end): (text, whether blanks in it split words)."""
        pieces: list[tuple[str, bool]] = []
        while not scan.end:
            char = scan.next()
            if char == stop:
                return pieces
            if char == "'":
                pieces.append((self._quoted(char, scan.through(char)), False))
            elif char == '"':
                pieces.append((self._quoted(char, self._double_quoted(scan, raw)), False))
            elif char == "$":
                pieces.append((self._dollar(scan), True))
            elif char == self.escape:
                if raw:
                    pieces.append((char, False))
                pieces.append((scan.next(), False))
            else:
                pieces.append((char, True))
        if stop:
            raise _Syntax(f"missing {stop!r}")
        return pieces

    def _quoted(self, quote: str, text: str) -> str:
        """What stays of a text in quotes."""
        return text

    def _double_quoted(self, scan: _Scan, raw: bool) -> str:
        out = ""
        while not scan.end:
            char = scan.next()
            if char == '"':
                return out
            if char == "$":
                out += self._dollar(scan)
            elif char == self.escape:
                if scan.end:
                    break
                if raw or scan.peek() not in ('"', "$", self.escape):
                    out += char
                if scan.peek() in ('"', "$", self.escape):
                    out += scan.next()
            else:
                out += char
        raise _Syntax("missing the closing double quote")

    def _name(self, scan: _Scan) -> str:
        first = scan.peek()
        if first.isdigit() and first:
            return scan.take(str.isdigit)
        if first and first in _SPECIAL:
            return scan.next()
        return scan.take(lambda char: char.isalnum() or char == "_")

    def _value(self, name: str) -> str | None:
        self.used.add(name)
        return self.values.get(name)

    def _dollar(self, scan: _Scan) -> str:
        if scan.peek() != "{":
            name = self._name(scan)
            text = (self._value(name) or "") if name else "$"
        elif self.depth >= _MAX_DEPTH:
            raise _Syntax("substitutions are nested too deeply")
        else:
            self.depth += 1
            text = self._braces(scan)
            self.depth -= 1
        self.budget.spend(len(text))
        return text

    def _braces(self, scan: _Scan) -> str:
        scan.next()
        if scan.end or scan.peek() in "{}:":
            raise _Syntax("bad substitution")
        name = self._name(scan)
        if not name:
            raise _Syntax("bad substitution")
        operator = scan.next()
        if operator == "}":
            return self._value(name) or ""
        if operator == "/":
            return self._replaced(scan, self._value(name) or "")
        colon = operator == ":"
        if colon:
            operator = scan.next()
        if operator in ("#", "%") and not colon:
            greedy = scan.peek() == operator
            if greedy:
                scan.next()
            pattern = patterns.shell(self._flat(scan, "}", raw=True))
            return _trimmed(self._value(name) or "", pattern, operator == "#", greedy)
        if operator == "" or operator not in "-+?":
            raise _Syntax(f"unsupported modifier {':' * colon + operator!r}" if operator else "missing '}'")
        word = self._flat(scan, "}", raw=False)
        value = self._value(name)
        present = value is not None and not (colon and value == "")
        if operator == "+":
            return word if present else ""
        if not present and operator == "?":
            raise _Syntax(f"{name}: {word or ('must not be empty' if value == '' else 'must be set')}")
        return (value or "") if present else word

    def _flat(self, scan: _Scan, stop: str, *, raw: bool) -> str:
        return "".join(piece for piece, _ in self._until(scan, stop, raw=raw))

    def _replaced(self, scan: _Scan, value: str) -> str:
        every = scan.peek() == "/"
        if every:
            scan.next()
        pattern = patterns.shell(self._flat(scan, "/", raw=True))
        replacement = self._flat(scan, "}", raw=False)
        starts = pattern.starts(value)
        pieces: list[str] = []
        done, last = 0, -1  # what is copied, where the last match ended
        start = starts.find(1)
        while start >= 0:
            end = max(pattern.ends(value, start))
            if end > start or end != last:  # nothing is not found right behind a match
                self.budget.spend(len(replacement))
                pieces += value[done:start], replacement
                done = last = end
            if not every:
                break
            start = starts.find(1, max(end, start + 1))
        return "".join(pieces) + value[done:]


class _Syntax(Exception):
    pass


class _Scan:
    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    @property
    def end(self) -> bool:
        return self.position >= len(self.text)

    def peek(self) -> str:
        return self.text[self.position : self.position + 1]

    def next(self) -> str:
        char = self.peek()
        self.position += 1
        return char

    def through(self, stop: str) -> str:
        end = self.text.find(stop, self.position)
        if end < 0:
            raise _Syntax("missing the closing single quote")
        taken = self.text[self.position : end]
        self.position = end + 1
        return taken

    def take(self, wanted: Callable[[str], bool]) -> str:
        start = self.position
        while not self.end and wanted(self.text[self.position]):
            self.position += 1
        return self.text[start : self.position]


def _trimmed(value: str, pattern: patterns.Pattern, prefix: bool, greedy: bool) -> str:
    """`value` without what matches at its begin, or its end: as much of it as can be, or as little."""
    if not prefix:
        return _trimmed(value[::-1], patterns.reverse(pattern), True, greedy)[::-1]
    ends = pattern.ends(value)
    return value[max(ends, default=0) if greedy else next(ends, 0) :]
