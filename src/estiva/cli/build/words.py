"""The words of `build`'s options, read: K=V, id=NAME,src=FILE and the like."""

from __future__ import annotations

import os

from estiva.cmdline.parser import UsageError
from estiva.errors import NotFound

EPOCH = "SOURCE_DATE_EPOCH"


def arguments(words: list[str]) -> dict[str, str]:
    """Build arguments; K alone takes the host's value, if there is one. SOURCE_DATE_EPOCH is always taken."""
    result = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key:
            raise UsageError(f"invalid build argument '{word}'")
        if equals or key in os.environ:
            result[key] = value if equals else os.environ[key]
    if os.environ.get(EPOCH):  # as buildx does
        result.setdefault(EPOCH, os.environ[EPOCH])
    return result


def labels(words: list[str]) -> dict[str, str]:
    from estiva.cli.options import values

    try:
        return values.labels((), words)
    except ValueError as error:
        raise UsageError(str(error)) from None


def pairs(option: str, words: list[str]) -> dict[str, str]:
    result = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals or not value:
            raise UsageError(f"invalid --{option} '{word}'", hint="NAME=VALUE")
        result[key] = value
    return result


def fields(option: str, word: str, known: tuple[str, ...]) -> dict[str, str]:
    result = {}
    for field in word.split(","):
        key, equals, value = field.partition("=")
        if not equals or key not in known:
            raise UsageError(f"invalid --{option} '{word}': unexpected '{field}'")
        result[key] = value
    return result


def secret(word: str) -> tuple[str, str | bytes]:
    """(id, path of a file or the bytes themselves) of id=NAME[,src=FILE|,env=VARIABLE]."""
    given = fields("secret", word, ("id", "src", "source", "env", "type"))
    name = given.get("id") or ""
    if not name:
        raise UsageError(f"invalid --secret '{word}': it needs an id")
    path = given.get("src") or given.get("source") or ""
    variable = given.get("env") or (path or name if given.get("type") == "env" else "")
    if not variable and not path and name in os.environ:
        variable = name
    if variable:
        if variable not in os.environ:
            raise NotFound(f"the secret {name} is not there: no environment variable {variable}")
        return name, os.environb[variable.encode()]
    path = os.path.abspath(path or name)
    if not os.path.isfile(path):
        raise NotFound(f"the secret {name} is not there: no file {path}")
    return name, path


def ssh(word: str) -> tuple[str, list[str]]:
    """(id, paths of an agent's socket or of keys' files) of ID[=SOCKET|=KEY[,KEY...]]."""
    name, _, listed = word.partition("=")
    paths = [
        os.path.abspath(path) for path in (listed or os.environ.get("SSH_AUTH_SOCK", "")).split(",") if path
    ]
    if not paths:
        raise NotFound(f"no agent for --ssh {word}", hint="start ssh-agent, or give ID=SOCKET or ID=KEYFILE")
    for path in paths:
        if not os.path.exists(path):
            raise NotFound(f"no agent or key for --ssh {word}: {path} is not there")
    return name or "default", paths
