"""api/auth.py and engine/images/logins.py: credentials of one request."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from estiva.api import auth
from estiva.engine.images import logins
from estiva.errors import InvalidInput

LOGIN = {"username": "me", "password": "sécret?>~"}


def asked(value: Any, name: str = auth.ONE) -> Any:
    text = value if isinstance(value, str) else base64.urlsafe_b64encode(json.dumps(value).encode()).decode()
    return make_mocked_request("POST", "/", headers={name: text})


def test_a_login_is_for_the_registry_that_is_asked() -> None:
    given = auth.one(asked({**LOGIN, "serveraddress": "evil.example"}), "r.example")
    assert list(given) == ["r.example"]
    settings = logins.settings(given)
    assert settings is not None and settings.logins is not None
    assert settings.logins["r.example"].password == LOGIN["password"]
    assert "evil.example" not in settings.logins


def test_padding_may_be_missing() -> None:
    text = base64.urlsafe_b64encode(json.dumps(LOGIN).encode()).decode().rstrip("=")
    assert auth.one(asked(text), "r.example")["r.example"] == LOGIN


@pytest.mark.parametrize("text", ["", "e30=", "!!!", "W10=", base64.b64encode(b"[" * 60000).decode()])
def test_what_is_no_login_is_none(text: str) -> None:
    assert auth.one(asked(text), "r.example") == {}
    settings = logins.settings({})
    assert settings is not None and settings.logins == {}  # not those of the files


def test_logins_of_a_build() -> None:
    config = {
        "https://index.docker.io/v1/": LOGIN,
        "r.example": {"identitytoken": "t"},
        "a/b/c": LOGIN,
        "x": 5,
    }
    settings = logins.settings(auth.every(asked(config, auth.ALL)))
    assert settings is not None and settings.logins is not None
    assert set(settings.logins) == {"docker.io", "r.example"}
    assert settings.logins["r.example"].identity_token == "t"


@pytest.mark.parametrize(
    ("login", "pair"),
    [({"auth": base64.b64encode(b"me:a:b").decode()}, ("me", "a:b")), (LOGIN, ("me", LOGIN["password"]))],
)
def test_forms(login: dict[str, Any], pair: tuple[str, str]) -> None:
    found = logins.credentials(login)
    assert (found.user, found.password) == pair
    assert LOGIN["password"] not in repr(found)


@pytest.mark.parametrize(
    "login", [{"username": 5}, {"auth": "!!!"}, {"auth": base64.b64encode(b"me").decode()}]
)
def test_what_is_none(login: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        logins.credentials(login)
