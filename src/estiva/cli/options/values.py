"""Option values that need reading: key=value lists and files, limits, devices (cold path).

Each reader takes the words and returns what Docker's API holds, or raises ValueError with the reason.
"""

from __future__ import annotations

import os

from estiva import files
from estiva.errors import InvalidInput, NotFound, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

MAX_FILE = 16 << 20
MAX_NUMBER = (1 << 63) - 1
ULIMITS = (
    "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
    "rtprio", "rttime", "sigpending", "stack",
)  # fmt: skip


def environment(files_given: Iterable[str], words: Iterable[str]) -> list[str]:
    """K=V of env files, then of the command line. K alone takes the host's value.

    K alone that the host lacks stays K: it removes the image's variable.
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


def ulimit(text: str) -> dict[str, Any]:
    """NAME=SOFT[:HARD], -1 is unlimited."""
    name, equals, limits = text.partition("=")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in ULIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    words = limits.split(":")
    if len(words) > 2:
        raise ValueError(f"too many limit value arguments: {limits}, can only have up to two, soft[:hard]")
    if not all(word == "-1" or (word.isascii() and word.isdigit()) for word in words):
        raise ValueError(f"{limits} is not a number or two")
    if any(len(word) > 19 or int(word) > MAX_NUMBER for word in words):
        raise ValueError(f"{limits} is too large, -1 is unlimited")
    numbers = [int(word) for word in words]
    soft, hard = numbers[0], numbers[-1]
    if hard != -1 and (soft > hard or soft == -1):
        raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return {"Name": name, "Hard": hard, "Soft": soft}


def device(text: str) -> dict[str, str]:
    """HOST[:CONTAINER][:PERMISSIONS]."""
    words = text.split(":")
    permissions = "rwm"
    if len(words) > 3:
        raise ValueError(f"invalid device specification: {text}")
    if len(words) > 1 and _is_mode(words[-1]):
        permissions = words.pop()
    elif len(words) == 3:
        raise ValueError(f"bad mode specified: {words[2]}")
    for path in words:
        if not path.startswith("/"):
            raise ValueError(f"{path} is not an absolute path")
    return {"PathOnHost": words[0], "PathInContainer": words[-1], "CgroupPermissions": permissions}


def _is_mode(text: str) -> bool:
    return bool(text) and len(set(text)) == len(text) and all(c in "rwm" for c in text)


def extra_host(text: str) -> str:
    """HOST:ADDRESS or HOST=ADDRESS; the address may be host-gateway."""
    at = min((i for i in (text.find(":"), text.find("=")) if i > 0), default=0)
    if not at:
        raise ValueError(f'bad format for add-host: "{text}"')
    name, address = text[:at], text[at + 1 :]
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if address != "host-gateway" and not is_address(address):
        raise ValueError(f'invalid IP address in add-host: "{address}"')
    return f"{name}:{address}"


def dns_server(text: str) -> str:
    if not is_address(text.strip()):
        raise ValueError(f"IP address is not correctly formatted: {text}")
    return text.strip()


def dns_domain(text: str) -> str:
    if text.strip() == ".":
        return "."
    parts = text.strip().rstrip(".").split(".")
    if any(not p or len(p) > 63 or not all(c.isalnum() or c in "-_" for c in p) for p in parts):
        raise ValueError(f"{text} is not a valid domain")
    return text.strip()


def is_address(text: str) -> bool:
    """Whether `text` is an IPv4 or IPv6 address, as inet_pton(3) reads it."""
    from _socket import AF_INET, AF_INET6, inet_pton

    try:
        inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


def sysctl(text: str) -> tuple[str, str]:
    """A sysctl that belongs to a namespace of the container; the rest are the host's."""
    key, equals, value = text.partition("=")
    known = key.startswith(("net.", "fs.mqueue.")) or key in (
        "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax",
        "kernel.shmmni", "kernel.shm_rmid_forced",
    )  # fmt: skip
    if not equals or not known:
        raise ValueError(f"sysctl '{text}' is not allowed")
    return key, value
