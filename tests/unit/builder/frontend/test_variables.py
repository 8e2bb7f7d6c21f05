"""Expansion of variables as the Dockerfile reference and a POSIX shell have it."""

from __future__ import annotations

import pytest

from estiva.builder.frontend.variables import Expander
from estiva.errors import InvalidInput

VALUES = {"home": "/root", "empty": "", "path": "a/b/c.tar.gz", "two": "one two", "star": "a*b"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x$home", "x/root"),
        ("x${home}y", "x/rooty"),
        ("$homex", ""),
        (r"\$home", "$home"),
        (r"\\$home", r"\/root"),
        ("'$home'", "$home"),
        ("\"$home 'q'\"", "/root 'q'"),
        (r'"a\tb\"c"', r"a\tb" + '"c'),
        (r"a\tb", "atb"),
        ("$", "$"),
        ("a$.b", "a$.b"),
        ("$1x", "x"),
        ("${none:-d}${empty:-d}${empty-d}${home:-d}", "dd/root"),
        ("${none:-${home:-x}}", "/root"),
        ("${none:+w}${empty:+w}${empty+w}${home:+w}", "ww"),
        ("${home?}${empty?}", "/root"),
        ("${path#*/}", "b/c.tar.gz"),
        ("${path##*/}", "c.tar.gz"),
        ("${path%.*}", "a/b/c.tar"),
        ("${path%%.*}", "a/b/c"),
        ("${path#x}${path%x}", "a/b/c.tar.gz" * 2),
        (r"${star#a\*}", "b"),
        ("${path/b/X}", "a/X/c.tar.gz"),
        (r"${path//\//-}", "a-b-c.tar.gz"),
        ("${path//?.*/Z}", "a/b/Z"),
        ("${path/nothing/X}", "a/b/c.tar.gz"),
        ("${path//*/X}", "X"),
        ("${path/*/X}${empty/*/Y}", "XY"),
        (r"${path/\//$two}", "aone twob/c.tar.gz"),
        ("${path%/*}${path%%/*}", "a/ba"),
        ("${path#*}${path##*}", "a/b/c.tar.gz"),
    ],
)
def test_word(text: str, expected: str) -> None:
    assert Expander(VALUES).word(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "${",
        "${}",
        "${home",
        "${:x}",
        "'open",
        '"open',
        "${home=x}",
        "${home:#x}",
        "${none?}",
        "${empty:?gone}",
        "${home/x",
    ],
)
def test_errors(text: str) -> None:
    with pytest.raises(InvalidInput):
        Expander(VALUES).word(text)


def test_error_message_of_the_writer() -> None:
    with pytest.raises(InvalidInput, match="none: give a version"):
        Expander({}).word("${none:?give a version}")


def test_words_split_after_expansion() -> None:
    expand = Expander(VALUES)
    assert expand.words('80 $two "$two" x') == ["80", "one", "two", "one two", "x"]
    assert expand.words("$empty") == []


def test_escape_directive() -> None:
    assert Expander(VALUES, "`").word(r"c:\dir`$home $home") == r"c:\dir$home /root"


def test_used_names() -> None:
    expand = Expander(VALUES)
    expand.word("$home ${none:-$two}")
    assert expand.used == {"home", "none", "two"}


def test_here_document_keeps_quotes() -> None:
    assert Expander(VALUES).text("'$home' \\$home \"x\"\n") == "'/root' $home \"x\"\n"


def test_here_document_loses_its_escapes() -> None:
    assert Expander(VALUES).text('\\n \\\\n \\" \\\n') == 'n \\n " \n'
    assert Expander(VALUES, escape="`").text("`$home \\$home ``\n") == "`/root $home ``\n"
