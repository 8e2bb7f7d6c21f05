"""What is said to people, in their language.

A sentence that is made to be shown goes through `say`. What was made elsewhere or long ago (an error, what a
record has of a container's end) is in English wherever it is kept, and goes through `translated` when it is
shown. A process speaks English until `choose` is called, which the command line alone does.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.catalog import Catalog

LANGUAGES = ("en", "pt_BR")

_language = LANGUAGES[0]
_encoding = "utf-8"
_loaded: Catalog | None = None


def language() -> str:
    """The one of LANGUAGES that is spoken."""
    return _language


def known(word: str) -> str:
    """The one of LANGUAGES that a word such as "pt_BR.UTF-8", "pt-br" or "en" means; "" for none."""
    short = word[:16].lower().replace("-", "_").partition(".")[0].partition("@")[0].partition("_")[0]
    return next((name for name in LANGUAGES if name.partition("_")[0] == short), "")


def preferred() -> str:
    """The one of LANGUAGES that the environment asks for, as gettext(3) reads it: LC_ALL, LC_MESSAGES or
    LANG, and unless that is C the list in LANGUAGE before it."""
    names = (os.environ.get(name, "") for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    locale = next(filter(None, names), "")
    if locale.partition(".")[0] in ("C", "POSIX"):
        return LANGUAGES[0]
    words = [*os.environ.get("LANGUAGE", "").split(":"), locale]
    return next(filter(None, map(known, words)), LANGUAGES[0])


def choose(name: str, encoding: str = "utf-8") -> None:
    """Speak `name`, one of LANGUAGES; without the letters that `encoding`, of the terminal, does not have."""
    global _language, _encoding, _loaded
    _language, _encoding, _loaded = name, encoding, None


def say(text: str, /, **values: object) -> str:
    """A sentence with its values put in by name (str.format). What is hostile comes as a value, never as
    `text`."""
    if _language != LANGUAGES[0]:
        text = _catalog().exact(text)
    return text.format(**values) if values else text


def count(number: int, one: str, many: str) -> str:
    """A number with its word: `one` and `many` have {n}."""
    return say(one if number == 1 else many, n=number)


def translated(sentence: str) -> str:
    """A whole sentence, with its values in it already; as it is where no catalog knows it."""
    return sentence if _language == LANGUAGES[0] else _catalog().translated(sentence)


def _catalog() -> Catalog:
    global _loaded
    if _loaded is None:
        from estiva.catalog import Catalog

        _loaded = Catalog(_language, _encoding)
    return _loaded
