"""What a registry's 401 asks for."""

from __future__ import annotations

import asyncio
import json

import pytest
from yarl import URL

from estiva.errors import Denied, Unavailable
from estiva.registry.http.authorizer import Authorizer, error_text, parse_challenges
from estiva.registry.http.credentials import Credentials

HERE = URL("https://r.example")
PULL = frozenset({"repository:a/b:pull"})


def test_challenges():
    bearer = (
        'Bearer realm="https://auth.example/token?a=b,c",service="reg, istry",scope="repository:x:pull,push"'
    )
    assert parse_challenges([bearer, "Basic realm=x"]) == [
        (
            "bearer",
            {
                "realm": "https://auth.example/token?a=b,c",
                "service": "reg, istry",
                "scope": "repository:x:pull,push",
            },
        ),
        ("basic", {"realm": "x"}),
    ]
    assert parse_challenges(['Basic realm="a \\" b", Bearer realm=c']) == [
        ("basic", {"realm": 'a " b'}),
        ("bearer", {"realm": "c"}),
    ]
    assert parse_challenges([""]) == []
    assert parse_challenges(['Bearer realm="' + "\\" * 7000]) == [("bearer", {})]


class Transport:
    """Answers of token servers; what was asked of them is in `asked`."""

    def __init__(self, *answers, plain=False):
        self.answers, self.plain, self.asked = list(answers), plain, []

    async def small(self, url, headers, body, *, limit):
        self.asked.append((url, dict(headers), body))
        status, value = self.answers.pop(0)
        return status, value if isinstance(value, bytes) else json.dumps(value).encode()

    def may_be_plain(self, target, source):
        return self.plain


def answered(transport, challenge, credentials=None, sent=None):
    authorizer = Authorizer(transport, "r.example", HERE, credentials)
    asyncio.run(authorizer.answer([challenge], PULL, sent))
    return authorizer


def test_a_token_is_bought_for_the_scopes_that_are_needed():
    transport = Transport((200, {"access_token": "tok", "expires_in": 300}))
    challenge = 'Bearer realm="https://auth.example/t?x=1#frag",service="s",scope="repository:a/b:push"'
    authorizer = answered(transport, challenge, Credentials("me", "pw"))
    assert authorizer.header(PULL) == "Bearer tok"
    assert authorizer.header(frozenset({"repository:other:pull"})) is None
    ((url, headers, body),) = transport.asked
    assert (url.host, url.fragment, body) == ("auth.example", "", None)
    assert url.query.getall("scope") == ["repository:a/b:pull", "repository:a/b:push"]
    assert (url.query["x"], url.query["service"], url.query["account"]) == ("1", "s", "me")
    assert headers == {"Authorization": Credentials("me", "pw").basic()}


def test_an_identity_token_goes_into_a_form():
    transport = Transport((200, {"token": "tok"}))
    answered(transport, 'Bearer realm="https://auth.example/t"', Credentials("", "", "secret"))
    ((url, headers, form),) = transport.asked
    assert headers == {} and "secret" not in str(url)
    assert (form["grant_type"], form["refresh_token"]) == ("refresh_token", "secret")


@pytest.mark.parametrize(
    "realm",
    ["", "auth.example", "http://auth.example/t", "ftp://auth.example", "https://", "https://me:pw@auth.example",
     "http://[::1"],
)  # fmt: skip
def test_credentials_go_to_no_such_realm(realm):
    transport = Transport()
    with pytest.raises(Denied):
        answered(transport, f'Bearer realm="{realm}"', Credentials("me", "pw"))
    assert transport.asked == []


def test_basic_is_sent_once_and_only_if_there_is_something_to_send():
    assert answered(Transport(), "Basic realm=x", Credentials("me", "pw")).header(PULL) == "Basic bWU6cHc="
    for credentials, sent in (
        (None, None),
        (Credentials("", "", "token"), None),
        (Credentials("me", "pw"), "Basic x"),
    ):
        with pytest.raises(Denied) as caught:
            answered(Transport(), "Basic realm=x", credentials, sent)
        assert caught.value.hint == "estiva login r.example"
    with pytest.raises(Denied):
        answered(Transport(), "Digest realm=x", Credentials("me", "pw"))


def test_bearer_is_preferred():
    transport = Transport((200, {"token": "tok"}))
    both = 'Basic realm=x, Bearer realm="https://auth.example/t"'
    assert answered(transport, both, Credentials("me", "pw")).header(PULL) == "Bearer tok"


def test_another_request_may_have_answered_meanwhile():
    transport = Transport((200, {"token": "one"}), (200, {"token": "two"}))
    authorizer = answered(transport, 'Bearer realm="https://auth.example/t"')
    asyncio.run(authorizer.answer(['Bearer realm="https://auth.example/t"'], PULL, None))
    assert len(transport.asked) == 1
    asyncio.run(authorizer.answer(['Bearer realm="https://auth.example/t"'], PULL, "Bearer one"))
    assert authorizer.header(PULL) == "Bearer two"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"{",
        {"token": 5},
        {"token": ""},
        {"token": "a b"},
        {"token": "a\r\nX: y"},
        {"token": "\u00e9"},
    ],
)
def test_what_is_no_token(answer):
    with pytest.raises(Unavailable):
        answered(Transport((200, answer)), 'Bearer realm="https://auth.example/t"')


def test_what_a_token_server_says_no_with():
    body = {"errors": [{"code": "DENIED", "message": "not\nyou"}]}
    with pytest.raises(Denied, match="wants a login: not") as caught:
        answered(Transport((401, body)), 'Bearer realm="https://auth.example/t"')
    assert "\n" not in caught.value.message
    with pytest.raises(Unavailable, match="HTTP 500"):
        answered(Transport((500, b"")), 'Bearer realm="https://auth.example/t"')


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"errors": [{"code": "X", "message": "why"}]}', "why"),
        (b'{"errors": [{"code": "X"}]}', "X"),
        (b'{"errors": []}', ""),
        (b'{"errors": [5]}', ""),
        (b"[]", ""),
        (b"<html>", ""),
        (b"\xff", ""),
    ],
)
def test_the_text_of_an_error(body, text):
    assert error_text(body) == text
    assert len(error_text(b'{"errors": [{"message": "' + b"x" * 9000 + b'"}]}')) == 200


def test_a_token_that_the_caller_brings_is_sent_as_it_is():
    token = Credentials("", registry_token="given")
    challenge = 'Bearer realm="https://auth.example/t"'
    transport = Transport()
    assert answered(transport, challenge, token).header(PULL) == "Bearer given"
    assert not transport.asked
    with pytest.raises(Denied, match="refuses the credentials"):
        answered(Transport(), challenge, token, sent="Bearer given")
    with pytest.raises(Denied, match="token"):
        answered(Transport(), challenge, Credentials("", registry_token="a\r\nX: y"))
