"""Patterns over paths: `.dockerignore`, COPY --exclude, and wildcards in COPY's sources.

`.dockerignore` (docs.docker.com/build/concepts/context): patterns are cleaned paths relative to the
context's root, a leading `/` counts for nothing, `!` takes back what an earlier pattern left out, the last
match decides, and a match of a parent directory counts for all below it. `**` spans any number of
directories. A wildcard within one path element follows Go's path/filepath.Match.
"""

from __future__ import annotations

import posixpath
import re

from estiva.errors import InvalidInput


class Pattern:
    """One compiled pattern; `negated` for one that begins with `!`."""

    def __init__(self, text: str, *, negated: bool) -> None:
        self.text = text
        self.negated = negated
        self.matches = re.compile(_translate(text)).match

    def match(self, path: str) -> bool:
        return self.matches(path) is not None


class Matcher:
    """An ordered list of patterns. `Matcher([])` matches nothing."""

    def __init__(self, patterns: list[str]) -> None:
        self.patterns: list[Pattern] = []
        for line in patterns:
            text = line.strip()
            negated = text.startswith("!")
            if negated:
                text = text[1:].strip()
                if not text:
                    raise InvalidInput('the pattern "!" excludes nothing')
            if not text:
                continue
            text = posixpath.normpath(text)
            text = text.lstrip("/") if len(text) > 1 else text
            self.patterns.append(Pattern(text, negated=negated))
        self.negations = any(pattern.negated for pattern in self.patterns)

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def excluded(self, path: str) -> bool:
        """Whether `path` (relative, no leading slash) is matched by the patterns, itself or through a
        parent.
        """
        parents = [path]
        while "/" in parents[-1]:
            parents.append(parents[-1].rsplit("/", 1)[0])
        decided = False
        for pattern in self.patterns:
            if pattern.negated == decided and any(pattern.match(part) for part in parents):
                decided = not pattern.negated
        return decided

    def prunes(self, directory: str) -> bool:
        """Whether nothing below an excluded `directory` can be taken back, so that no one need look."""
        return not self.negations and self.excluded(directory)


def read_ignore(text: str) -> Matcher:
    """The matcher of a `.dockerignore` file's text: BOM dropped, lines that begin with `#` are comments."""
    lines = text.removeprefix("\ufeff").splitlines()
    return Matcher([line for line in lines if not line.startswith("#")])


def glob_regex(pattern: str) -> re.Pattern[str]:
    """One path element's wildcard pattern. Raises InvalidInput when it is malformed."""
    return re.compile(_translate(pattern))


def has_wildcard(text: str) -> bool:
    """Whether a COPY source has an unescaped wildcard."""
    return re.search(r"(?:^|[^\\])(?:\\\\)*[*?\[]", text) is not None


def unescape(text: str) -> str:
    """A pattern without wildcards as the path that it names."""
    return re.sub(r"\\(.)", r"\1", text)


def _translate(pattern: str) -> str:
    """The pattern as a regular expression that must match the whole path."""
    out = ""
    position = 0
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if pattern.startswith("**", position - 1):
            position += 1
            suffix = position == 2 and not any(char in pattern[2:] for char in "*?[\\")
            if pattern.startswith("/", position):
                position += 1
            if position >= len(pattern):
                out += ".*"
            elif suffix and pattern[position - 1] != "/":
                out += ".*"  # `**foo`: any path that ends so
            else:
                out += "(?:.*/)?"
        elif char == "*":
            out += "[^/]*"
        elif char == "?":
            out += "[^/]"
        elif char == "[":
            text, position = _bracket(pattern, position)
            out += text
        elif char == "\\":
            if position >= len(pattern):
                raise InvalidInput(f"malformed pattern: {pattern}")
            out += re.escape(pattern[position])
            position += 1
        else:
            out += re.escape(char)
    return f"(?s:{out})\\Z"


def _bracket(pattern: str, position: int) -> tuple[str, int]:
    """A character class `[^]lo-hi...]` that begins before `position` -> regular expression, next position."""
    malformed = InvalidInput(f"malformed pattern: {pattern}")
    negated = pattern.startswith("^", position)
    if negated:
        position += 1
    ranges: list[str] = []

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
        if low <= high:  # Go lets an empty range match nothing
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            ranges.append("")
    inside = "".join(ranges)
    if not inside:
        return ("[^/]" if negated else "(?!)"), position + 1
    return (f"[^/{inside}]" if negated else f"(?!/)[{inside}]"), position + 1
