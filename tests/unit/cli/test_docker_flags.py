"""Every flag of Docker's command line is an option here, by the same letter, or refused with the reason.

docker26.txt holds Docker 26.1's verbs with their flags ("-f,filter" has a letter), buildx013.txt those that its plugin
buildx 0.13 puts in their place where it is installed. What their own --help says, where they are, is held against
these lists too.
"""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

from estiva.cli import main, refused, verbs
from estiva.cmdline.parser import FlagError
from estiva.errors import Unsupported


def _listed(name):
    lines = (pathlib.Path(__file__).parent / name).read_text().splitlines()
    return {verb: flags.split() for verb, _, flags in (line.partition(":") for line in lines)}


LISTED = _listed("docker26.txt")
OF_BUILDX = _listed("buildx013.txt")
BUILDX = {"build": "build", "builder prune": "prune"}  # our verb -> its
OF_OTHERS = {
    *verbs.SWARM,
    "buildx",
    "compose",
    "help",
    "plugin",
    "scout",
    "trust",
}  # programs beside the client


@pytest.mark.parametrize(
    ("words", "flags"),
    [*LISTED.items(), *OF_BUILDX.items()],
    ids=[*(words.replace(" ", "-") for words in LISTED), *(f"buildx-{words}" for words in BUILDX.values())],
)
def test_flags_are_done_or_refused_with_the_reason(words, flags):
    try:
        name, entry, _ = main.find(words.split())
    except Unsupported:
        return  # the whole verb is refused by its name
    options = {option[1]: option for option in verbs.load(entry).options}
    for word in flags:
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


def _help(*words, **variables):
    """Of the client itself: without the plugin that takes its verbs of building."""
    done = subprocess.run(
        ["docker", *words, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "DOCKER_BUILDKIT": "0", **variables},
    )
    return done.stdout


def _flags(text):
    return set(re.findall(r"^ +(?:-\w, )?--([a-z0-9-]+)", text, re.MULTILINE)) - {"help"}


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
        yield words, _flags(text)
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
    assert {" ".join(words): flags for words, flags in _below(()) if words} == _names(LISTED)


def _names(listed):
    return {words: {word.rpartition(",")[2] for word in flags} for words, flags in listed.items()}


@pytest.mark.skipif(shutil.which("docker") is None, reason="no client of docker is installed")
def test_the_list_is_what_buildx_says():
    version = subprocess.run(
        ["docker", "buildx", "version"], capture_output=True, text=True, timeout=60, check=False
    ).stdout
    if " 0.13." not in version:
        pytest.skip("no buildx, or another version")
    said = {ours: _flags(_help("buildx", its, BUILDX_EXPERIMENTAL="1")) for ours, its in BUILDX.items()}
    assert said == _names(OF_BUILDX)
