"""`completion`: what a shell may offer after the words that are typed, out of the verbs' own tables.

The script of each shell (cli/shells.py) asks `estiva __complete SHELL WORDS...`, where the last word is the
one that is being typed, maybe "". The answer is one candidate a line, a whole word, with what it means after
a tab; or the line ":files" or ":folders" where the shell itself knows better.
"""

from __future__ import annotations

import sys

from estiva.cli import choices
from estiva.cli import verbs as verb_table
from estiva.cmdline.parser import BARE, FLAG, Options, UsageError, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from estiva.cli.context import Context
    from estiva.cmdline.parser import Option

    Candidates: TypeAlias = list[tuple[str, str]]  # (word, what it means or "")
    Ask: TypeAlias = Callable[[str], list[str]]  # names of a kind: see engine/known.py

FILES, FOLDERS = ":files", ":folders"


class Typed:
    """Words read by an option table: the arguments, and the option that waits for its value, if one does."""

    def __init__(self, table: Sequence[Option], words: list[str], interspersed: bool) -> None:
        long = {option[1]: option for option in table}
        short = {option[0]: option for option in table if option[0]}
        self.arguments: list[str] = []
        self.values: dict[str, str] = {}
        self.waiting: Option | None = None
        self.over = False  # no more options: after "--", or after the first argument of a `run`
        for position, word in enumerate(words):
            if self.waiting is not None:
                self.values[self.waiting[1]] = word
                self.waiting = None
            elif self.over or word == "-" or not word.startswith("-"):
                self.arguments.append(word)
                if not interspersed:
                    self.arguments += words[position + 1 :]
                    self.over = True
                    return
            elif word == "--":
                self.over = True
            elif word.startswith("--"):
                name, equals, value = word[2:].partition("=")
                option = long.get(name)
                if option is not None and equals:
                    self.values[name] = value
                elif option is not None and option[2] not in BARE:
                    self.waiting = option
            else:
                self.waiting = _of_letters(word[1:], short)


def _of_letters(letters: str, short: dict[str, Option]) -> Option | None:
    """The option of "-it" or "-w" that takes the next word."""
    for position, letter in enumerate(letters):
        option = short.get(letter)
        if option is not None and option[2] not in BARE:
            return option if position == len(letters) - 1 else None
    return None


def candidates(words: list[str], current: str, ask: Ask, *, told: bool = True) -> Candidates:
    """What may stand in the place of `current` after `words`, which begin after `estiva` itself. `told`: with
    what it means, for which more modules are loaded."""
    outer = Typed(verb_table.GLOBALS, words, False)
    if outer.waiting is not None:
        return _value("", outer.waiting, current, ask)
    if not outer.arguments:
        return _options("", verb_table.GLOBALS, current, ask) or _verbs(current, told)
    first, *rest = outer.arguments
    if first == "help":
        return _help(rest, current, told)
    name, table = first, verb_table.VERBS
    if first in verb_table.GROUPS:
        table = verb_table.GROUPS[first]
        if not rest:
            return [(verb, text) for verb, text in _summaries(table, told) if verb.startswith(current)]
        verb = rest[0] if rest[0] in table else verb_table.ALIASES.get(rest[0], "")
        name, rest = f"{first} {verb}", rest[1:]
    else:
        verb = first
    if verb not in table:
        return []
    found = verb_table.load(table[verb])
    inner = Typed(found.options, rest, found.interspersed)
    if inner.waiting is not None:
        return _value(name, inner.waiting, current, ask)
    if not inner.over and current.startswith("-"):
        return _options(name, found.options, current, ask)
    return _argument(name, found, inner.arguments, current, ask)


def _verbs(current: str, told: bool) -> Candidates:
    from estiva.cli import help

    groups = list(help.GROUP_SUMMARIES.items())
    return [pair for pair in [*_summaries(verb_table.VERBS, told), *groups] if pair[0].startswith(current)]


def _summaries(table: dict[str, tuple[str, str]], told: bool) -> Candidates:
    return [(name, verb_table.load(entry).summary if told else "") for name, entry in table.items()]


def _help(words: list[str], current: str, told: bool) -> Candidates:
    if not words:
        return _verbs(current, told)
    group = verb_table.GROUPS.get(words[0], {}) if len(words) == 1 else {}
    return [pair for pair in _summaries(group, told) if pair[0].startswith(current)]


def _options(name: str, table: Sequence[Option], current: str, ask: Ask) -> Candidates:
    """Option names that begin so, or with "=" in it values. Hidden options are not offered."""
    if not current.startswith("-"):
        return []
    word, equals, value = current.partition("=")
    if equals:
        for option in table:
            if f"--{option[1]}" == word:
                found = (
                    [("true", ""), ("false", "")] if option[2] == FLAG else _value(name, option, value, ask)
                )
                return [
                    (each if each in (FILES, FOLDERS) else f"{word}={each}", text)
                    for each, text in found
                    if each in (FILES, FOLDERS) or each.startswith(value)
                ]
        return []
    found = [(f"--{option[1]}", option[4]) for option in table if option[4]]
    if current == "-":
        found += [(f"-{option[0]}", option[4]) for option in table if option[4] and option[0]]
    found.append(("--help", "show this verb's options"))
    return [pair for pair in found if pair[0].startswith(current)]


def _value(name: str, option: Option, current: str, ask: Ask) -> Candidates:
    """What an option may be given."""
    return _of(choices.of_option(name, option), current, ask)


def _argument(name: str, verb: Verb, before: list[str], current: str, ask: Ask) -> Candidates:
    """What may stand in the next place of a verb's arguments; a name that is there already is not offered."""
    found = _of(choices.of_argument(name, verb.usage, len(before)), current, ask)
    return [pair for pair in found if pair[0] not in before]


def _of(kinds: Sequence[str], current: str, ask: Ask) -> Candidates:
    """The words of kinds: "<container>" are names of that kind, ":files" is for the shell, all else is
    itself."""
    found: Candidates = []
    for kind in kinds:
        before, bracket, rest = kind.partition("<")
        if not bracket:
            if kind in (FILES, FOLDERS) or kind.startswith(current):
                found.append((kind, ""))
            continue
        known, _, after = rest.partition(">")
        if current.startswith(before) or before.startswith(current):
            found += [(f"{before}{each}{after}", known) for each in ask(known)]
    if (FILES, "") in found or (FOLDERS, "") in found:
        # names and files at once no shell takes: a path is one where it begins like one, or nothing else fits
        names = [pair for pair in found if pair[0][0] != ":" and pair[0].startswith(current)]
        if names and not current.startswith((".", "/", "~")):
            return names
        return [pair for pair in found if pair[0] in (FILES, FOLDERS)][:1]
    return [pair for pair in found if pair[0].startswith(current)]


# --- the shells' side ---


def merged(words: list[str], breaks: str) -> list[str]:
    """bash cuts words at "=" and ":" (COMP_WORDBREAKS), each of these being a word of its own: put together
    again."""
    cutting = {char for char in "=:" if char in breaks}
    whole: list[str] = []
    open_end = False
    for word in words:
        cut = bool(word) and set(word) <= cutting
        if whole and (cut or open_end):
            whole[-1] += word
        else:
            whole.append(word)
        open_end = cut
    return whole


def answer(context: Context, words: list[str]) -> int:
    """`__complete`: see above. Never an error: a shell has no place for one."""
    shell, *words = words
    cut = 0
    if shell == "bash":
        breaks, *words = words
        words = merged(words, breaks)
        last = words[-1] if words else ""
        cut = max((last.rfind(char) + 1 for char in "=:" if char in breaks), default=0)
    *before, current = words or [""]
    globals_ = Typed(verb_table.GLOBALS, before, False).values
    context.root = globals_.get("root") or None
    context.run_root = globals_.get("run-root") or None

    def ask(kind: str) -> list[str]:
        from estiva.engine import known
        from estiva.errors import EstivaError

        try:
            return known.names(context.engine, kind)
        except (EstivaError, OSError):
            return []

    lines = []
    for word, text in candidates(before, current, ask, told=shell != "bash"):
        if shell == "bash" or not text:
            lines.append(word[cut:] if word[0] != ":" else word)
        else:
            lines.append(f"{word}\t{text}")
    sys.stdout.write("".join(f"{line}\n" for line in lines if line.isprintable() or "\t" in line))
    return 0


def completion(context: Context, options: Options) -> None:
    from estiva.cli import shells

    shell = options.arguments[0]
    if shell not in shells.SCRIPTS:
        raise UsageError(f"no completion for {shell}", hint="bash, zsh or fish")
    print(shells.SCRIPTS[shell], end="")


COMPLETION = Verb(
    completion,
    "bash|zsh|fish",
    "Print the script that completes estiva's command line in a shell",
    least=1,
    most=1,
    examples=(
        ("source <(estiva completion bash)", "in ~/.bashrc"),
        ("estiva completion fish > ~/.config/fish/completions/estiva.fish", ""),
    ),
)
