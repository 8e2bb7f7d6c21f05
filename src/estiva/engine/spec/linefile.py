"""Files with a NAME=VALUE on each line: `--env-file`, `--label-file`, and the Python API's."""

from __future__ import annotations

import os

from estiva import files
from estiva.errors import InvalidInput, NotFound, brief, reason

MAX_FILE = 16 << 20  # bytes


def variables(path: str) -> list[str]:
    """The environment variables of a file; NAME alone takes the host's value, and is nothing without one.
    Raises NotFound, InvalidInput."""
    result = []
    for key, equals, value in _lines(path, "environment variable"):
        if equals:
            result.append(f"{key}={value}")
        elif key in os.environ:
            result.append(f"{key}={os.environ[key]}")
    return result


def labels(path: str) -> dict[str, str]:
    """The labels of a file; NAME alone is an empty value. Raises NotFound, InvalidInput."""
    return {key: value for key, _, value in _lines(path, "label")}


def _lines(path: str, what: str) -> list[tuple[str, str, str]]:
    """The (key, "=" or "", value) lines of a file; blank lines and # comments are skipped."""
    try:
        data = files.read_bounded(path, MAX_FILE, wait=True)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise NotFound(f"can't read {brief(path)}: {reason(error)}") from None
    except ValueError:
        raise InvalidInput(f"{brief(path)} is not UTF-8 text") from None
    result = []
    for line in text.split("\n"):
        line = line.lstrip().rstrip("\r")
        if not line or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not key or any(c.isspace() for c in key):
            raise InvalidInput(f"{brief(path)}: {what} '{brief(key)}' is empty or contains whitespace")
        if "\0" in line:
            raise InvalidInput(f"{brief(path)}: {what} '{brief(key)}' contains a null byte")
        result.append((key, equals, value))
    return result
