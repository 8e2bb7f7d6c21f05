"""What a registry's 401 asks for."""

from __future__ import annotations

from estiva.registry.http.authorizer import parse_challenges


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
