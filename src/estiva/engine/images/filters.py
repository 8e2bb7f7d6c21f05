"""Filters of image lists, as `docker images --filter` has them."""

from __future__ import annotations

from estiva.engine.state.prune_filters import moment
from estiva.errors import InvalidInput, brief

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILTERS = ("reference", "dangling", "label", "before", "since", "until")


def check(filters: dict[str, list[str]]) -> None:
    """Raises InvalidInput for a filter that there isn't, or a value that means nothing."""
    for key, values in filters.items():
        if key not in FILTERS:
            raise InvalidInput(f"invalid filter '{key}'", hint=f"one of {', '.join(FILTERS)}")
        for value in values:
            if key == "dangling":
                truth(key, value)
            elif key == "until":
                moment(value)
            elif key == "reference":
                _fits("", value)


def truth(key: str, value: str) -> bool:
    """The truth of a filter's value. Raises InvalidInput."""
    if value.lower() not in ("true", "false", "1", "0"):
        raise InvalidInput(f"invalid filter '{key}={brief(value, 60)}'", hint="true or false")
    return value.lower() in ("true", "1")


def matches(entry: dict[str, Any], filters: dict[str, list[str]]) -> bool:
    """Whether an image passes, its RepoTags cut down to those that the reference filter names.

    `entry` is one of the Docker Engine API's `GET /images/json`; `filters` have passed `check`.
    """
    for value in filters.get("dangling", ()):
        if truth("dangling", value) != (not entry["RepoTags"]):
            return False
    for value in filters.get("until", ()):
        if entry["Created"] >= moment(value):
            return False
    for value in filters.get("label", ()):
        key, equals, wanted = value.partition("=")
        if key not in entry["Labels"] or (equals and entry["Labels"][key] != wanted):
            return False
    patterns = filters.get("reference")
    if patterns:
        entry["RepoTags"] = [tag for tag in entry["RepoTags"] if any(_fits(tag, p) for p in patterns)]
        return bool(entry["RepoTags"])
    return True


def _fits(tag: str, pattern: str) -> bool:
    """Whether a name fits a pattern (Go's path.Match), with or without its tag; a star stays within one part
    of the path. Raises InvalidInput for a malformed one.
    """
    from estiva.builder.frontend import patterns

    while "**" in pattern:  # is not more than one star here
        pattern = pattern.replace("**", "*")
    try:
        compiled = patterns.path(pattern)
    except InvalidInput:
        raise InvalidInput(
            f"invalid filter 'reference={brief(pattern, 60)}'", hint="a pattern, such as 'web*:1.[0-9]'"
        ) from None
    return compiled.match(tag) or compiled.match(tag.rpartition(":")[0])
