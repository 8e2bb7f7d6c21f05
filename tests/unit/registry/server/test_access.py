"""The rules of the registry server: who may do what to which repository."""

from __future__ import annotations

import tomllib

import pytest

from estiva.errors import InvalidInput
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


def rules(**table):
    return Access([read_rule(table, "rule 1")], login=True)


def test_a_rule_without_allow_is_for_pulling():
    assert rules(repository="a", users="ann").allowed("ann", "a") == {"pull"}


@pytest.mark.parametrize("repository", ["team", "team/a", "team/a/b"])
def test_who_has_not_logged_in_is_no_user(repository):
    everyone = rules(repository="team/**", users="*", allow=["pull", "delete"])
    assert everyone.allowed("any", repository) == {"pull", "delete"} and not everyone.anonymous
    assert everyone.allowed(None, repository) == frozenset()
    nobody = rules(repository="team/**", users=["anonymous"])
    assert nobody.allowed(None, repository) == {"pull"} and nobody.anonymous
    assert nobody.allowed("ann", repository) == nobody.allowed("anonymous", repository) == frozenset()


def test_patterns_of_users_are_of_one_case():
    access = rules(repository="**", users=["ci-?", "[ab]x"])
    assert [user for user in ("ci-1", "CI-1", "ci-12", "ax", "cx", "ci-") if access.allowed(user, "r")] == [
        "ci-1",
        "ax",
    ]


def test_where_nobody_needs_to_log_in_all_may_do_all():
    assert Access().anonymous and not Access(login=True).anonymous
    assert Access().allowed(None, "a/b") == ALL


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"users": "*"}, "rule 1.repository is neither"),
        ({"repository": "a", "users": []}, "rule 1.users is neither"),
        ({"repository": "a", "users": ["x", 1]}, "rule 1.users is neither"),
        ({"repository": [""], "users": "*"}, "rule 1.repository is neither"),
        ({"repository": "a/***", "users": "*"}, "not a pattern"),
        ({"repository": "a\nb", "users": "*"}, "not a pattern"),
        ({"repository": "a[bc]", "users": "*"}, "not a pattern"),
        ({"repository": "a", "users": "*", "allow": "pull,push"}, "'pull,push'"),
        ({"repository": "a", "users": "*", "alow": "pull"}, "unknown key 'alow'"),
    ],
)
def test_rules_that_are_none(table, says):
    with pytest.raises(InvalidInput) as caught:
        read_rule(table, "rule 1")
    assert says in str(caught.value)
