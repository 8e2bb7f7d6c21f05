"""Tokens: what they say they are good for, and who believes it."""

from __future__ import annotations

import base64
import json

import pytest

from estiva.errors import InvalidInput
from estiva.registry.server.auth import bearer

KEY = b"k" * 32
ACCESS = [{"type": "repository", "name": "a/b", "actions": ["pull"]}]


def test_a_token_says_what_it_was_issued_for():
    tokens = bearer.OwnTokens(KEY, "here")
    claims = tokens.check(tokens.issue("ann", ACCESS))
    assert (claims["sub"], claims["aud"], claims["access"]) == ("ann", "here", ACCESS)
    assert tokens.check(tokens.issue(None, []))["sub"] == ""


def forged(**changes):
    """A token of another header or other claims under the right key."""
    head, body, _ = bearer.OwnTokens(KEY, "here").issue("ann", ACCESS).split(".")
    if "header" in changes:
        head = encode(changes.pop("header"))
    if changes:
        body = encode({**json.loads(base64.urlsafe_b64decode(body + "==")), **changes})
    return f"{head}.{body}.{bearer.OwnTokens(KEY, 'here')._signature(f'{head}.{body}')}"


def encode(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "changes",
    [{"header": {"alg": "none"}}, {"aud": "there"}, {"iss": "other"}, {"exp": 5}, {"exp": "9999999999"},
     {"exp": None}, {"nbf": 1 << 40}, {"nbf": "0"}],
)  # fmt: skip
def test_a_good_signature_is_not_enough(changes):
    with pytest.raises(bearer.Refused):
        bearer.OwnTokens(KEY, "here").check(forged(**changes))


def test_another_key_opens_nothing():
    assert bearer.OwnTokens(KEY, "here").check(forged())["sub"] == "ann"
    with pytest.raises(bearer.Refused, match="not a token of this registry"):
        bearer.OwnTokens(b"x" * 32, "here").check(forged())


@pytest.mark.parametrize("text", ["", ".", "..", "a.b", "a.b.c", "é.é.é", forged()[:-1]])
def test_what_is_no_token(text):
    with pytest.raises(bearer.Refused):
        bearer.OwnTokens(KEY, "here").check(text)


def test_what_claims_grant():
    claims = {
        "access": [
            {"type": "repository", "name": "a", "actions": ["pull"]},
            {"type": "repository", "name": "a", "actions": ["push", 5]},
            {"type": "repository", "name": "all", "actions": ["*"]},
            {"type": "repository", "name": "b", "actions": "pull"},
            {"type": "repository", "name": ["c"], "actions": ["pull"]},
            {"type": 5, "name": "d", "actions": ["pull"]},
            "repository:e:pull",
        ]
    }
    assert bearer.grants(claims) == {
        ("repository", "a"): {"pull", "push"},
        ("repository", "all"): {"*", "pull", "push", "delete"},
    }
    for access in (None, {}, "x", 5):
        assert bearer.grants({"access": access}) == {}


def test_scopes_as_clients_write_them():
    assert bearer.parse_scopes(
        ["repository:a/b:pull,push repository(plugin):c:pull", "registry:catalog:*"]
    ) == [
        ("repository", "a/b", {"pull", "push"}),
        ("repository", "c", {"pull"}),
        ("registry", "catalog", {"pull", "push", "delete", "*"}),
    ]
    assert bearer.parse_scopes(["", "x", "repository:a", "host:a:pull", "repository:a:PULL"]) == []
    assert len(bearer.parse_scopes(["repository:a:pull " * 1000])) == bearer.SCOPES


def test_the_key_is_made_once_and_for_its_owner(tmp_path):
    key = bearer.own_key(str(tmp_path))
    assert bearer.own_key(str(tmp_path)) == key and len(key) == 32
    assert (tmp_path / "token.key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "token.key").write_bytes(b"short")
    with pytest.raises(InvalidInput, match="no key"):
        bearer.own_key(str(tmp_path))
