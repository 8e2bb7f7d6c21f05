"""The frame of the command line: finding verbs, telling errors, exit statuses, help, lists."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from estiva import errors
from estiva.cli import help, main
from estiva.cli import verbs as verb_table
from estiva.cli.container.logs import moment
from estiva.cli.format import tables, units
from estiva.cmdline.parser import Verb

SOURCE = Path(main.__file__).parents[2]


@pytest.fixture
def verb(monkeypatch):
    """Makes `estiva probe` do what a test says."""

    def install(action, **options):
        made = Verb(action, "[X]", "a probe", **options)
        monkeypatch.setitem(verb_table.VERBS, "probe", ("probe", "PROBE"))
        real = verb_table.load
        monkeypatch.setattr(verb_table, "load", lambda entry: made if entry[0] == "probe" else real(entry))

    return install


def raising(error):
    def action(context, options):
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "failure", "status", "text"),
    [
        (errors.NotFound("no image x", hint="pull it"), 125, 125, "estiva: no image x\nhint: pull it\n"),
        (errors.NotFound("no image x"), 1, 1, "estiva: no image x\n"),
        (errors.CommandNotFound("no such command: x"), 125, 127, "estiva: no such command: x\n"),
        (errors.CommandNotExecutable("x is a folder"), 125, 126, "estiva: x is a folder\n"),
        (errors.NotFound("evil \x1b[2J\nname"), 1, 1, "estiva: evil \\x1b[2J\\nname\n"),
        (
            OSError(errno.ENOSPC, "No space", "/a"),
            1,
            1,
            "estiva: /a: no space\nhint: free some disk space",
        ),
        (ValueError("odd"), 125, 125, "estiva: internal error: ValueError: odd\nhint: run it with --debug"),
        (ValueError("odd"), 1, 1, "estiva: internal error: ValueError: odd\n"),
        (KeyboardInterrupt(), 1, 130, ""),
        (
            MemoryError(),
            125,
            125,
            "estiva: no more memory can be had here\nhint: a limit of this shell (ulimit -a)",
        ),
        (
            RuntimeError("can't start new thread"),
            1,
            1,
            "estiva: no more threads can be started here\nhint: a limit",
        ),
        (OSError(errno.EMFILE, "Too many"), 1, 1, "estiva: no more files can be opened here\nhint: a limit"),
        (OSError(errno.ENOMEM, "No memory"), 1, 1, "estiva: no more memory can be had here\nhint: a limit"),
        (
            BlockingIOError(errno.EAGAIN, "Again"),
            1,
            1,
            "estiva: no more processes can be started here\nhint: a",
        ),
        (RuntimeError("odd"), 1, 1, "estiva: internal error: RuntimeError: odd\nhint: run it with --debug"),
    ],
)
def test_errors_are_told_in_a_line_with_docker_s_exit_status(error, failure, status, text, verb, capsys):
    verb(raising(error), failure=failure)
    assert main.run(["probe"]) == status
    told = capsys.readouterr()
    assert told.err.startswith(text)
    assert "Traceback" not in told.err
    assert told.out == ""


def test_debug_shows_the_traceback(verb, capsys):
    verb(raising(ValueError("odd")))
    assert main.run(["--debug", "probe"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_verb_s_status_is_the_exit_status(verb):
    verb(lambda context, options: 42)
    assert main.run(["probe"]) == 42
    verb(lambda context, options: None)
    assert main.run(["probe"]) == 0


def test_global_options_reach_the_engine(verb, tmp_path, monkeypatch):
    monkeypatch.setenv("ESTIVA_STORAGE_DRIVER", "")
    seen = []
    verb(lambda context, options: seen.append((context.engine.paths.root, context.engine.paths.run_root)))
    root, run = str(tmp_path / "a"), str(tmp_path / "b")
    assert main.run(["--root", root, f"--run-root={run}", "--storage-driver", "dir", "probe"]) == 0
    assert seen == [(root, run)]
    import os

    assert os.environ["ESTIVA_STORAGE_DRIVER"] == "dir"


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (
            ["inspekt"],
            1,
            "estiva: 'inspekt' is not a verb of estiva\nhint: did you mean 'inspect'?\n",
        ),
        (["image", "puul"], 1, "estiva: 'puul' is not a verb of estiva image\nhint: did you mean 'pull'?"),
        (
            ["buildx", "build", "."],
            1,
            "estiva: 'buildx' is not supported yet\nhint: `estiva build` takes its words",
        ),
        (
            ["context", "ls"],
            1,
            "estiva: 'context' is not supported yet\nhint: docker's own client has contexts",
        ),
        (["--nope", "ps"], 125, "estiva: unknown flag: --nope\nhint: see 'estiva --help'\n"),
        (["run", "--nope", "x"], 125, "estiva: unknown flag: --nope\nhint: see 'estiva run --help'\n"),
        (
            ["exec", "x"],
            1,
            "estiva: \"estiva exec\" requires at least 2 arguments\nhint: see 'estiva exec --help'\n",
        ),
        (["container", "ls", "x"], 1, 'estiva: "estiva container ls" accepts no arguments\n'),
        (["run", "--memory", "1", "x"], 125, "estiva: minimum memory limit allowed is 6MB\n"),
        (["volume", "prune"], 1, "estiva: nobody can be asked here\nhint: -f removes without asking\n"),
        (["build"], 1, 'estiva: "estiva build" requires exactly 1 argument'),
        (["build", "/does/not/exist"], 1, "estiva: the build context /does/not/exist is not a folder\n"),
        (["build", "--output", "type=x", "."], 1, "estiva: unknown output type 'x'\n"),
        (
            ["build", "file:///x.git"],
            1,
            "estiva: a build context from file:///x.git is refused\nhint: name the folder itself: /x.git\n",
        ),
        (["build", "--secret", "src=x", "."], 1, "estiva: invalid --secret 'src=x': it needs an id\n"),
        (["ps", "--filter", "x"], 125, "estiva: invalid filter 'x'\nhint: a filter is KEY=VALUE\n"),
        (["logs", "--since", "soon", "x"], 1, "estiva: invalid time 'soon'\n"),
        (["login", "--password-stdin"], 1, "estiva: must provide --username with --password-stdin\n"),
    ],
)
def test_wrong_words_are_answered_with_what_to_do(words, status, text, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ESTIVA_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("ESTIVA_RUN_ROOT", str(tmp_path / "run"))
    monkeypatch.setattr("sys.stdin", open("/dev/null"))
    monkeypatch.setattr("os.isatty", lambda fd: False)
    assert main.run(words) == status
    told = capsys.readouterr()
    assert told.err.startswith(text)
    assert "Traceback" not in told.err


def every_verb():
    yield from ((name, [name], entry) for name, entry in verb_table.VERBS.items())
    for group, verbs in verb_table.GROUPS.items():
        yield from ((f"{group} {name}", [group, name], entry) for name, entry in verbs.items())


@pytest.mark.parametrize(
    ("words", "entry"), [(w, e) for _, w, e in every_verb()], ids=[n for n, _, _ in every_verb()]
)
def test_every_verb_has_help_with_a_purpose_and_an_example(words, entry, capsys):
    assert main.run([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith((f"Usage: estiva {' '.join(words)} ", f"Usage: estiva {' '.join(words)}\n"))
    verb = verb_table.load(entry)
    assert verb.summary in text
    assert "Examples:" in text
    for option in verb.options:
        assert (f"--{option[1]}" in text) or not option[4]
    assert all(len(line) <= 110 for line in text.splitlines())
    assert "...." not in text
    letters = [option[0] for option in verb.options if option[0]]
    names = [option[1] for option in verb.options]
    assert len(set(letters)) == len(letters)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("words", [[], ["--help"], ["help"], ["-h"]])
def test_the_overview_names_every_verb(words, capsys):
    assert main.run(words) == 0
    text = capsys.readouterr().out
    for name in [*verb_table.VERBS, *verb_table.GROUPS]:
        assert f"\n  {name} " in text
    assert "--run-root" in text


@pytest.mark.parametrize("words", [["image"], ["image", "--help"], ["help", "image"]])
def test_a_group_lists_its_verbs(words, capsys):
    assert main.run(words) == 0
    text = capsys.readouterr().out
    for name in verb_table.GROUPS["image"]:
        assert f"\n  {name} " in text


def test_help_with_a_verb_is_the_verb_s(capsys):
    assert main.run(["help", "run"]) == 0
    assert capsys.readouterr().out.startswith("Usage: estiva run [OPTIONS] IMAGE")
    assert help.text(["container", "list"]).startswith("Usage: estiva container ls")


def test_the_run_path_imports_nothing_dear():
    launcher = SOURCE / "estiva/boot/launcher.py"
    done = subprocess.run(
        ["/usr/bin/env", sys.executable, "-X", "importtime", "-I", "-S", str(launcher), "run", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "estiva.cli.options.run" in loaded
    dear = {
        "json",
        "re",
        "argparse",
        "typing",
        "enum",
        "collections",
        "functools",
        "contextlib",
        "subprocess",
    }
    assert not dear & loaded


def test_a_closed_pipe_ends_quietly():
    launcher = SOURCE / "estiva/boot/launcher.py"
    done = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -I -S {launcher} run --help | true"],
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1kB"), (7_730_000, "7.73MB"), (999_999, "1MB"), (1.2e12, "1.2TB")],
)
def test_sizes_are_written_as_docker_writes_them(count, text):
    assert units.size(count, 3) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (61, "About a minute"),
        (150, "2 minutes"),
        (3600, "About an hour"),
        (2 * 3600, "2 hours"),
        (86400 * 3, "3 days"),
        (86400 * 21, "3 weeks"),
        (86400 * 100, "3 months"),
        (86400 * 800, "2 years"),
    ],
)
def test_ages_are_written_as_docker_writes_them(seconds, text):
    assert units.duration(seconds) == text


def test_columns_are_docker_s_widths(capsys):
    rows = [{"A": "x", "B": "long enough text", "C": "z"}]
    tables.show(rows, [("A", "AA"), ("B", "BB"), ("C", "CC")])
    assert capsys.readouterr().out == "AA        BB                 CC\nx         long enough text   z\n"


def test_a_hostile_cell_stays_in_its_cell(capsys):
    tables.show([{"A": "x\x1b[2J\ny\u202e"}], [("A", "AA")])
    assert capsys.readouterr().out == "AA\nx\\x1b[2J\\ny\\u202e\n"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.A}}\\t{{.B}}", "x\ty\n"),
        ("table {{.A}}\\t{{.B}}", "AA        B\nx         y\n"),
        ("json", '{"A":"x","B":"y"}\n'),
        ("table", "AA\nx\n"),
    ],
)
def test_formats_of_a_list(template, text, capsys):
    tables.show([{"A": "x", "B": "y"}], [("A", "AA")], template)
    assert capsys.readouterr().out == text


def test_a_moment_is_a_duration_a_timestamp_or_a_date(monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1000.0)
    assert moment("") is None
    assert moment("10m") == 400.0
    assert moment("1m30s") == 910.0
    assert moment("1732455480") == 1732455480.0
    assert moment("1970-01-01T00:00:10Z") == 10.0
    assert moment("1970-01-01T01:00:10+01:00") == 10.0


def test_what_the_manual_says_of_an_exit_status():
    from estiva.cli.container.exec import EXEC
    from estiva.cli.manual import verb_page

    for name in ("estiva exec", "estiva container exec"):
        assert "That of the command; 126 when it could not be started" in verb_page(name, EXEC)
