"""Wildcard patterns: of paths, as `.dockerignore` and COPY have them, and of a shell's `${name#pattern}`.

A pattern is a row of tokens, and the set of the places in it that the text so far may have come to is one
integer with a bit for each. A character moves all bits at once, so nothing is ever tried twice and no pattern
takes longer than its length times the text's (K22). Steps that were taken are remembered, which makes it an
automaton that is built as it is needed.
"""

from __future__ import annotations

from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Accepts = Callable[[str], bool]  # whether a token takes a character

LIMIT = 4096  # characters of a pattern, as many as a path can have
_REMEMBERED = 10_000  # steps


class Token:
    """One character that `accepts` takes, or with `loop` any number of them. `slashed`: then a slash follows,
    or there is nothing at all. `literal` is the only character that it takes, or "".
    """

    __slots__ = ("accepts", "loop", "slashed", "literal")

    def __init__(
        self, accepts: Accepts, *, loop: bool = False, slashed: bool = False, literal: str = ""
    ) -> None:
        self.accepts = accepts
        self.loop = loop
        self.slashed = slashed
        self.literal = literal


class Pattern:
    """A compiled pattern, which matches whole texts."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.suffix = ""  # what a text must end with: most don't
        for token in reversed(tokens):
            if not token.literal:
                break
            self.suffix = token.literal + self.suffix
        self._places: list[tuple[int, Token]] = []
        self._skips: list[int] = [0, 0]  # bits from which one place, or two, may be skipped
        bit = 1
        for token in tokens:
            self._places.append((bit, token))
            if token.loop:
                self._skips[0] |= bit
            if token.slashed:  # two places: before it, where it may be skipped as a whole, and inside
                self._skips[1] |= bit
                bit <<= 1
            bit <<= 1
        self._end = bit
        self._start = self._closed(1)
        self._masks: dict[str, tuple[int, int]] = {}
        self._steps: dict[tuple[int, str], int] = {}

    def match(self, text: str) -> bool:
        """Whether the whole text matches."""
        if not text.endswith(self.suffix):
            return False
        state, steps = self._start, self._steps
        for char in text:
            following = steps.get((state, char))
            if following is None:
                following = self._step(state, char)
            if not following:
                return False
            state = following
        return bool(state & self._end)

    def ends(self, text: str, start: int = 0) -> Iterator[int]:
        """Where matches end that begin at `start`, in rising order."""
        state = self._start
        if state & self._end:
            yield start
        for position in range(start, len(text)):
            state = self._step(state, text[position])
            if not state:
                return
            if state & self._end:
                yield position + 1

    def starts(self, text: str) -> bytearray:
        """For every position of the text and its end, 1 if a match begins there."""
        backwards = reverse(self)
        found = bytearray(len(text) + 1)
        state = backwards._start
        found[len(text)] = bool(state & backwards._end)
        for position in range(len(text) - 1, -1, -1):
            state = backwards._step(state, text[position]) | backwards._start
            found[position] = bool(state & backwards._end)
        return found

    def _step(self, state: int, char: str) -> int:
        """The places after one more character; 0 when there is none."""
        key = state, char
        known = self._steps.get(key)
        if known is not None:
            return known
        masks = self._masks.get(char)
        if masks is None:
            masks = self._masks[char] = self._mask(char)
        moves, stays = masks
        following = self._closed((state & moves) << 1 | (state & stays))
        if len(self._steps) >= _REMEMBERED:
            self._steps.clear()
        self._steps[key] = following
        return following

    def _mask(self, char: str) -> tuple[int, int]:
        """The places that a character moves on from, and those that it leaves as they are."""
        if len(self._masks) >= _REMEMBERED:
            self._masks.clear()
        moves = stays = 0
        for bit, token in self._places:
            if token.slashed:
                stays |= bit << 1
                moves |= bit << 1 if char == "/" else 0
            elif token.accepts(char):
                if token.loop:
                    stays |= bit
                else:
                    moves |= bit
        return moves, stays

    def _closed(self, state: int) -> int:
        """`state` with the places that are reached without a character."""
        one, two = self._skips
        while True:
            more = state | (state & one) << 1 | (state & two) << 2
            if more == state:
                return state
            state = more


def reverse(pattern: Pattern) -> Pattern:
    """The pattern of texts read backwards; for those of shells, whose tokens have no direction."""
    return Pattern(pattern.tokens[::-1])


def shell(text: str) -> Pattern:
    """A pattern as shells have it in `${name#pattern}`: `*`, `?`, a backslash before either, before another
    one, and before the `/` or `}` that would end the pattern. Raises InvalidInput for one before more.
    """
    tokens: list[Token] = []
    position = 0
    _check(text)
    while position < len(text):
        char = text[position]
        position += 1
        if char == "*":
            tokens.append(Token(_anything, loop=True))
        elif char == "?":
            tokens.append(Token(_anything))
        else:
            if char == "\\":
                char = text[position : position + 1]
                position += 1
                if not char or char not in "*?\\/}":
                    hint = "a backslash stands before * ? or another one, and before what ends the pattern"
                    raise InvalidInput(f"invalid escape in the pattern {text[:40]!r}", hint=hint)
            tokens.append(_literal(char))
    return Pattern(tokens)


def path(text: str) -> Pattern:
    """A pattern of a path, or of one element of it. Raises InvalidInput when it is malformed.

    `**` spans any number of directories; the rest follows Go's path/filepath.Match.
    """
    tokens: list[Token] = []
    position = 0
    _check(text)
    while position < len(text):
        char = text[position]
        position += 1
        if text.startswith("**", position - 1):
            position += 1
            suffix = position == 2 and not any(char in text[2:] for char in "*?[\\")
            if text.startswith("/", position):
                position += 1
            if position >= len(text) or (suffix and text[position - 1] != "/"):  # `**foo`: that ends so
                tokens.append(Token(_anything, loop=True))
            else:
                tokens.append(Token(_anything, loop=True, slashed=True))
        elif char == "*":
            tokens.append(Token(_no_slash, loop=True))
        elif char == "?":
            tokens.append(Token(_no_slash))
        elif char == "[":
            accepts, position = _bracket(text, position)
            tokens.append(Token(accepts))
        else:
            if char == "\\":
                if position >= len(text):
                    raise InvalidInput(f"malformed pattern: {text}")
                char = text[position]
                position += 1
            tokens.append(_literal(char))
    return Pattern(tokens)


def _check(text: str) -> None:
    if len(text) > LIMIT:
        raise InvalidInput(f"a pattern of {len(text)} characters is too long: {text[:40]}...")


def _anything(char: str) -> bool:
    return True


def _no_slash(char: str) -> bool:
    return char != "/"


def _literal(literal: str) -> Token:
    return Token(lambda char: char == literal, literal=literal)


def _bracket(pattern: str, position: int) -> tuple[Accepts, int]:
    """A character class `[^]lo-hi...]` that begins before `position`, and the next position."""
    malformed = InvalidInput(f"malformed pattern: {pattern}")
    negated = pattern.startswith("^", position)
    if negated:
        position += 1
    ranges: list[tuple[str, str]] = []

    def take() -> str:
        nonlocal position
        if pattern.startswith("\\", position):
            position += 1
        if position >= len(pattern):
            raise malformed
        position += 1
        return pattern[position - 1]

    while not (pattern.startswith("]", position) and ranges):
        if position >= len(pattern) or pattern[position] in "-]":
            raise malformed
        low = high = take()
        if pattern.startswith("-", position):
            position += 1
            if pattern.startswith("]", position):
                raise malformed
            high = take()
        ranges.append((low, high))  # an empty range matches nothing, as in Go

    def accepts(char: str) -> bool:
        return char != "/" and any(low <= char <= high for low, high in ranges) != negated

    return accepts, position + 1
