"""Patterns over paths: `.dockerignore`, COPY --exclude, and wildcards in COPY's sources.

`.dockerignore` (docs.docker.com/build/concepts/context): patterns are cleaned paths relative to the
context's root, a leading `/` counts for nothing, `!` takes back what an earlier pattern left out, the last
match decides, and a match of a parent directory counts for all below it. As with docker, a pattern is only
looked at where it changes something: `!docs` takes back what `*` left out, and of `**/*.txt` nothing, as the
directory was never out; `!docs/**` does.
"""

from __future__ import annotations

import posixpath

from estiva.builder.frontend import patterns
from estiva.errors import InvalidInput

LIMIT = 10_000  # patterns of one file
WILD = frozenset("*?[")
_REMEMBERED = 10_000  # directories


class Pattern:
    """One compiled pattern; `negated` for one that begins with `!`."""

    def __init__(self, text: str, *, negated: bool) -> None:
        self.text = text
        self.negated = negated
        self.match = patterns.path(text).match


class Matcher:
    """An ordered list of patterns. `Matcher([])` matches nothing. Raises InvalidInput for a malformed one."""

    def __init__(self, lines: list[str]) -> None:
        self.patterns: list[Pattern] = []
        for line in lines:
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
            if len(self.patterns) > LIMIT:
                raise InvalidInput(f"there are more than {LIMIT} patterns of paths to leave out")
        self.prefix = ""
        self.negations = any(pattern.negated for pattern in self.patterns)
        self._above: dict[str, int] = {}  # directory -> what `_matching` knows of it, as bits

    @property
    def everything(self) -> bool:
        """Whether a pattern leaves out all that there is, if none takes something back."""
        return any(not pattern.negated and pattern.text in ("*", "**", "**/*") for pattern in self.patterns)

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def below(self, prefix: str) -> Matcher:
        """The same patterns for paths that are told without the `prefix` (with its slash) that all have."""
        matcher = Matcher([])
        matcher.__dict__.update(self.__dict__)
        matcher.prefix = self.prefix + prefix
        return matcher

    def excluded(self, path: str) -> bool:
        """Whether `path` (relative, no leading slash) is matched by the patterns, itself or through a
        parent.
        """
        path = self.prefix + path
        return self._matching(path, self._parent(path))[1]

    def _parent(self, path: str) -> int:
        """The patterns that match a directory above `path`."""
        if "/" not in path:
            return 0
        directory = path.rpartition("/")[0]
        known = self._above.get(directory)
        if known is None:
            known = 0
            place = -1
            while place < len(directory):  # from the outermost on
                place = directory.find("/", place + 1)
                place = len(directory) if place < 0 else place
                known = self._matching(directory[:place], known)[0]
            if len(self._above) >= _REMEMBERED:
                self._above.clear()
            self._above[directory] = known
        return known

    def _matching(self, path: str, known: int) -> tuple[int, bool]:
        """The patterns that match `path`, of which those `known` match a parent, and whether it is out."""
        out = False
        for index, pattern in enumerate(self.patterns):
            if not known >> index & 1:
                if pattern.negated != out or not pattern.match(path):
                    continue
                known |= 1 << index
            out = not pattern.negated
        return known, out

    def prunes(self, directory: str) -> bool:
        """Whether nothing below an excluded `directory` can be taken back, so that no one need look."""
        return not self.negations and self.excluded(directory)


def read_ignore(text: str, name: str = ".dockerignore") -> Matcher:
    """The matcher of a `.dockerignore` file's text: BOM dropped, lines that begin with `#` are comments.

    Raises InvalidInput with the place in the file `name`.
    """
    lines = ["" if line.startswith("#") else line for line in text.removeprefix("\ufeff").splitlines()]
    try:
        return Matcher(lines)
    except InvalidInput:
        for number, line in enumerate(lines, 1):
            try:
                Matcher([line])
            except InvalidInput as error:
                error.message = f"{name}:{number}: {error.message}"
                raise
        raise


def has_wildcard(text: str) -> bool:
    """Whether a COPY source has an unescaped wildcard."""
    escaped = False
    for char in text:
        if not escaped and char in WILD:
            return True
        escaped = not escaped and char == "\\"
    return False


def unescape(text: str) -> str:
    """A pattern without wildcards as the path that it names."""
    if "\\" not in text:
        return text
    import re

    return re.sub(r"\\(.)", r"\1", text)
