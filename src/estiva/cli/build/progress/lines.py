"""What a command writes, as lines that can do no harm to a terminal (K9)."""

from __future__ import annotations

import codecs

from estiva.errors import oneline

KEPT = 20  # lines of a step that are kept for the view and for its error
LONGEST = 8192  # characters of a line; a longer one is cut into pieces
RESET = "\x1b[0m"
# ECMA-48: control sequences (CSI), strings (OSC, DCS, SOS, PM, APC) with their text, other escapes. A string
# that has no end is one up to the end of the line.
_ESCAPE = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\|$)|[ -/]*[0-OQ-WYZ\\`-~])"
_COLOUR = r"\x1b\[[0-9;:]*m"


def harmless(text: str, colours: bool = False) -> str:
    """One line without control sequences, what else can't be printed, but tabs, shown escaped. With `colours`
    those that only set the colour stay, and end with the line."""
    if text.isprintable():
        return text
    if "\x1b" not in text:
        return _escaped(text)
    import re

    kept = ""
    place = 0
    for match in re.finditer(_ESCAPE, text):
        kept += _escaped(text[place : match.start()])
        if colours and re.fullmatch(_COLOUR, match[0]):
            kept += match[0]
        place = match.end()
    kept += _escaped(text[place:])
    return kept + RESET if "\x1b" in kept else kept


def _escaped(text: str) -> str:
    return "\t".join(map(oneline, text.split("\t")))


class Lines:
    """Takes bytes as they come and gives lines: of what a carriage return overwrites, the last state.

    `last` are the latest, `open` is the line that has no end yet.
    """

    def __init__(self) -> None:
        self.last: list[str] = []
        self.open = ""
        self.wrote = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> list[str]:
        """The lines that have their end now, without it."""
        self.wrote = True
        *whole, self.open = (self.open + self._decoder.decode(data)).split("\n")
        found = [_shown(line) for line in whole]
        if len(self.open) > 1 and "\r" in self.open[:-1]:
            self.open = self.open[self.open.rindex("\r", 0, -1) + 1 :]
        while len(self.open) > LONGEST:
            found.append(self.open[:LONGEST])
            self.open = self.open[LONGEST:]
        self._keep(found)
        return found

    def end(self) -> list[str]:
        """The line without an end, if there is one."""
        rest, self.open = _shown(self.open + self._decoder.decode(b"", True)), ""
        found = [rest] if rest else []
        self._keep(found)
        return found

    def _keep(self, found: list[str]) -> None:
        self.last = [*self.last, *found[-KEPT:]][-KEPT:]

    @property
    def tail(self) -> list[str]:
        """The latest lines, with the one that has no end yet."""
        rest = _shown(self.open)
        return [*self.last, rest] if rest else list(self.last)


def _shown(line: str) -> str:
    """What a terminal shows of it in the end."""
    return line.rstrip("\r").rpartition("\r")[2]
