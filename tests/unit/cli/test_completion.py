"""What a shell is offered: verbs, options, their choices, names; and that every choice is one."""

from unittest import mock

import pytest

import estiva.engine
import optionkit
from estiva.cli import choices, completion
from estiva.cli import verbs as verb_table
from estiva.cli.context import Context
from estiva.cmdline.parser import FLAG, HelpWanted, UsageError, parse_verb

NAMES = {
    "container": ["db", "old", "web"],
    "running": ["db", "web"],
    "stopped": ["old"],
    "image": ["alpine:3.20", "localhost:5000/web:1", "web:1"],
    "volume": ["cache", "data"],
    "network": ["lab"],
    "list": ["multi:1"],
    "capability": ["KILL", "NET_ADMIN", "NET_RAW"],
}
RUN_OPTIONS = {f"--{option[1]}" for option in verb_table.load(verb_table.VERBS["run"]).options if option[4]}


def offered(line, told=False):
    """What may follow `estiva LINE`, whose last word is the one that is typed."""
    *before, current = line.split(" ")
    return [word for word, _ in completion.candidates(before, current, NAMES.__getitem__, told=told)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ru", ["run"]),
        ("--deb", ["--debug"]),
        ("--debug st", ["start", "stop", "stats"]),
        ("--root /x im", ["images", "import", "image"]),
        ("--root ", [":folders"]),
        ("--storage-driver e", ["erofs", "erofs-lz4"]),
        ("--storage-driver=d", ["--storage-driver=dir"]),
        ("image re", ["referrers"]),
        ("container l", ["logs", "ls"]),
        ("volume list --q", ["--quiet"]),  # an alias
        ("help im", ["images", "import", "image"]),
        ("help image co", ["copy"]),
        ("nosuch ", []),
        ("image nosuch ", []),
        ("run --net", ["--network", "--network-alias"]),
        ("run --network ", ["bridge", "none", "host", "lab", "container:db", "container:web"]),
        ("run --network h", ["host"]),
        ("run --network container:w", ["container:web"]),
        ("run --network=co", ["--network=container:db", "--network=container:web"]),
        ("run --rm=", ["--rm=true", "--rm=false"]),
        ("run --cap-add NET_", ["NET_ADMIN", "NET_RAW"]),
        ("run --pull ", ["always", "missing", "never"]),
        ("run -e ", []),
        ("run --env-file ", [":files"]),
        ("run --env-file=", [":files"]),
        ("run -v da", ["data:"]),
        ("run -v ", ["cache:", "data:"]),
        ("run -v /", [":folders"]),
        ("run -v ./x", [":folders"]),
        ("run -it -v d", ["data:"]),
        ("run -itv d", ["data:"]),
        ("run -itw ", []),
        ("run --stop-signal TER", ["TERM"]),
        ("run ", NAMES["image"]),
        ("run --rm al", ["alpine:3.20"]),
        ("run -m 64m w", ["web:1"]),
        ("run alpine:3.20 ", []),  # the container's own words
        ("run alpine:3.20 --", []),
        ("run alpine:3.20 --network ", []),
        ("run -- --", []),
        ("exec ", ["db", "web"]),
        ("exec -it d", ["db"]),
        ("exec web ", []),
        ("start ", ["old"]),
        ("container start ", ["old"]),
        ("stop -t 3 w", ["web"]),
        ("stop web ", ["db"]),
        ("rm ", ["db", "old", "web"]),
        ("rm web --fo", ["--force"]),
        ("rm -- --", []),
        ("logs web ", []),
        ("rmi localhost:", ["localhost:5000/web:1"]),
        ("volume rm ", ["cache", "data"]),
        ("inspect ", [*NAMES["container"], *NAMES["image"], *NAMES["volume"], *NAMES["network"]]),
        ("inspect --type v", ["volume"]),
        ("ps --filter status=r", ["status=restarting", "status=running", "status=removing"]),
        ("ps -f name=w", ["name=web"]),
        ("ps --filter=name=w", ["--filter=name=web"]),
        ("images -f d", ["dangling=true", "dangling=false"]),
        ("images --filter before=al", ["before=alpine:3.20"]),
        ("volume ls --filter na", ["name=cache", "name=data"]),
        ("build ", [":folders"]),
        ("build -f ", [":files"]),
        ("build --network ", ["default", "none", "host"]),
        ("save --format oci", ["oci-archive", "oci-dir"]),
        ("tag web:1 ", []),
        ("manifest add mu", ["multi:1"]),
        ("manifest add multi:1 al", ["alpine:3.20"]),
        ("push --compression z", ["zstd"]),
        ("load -i ", [":files"]),
        ("import ", [":files"]),
        ("completion ", ["bash", "zsh", "fish"]),
        ("ps extra", []),
    ],
)
def test_what_is_offered(line, words):
    assert offered(line) == words


def test_all_verbs_and_options_but_none_that_is_hidden():
    assert set(offered("")) == {*verb_table.VERBS, *verb_table.GROUPS}
    assert set(offered("run --")) == {*RUN_OPTIONS, "--help"}
    assert {"-e", "-it"[:2], "--env"} <= set(offered("run -")) and "--net" not in offered("run --")
    for group, verbs in verb_table.GROUPS.items():
        assert offered(f"{group} ") == list(verbs)


def test_what_a_candidate_means_is_told():
    told = dict(completion.candidates(["run"], "--me", NAMES.__getitem__))
    assert told["--memory"] == "memory limit, such as 256m"
    assert dict(completion.candidates([], "run", NAMES.__getitem__)) == {
        "run": "Create a container from an image and run it"
    }
    assert dict(completion.candidates(["stop"], "", NAMES.__getitem__)) == {"db": "running", "web": "running"}


@pytest.mark.parametrize(
    ("words", "breaks", "whole"),
    [
        (["run", "--network", "=", "ho"], " :=", ["run", "--network=ho"]),
        (["run", "--network", "="], " :=", ["run", "--network="]),
        (["rmi", "localhost", ":", "5000/web", ":", "1"], " :=", ["rmi", "localhost:5000/web:1"]),
        (["rmi", "localhost", ":"], " :=", ["rmi", "localhost:"]),
        (["rmi", "localhost:5000/w"], " =", ["rmi", "localhost:5000/w"]),
        (["ps", "-f", "name", "=", "w", ""], " :=", ["ps", "-f", "name=w", ""]),
        (["stop", ""], " :=", ["stop", ""]),
        ([], " :=", []),
    ],
)
def test_bash_s_words_are_put_together(words, breaks, whole):
    assert completion.merged(words, breaks) == whole


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["bash", " :=", "run", "--network", "=", "h"], "host\n"),
        (["bash", " :=", "rmi", "alpine", ":"], "3.20\n"),
        (["bash", " ", "rmi", "alpine:"], "alpine:3.20\n"),
        (["bash", " :=", "build", "--file", "="], ":files\n"),
        (["zsh", "rmi", "alpine:"], "alpine:3.20\timage\n"),
        (["fish", "run", "--network=h"], "--network=host\n"),
        (["fish"], None),
        (["bash", " :="], None),
    ],
)
def test_the_answer_to_a_shell(words, lines, monkeypatch, capsys):
    monkeypatch.setattr("estiva.engine.known.names", lambda engine, kind: NAMES[kind])
    assert completion.answer(Context(), words) == 0
    out = capsys.readouterr().out
    assert out == lines if lines is not None else out.count("\n") > 30


def test_it_neither_fails_nor_makes_anything(tmp_path, capsys, monkeypatch):
    """Also where there is no state root, where it can't be read, and of words that make no sense."""
    monkeypatch.setenv("ESTIVA_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("ESTIVA_RUN_ROOT", str(tmp_path / "run"))
    for words in (
        ["rm", ""],
        ["run", "--nosuch", "x", ""],
        ["run", "-Zq", "--=", "=", "-"],
        ["--root", "/nowhere", "rmi", ""],
    ):
        assert completion.answer(Context(), ["zsh", *words]) == 0
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "estiva.db").write_bytes(b"nonsense" * 900)
    assert completion.answer(Context(), ["bash", ":=", "rm", ""]) == 0
    told = capsys.readouterr()
    assert told.err == ""


# --- every choice is one ---

SAID = [
    (f"{group} {name}".strip(), entry, option)
    for group, table in (("", verb_table.VERBS), *verb_table.GROUPS.items())
    for name, entry in table.items()
    for option in verb_table.load(entry).options
    if option[4] and option[2] != FLAG
]
CHOICES = [
    (name, entry, option, choice.replace("<", "").replace(">", ""))
    for name, entry, option in SAID
    if " " not in name or entry not in verb_table.VERBS.values()  # once is enough
    for choice in choices.of_option(name, option)
    if not choice.startswith(":") and "capability" not in choice and name != "update"
]


@pytest.fixture(scope="module")
def journal():
    pure = ("engine.spec", "engine.images.outfile", "engine.images.filters", "engine.containers.listing")
    with optionkit.journal([estiva.engine], (), {}, pure) as made:
        yield made


@pytest.mark.parametrize(("name", "entry", "option", "choice"), CHOICES, ids=lambda value: str(value)[:30])
def test_a_choice_is_accepted(name, entry, option, choice, journal, monkeypatch, tmp_path):
    """By the words' own rules: what an engine that is none says to it means nothing here."""
    if choice.endswith(("=", ":", " ")):
        choice += {"change": "x", "volume": "/x"}.get(option[1], "1")
    (tmp_path / "Dockerfile").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ESTIVA_CDI_SPEC_DIRS", str(tmp_path))
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: SIM115
    monkeypatch.setattr("time.sleep", mock.Mock(side_effect=KeyboardInterrupt))  # stats goes on until then
    monkeypatch.setattr("os.execve", mock.Mock(side_effect=KeyboardInterrupt))  # mcp becomes its server
    verb = verb_table.load(entry)
    context = Context()
    context._engine = optionkit.Thing(journal, "engine")
    words = ["."] if name.endswith("build") else ["thing"] * verb.least
    try:
        verb.action(context, parse_verb(verb, [f"--{option[1]}", choice, *words], name))
    except (UsageError, HelpWanted) as error:
        assert "nobody can be asked" in str(error), error
    except KeyboardInterrupt:
        pass
    except Exception as error:
        assert "invalid" not in str(error) and "unknown" not in str(error), error
