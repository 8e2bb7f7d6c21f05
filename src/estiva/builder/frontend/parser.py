"""A Dockerfile's text -> its instructions: directives, comments, continuations, flags, here-documents.

The grammar is that of Docker's Dockerfile reference (docs.docker.com/reference/dockerfile). Nothing is
expanded and no argument is understood here; that is the work of `instructions`.
"""

from __future__ import annotations

from estiva import fastjson
from estiva.builder.frontend import foreign
from estiva.builder.frontend.errors import DockerfileError, shorten
from estiva.builder.frontend.near import near
from estiva.builder.frontend.syntax import Dockerfile, Heredoc, Instruction
from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


NAMES = (
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
)
DIRECTIVES = ("syntax", "escape", "check")
LIMIT = 4 << 20  # bytes of one Dockerfile (K13)
MOST = 10_000  # instructions
MOST_COMMENTS = 100  # above an instruction that are looked at

_HEREDOC = r"(?s)(\d*)<<(-?)[ \t\r]*+([^<]+)$"
_HEREDOC_NAMES = ("ADD", "COPY", "RUN")


class _Lines:
    """The physical lines, each without its line ending, and the number of the last one given out."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        if self.lines and self.lines[-1] == "":
            self.lines.pop()
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.number >= len(self.lines):
            raise StopIteration
        self.number += 1
        return self.lines[self.number - 1]

    def push_back(self) -> None:
        self.number -= 1


def parse(data: bytes | str, *, name: str = "Dockerfile") -> Dockerfile:
    """Parse a Dockerfile. Raises DockerfileError with the line, InvalidInput when there is nothing in it."""
    if len(data) > LIMIT:
        raise InvalidInput(f"{name} is larger than {LIMIT >> 20} MiB")
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    text = text.removeprefix("\ufeff")
    result = Dockerfile(name, text)
    lines = _Lines(text)
    try:
        _read(result, lines)
    except DockerfileError as error:
        from estiva.builder.frontend.excerpt import excerpt

        error.excerpt = excerpt(lines.lines, error.line, error.line, error.bare)
        other = foreign.named(result.directives)
        if other:
            error.hint = f"it is written for the frontend {other}, which is not used here"
        raise
    if not result.instructions:
        raise InvalidInput(f"{name} has no instructions", hint="a Dockerfile starts with FROM")
    return result


def _read(result: Dockerfile, lines: _Lines) -> None:
    _directives(result, lines)
    comments: list[str] = []
    for line in lines:
        stripped = line.strip()
        if stripped.startswith("#"):
            comment = stripped[1:].strip()
            comments = (
                [*comments[-MOST_COMMENTS:], comment] if comment else []
            )  # `#` alone ends what they say
        if not stripped or stripped.startswith("#"):
            continue
        start = lines.number
        logical, gap = _continued(result, line.lstrip().rstrip("\r"), lines)
        if not logical.strip():
            continue
        instruction = _split(logical, start, result)
        instruction.comments, comments = comments, []
        instruction.gap = lines.number if gap else 0
        _read_heredocs(instruction, logical, lines, result)
        instruction.end, instruction.lines = lines.number, lines.lines
        result.instructions.append(instruction)
        if len(result.instructions) > MOST:
            raise InvalidInput(f"{result.name} has more than {MOST} instructions")


def _directives(result: Dockerfile, lines: _Lines) -> None:
    """Parser directives: only in the first lines, each once, before any other comment."""
    for line in lines:
        key, value = _directive(line.strip())
        if not value or key not in DIRECTIVES:
            lines.push_back()
            return
        if key in result.directives:
            raise DockerfileError(
                f"the parser directive {key} is given twice", name=result.name, line=lines.number, text=line
            )
        result.directives[key] = value
        if key == "escape":
            if value not in ("\\", "`"):
                raise DockerfileError(
                    f"invalid escape character {value!r}: it must be \\ or `",
                    name=result.name,
                    line=lines.number,
                    text=line,
                )
            result.escape = value


def _directive(line: str) -> tuple[str, str]:
    """(key, value) of a comment that may be a directive, `# key = value`; two empty ones of another line."""
    key, _, value = line.partition("=") if line.startswith("#") else ("", "", "")
    return key[1:].strip().lower() if key.isascii() else "", value.lstrip()


def _continued(result: Dockerfile, first: str, lines: _Lines) -> tuple[str, bool]:
    """The logical line: continuation lines joined; comments and empty lines among them skipped. Whether
    there was an empty one.
    """
    escape = result.escape
    joined = ""
    current = first
    gap = False
    while True:
        trimmed = current.rstrip(" \t")
        goes_on = trimmed.endswith(escape) and not trimmed.endswith(escape * 2)
        joined += trimmed[:-1] if goes_on else current
        if not goes_on:
            return joined, gap
        for line in lines:
            current = line.rstrip("\r")
            if current.lstrip().startswith("#"):
                continue
            if current.strip():
                break
            gap = True
        else:
            return joined, gap


def _split(line: str, number: int, result: Dockerfile) -> Instruction:
    """One logical line -> Instruction, its flags taken off."""
    parts = line.strip().split(None, 1)
    name = parts[0].upper()
    rest = parts[1] if len(parts) == 2 else ""
    if name not in NAMES:
        raise DockerfileError(
            f"unknown instruction: {shorten(parts[0])}",
            name=result.name,
            line=number,
            text=line,
            hint=_meant(name),
        )
    flags, rest = _take_flags(rest, result.escape)
    return Instruction(name, rest.strip(), flags, number, line.strip(), result.name, result.escape)


def _meant(name: str) -> str:
    close = near(name, NAMES, 0.5)
    return f"did you mean {close}?" if close else "the instructions are " + " ".join(NAMES)


def _take_flags(rest: str, escape: str) -> tuple[list[str], str]:
    """The leading words that begin with `--`, unquoted; a bare `--` ends them."""
    flags: list[str] = []
    position = 0
    while True:
        while position < len(rest) and rest[position].isspace():
            position += 1
        if not rest.startswith("--", position):
            return flags, rest[position:]
        word = ""
        quote = ""
        while position < len(rest):
            char = rest[position]
            if quote and char == quote:
                quote = ""
            elif not quote and char in "'\"":
                quote = char
            elif not quote and char.isspace():
                break
            elif char == escape:
                position += 1
                word += rest[position : position + 1]
            else:
                word += char
            position += 1
        if word == "--":
            return flags, rest[position:]
        flags.append(word)


def _read_heredocs(instruction: Instruction, line: str, lines: _Lines, result: Dockerfile) -> None:
    """Attach the here-documents that `line` announces: everything up to each one's terminator."""
    if "<<" not in line or not _can_have_heredoc(instruction):
        return
    for word in _words(line, instruction.escape):
        heredoc = heredoc_of(word)
        if heredoc is None:
            continue
        content: list[str] = []
        for text in lines:
            bare = text.rstrip("\r")
            if (bare.lstrip("\t") if heredoc.chomp else bare) == heredoc.name:
                break
            content.append(text + "\n")
        else:
            raise DockerfileError(
                f"here-document {heredoc.name} is not ended",
                name=result.name,
                line=instruction.line,
                text=line,
                hint=f"a line with only {heredoc.name} ends it",
            )
        heredoc.content = "".join(content)
        instruction.heredocs.append(heredoc)


def _can_have_heredoc(instruction: Instruction) -> bool:
    name, args = instruction.name, instruction.args
    if name == "ONBUILD":
        inner = args.split(None, 1)
        name = inner[0].upper() if inner else ""
        args = _take_flags(inner[1], instruction.escape)[1] if len(inner) == 2 else ""
    return name in _HEREDOC_NAMES and json_list(args) is None


def heredoc_of(word: str) -> Heredoc | None:
    """The here-document that a shell word like `<<EOF`, `3<<-"EOF"` announces, or None."""
    if "<<" not in word:
        return None
    import re

    match = re.match(_HEREDOC, word)
    if match is None:
        return None
    raw = match.group(3).strip()
    name = re.sub(r"\\(.)|['\"]", lambda found: found.group(1) or "", raw)
    bare = re.sub(r"\\.|'[^']*'|\"[^\"]*\"", "", raw)  # a quoted name may have blanks
    if not name or raw != match.group(3).rstrip() or re.search(r"\s", bare):
        return None
    return Heredoc(name, expand=name == raw, chomp=match.group(2) == "-")


def _words(line: str, escape: str) -> list[str]:
    """The shell words of a line with quotes and escapes left in; blanks after `<<` stay in the word.

    `$((` ... `))` is one word, so that a shift in shell arithmetic is not taken for a here-document.
    """
    words: list[str] = []
    word = ""
    position = 0
    last = line.rfind("))")  # looked for once: a line may have any number of `$((`
    while position < len(line):
        char = line[position]
        if char in "'\"":
            end = line.find(char, position + 1)
            while char == '"' and end > 0 and line[end - 1] == escape:
                end = line.find(char, end + 1)
            end = len(line) - 1 if end < 0 else end
        elif char == escape:
            end = position + 1
        elif line.startswith("$((", position):
            end = line.find("))", position) + 1 if position < last else position
        elif line.startswith("<<", position):
            end = position + 1
            while line[end + 1 : end + 2] in (" ", "\t", "\r"):
                end += 1
        elif char.isspace():
            if word:
                words.append(word)
            word = ""
            position += 1
            continue
        else:
            end = position
        word += line[position : end + 1]
        position = end + 1
    return [*words, word] if word else words


def json_list(text: str) -> list[str] | None:
    """The exec form: a JSON array of strings. None when `text` is not one (then it is the shell form).

    Raises InvalidInput for an array that holds something else than strings.
    """
    if not text.lstrip().startswith("["):
        return None
    try:
        value = fastjson.loads(text)
    except InvalidInput:
        return None
    if not isinstance(value, list):
        return None
    if not all(isinstance(item, str) for item in value):
        raise InvalidInput("the exec form must be an array of strings only")
    return value
