"""Option values that need reading: key=value lists and files, hosts (cold path).

Each reader takes the words and returns what Docker's API holds, or raises ValueError when they can't be read.
Whether there can be such a thing is judged in engine/spec.
"""

from __future__ import annotations

import os

from estiva import files
from estiva.errors import InvalidInput, NotFound, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_FILE = 16 << 20


def environment(files_given: Iterable[str], words: Iterable[str]) -> list[str]:
    """K=V of env files, then of the command line. K alone takes the host's value.

    K alone that the host lacks stays K: it removes the variable, of the image or of the engine's own.
    """
    result: list[str] = []
    for path in files_given:
        for key, equals, value in _lines(path, "environment variable"):
            if equals:
                result.append(f"{key}={value}")
            elif key in os.environ:
                result.append(f"{key}={os.environ[key]}")
    for word in words:
        key, equals, _ = word.partition("=")
        if not key:
            raise ValueError(f"invalid environment variable: {word}")
        result.append(word if equals or key not in os.environ else f"{key}={os.environ[key]}")
    return result


def labels(files_given: Iterable[str], words: Iterable[str]) -> dict[str, str]:
    """Labels of files, then of the command line; K alone is an empty value."""
    result = {key: value for path in files_given for key, _, value in _lines(path, "label")}
    for word in words:
        key, _, value = word.partition("=")
        if not key:
            raise ValueError(f"invalid label '{word}': empty name")
        result[key] = value
    return result


def _lines(path: str, what: str) -> list[tuple[str, str, str]]:
    """The (key, "=" or "", value) lines of a file; blank lines and # comments are skipped."""
    try:
        data = files.read_bounded(path, MAX_FILE, wait=True)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise NotFound(f"can't read {path}: {reason(error)}") from None
    except ValueError:
        raise InvalidInput(f"{path} is not UTF-8 text") from None
    result = []
    for line in text.split("\n"):
        line = line.lstrip().rstrip("\r")
        if not line or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not key or any(c.isspace() for c in key):
            raise InvalidInput(f"{path}: {what} '{key}' is empty or contains whitespace")
        if "\0" in line:
            raise InvalidInput(f"{path}: {what} '{key}' contains a null byte")
        result.append((key, equals, value))
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
