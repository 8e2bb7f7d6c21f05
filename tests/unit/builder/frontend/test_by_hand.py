"""What the frontend reads by hand, as a cached build does without `re` and `csv`: it is what those would give."""

from __future__ import annotations

import csv
import random
import re

import pytest

from estiva.builder.frontend import foreign, ignore, instructions, parser, run_mounts, syntax, values
from estiva.errors import InvalidInput

DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+)")
OURS = re.compile(r"(?:docker\.io/)?docker/dockerfile(?:-upstream)?(?:[:@]\S*)?")


def texts(alphabet: list[str], longest: int = 7, count: int = 4000) -> list[str]:
    chance = random.Random(alphabet[0])
    return ["".join(chance.choices(alphabet, k=chance.randrange(longest))) for _ in range(count)]


def test_directives() -> None:
    for text in texts(["#", "#", " ", "\t", "=", "escape", "check", "Syntax", "x", "\u212a", "`"]):
        line = text.strip()
        found = DIRECTIVE.match(line)
        meant = (found[1].lower(), found[2]) if found else ("", "")
        key, value = parser._directive(line)
        known = bool(value) and key in parser.DIRECTIVES
        assert known == (meant[0] in parser.DIRECTIVES), line
        assert not known or (key, value) == meant


def test_wildcards() -> None:
    for text in texts(["\\", "\\", "*", "?", "[", "a", "\n"]):
        assert ignore.has_wildcard(text) == bool(re.search(r"[*?\[]", re.sub(r"(?s)\\.", "", text))), text
        assert ignore.unescape(text) == re.sub(r"\\(.)", r"\1", text)


def test_a_path_of_nothing_but_escapes_takes_no_longer_than_its_length() -> None:
    assert not ignore.has_wildcard("\\" * 4_000_000)


def test_the_beginning_of_a_here_document() -> None:
    for word in texts(["<<", "<", "-", "3", "\u0663", "a"]):
        opens = word.endswith(("<<", "<<-")) and instructions._opens(word)
        assert opens == bool(re.fullmatch(r"\d*<<-?", word)), word


def test_tabs_before_a_here_document_s_lines() -> None:
    for text in texts(["\t", "\t", "\n", "a", "\r", " "]):
        document = syntax.Heredoc("E", expand=False, chomp=True, content=text)
        assert document.text == re.sub(r"(?m)^\t+", "", text)


def test_the_frontend_s_names() -> None:
    alphabet = ["docker.io/", "docker/dockerfile", "-upstream", ":1", "@sha256:", "/", "x", ":", "@"]
    for image in texts(alphabet, 5):
        assert bool(foreign.named({"syntax": image})) == bool(image and not OURS.fullmatch(image)), image


def test_names_of_stages() -> None:
    for alias in texts(["a", "z", "0", "_", ".", "-", "\u00e9", "/"]):
        if not alias:
            continue
        instruction = syntax.Instruction("FROM", f"x AS {alias}", [], 1, f"FROM x AS {alias}", "D", "\\")
        try:
            instructions.interpret(instruction)
            good = True
        except InvalidInput:
            good = False
        assert good == bool(re.fullmatch(r"[a-z][a-z0-9_.-]*", alias)), alias


def test_fields_of_a_mount() -> None:
    for text in texts([",", ",", '"', "a=b", " ", "\t", "\n", "\r", "\0"]):
        try:
            rows = list(csv.reader([text]))
        except csv.Error:
            with pytest.raises(InvalidInput):
                run_mounts.csv_fields("mount", text)
            continue
        assert run_mounts.csv_fields("mount", text) == (rows[0] if rows else [])


def test_modes() -> None:
    for text in texts(["0", "7", "8", "1", "\u0663", " "]):
        meant = int(text, 8) if re.fullmatch(r"[0-7]{1,5}", text) and int(text, 8) <= 0o7777 else None
        assert values.octal(text) == meant
