"""What ps shows of a command line with secrets in it."""

import os
import pathlib
import subprocess
import sys

import pytest

from estiva.cmdline import hidden, program

SOURCE = pathlib.Path(__file__).parents[3] / "src"
CASES = [
    ("run -e A=secret box", "run -e A=*** box"),
    ("run -eA=secret box", "run -eA=*** box"),
    ("run -ite A=secret box", "run -ite A=*** box"),
    ("run -iteA=secret box", "run -iteA=*** box"),
    ("run --env A=secret=more box", "run --env A=*** box"),
    ("run --env=A=secret box", "run --env=A=*** box"),
    ("build --build-arg A=secret .", "build --build-arg A=*** ."),
    ("build --build-arg=A=secret .", "build --build-arg=A=*** ."),
    ("login -p secret -u me host", "login -p *** -u me host"),
    ("login -psecret host", "login -p*** host"),
    ("login --password=secret host", "login --password=*** host"),
    ("login --password secret host", "login --password *** host"),
]
KEPT = [
    "run -e A --name box box",
    "run --env-file A=b box",
    "run -it --name=a -v /a:/b box grep -e pattern",
    "run -p 80:80 box",
]


@pytest.mark.parametrize(("words", "shown"), CASES)
def test_values_are_hidden(words, shown):
    assert b" ".join(hidden.masked(words.encode().split())) == shown.encode()
    assert program.secret(words.split())


@pytest.mark.parametrize("words", KEPT)
def test_what_is_no_value_stays(words):
    assert b" ".join(hidden.masked(words.encode().split())) == words.encode()


def test_the_quick_look_costs_nothing_where_there_is_nothing_to_hide():
    assert not program.secret(["run", "--rm", "-it", "-v", "/e:/e", "--name", "e", "box", "true"])


def test_a_process_and_its_forks_show_it_no_more_and_still_know_it():
    code = (
        "import os, sys; from estiva.cmdline import hidden; hidden.hide(); "
        "show = lambda: print(open('/proc/self/cmdline').read().replace(chr(0), ' ').strip(), flush=True); "
        "show(); child = os.fork(); child or (show(), os._exit(0)); os.waitpid(child, 0); print(sys.argv[1:])"
    )
    words = ["-e", "A=secret", "-e", "B=s", "box"]
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, *words],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )
    own, fork, argv = done.stdout.splitlines()
    assert own == fork
    assert own.endswith("-e A=*** -e B=*** box")
    assert argv == str(words)
