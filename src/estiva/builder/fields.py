"""KEY=VALUE,... as options and flags of builds have it: the fields of one line of CSV (RFC 4180), so that a
value which is quoted may hold a comma."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.errors import EstivaError

_PLAIN = 1 << 17  # characters that the module csv takes of one field


def cells(text: str, wrong: Callable[[str], EstivaError], *, strict: bool = True) -> list[str]:
    """The fields of a line. Raises what `wrong` makes of why it is none, which without `strict` is not for
    quotes that are out of place.
    """
    if 0 < len(text) < _PLAIN and '"' not in text and text.isprintable():
        return text.split(",")  # without the module, which a cold start would have to load
    import csv

    try:
        return next(csv.reader([text], strict=strict), [])
    except csv.Error as error:
        raise wrong(str(error)) from None


def pairs(texts: list[str], wrong: Callable[[str], EstivaError], *, exact: str = "") -> dict[str, str]:
    """Fields as keys, in lower case but those that begin with `exact`, and values; of a key that comes twice
    the last. Raises what `wrong` makes of a field that is no pair.
    """
    from estiva.errors import oneline

    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise wrong(f"{oneline(text)!r} is not KEY=VALUE")
        found[key if exact and key.startswith(exact) else key.lower()] = value
    return found
