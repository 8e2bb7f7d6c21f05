"""Every flag of Docker's command line is an option here, by the same letter, or refused with the reason.

docker26.txt holds Docker 26.1's verbs with their flags ("-f,filter" has a letter). Where a client of it is installed,
what its own --help says is held against that list too.
"""

import pathlib
import re
import shutil
import subprocess

import pytest

from estiva.cli import main, refused, verbs
from estiva.cmdline.parser import FlagError
from estiva.errors import Unsupported

LISTED = {
    verb: flags.split()
    for verb, _, flags in (
        line.partition(":")
        for line in (pathlib.Path(__file__).parent / "docker26.txt").read_text().splitlines()
    )
}
OF_OTHERS = {
    *verbs.SWARM,
    "buildx",
    "compose",
    "help",
    "plugin",
    "scout",
    "trust",
}  # programs beside the client


@pytest.mark.parametrize("words", LISTED, ids=lambda words: words.replace(" ", "-"))
def test_flags_are_done_or_refused_with_the_reason(words):
    try:
        name, entry, _ = main.find(words.split())
    except Unsupported:
        return  # the whole verb is refused by its name
    options = {option[1]: option for option in verbs.load(entry).options}
    for word in LISTED[words]:
        letter, _, flag = word.rpartition(",")
        if flag in options:
            assert options[flag][0] == letter.removeprefix("-"), word
        else:
            unknown = FlagError(f"unknown flag: --{flag}")
            assert "is not supported: " in refused.explained(name, unknown).message, word


def test_a_refused_flag_is_told_with_its_reason(capsys):
    assert main.run(["run", "--cpu-count", "2", "x"]) == 125
    assert "--cpu-count is not supported: it is for containers of Windows\n" in capsys.readouterr().err
    assert main.run(["run", "--no-such", "x"]) == 125
    assert "unknown flag: --no-such" in capsys.readouterr().err


def test_verbs_of_a_swarm_are_refused(capsys):
    assert main.run(["service", "ls"]) == 1
    assert "Estiva has no swarm" in capsys.readouterr().err


def _help(*words):
    done = subprocess.run(
        ["docker", *words, "--help"], capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout


def _below(words):
    text = _help(*words)
    listing, found = False, []
    for line in text.splitlines():
        if re.match(r"(Common |Management |Swarm )?Commands:", line):
            listing = True
        elif line and not line.startswith(" "):
            listing = False
        elif listing and (name := re.match(r"  ([a-z-]+)\*?\s", line)):
            found.append(name[1])
    if not found:
        yield words, set(re.findall(r"^ +(?:-\w, )?--([a-z0-9-]+)", text, re.MULTILINE)) - {"help"}
    for name in found:
        if name not in OF_OTHERS:
            yield from _below((*words, name))


@pytest.mark.skipif(shutil.which("docker") is None, reason="no client of docker is installed")
def test_the_list_is_what_the_client_says():
    if (
        "Docker version 26."
        not in subprocess.run(
            ["docker", "--version"], capture_output=True, text=True, timeout=60, check=False
        ).stdout
    ):
        pytest.skip("another version of the client")
    listed = {words: {word.rpartition(",")[2] for word in flags} for words, flags in LISTED.items()}
    assert {" ".join(words): flags for words, flags in _below(()) if words} == listed
