"""A Dockerfile as a program gives it, and whose output a failed build tells."""

import io
import pathlib

import pytest

from estiva.builder.frontend import parser
from estiva.builder.frontend.instructions import interpret
from estiva.builder.frontend.variables import Expander
from estiva.errors import InvalidInput
from estiva.sdk.collections.building import LOG, _Log
from estiva.sdk.dockerfile import LIMIT, read


@pytest.mark.parametrize(
    ("given", "path", "text"),
    [
        (None, None, None),
        ("Dockerfile", "Dockerfile", None),
        (pathlib.Path("a/b"), "a/b", None),
        ("from-here", "from-here", None),
        ("FROM a", None, "FROM a"),
        ("# a comment\nFROM a\n", None, "# a comment\nFROM a\n"),
        (io.StringIO("FROM a"), None, "FROM a"),
        (io.BytesIO(b"\xef\xbb\xbfFROM \xc3\xa9"), None, "FROM é"),
        (["FROM a", ("RUN", "b && c"), ("CMD", ["d", 'e "f"\n'])], None, 'FROM a\nRUN b && c\nCMD ["d", "e \\"f\\"\\n"]\n'),
        ([("COPY --from=x --link", ("a b", "/c"))], None, 'COPY --from=x --link ["a b", "/c"]\n'),
        ([("RUN", "<<EOF\necho\nEOF")], None, "RUN <<EOF\necho\nEOF\n"),
    ],
)  # fmt: skip
def test_a_path_or_a_text(given, path, text):
    assert read(given) == (path, text)


def test_values_are_taken_as_they_are():
    values = {"A": 'a "quoted" $word \\ end\\', "B": 5, "C": "", "D": "${x:-y} 'single'"}
    text = read([("ENV", values)])[1]
    (instruction,) = parser.parse(text).instructions
    expander = Expander({"word": "EXPANDED"}, "\\")
    assert {name: expander.word(value) for name, value in interpret(instruction).pairs} == {
        name: str(value) for name, value in values.items()
    }


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (5, "dockerfile"),
        (b"FROM a", "dockerfile"),
        ("a\0b", "NUL"),
        ([5], "dockerfile"),
        ([("RUN", "a", "b")], "dockerfile"),
        ([("RUN", 5)], "dockerfile"),
        ([("RUN a\nUSER root", "b")], "invalid instruction"),
        ([("USER", "a\nRUN evil")], "several lines"),
        ([("USER", "a <<\nRUN evil")], "several lines"),
        ([("USER", "a \\"), "FROM b"], "goes on after its end"),
        ([("ENV", {"A": "a\nRUN evil"})], "several lines"),
        ([("ENV", {"A=1 B": "x"})], "can't be a name"),
        (io.BytesIO(b"\xff"), "not UTF-8"),
        (io.StringIO("x" * (LIMIT + 1)), "4 MiB at most"),
    ],
)
def test_what_is_none_is_refused_by_its_name(given, told):
    with pytest.raises(InvalidInput, match=told):
        read(given)


def test_the_log_is_that_of_the_step_that_failed_first():
    heard = []
    log = _Log(heard.append)
    for step, status, data in (
        ("1/3", "running", b""),
        ("2/3", "running", b""),
        ("1/3", "output", b"one"),
        ("2/3", "output", b"x" * LOG),
        ("2/3", "output", b"two"),
        ("1/3", "output", b" more"),
        ("2/3", "error", b""),
        ("1/3", "error", b""),
    ):
        log({"step": step, "status": status, "data": data})
    assert log.step == "2/3"
    assert len(log.output) == LOG and log.output.endswith(b"xtwo")
    assert len(heard) == 8
