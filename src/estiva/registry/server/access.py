"""Who may do what to which repository of the registry server.

    [[rule]]
    repository = "team/**"            # * is one part of a name, ** any number of them
    users = ["ana", "ci-*"]           # "*": whoever has logged in; "anonymous": whoever has not
    allow = ["pull", "push", "delete"]

What any rule that fits allows is allowed, all else is not. Without a rule, whoever has logged in may do
everything, and where nobody needs to, anyone.
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass

from estiva.errors import InvalidInput, oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

ACTIONS = ("pull", "push", "delete")
ANONYMOUS = "anonymous"
ALL = frozenset(ACTIONS)


@dataclass(frozen=True)
class Principal:
    """Who asks. `user` None: nobody in particular. `grants` None: no token, so the rules decide."""

    user: str | None = None
    grants: Mapping[tuple[str, str], frozenset[str]] | None = None  # (type, name) -> actions


NOBODY = Principal()


@dataclass(frozen=True)
class Rule:
    repositories: tuple[re.Pattern[str], ...]
    users: tuple[str, ...]
    allow: frozenset[str]

    def fits(self, user: str | None, repository: str) -> bool:
        if user is None:
            known = ANONYMOUS in self.users
        else:
            known = any(who != ANONYMOUS and fnmatch.fnmatchcase(user, who) for who in self.users)
        return known and any(pattern.fullmatch(repository) for pattern in self.repositories)


class Access:
    """The rules. `login` tells whether users are known at all."""

    def __init__(self, rules: Iterable[Rule] = (), *, login: bool = False) -> None:
        self.rules = tuple(rules)
        self.login = login

    def allowed(self, user: str | None, repository: str) -> frozenset[str]:
        """What a user, None for one who has not logged in, may do to a repository."""
        if not self.rules:
            return ALL if user is not None or not self.login else frozenset()
        found = [rule.allow for rule in self.rules if rule.fits(user, repository)]
        return frozenset().union(*found)

    @property
    def anonymous(self) -> bool:
        """Whether somebody who has not logged in may do anything."""
        if not self.rules:
            return not self.login
        return any(ANONYMOUS in rule.users for rule in self.rules)


def pattern(text: str, where: str = "") -> re.Pattern[str]:
    """A glob over repository names. Raises InvalidInput."""
    if not re.fullmatch(r"[a-z0-9._/*-]+", text) or "***" in text:
        raise InvalidInput(f"{where}{oneline(text)!r} is not a pattern of repository names")
    # `team/**` is `team` too: what is allowed below it is allowed for it
    made = re.escape(text).replace(r"/\*\*", r"(?:/.+)?").replace(r"\*\*", r".*").replace(r"\*", r"[^/]*")
    return re.compile(made)


def read_rule(table: Mapping[str, Any], where: str) -> Rule:
    """A [[rule]] of the file. Raises InvalidInput."""
    unknown = set(table) - {"repository", "users", "allow"}
    if unknown:
        raise InvalidInput(f"{where} has the unknown key {oneline(min(unknown))!r}")
    repositories, users = (
        _texts(table.get("repository"), f"{where}.repository"),
        _texts(table.get("users"), f"{where}.users"),
    )
    allow = _texts(table.get("allow", ["pull"]), f"{where}.allow")
    wrong = set(allow) - ALL
    if wrong:
        raise InvalidInput(
            f"{where}.allow has {oneline(min(wrong))!r}", hint=f"it may have {', '.join(ACTIONS)}"
        )
    return Rule(tuple(pattern(text, f"{where}: ") for text in repositories), tuple(users), frozenset(allow))


def _texts(value: Any, where: str) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise InvalidInput(f"{where} is neither text nor a list of texts")
    return texts
