"""Portuguese for people, and for nobody else: what programs read and what is kept is the same in every language."""

import json
import os
import re

import pytest

from enginekit import IMAGE, host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
PORTUGUESE = {"LC_ALL": "pt_BR.UTF-8"}
NONE = ("--network", "none")


@pytest.fixture(scope="module")
def box():
    with host() as made:
        made.estiva("run", "--name", "ended", *NONE, IMAGE, "sh", "-c", "exit 3", status=3)
        made.estiva("run", "--name", "missing", *NONE, IMAGE, "nosuch", status=127, env=PORTUGUESE)
        yield made


def told(box, *words, status=1, env=PORTUGUESE):
    return box.estiva(*words, status=status, env=env).stderr.splitlines()


@pytest.mark.parametrize(
    ("words", "status", "lines"),
    [
        (("rm", "nosuch"), 1, ["contêiner não encontrado: nosuch", "`estiva ps -a` lista todos"]),
        (("run", "--pull", "never", "nosuch"), 125, ["imagem não encontrada: nosuch", "`estiva pull nosuch` baixa a imagem"]),
        (("run", IMAGE), 125, ["nenhum comando foi dado"]),
        (("run", "--name", "ended", IMAGE, "true"), 125, ['o nome "ended" já está em uso', "`estiva rm ended` o remove"]),
        (("run", *NONE, IMAGE, "nosuch"), 127, ['exec: "nosuch": executável não encontrado no $PATH']),
        (("run", *NONE, IMAGE, "/bin/shh"), 127, ["arquivo ou diretório não encontrado", "você quis dizer /bin/sh?"]),
        (("run", "--nmae", "x", IMAGE), 125, ["opção desconhecida: --nmae", "você quis dizer --name?"]),
        (("imagse",), 1, ["'imagse' não é um verbo de estiva", "você quis dizer 'image'?"]),
        (("run", "-m", "12x", IMAGE), 125, ['argumento inválido "12x" para a opção "-m, --memory"']),
        (("run", "A:B:C"), 125, ["referência inválida"]),
        (("exec", "ended", "ls"), 1, ["o contêiner ended não está em execução", "`estiva start ended` o inicia"]),
        (("network", "rm", "nosuch"), 1, ["rede não encontrada: nosuch"]),
        (("volume", "rm", "nosuch"), 1, ["volume não encontrado: nosuch"]),
        (("--lang", "fr", "ps"), 1, ["não há o idioma fr", "os idiomas são en, pt_BR"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)  # fmt: skip
def test_errors(box, words, status, lines):
    said = told(box, *words, status=status)
    starts = ["estiva: ", "dica: "]
    for line, start, expected in zip(said, starts, lines, strict=False):
        assert line.startswith(start) and expected in line, said
    assert len(said) >= len(lines)


@pytest.mark.parametrize(
    ("dockerfile", "lines"),
    [
        ("FRM x\n", ["Dockerfile:1: instrução desconhecida: FRM", "você quis dizer FROM?"]),
        (f"FROM {IMAGE}\nWORKDIR\n", ["WORKDIR precisa de exatamente um argumento", "2 | WORKDIR"]),
        (f"FROM {IMAGE}\nCOPY no /\n", ["COPY falhou: arquivo não encontrado no contexto de build", "2 | COPY no /"]),
        (f"FROM {IMAGE}\nRUN exit 4\n", ["código de saída 4"]),
    ],
)  # fmt: skip
def test_dockerfiles(box, tmp_path, dockerfile, lines):
    (tmp_path / "Dockerfile").write_text(dockerfile)
    said = "\n".join(told(box, "build", "--network", "none", tmp_path, status=None))
    assert all(line in said for line in lines), said


def test_who_chooses(box):
    rm = ("rm", "nosuch")
    english, portuguese = "estiva: no such container: nosuch", "estiva: contêiner não encontrado: nosuch"
    for env in ({"LC_ALL": "C"}, {"LC_ALL": "", "LANG": "fr_FR.UTF-8"}, {"LC_ALL": "C", "LANGUAGE": "pt_BR"}):
        assert told(box, *rm, env=env)[0] == english
        assert told(box, "--lang", "pt_BR", *rm, env=env)[0] == portuguese
    for env in (
        PORTUGUESE,
        {"LC_ALL": "", "LANG": "pt_BR"},
        {"LC_ALL": "", "LANG": "en_US", "LANGUAGE": "pt_BR:en"},
    ):
        assert told(box, *rm, env=env)[0] == portuguese
        assert told(box, "--lang", "en", *rm, env=env)[0] == english


@pytest.mark.parametrize("locale", ["C", "POSIX", "pt_BR", "pt_BR.ISO-8859-1", "nowhere"])
def test_a_terminal_that_may_have_no_accents(box, locale):
    env = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for words in (("rm", "nosuch"), ("--help",), ("why", "ended"), ("doctor", "ended"), ("anatomy", "ended")):
        done = box.estiva("--lang", "pt_BR", *words, env=env, status=None, text=False)
        said = (done.stdout + done.stderr).decode("utf-8", "replace")
        assert re.search("encontrad|Uso:|terminou", said), said


def test_what_programs_read_is_the_same(box):
    for words in (
        ("ps", "-a", "--no-trunc", "--format", "{{json .ID}} {{.Names}} {{.Exit}} {{.State}}"),
        ("ps", "-aq"), ("images",), ("network", "ls"), ("volume", "ls"),
        ("inspect", "ended", "missing"), ("events", "--since", "0", "--until", "0s"), ("logs", "ended"),
        ("anatomy", "--json", "ended"), ("version",),
    ):  # fmt: skip
        done = [box.estiva(*words, env=env, status=None) for env in (None, PORTUGUESE)]
        shown = [
            (each.returncode, re.sub(r"[\d.]+ seconds|About a \w+|[\d.]+ \w+ ago", "", each.stdout))
            for each in done
        ]
        assert shown[0] == shown[1], words
    heads = [box.out("ps", "-a", env=env).splitlines()[0] for env in (None, PORTUGUESE)]
    assert heads[0] == heads[1]


def test_what_is_kept_is_english_and_told_in_the_reader_s_language(box):
    (record,) = json.loads(box.out("inspect", "missing"))
    state = record["State"]
    assert state["Error"] == 'exec: "nosuch": executable file not found in $PATH'
    assert state["Exit"]["Meaning"] == "its command was not found"
    assert box.out("why", "missing", env=PORTUGUESE).splitlines() == [
        "missing não pôde ser iniciado, e terminou com o código 127",
        'exec: "nosuch": executável não encontrado no $PATH',
    ]
    assert "terminou por conta própria com o código 3" in box.out("why", "ended", env=PORTUGUESE)
    assert "ended by itself with status 3" in box.out("why", "ended")
    assert "terminou por conta própria" in box.out("anatomy", "ended", env=PORTUGUESE)


def test_a_start_that_is_explained(box):
    done = box.estiva("run", "--rm", "--explain", *NONE, IMAGE, "true", env=PORTUGUESE)
    assert "linha de comando  procurar a imagem" in done.stderr
    assert "init" in done.stderr and "montar o sistema de arquivos raiz" in done.stderr
    done = box.estiva("run", "--rm", "--explain=json", *NONE, IMAGE, "true", env=PORTUGUESE)
    texts = [step["text"] for step in json.loads(done.stderr)["steps"]]
    assert "find the image" in texts and "mount the root filesystem" in texts


def test_hostile_names_stay_names(box):
    for name in ("\x1b[31m{name}", "{0.__class__}", "%s\n%d", "é\u202e", "{"):
        (line, *_) = told(box, "rm", name)
        assert line.startswith("estiva: contêiner não encontrado: ") and line.isprintable()


def test_help(box):
    text = box.out("--help", env=PORTUGUESE)
    assert "Uso: estiva" in text and "Cria um contêiner a partir de uma imagem e o executa" in text
    assert "Remove redes" in box.out("network", "--help", env=PORTUGUESE)
    assert box.out("--lang", "en", "--help", env=PORTUGUESE) == box.out("--help")
    assert box.out("completion", "bash", env=PORTUGUESE) == box.out("completion", "bash")
    assert box.out("man", env=PORTUGUESE) == box.out("man")
