"""The command line's own option parser (cold path).

argparse with what it imports takes 9 ms of a 30 ms run. Verbs here declare a table of plain tuples, which
cost nothing to load, and the words are read as Docker's command line (spf13/pflag) reads them:

    --name=web  --name web  -e A=1  -eA=1  -it  -itw /src  --rm=false  --
"""

from __future__ import annotations

from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeVar

    T = TypeVar("T")

    # (letter, long name, kind, metavar, help); an empty help hides an alias from --help
    Option = tuple[str, str, str, str, str]
    Action = Callable[[Any, "Options"], int | None]  # a Context, of cli.main or of ocicli.main
    Example = tuple[str, str]

FLAG = "flag"
TEXT = "text"
INT = "int"
LIST = "list"
WORD = "word"  # --name, or --name=WORD: the word "true", or that one
BARE = (FLAG, WORD)  # what takes no word after it

TRUE = ("1", "t", "T", "true", "TRUE", "True")
FALSE = ("0", "f", "F", "false", "FALSE", "False")


class UsageError(InvalidInput):
    """Words that the verb's table does not allow; its hint is the verb's --help."""


class FlagError(UsageError):
    """An option that there isn't, or whose value can't be meant: all of docker's verbs end with 125 then."""

    exit_status = 125


class CountError(UsageError):
    """Too few arguments or too many: with 1, docker's `run` too."""

    exit_status = 1


class HelpWanted(Exception):
    """--help was given."""


class Verb:
    """One verb: its words, its help and the function that does it.

    `interspersed` is false where the words after the first argument belong to the container. `failure` is
    the exit status of an error: 125 tells "Estiva failed" from "the command failed" where a command runs.
    `whole` is true where all words but a lone --help are those of another program.
    """

    __slots__ = (
        "action",
        "examples",
        "failure",
        "interspersed",
        "least",
        "most",
        "options",
        "summary",
        "usage",
        "whole",
    )

    def __init__(
        self,
        action: Action,
        usage: str,
        summary: str,
        options: Sequence[Option] = (),
        *,
        least: int = 0,
        most: int | None = None,
        interspersed: bool = True,
        failure: int = 1,
        examples: Sequence[Example] = (),
        whole: bool = False,
    ) -> None:
        self.action = action
        self.usage = usage
        self.summary = summary
        self.options = options
        self.least = least
        self.most = most
        self.interspersed = interspersed
        self.failure = failure
        self.examples = examples
        self.whole = whole


class Options:
    """What was given: options by long name, and the arguments."""

    __slots__ = ("arguments", "values")

    def __init__(self, values: dict[str, bool | str | int | list[str]], arguments: list[str]) -> None:
        self.values = values
        self.arguments = arguments

    def given(self, name: str) -> bool:
        return name in self.values

    def flag(self, name: str, default: bool = False) -> bool:
        return bool(self.values.get(name, default))

    def text(self, name: str, default: str = "") -> str:
        value = self.values.get(name, default)
        assert isinstance(value, str)
        return value

    def number(self, name: str, default: int = 0) -> int:
        value = self.values.get(name, default)
        assert isinstance(value, int)
        return value

    def many(self, name: str) -> list[str]:
        value = self.values.get(name, [])
        assert isinstance(value, list)
        return value


def label(option: Option) -> str:
    """How an option is called in messages: "-m, --memory"."""
    return f"-{option[0]}, --{option[1]}" if option[0] else f"--{option[1]}"


def bad_value(option: Option, value: str, why: str) -> FlagError:
    return FlagError(f'invalid argument "{value}" for "{label(option)}" flag: {why}')


def converted(option: Option, text: str, reader: Callable[[str], T]) -> T:
    """What `reader` makes of an option's text; its ValueError becomes a usage error."""
    try:
        return reader(text)
    except ValueError as error:
        raise bad_value(option, text, str(error)) from None


def boolean(text: str) -> bool | None:
    """The truth of a word as Go's strconv.ParseBool sees it; None if it is neither."""
    if text in TRUE:
        return True
    return False if text in FALSE else None


class _Reader:
    def __init__(self, options: Sequence[Option], interspersed: bool) -> None:
        self.options = options
        self.interspersed = interspersed
        self.long = {option[1]: option for option in options}
        self.short = {option[0]: option for option in options if option[0]}
        self.values: dict[str, bool | str | int | list[str]] = {}

    def read(self, words: list[str]) -> Options:
        arguments: list[str] = []
        position = 0
        while position < len(words):
            word = words[position]
            position += 1
            if word == "--":
                arguments += words[position:]
                break
            if word.startswith("--"):
                position = self.read_long(word, words, position)
            elif word.startswith("-") and word != "-":
                position = self.read_short(word, words, position)
            else:
                arguments.append(word)
                if not self.interspersed:
                    arguments += words[position:]
                    break
        return Options(self.values, arguments)

    def read_long(self, word: str, words: list[str], position: int) -> int:
        name, equals, value = word[2:].partition("=")
        option = self.long.get(name)
        if option is None:
            if name == "help":
                raise HelpWanted
            raise FlagError(f"unknown flag: --{name}", hint=self.suggestion(name))
        if equals:
            self.store(option, value)
        elif option[2] in BARE:
            self.store(option, "true")
        elif position < len(words):
            self.store(option, words[position])
            position += 1
        else:
            raise FlagError(f"flag needs an argument: --{name}")
        return position

    def read_short(self, word: str, words: list[str], position: int) -> int:
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            option = self.short.get(letter)
            if option is None:
                if letter == "h":
                    raise HelpWanted
                raise FlagError(f"unknown shorthand flag: '{letter}' in {word}")
            if letters.startswith("="):
                self.store(option, letters[1:])
                break
            if option[2] in BARE:
                self.store(option, "true")
            elif letters:
                self.store(option, letters)
                break
            elif position < len(words):
                self.store(option, words[position])
                position += 1
            else:
                raise FlagError(f"flag needs an argument: '{letter}' in {word}")
        return position

    def store(self, option: Option, value: str) -> None:
        name, kind = option[1], option[2]
        if kind in (TEXT, WORD):
            self.values[name] = value
        elif kind == LIST:
            self.values.setdefault(name, []).append(value)  # type: ignore[union-attr]
        elif kind == FLAG:
            truth = boolean(value)
            if truth is None:
                raise bad_value(option, value, "not true or false")
            self.values[name] = truth
        else:
            try:
                if not value.isascii() or len(value) > 64:
                    raise ValueError
                number = int(value, 0)
            except ValueError:
                raise bad_value(option, value, "not a whole number") from None
            if not -1 << 63 <= number < 1 << 63:
                raise bad_value(option, value, "value out of range")
            self.values[name] = number

    def suggestion(self, name: str) -> str:
        near = nearest(name, [option[1] for option in self.options])
        return f"did you mean --{near}?" if near else ""


def nearest(word: str, words: Sequence[str]) -> str:
    """The word that was probably meant, or ""."""
    from difflib import get_close_matches

    return (get_close_matches(word, words, 1, 0.7) or [""])[0]


def parse(options: Sequence[Option], words: list[str], *, interspersed: bool = True) -> Options:
    """Read `words` by an option table. Raises UsageError, or HelpWanted."""
    return _Reader(options, interspersed).read(words)


def parse_verb(verb: Verb, words: list[str], name: str) -> Options:
    """Read the words of a verb called `name` in messages and count its arguments."""
    if verb.whole and words != ["--help"]:
        return Options({}, words)
    options = parse(verb.options, words, interspersed=verb.interspersed)
    count = len(options.arguments)
    if verb.most == 0 and count:
        raise CountError(f'"{name}" accepts no arguments')
    if verb.least == verb.most and count != verb.least:
        raise CountError(f'"{name}" requires exactly {_arguments(verb.least)}')
    if count < verb.least:
        raise CountError(f'"{name}" requires at least {_arguments(verb.least)}')
    if verb.most is not None and count > verb.most:
        raise CountError(f'"{name}" requires at most {_arguments(verb.most)}')
    return options


def _arguments(count: int) -> str:
    return f"{count} argument" if count == 1 else f"{count} arguments"
