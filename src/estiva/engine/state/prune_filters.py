"""What a prune spares: `--filter until=TIME`, `label=KEY[=VALUE]` and `label!=KEY[=VALUE]`, as
Docker's prunes have them.
"""

from __future__ import annotations

from estiva.errors import InvalidInput, brief

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Filters = dict[str, list[str]]

FILTERS = ("until", "label", "label!")


def moment(value: str) -> float:
    """Seconds since the epoch of the filter `until`. Raises InvalidInput."""
    from estiva.oci import units

    try:
        if value[:1] in ("-", "+"):
            raise ValueError(value)  # a moment to come is all that there is: nobody means that
        return units.moment(value)
    except ValueError:
        raise InvalidInput(
            f"invalid filter 'until={brief(value, 60)}'", hint="720h, 1732455480, or 2024-11-24T13:38:00"
        ) from None


def has(labels: dict[str, str], words: list[str]) -> bool:
    """Whether all of the words, KEY or KEY=VALUE, are among the labels."""
    pairs = [word.partition("=") for word in words]
    return all(key in labels and (not equals or labels[key] == value) for key, equals, value in pairs)


class Pruned:
    """Judged filters. Raises InvalidInput for what none of `known` is, or has no meaning."""

    def __init__(self, filters: Filters | None, known: Sequence[str] = FILTERS) -> None:
        filters = filters or {}
        for key in filters:
            if key not in known:
                raise InvalidInput(f"invalid filter '{brief(key, 60)}'", hint=f"one of {', '.join(known)}")
        moments = [moment(value) for value in filters.get("until", ())]
        if len(moments) > 1:
            raise InvalidInput("more than one filter 'until'", hint="the earliest says all")
        self.until = moments[0] if moments else None
        self.having, self.without = filters.get("label", []), filters.get("label!", [])

    def takes(self, created: float, labels: dict[str, str] | None) -> bool:
        """Whether a thing goes that was made then (seconds since the epoch) and has these labels. What has
        all labels of `label!` stays."""
        if self.until is not None and created > self.until:
            return False
        if self.without and has(labels or {}, self.without):
            return False
        return has(labels or {}, self.having)
