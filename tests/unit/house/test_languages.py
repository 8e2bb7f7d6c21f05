"""Catalogs: complete, compiled, safe. A template finds its own sentences, whatever values are in them."""

import errno
import re
import string
import subprocess
import sys

import pytest

from enginekit import CHECKOUT
from estiva import catalog as catalogs
from estiva import errors, speech
from estiva.cli import context

sys.path.insert(0, str(CHECKOUT / "tools"))
import catalog as tool

FILES = sorted(tool.LOCALE.glob("*/LC_MESSAGES/estiva.po"))
HOSTILE = (
    "{name}",
    "{0.__class__}",
    "%s %(a)d {",
    "}",
    "\\",
    "a: b; c",
    "'\"",
    "é\u202e",
    "no such container: x",
)


@pytest.fixture(scope="module")
def portuguese():
    return catalogs.Catalog("pt_BR")


@pytest.fixture
def spoken():
    """`speech.choose`, whose choice does not outlive the test."""
    yield speech.choose
    speech.choose("en")


def told():
    """(template, translation) of all that is found in finished texts, in the order of the search."""
    known = tool.read(FILES[0])
    return [(template, known[template]) for template, _ in catalogs.Catalog("pt_BR")._all()]


def test_every_language_has_a_catalog():
    assert [path.parents[1].name for path in FILES] == [name for name in speech.LANGUAGES if name != "en"]


@pytest.fixture(scope="module")
def gathered():
    """What the tool finds in the sources."""
    return tool.gathered()


def test_nothing_lacks_a_translation_and_all_is_compiled(gathered, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["catalog.py", "--check"])
    monkeypatch.setattr(tool, "gathered", lambda: gathered)
    assert (tool.main(), *capsys.readouterr()) == (0, "", "")


def test_what_is_missing_is_named(gathered):
    found, _ = gathered
    known = tool.read(FILES[0])
    assert not tool.wrong(known, found)
    del known["no such container: {name}"]
    known["volume {name} is in use by container {ids}"] = "o volume está em uso por {ids}"
    assert tool.wrong(known, found) == [
        "no translation: no such container: {name}",
        "other placeholders: volume {name} is in use by container {ids}",
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parents[1].name)
def test_translations_end_and_begin_as_their_sentences(path):
    for text, translation in tool.read(path).items():
        assert translation.isprintable() and "  " not in translation, text
        assert re.findall(r"^\s|\s$|[.:?]$", text) == re.findall(r"^\s|\s$|[.:?]$", translation), text
        assert all(name.isidentifier() for name in tool.placeholders(translation)), text
        assert not any(spec or how for _, _, spec, how in string.Formatter().parse(translation)), text


def test_commands_in_a_sentence_stay_as_they_are():
    for text, translation in tool.read(FILES[0]).items():
        for command in re.findall(r"`([^`]+)`", text):
            fixed = [word for word in command.split() if not word.isupper()]
            assert all(word in translation for word in fixed), text


def test_phrases_that_are_named_by_hand_are_in_the_sources():
    sources = "\n".join(path.read_text() for path in tool.SOURCE.rglob("*.py"))
    for text in tool.PARTS:
        assert tool.literal(text).strip() in sources, text


def test_a_template_finds_its_own_sentences():
    """None is hidden by another that is looked for earlier, unless that says the same."""
    both = told()
    assert len(both) > 500
    wrong = []
    portuguese = catalogs.Catalog("pt_BR")
    for template, translation in both:
        values = {name: f"<{name}>" for name in tool.placeholders(template)}
        said = dict(values)
        if template.startswith("{words}"):  # of a whole sentence
            values["words"], said["words"] = "the command is empty", "o comando está vazio"
        got = portuguese.translated(template.format(**values))
        if got != translation.format(**said):
            wrong.append((template, got))
    assert not wrong


def test_hostile_values_are_only_ever_values(portuguese):
    for value in HOSTILE:
        assert portuguese.translated(f"no such container: {value}") == f"contêiner não encontrado: {value}"
        assert value in portuguese.translated(f'the name "{value}" is in use by container abc')
        assert portuguese.translated(value) == value or value == HOSTILE[-1]


@pytest.mark.parametrize(
    "part", ["a: ", "; it has ", " and ", "x", " is ", ": a: b", "{", "no such container: "]
)
def test_the_search_is_bounded(portuguese, monkeypatch, part):
    """Every template is tried once for a text and for each of the few phrases in it: it never goes back."""
    tried = []
    fitting = catalogs.fitting
    monkeypatch.setattr(catalogs, "fitting", lambda parts, text: tried.append(1) or fitting(parts, text))
    for before in ("", 'exec: "', "container "):
        tried.clear()
        portuguese.translated(f"{before}{part * 2000}"[: catalogs.LONGEST])
        assert len(tried) < 20 * len(portuguese._all())
    tried.clear()
    long = "no such container: " + "x" * catalogs.LONGEST
    assert portuguese.translated(long) == long and not tried


def test_a_sentence_in_a_sentence(portuguese):
    said = portuguese.translated
    assert said("/x/y: no such file or directory") == "/x/y: arquivo ou diretório não encontrado"
    assert said("/x/y: words of nobody") == "/x/y: words of nobody"
    assert said("") == "" and said("words of nobody") == "words of nobody"
    assert (
        said("ended by itself with status 127: a command was not found, as shells say it")
        == "terminou por conta própria com o código 127: um comando não foi encontrado, no dizer dos shells"
    )
    assert (
        said("port 80 does not answer: nothing in it listens on 80/tcp; it listens on 3000")
        == "a porta 80 não responde: nada nele escuta em 80/tcp; ele escuta em 3000"
    )
    assert said("Dockerfile:3: unknown instruction: FRM") == "Dockerfile:3: instrução desconhecida: FRM"


def test_a_catalog_that_is_not_there(spoken, monkeypatch):
    monkeypatch.setattr(catalogs, "_FOLDER", "/nowhere")
    spoken("pt_BR")
    assert speech.translated("no such container: x") == "no such container: x"
    assert speech.say("{n} layer", n=1) == "1 layer"


def test_a_machine_at_its_limits_tells_so_in_english(spoken, monkeypatch, capsys):
    def full(language, encoding):
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(catalogs, "Catalog", full)
    spoken("pt_BR")
    context.tell(errors.exhausted(OSError(errno.EMFILE, "too many open files")))
    assert capsys.readouterr().err.startswith("estiva: no more files can be opened here\nhint: a limit of")


def test_counts(spoken):
    spoken("pt_BR")
    assert [speech.count(n, "{n} layer", "{n} layers") for n in (0, 1, 2)] == [
        "0 camadas", "1 camada", "2 camadas",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("utf-8", "não é um diretório"), ("iso8859-1", "não é um diretório"), ("ascii", "nao e um diretorio"),
     ("no such", "nao e um diretorio")],
)  # fmt: skip
def test_a_terminal_without_accents(spoken, encoding, shown):
    spoken("pt_BR", encoding)
    assert speech.say("not a directory") == speech.translated("not a directory") == shown
    assert speech.translated("/é: not a directory") == f"/é: {shown}"


@pytest.mark.parametrize(
    ("word", "name"),
    [("pt_BR", "pt_BR"), ("pt", "pt_BR"), ("pt-br", "pt_BR"), ("pt_PT.UTF-8@euro", "pt_BR"), ("en", "en"),
     ("en_US.UTF-8", "en"), ("", ""), ("fr", ""), ("ptx", ""), ("../pt_BR", ""), ("p" * 1000, "")],
)  # fmt: skip
def test_words_for_languages(word, name):
    assert speech.known(word) == name


@pytest.mark.parametrize(
    ("environment", "name"),
    [({}, "en"), ({"LANG": "pt_BR.UTF-8"}, "pt_BR"), ({"LANG": "pt_BR.UTF-8", "LC_ALL": "C"}, "en"),
     ({"LANG": "pt_BR.UTF-8", "LC_ALL": "C.UTF-8", "LANGUAGE": "pt_BR"}, "en"),
     ({"LANG": "pt_BR.UTF-8", "LC_MESSAGES": "en_US.UTF-8"}, "en"), ({"LC_MESSAGES": "pt_BR"}, "pt_BR"),
     ({"LANG": "en_US.UTF-8", "LANGUAGE": "pt_BR:pt:en"}, "pt_BR"), ({"LANG": "pt_BR", "LANGUAGE": "en"}, "en"),
     ({"LANG": "fr_FR", "LANGUAGE": "fr:pt_BR"}, "pt_BR"), ({"LANG": "POSIX", "LANGUAGE": "pt"}, "en"),
     ({"LANG": "fr_FR.UTF-8"}, "en"), ({"LANGUAGE": "pt"}, "pt_BR")],
)  # fmt: skip
def test_the_environment(monkeypatch, environment, name):
    for each in ("LANG", "LC_ALL", "LC_MESSAGES", "LANGUAGE"):
        monkeypatch.delenv(each, raising=False)
    for each, value in environment.items():
        monkeypatch.setenv(each, value)
    assert speech.preferred() == name


@pytest.mark.parametrize(
    ("environment", "words", "loads"),
    [({}, ["nosuch"], False), ({"LANG": "en_US.UTF-8"}, ["nosuch"], False), ({"LANG": "pt_BR.UTF-8"}, ["nosuch"], True),
     ({}, ["--lang", "pt_BR", "nosuch"], True), ({"LANG": "pt_BR.UTF-8"}, ["--version"], False)],
)  # fmt: skip
def test_a_catalog_is_loaded_where_a_sentence_is_told_in_another_language(environment, words, loads):
    source = str(tool.ROOT / "src")
    code = f"import sys; sys.path.insert(0, {source!r}); from estiva.cli import main; main.run({words!r})"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"{code}; print(*sys.modules, file=sys.stderr)"],
        capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin", **environment},
    )  # fmt: skip
    modules = set(done.stderr.splitlines()[-1].split())
    assert ({"gettext", "estiva.catalog"} <= modules) == loads
    assert ("estiva.speech" in modules) == (loads or environment.get("LANG", "").startswith("pt"))
