"""Which known word a misspelt one may be meant for."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


_LONGEST = 100  # characters of a word for which others are looked through
_MOST = 1000  # words


def near(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The word of `known` that is most like `word`, its case aside; "" if none is like it, or it is one."""
    import difflib

    lower: dict[str, str] = {}
    for each in known:
        if each == word or len(lower) >= _MOST:
            return ""
        lower.setdefault(each.lower(), each)
    if len(word) > _LONGEST:
        return ""
    close = difflib.get_close_matches(word.lower(), lower, 1, cutoff)
    if not close:  # letters swapped or missing in a short word
        close = [each for each in lower if sorted(each) == sorted(word.lower())][:1]
    return lower[close[0]] if close else ""
