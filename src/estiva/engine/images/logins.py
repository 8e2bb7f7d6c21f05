"""Credentials that come with one request, in the form of Docker's AuthConfig; they are kept nowhere.

    {"HOST": {"username", "password"} or {"auth"} or {"identitytoken"} or {"registrytoken"}}

None as a whole means those of this user's files (registry/http/credentials.py).
"""

from __future__ import annotations

from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeAlias

    from estiva.registry.http.credentials import Credentials
    from estiva.registry.http.settings import Settings

    Logins: TypeAlias = "Mapping[str, Mapping[str, Any]] | Lent | None"


class Lent(dict[str, "Credentials"]):
    """Credentials that a caller has, each asked for when its registry is: `ask` gives an AuthConfig, or None
    for none. What a registry may not have stays with the caller."""

    def __init__(self, ask: Callable[[str], Mapping[str, Any] | None]) -> None:
        super().__init__()
        self._ask = ask

    def get(self, host: str, default: Any = None) -> Any:
        if host not in self:
            found = self._ask(host)
            if found is None:
                return default
            self[host] = credentials(found)
        return self[host]


def settings(given: Logins) -> Settings | None:
    """How the registry client behaves with these credentials alone. Raises InvalidInput."""
    if given is None:
        return None
    from dataclasses import replace

    from estiva.registry import client
    from estiva.registry.http.settings import Settings

    if isinstance(given, Lent):
        return replace(Settings.from_environment(), logins=given)
    logins = {}
    for host, login in given.items():
        try:
            name = client.registry_host(host)
        except InvalidInput:
            continue  # of no registry that could be asked
        if any(login.values()):
            logins[name] = credentials(login)
    return replace(Settings.from_environment(), logins=logins)


def credentials(login: Mapping[str, Any]) -> Credentials:
    """Raises InvalidInput for what is no AuthConfig."""
    from estiva.registry.http.credentials import Credentials

    words = {name: login.get(name) or "" for name in FIELDS}
    if not all(isinstance(word, str) for word in words.values()):
        raise InvalidInput("the credentials for a registry are no text")
    user, password = words["username"], words["password"]
    if words["auth"] and not user:
        user, password = _pair(words["auth"])
    return Credentials(user, password, words["identitytoken"], words["registrytoken"])


FIELDS = ("username", "password", "auth", "identitytoken", "registrytoken")


def _pair(auth: str) -> tuple[str, str]:
    import base64

    try:
        user, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
    except ValueError:
        colon = ""
    if not colon:
        raise InvalidInput("the credentials for a registry have an auth that is not base64 of USER:PASSWORD")
    return user, password
