"""Expressions of the filter `name`: what Python's re finds in a name they find, in time that is theirs to know."""

import re

import pytest

from estiva.engine.state.expression import LIMIT, Expression, any_of
from estiva.errors import InvalidInput

NAMES = ["", "w", "w1", "/w1", "web-1", "web_22", "WEB", "a.b", "aab", "abab", "x{2", "a]b", "w1\n"]
EXPRESSIONS = [
    "", "w", "^w1\\Z", "^/w1\\Z", "^/?w1\\Z", "w.*1", "[a-c]+", "[^a-z/]", "web[-_]\\d+", "^(web|WEB)", "a|b|w", "(ab){2}",
    "^(ab)*\\Z", "a{2}", "^a{1,2}b", "^a{3,}", "a??b", "x{2", "x{", "a\\.b", "[.]", "a.b", "[]a]", "[\\d_]{2}", "(?:w)1",
    "(?P<n>w)1", "()*w", "(a|)*b", "\\A/w", "^$", "w|", "^|x", "[a-]", "[\\-]", "(^w)+", "\\w\\W\\w", "[^\\d]$",
]  # fmt: skip


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_re_finds(expression: str) -> None:
    ours = Expression(expression.replace("\\Z", "\\z"))
    theirs = re.compile(expression.replace("$", "\\Z"), re.ASCII)
    assert [name for name in NAMES if ours.search(name)] == [name for name in NAMES if theirs.search(name)]


@pytest.mark.parametrize(
    "part", ["(a*)*", "(a|a)*", "(a?){99}a{99}", "(.*)(.*)(.*)(.*)(.*)", "(a|b|ab)*", "((((a+)+)+)+)+"]
)
def test_hostile_ones_take_their_length_times_the_names(part: str) -> None:
    assert not Expression(f"^{part}c$").search("a" * LIMIT)
    assert Expression(f"^{part}$").search("a" * 120)


@pytest.mark.parametrize(
    "bad",
    ["(", ")", "(a", "a)", "[", "[a", "[]", "[b-a]", "*", "+a", "a**", "a{2}{3}", "a{1001}", "a{3,2}", "\\", "\\q", "(?i)a",
     "(((a{50}){50}){50}){50}", "(" * 200, "a" * (LIMIT + 1), "(?P<n", "(?!a)", "(a)\\1"],
)  # fmt: skip
def test_what_is_none(bad: str) -> None:
    with pytest.raises(InvalidInput, match="^invalid filter 'name="):
        Expression(bad)


def test_a_name_as_it_is_or_an_expression() -> None:
    fits = any_of(["a.b", "^c$"])
    assert [name for name in ("a.b", "axb", "c", "cc") if fits(name)] == ["a.b", "axb", "c"]
