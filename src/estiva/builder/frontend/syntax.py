"""The parts of a Dockerfile as the parser gives them: instructions as written, and their here-documents."""

from __future__ import annotations

CHECK = "BUILDKIT_DOCKERFILE_CHECK"  # a build argument in the place of the directive `check`


class Heredoc:
    """One here-document: `expand` is false when its word was quoted, `chomp` strips leading tabs (`<<-`)."""

    def __init__(self, name: str, *, expand: bool, chomp: bool, content: str = "") -> None:
        self.name = name
        self.expand = expand
        self.chomp = chomp
        self.content = content

    @property
    def text(self) -> str:
        """The content as the reader of the document sees it."""
        if not self.chomp:
            return self.content
        return "\n".join(line.lstrip("\t") for line in self.content.split("\n"))


class Instruction:
    """One instruction as written: upper-case name, unquoted flags, the rest of the logical line.

    `line` to `end` are the lines that it takes, here-documents included; `word` is its name as written;
    `comments` are those right above it, each without its `#`; `gap` is the last of its own lines if an
    empty one stands among them, else 0.
    """

    def __init__(
        self, name: str, args: str, flags: list[str], line: int, original: str, file: str, escape: str
    ) -> None:
        self.name = name
        self.args = args
        self.flags = flags
        self.heredocs: list[Heredoc] = []
        self.line = line
        self.original = original
        self.file = file
        self.escape = escape
        self.end = line
        self.lines: list[str] = []  # of the whole file
        self.word = original[: len(name)]
        self.comments: list[str] = []
        self.gap = 0


class Dockerfile:
    """A parsed Dockerfile; `text` is all of it."""

    def __init__(self, name: str, text: str = "") -> None:
        self.name = name
        self.text = text
        self.escape = "\\"
        self.directives: dict[str, str] = {}
        self.instructions: list[Instruction] = []
