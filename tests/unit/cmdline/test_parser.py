"""The option parser reads words as Docker's command line does."""

import pytest

from estiva.cmdline.parser import (
    FLAG,
    INT,
    LIST,
    TEXT,
    HelpWanted,
    Options,
    UsageError,
    Verb,
    parse,
    parse_verb,
)

TABLE = (
    ("a", "all", FLAG, "", "x"),
    ("b", "both", FLAG, "", "x"),
    ("e", "env", LIST, "K=V", "x"),
    ("n", "number", INT, "N", "x"),
    ("o", "output", TEXT, "FILE", "x"),
    ("", "long-only", TEXT, "X", "x"),
)


@pytest.mark.parametrize(
    ("words", "values", "arguments"),
    [
        ([], {}, []),
        (["x", "y"], {}, ["x", "y"]),
        (["-ab", "x"], {"all": True, "both": True}, ["x"]),
        (["--all=false"], {"all": False}, []),
        (["-a=0"], {"all": False}, []),
        (["--all", "false"], {"all": True}, ["false"]),
        (
            ["-e", "A=1", "-eB=2", "-e=C=3", "--env=D", "--env", "-x"],
            {"env": ["A=1", "B=2", "C=3", "D", "-x"]},
            [],
        ),
        (["-abo", "f"], {"all": True, "both": True, "output": "f"}, []),
        (["-aof"], {"all": True, "output": "f"}, []),
        (["-n", "-1"], {"number": -1}, []),
        (["--number=0x10"], {"number": 16}, []),
        (["--output="], {"output": ""}, []),
        (["--output", ""], {"output": ""}, []),
        (["--output", "1", "--output", "2"], {"output": "2"}, []),
        (["x", "-a", "y"], {"all": True}, ["x", "y"]),
        (["x", "--", "-a"], {}, ["x", "-a"]),
        (["-", "-a"], {"all": True}, ["-"]),
        (["--long-only", "--"], {"long-only": "--"}, []),
        (["-oé=1"], {"output": "é=1"}, []),
    ],
)
def test_words_are_read_as_pflag_reads_them(words, values, arguments):
    options = parse(TABLE, words)
    assert (options.values, options.arguments) == (values, arguments)


def test_options_end_at_the_first_argument_where_a_command_follows():
    options = parse(TABLE, ["-a", "image", "-b", "--", "x"], interspersed=False)
    assert options.values == {"all": True}
    assert options.arguments == ["image", "-b", "--", "x"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nope"], "unknown flag: --nope"),
        (["--nope=1"], "unknown flag: --nope"),
        (["-az"], "unknown shorthand flag: 'z' in -az"),
        (["--output"], "flag needs an argument: --output"),
        (["-ao"], "flag needs an argument: 'o' in -ao"),
        (["-n", "x"], 'invalid argument "x" for "-n, --number" flag: not a whole number'),
        (["--all=2"], 'invalid argument "2" for "-a, --all" flag: not true or false'),
    ],
)
def test_errors_are_docker_s(words, message):
    with pytest.raises(UsageError) as caught:
        parse(TABLE, words)
    assert caught.value.message == message


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["x", "--help"], ["-ah"]])
def test_help_is_everywhere(words):
    with pytest.raises(HelpWanted):
        parse(TABLE, words)


def test_help_after_the_command_belongs_to_it():
    assert parse(TABLE, ["x", "--help"], interspersed=False).arguments == ["x", "--help"]


def verb(**bounds):
    return Verb(lambda context, options: None, "X", "y", TABLE, **bounds)


@pytest.mark.parametrize(
    ("bounds", "words", "message"),
    [
        ({"most": 0}, ["x"], '"estiva v" accepts no arguments'),
        ({"least": 1}, [], '"estiva v" requires at least 1 argument'),
        ({"least": 2, "most": 2}, ["x"], '"estiva v" requires exactly 2 arguments'),
        ({"least": 1, "most": 2}, ["x", "y", "z"], '"estiva v" requires at most 2 arguments'),
    ],
)
def test_arguments_are_counted(bounds, words, message):
    with pytest.raises(UsageError) as caught:
        parse_verb(verb(**bounds), words, "estiva v")
    assert caught.value.message == message


def test_options_has_defaults_for_what_was_not_given():
    options = Options({}, [])
    assert (options.flag("x"), options.flag("x", True), options.text("x", "d")) == (False, True, "d")
    assert (options.number("x", 7), options.many("x"), options.given("x")) == (7, [], False)
