"""The sentences of one language, from locale/*/LC_MESSAGES/estiva.mo (tools/catalog.py makes it).

An error is one text by the time that it is told, its values in it. The catalog has the templates of such
texts, and finds the one that fits: its fixed parts are looked for from left to right, each where it is first,
so the time is that of a few searches, whatever a value holds. A value is text that is put into the translated
template, and is never itself one.
"""

from __future__ import annotations

import gettext
import os
import string

LONGEST = 4096  # characters of a text that is looked at
DEEPEST = 4  # sentences within a sentence
INDEX = ("index", "templates")  # context and id of the entry that lists the templates, one a line
# Values that are phrases of ours themselves: by the name that a template gives them
PHRASES = frozenset((
    "ago", "alive", "arguments", "below", "either", "error", "has", "kind", "meaning", "memory", "message",
    "reason", "said", "sender", "servers", "since", "status", "statuses", "strerror", "times", "what",
    "where", "which", "whose", "why", "words",
))  # fmt: skip

_FOLDER = os.path.join(os.path.dirname(__file__), "locale")
_LETTERS = "áâãàçéêíóôõú"  # of Portuguese

Pieces = list[tuple[str, str]]  # what is fixed, and the name of the value behind it; "" behind the last


class Catalog:
    def __init__(self, language: str, encoding: str = "utf-8") -> None:
        """Raises OSError where the catalog is not there."""
        self._known = gettext.translation("estiva", _FOLDER, [language])
        self._plain = not _encodable(encoding)
        self._templates: list[tuple[str, Pieces]] | None = None

    def exact(self, text: str) -> str:
        """The translation of a message id; the id where there is none."""
        return self._shown(self._known.gettext(text)) if text else text

    def translated(self, text: str, depth: int = 0) -> str:
        """`text`, which may be one of the templates with its values in it."""
        if not text or len(text) > LONGEST or depth > DEEPEST:
            return text
        found = self._known.gettext(text)
        if found != text:
            return self._shown(found)
        for template, parts in self._all():
            values = fitting(parts, text)
            if values is None:
                continue
            said = {
                name: self.translated(value, depth + 1) if name.rstrip("0123456789") in PHRASES else value
                for name, value in values.items()
            }
            if said == values and not any(c.isalpha() for fixed, _ in parts for c in fixed):
                continue  # a colon alone tells nothing of what it stands between
            return self._shown(self._known.gettext(template)).format_map(said)
        return text

    def _all(self) -> list[tuple[str, Pieces]]:
        if self._templates is None:
            listed = self._known.pgettext(*INDEX).split("\n")
            self._templates = [(template, pieces(template)) for template in listed]
        return self._templates

    def _shown(self, text: str) -> str:
        if not self._plain:
            return text
        import unicodedata

        return "".join(c for c in unicodedata.normalize("NFKD", text) if c.isascii())


def _encodable(encoding: str) -> bool:
    try:
        _LETTERS.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def pieces(template: str) -> Pieces:
    """A template's fixed parts, each with the name of the value that follows it."""
    found = [(fixed, name or "") for fixed, name, _, _ in string.Formatter().parse(template)]
    if not found or found[-1][1]:
        found.append(("", ""))
    whole: Pieces = []
    for fixed, name in found:  # what has been escaped ({{) comes in several parts
        if whole and not whole[-1][1]:
            whole[-1] = (whole[-1][0] + fixed, name)
        else:
            whole.append((fixed, name))
    return whole


def fitting(parts: Pieces, text: str) -> dict[str, str] | None:
    """The values that make `text` out of a template; None if none do. Only what it ends with may be empty."""
    start, end = parts[0][0], parts[-1][0]
    stop = len(text) - len(end)
    if len(parts) < 2 or not text.startswith(start) or not text.endswith(end) or stop < len(start):
        return None
    values: dict[str, str] = {}
    at = len(start)
    for place, (_, name) in enumerate(parts[:-1], 1):
        fixed = parts[place][0]
        behind = stop if place == len(parts) - 1 else text.find(fixed, at + 1, stop)
        if behind < at or behind == at and stop < len(text):
            return None
        value = text[at:behind]
        if values.setdefault(name, value) != value:
            return None
        at = behind + len(fixed)
    return values
