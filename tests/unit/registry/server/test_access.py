"""The rules of the registry server: who may do what to which repository."""

from __future__ import annotations

import tomllib

import pytest

from estiva.registry.server.access import ALL, Access, pattern, read_rule

RULES = """
[[rule]]
repository = ["team/**", "scratch"]
users = ["ann", "ci-*"]
allow = ["pull", "push"]

[[rule]]
repository = "team/**"
users = "boss"
allow = ["pull", "push", "delete"]

[[rule]]
repository = "**"
users = "*"

[[rule]]
repository = "public/*"
users = "anonymous"
"""


@pytest.mark.parametrize(
    ("text", "yes", "no"),
    [
        ("team/**", ["team", "team/a", "team/a/b"], ["teams", "x/team/a"]),
        ("team/*", ["team/a"], ["team/a/b", "team"]),
        ("**", ["a", "a/b/c"], []),
        ("*/x", ["a/x"], ["a/b/x", "x"]),
        ("a.b", ["a.b"], ["acb"]),
    ],
)
def test_patterns(text, yes, no):
    assert all(pattern(text).fullmatch(name) for name in yes)
    assert not any(pattern(text).fullmatch(name) for name in no)


def test_rules_add_up():
    access = Access([read_rule(table, "rule") for table in tomllib.loads(RULES)["rule"]], login=True)
    assert access.allowed("ann", "team/web") == {"pull", "push"}
    assert access.allowed("ci-7", "team/web") == {"pull", "push"}
    assert access.allowed("boss", "team/web") == ALL
    assert access.allowed("eve", "team/web") == {"pull"}
    assert access.allowed(None, "team/web") == frozenset()
    assert access.allowed(None, "public/x") == {"pull"}
    assert access.allowed("anonymous", "scratch") == {"pull"}, "a user of that name is nobody special"
    assert Access(login=True).allowed(None, "x") == frozenset()
    assert Access(login=True).allowed("any", "x") == Access().allowed(None, "x") == ALL
