"""Rules, what they find, and which of them a Dockerfile or the caller wants."""

from __future__ import annotations

from estiva.builder.frontend.errors import shorten
from estiva.builder.frontend.near import near
from estiva.builder.frontend.syntax import CHECK, Dockerfile, Instruction
from estiva.builder.struct import struct
from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


MOST = 1000  # findings that are told of one Dockerfile
_GUESSES = 50  # findings for which names are compared
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


@struct
class Rule:
    """`name` is BuildKit's, `summary` says what it asks for. `experimental`: only on request."""

    name: str
    summary: str
    experimental: bool = False


@struct
class Finding:
    """What a rule found, in the lines `line` to `end`."""

    rule: Rule
    message: str
    line: int
    end: int

    def __str__(self) -> str:
        return f"{self.rule.name}: {self.message} (line {self.line})"


@struct
class Options:
    """`# check=skip=A,B;experimental=C;error=true`; "all" in a set stands for every rule."""

    skip: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    error: bool = False

    @classmethod
    def parse(cls, text: str) -> Options:
        """Raises InvalidInput."""
        options = cls()
        for part in text.split(";") if text.strip() else ():
            key, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals:
                raise InvalidInput(f"invalid option of check: {shorten(part)!r}", hint="it is KEY=VALUE")
            if key == "error":
                if value not in _TRUE + _FALSE:
                    raise InvalidInput(f"error must be true or false, not {shorten(value)!r}")
                options.error = value in _TRUE
            elif key in ("skip", "experimental"):
                names = frozenset(name.strip() for name in value.split(","))
                setattr(options, key, names)
            else:
                raise InvalidInput(
                    f"there is no option {shorten(key)!r} of check", hint="skip, experimental or error"
                )
        return options

    def wants(self, rule: Rule) -> bool:
        if rule.experimental:
            return rule.name in self.experimental or "all" in self.experimental
        return rule.name not in self.skip and "all" not in self.skip

    def joined(self, other: Options) -> Options:
        """What either leaves out is left out; an error is for the whole file to ask for."""
        return Options(self.skip | other.skip, self.experimental | other.experimental, self.error)


ARGUMENT = CHECK


def options_of(dockerfile: Dockerfile, given: str | None) -> Options:
    """Those of the directive `check`, or in its place `given`, the value of ARGUMENT. Raises InvalidInput."""
    text = dockerfile.directives.get("check", "").partition(" ")[0] if given is None else given
    try:
        return Options.parse(text)
    except InvalidInput as error:
        place = dockerfile.name if given is None else ARGUMENT
        raise InvalidInput(f"{place}: {error.message}", hint=error.hint) from None


class Report:
    """Gathers what is found, if it is wanted: by the options, and by comments right above an instruction."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.findings: list[Finding] = []
        self._own: dict[int, Options] = {}  # by the line of an instruction that has options of its own

    def add(self, rule: Rule, source: Instruction, message: str, *, line: int | None = None) -> None:
        """One finding at an instruction; `line` where that is not where it begins."""
        if len(self.findings) >= MOST or not self._options(source).wants(rule):
            return
        line = source.line if line is None else line
        self.findings.append(Finding(rule, shorten(message, 1000), line, max(line, source.end)))

    def near(self, name: str, known: Iterable[str]) -> str:
        """ ": $NAME is meant?" for the one of `known` that is most like `name`, told the first few times."""
        if len(self.findings) >= _GUESSES:
            return ""
        meant = near(name, known)
        return f": ${meant} is meant?" if meant else ""

    def ordered(self) -> list[Finding]:
        """What was found, from the top of the file on."""
        return sorted(self.findings, key=lambda finding: finding.line)

    def _options(self, source: Instruction) -> Options:
        if not any("=" in comment for comment in source.comments):
            return self.options
        if source.line not in self._own:
            own = next(_checks(source.comments), "")
            try:
                self._own[source.line] = self.options.joined(Options.parse(own.partition(" ")[0]))
            except InvalidInput:  # a comment may say anything
                self._own[source.line] = self.options
        return self._own[source.line]


def _checks(comments: list[str]) -> Iterator[str]:
    """The values of comments that read `check=VALUE`."""
    for comment in comments:
        key, equals, value = comment.partition("=")
        if equals and key.strip().lower() == "check":
            yield value.strip()
