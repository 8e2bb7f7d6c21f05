"""Option values that need reading: key=value lists and files, hosts (cold path).

Each reader takes the words and returns what Docker's API holds, or raises ValueError when they can't be read.
Whether there can be such a thing is judged in engine/spec.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def environment(files_given: Iterable[str], words: Iterable[str]) -> list[str]:
    """K=V of env files, then of the command line. K alone takes the host's value.

    K alone that the host lacks stays K: it removes the variable, of the image or of the engine's own.
    """
    result: list[str] = []
    for path in files_given:
        from estiva.engine.spec import linefile

        result += linefile.variables(path)
    for word in words:
        key, equals, _ = word.partition("=")
        if not key:
            raise ValueError(f"invalid environment variable: {word}")
        result.append(word if equals or key not in os.environ else f"{key}={os.environ[key]}")
    return result


def labels(files_given: Iterable[str], words: Iterable[str]) -> dict[str, str]:
    """Labels of files, then of the command line; K alone is an empty value."""
    result: dict[str, str] = {}
    for path in files_given:
        from estiva.engine.spec import linefile

        result |= linefile.labels(path)
    for word in words:
        key, _, value = word.partition("=")
        if not key:
            raise ValueError(f"invalid label '{word}': empty name")
        result[key] = value
    return result


def extra_host(text: str) -> str:
    """HOST:ADDRESS or HOST=ADDRESS, an IPv6 one with or without brackets."""
    at = min((place for place in (text.find(":"), text.find("=")) if place > 0), default=-1)
    address = text[at + 1 :]
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    return f"{text[:at]}:{address}" if at > 0 else text


def sysctl(text: str) -> tuple[str, str]:
    """KEY=VALUE."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"sysctl '{text}' is not allowed")
    return key, value
