"""What newcomers read is true: commands parse, links lead somewhere, both READMEs say the same."""

import ast
import pathlib
import re
import shlex

import pytest

from estiva.catalog import Catalog
from estiva.cli import main
from estiva.cli import verbs as verb_table
from estiva.cmdline import parser

CHECKOUT = pathlib.Path(__file__).parents[3]
SOURCE = CHECKOUT / "src/estiva"
PAGES = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md"), *CHECKOUT.glob("benchmarks/*.md")])
README, PORTUGUESE = CHECKOUT / "README.md", CHECKOUT / "README.pt-BR.md"


def name(page):
    return str(page.relative_to(CHECKOUT))


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(page):
    """The words of every estiva command in a page's shell blocks, without `estiva` itself."""
    for block in blocks(page, "sh"):
        for line in block.splitlines():
            words = shlex.split(line.rstrip("& "), comments=True)
            ends = [words.index(mark) for mark in (">", "<", "|", "||", "&&") if mark in words]
            words = words[: min(ends, default=None)]
            if words and words[0] in ("estiva", "./estiva"):
                yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_are_known_with_their_flags(page):
    for words in commands(page):
        full, entry, rest = main.find(parser.parse(verb_table.GLOBALS, words, interspersed=False).arguments)
        parser.parse_verb(verb_table.load(entry), rest, full)


def test_the_readme_has_commands():
    assert len(list(commands(README))) > 10


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_blocks_are_python(page):
    for block in blocks(page, "python"):
        ast.parse(block)


@pytest.mark.parametrize("language", ["sh", "python"])
def test_both_readmes_show_the_same_code(language):
    def bare(page):
        return [re.sub(r"\s+#.*", "", block) for block in blocks(page, language)]

    assert bare(README) == bare(PORTUGUESE)


def test_both_readmes_have_the_same_parts():
    def shape(page):
        text = page.read_text()
        return (
            len(re.findall(r"^#+ ", text, re.MULTILINE)),
            len(re.findall(r"^\|", text, re.MULTILINE)),
            len(re.findall(r"^- ", text, re.MULTILINE)),
            sorted(
                link.replace("docs/pt/", "docs/")  # a page that is there in Portuguese too
                for link in set(re.findall(r"\]\(([^)]+)\)", text)) - {"README.md", "README.pt-BR.md"}
            ),
        )

    assert shape(README) == shape(PORTUGUESE)


TRANSLATED = sorted(CHECKOUT.glob("docs/pt/*.md"))


@pytest.mark.parametrize("page", TRANSLATED, ids=name)
def test_a_page_in_portuguese_is_one_that_there_is_and_shows_its_commands(page):
    english, own = list(commands(CHECKOUT / "docs" / page.name)), list(commands(page))
    assert [words for words in own if "pt_BR" not in words] == english[: len(own)]
    assert f"docs/pt/{page.name}" in PORTUGUESE.read_text()


def test_there_are_pages_in_portuguese():
    assert {page.name for page in TRANSLATED} == {"anatomy.md", "installation.md", "lesson.md", "why.md"}


def in_portuguese(line):
    """A line of what Estiva prints, in English, as it prints it in Portuguese."""
    label, text, took = re.fullmatch(
        r"(estiva: |hint: |problem: |\s+[\d.]+ ms  \w+ +|)(.*?)(  \[.*|)", line
    ).groups()
    label = {"hint: ": "dica: ", "problem: ": "problema: "}.get(label, label)
    return f"{label}{Catalog('pt_BR').translated(text)}{took}"


@pytest.mark.parametrize("page", TRANSLATED, ids=name)
def test_what_is_shown_in_portuguese_is_what_is_said(page):
    def shown(each):
        found = re.findall(r"^```(\w*)\n(.*?)^```$", each.read_text(), re.DOTALL | re.MULTILINE)
        return [block for language, block in found if not language]

    english, own = shown(CHECKOUT / "docs" / page.name), shown(page)
    assert ["\n".join(map(in_portuguese, block.splitlines())) + "\n" for block in english] == own


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files(page):
    targets = re.findall(r"\]\(([^)#]+)", page.read_text())
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing


def test_every_verb_is_in_the_reference():
    text = (CHECKOUT / "docs/cli.md").read_text()
    missing = [verb for verb in verb_table.VERBS if not re.search(rf"`(\w+ )?{verb}\b", text)]
    missing += [
        f"{group} {verb}"
        for group, verbs in verb_table.GROUPS.items()
        for verb, entry in verbs.items()
        if entry not in verb_table.VERBS.values()
        and "inspect" not in verb
        and not re.search(rf"\b{verb}\b", text)
    ]
    assert not missing


def test_files_and_functions_of_the_architecture_exist():
    text = " ".join((CHECKOUT / "docs/architecture.md").read_text().split())
    known = [str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py")]
    mentioned = re.findall(r"`(?:src/estiva/)?([\w/]+\.py)(?:: ([\w.]+))?`", text)
    assert len(mentioned) > 40
    for path, function in mentioned:
        if path.startswith("tests/"):
            assert (CHECKOUT / path).exists(), path
            continue
        found = [each for each in known if each == path or each.endswith(f"/{path}")]
        assert found, path
        if function:
            pattern = rf"(def|class) {function.rpartition('.')[2]}\b"
            assert re.search(pattern, (SOURCE / found[0]).read_text()), f"{path}: {function}"
