"""What a module imports is loaded in front of it: which that is, in which order, and where it is left alone."""

from __future__ import annotations

import _thread
import importlib
import marshal
import os
import sys

import pytest

from estiva.boot import quickload, writer

KNOWN = {name: name for name in ("estiva.errors", "estiva.a", "estiva.a.b", "estiva.a.c")}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from estiva.errors import X", ["estiva.errors"]),
        ("from estiva.a import b, c as d  # noqa", ["estiva.a.b", "estiva.a.c"]),
        (
            "from estiva.a import (\n    b,  # why\n    c,\n)\nfrom estiva.a.b import x",
            ["estiva.a.b", "estiva.a.c"],
        ),
        ("from estiva.a import Value, b", ["estiva.a", "estiva.a.b"]),
        ("from estiva import a, errors", ["estiva.a", "estiva.errors"]),
        ("if TYPE_CHECKING:\n    from estiva.a import b\n\n\ndef f():\n    from estiva.errors import X", []),
        ("from estiva.other import x\nimport os\nfrom estivalis.errors import X", []),
        ("from estiva.a import (", []),
    ],
)
def test_what_a_source_needs(source, names):
    assert list(writer.needed(source, KNOWN)) == names


class Tree:
    """Modules below `estiva.zz` in a file as the writer makes it; `loaded` is the order they ran in."""

    def __init__(self, folder, sources):
        self.loaded = []
        known = {f"estiva.zz{name}": f"estiva.zz{name}" for name in sources}
        modules, codes, offset = {}, b"", 0
        for name, source in sources.items():
            text = f"import estiva\nestiva.zz_loaded.append(__name__)\n{source}\n"
            code = marshal.dumps(compile(text, name, "exec"))
            package = name in ("", ".p")
            needs = writer.needed(text, known)
            modules[f"estiva.zz{name}"] = (package, f"zz{name}.py", 0, 0, offset, len(code), needs)
            codes, offset = codes + code, offset + len(code)
        file = folder / "file"
        file.write_bytes(codes)
        self.finder = quickload.Finder(str(file), os.stat(file), modules, 0)


@pytest.fixture
def tree(tmp_path, monkeypatch):
    import estiva

    def make(sources, threads=0):
        made = Tree(tmp_path, sources)
        monkeypatch.setattr(estiva, "zz_loaded", made.loaded, raising=False)
        monkeypatch.setattr(sys, "meta_path", [made.finder, *sys.meta_path])
        monkeypatch.setattr(_thread, "_count", lambda: threads)  # what runs the tests has some
        return made

    yield make
    for name in [name for name in sys.modules if name.startswith("estiva.zz")]:
        del sys.modules[name]
    vars(estiva).pop("zz", None)


SOURCES = {
    "": "",
    ".p": "from estiva.zz.p.inner import VALUE",
    ".p.inner": "VALUE = 7",
    ".base": "BASE = 1",
    ".middle": "from estiva.zz import base\nfrom estiva.zz.p import VALUE\nMIDDLE = base.BASE + VALUE",
    ".top": "from estiva.zz.middle import MIDDLE\nfrom estiva.zz import base\nTOP = MIDDLE + base.BASE",
}


def test_needs_come_first_and_once(tree):
    made = tree(SOURCES)
    top = importlib.import_module("estiva.zz.top")
    assert top.TOP == 9
    assert [name.removeprefix("estiva.zz") for name in made.loaded] == [
        *("", ".base", ".p.inner", ".p", ".middle", ".top")
    ]
    for name in made.loaded:
        module = sys.modules[name]
        assert (module.__name__, module.__spec__.name, module.__spec__.loader) == (name, name, made.finder)
        assert module.__file__ == f"{quickload.SOURCE}/zz{name.removeprefix('estiva.zz')}.py"
        assert module.__package__ == (name if hasattr(module, "__path__") else name.rpartition(".")[0])
        above, _, own = name.rpartition(".")
        assert getattr(sys.modules[above], own) is module


def test_a_module_that_fails_is_not_there(tree):
    tree(SOURCES | {".base": "raise OSError('no')"})
    with pytest.raises(OSError, match="no"):
        importlib.import_module("estiva.zz.top")
    assert not {"estiva.zz.base", "estiva.zz.middle", "estiva.zz.top"} & set(sys.modules)


def test_what_is_not_in_the_file_is_left_to_the_import(tree):
    made = tree(SOURCES)
    del made.finder.modules["estiva.zz.base"]
    with pytest.raises(ImportError):
        importlib.import_module("estiva.zz.top")
    assert "estiva.zz.base" not in sys.modules


def test_code_that_can_not_be_read_is_left_to_the_import(tree):
    made = tree(SOURCES)
    entry = made.finder.modules["estiva.zz.base"]
    made.finder.modules["estiva.zz.base"] = (*entry[:4], 1 << 20, *entry[5:])
    with pytest.raises(ImportError):
        importlib.import_module("estiva.zz.top")


def test_a_circle_ends(tree):
    made = tree({"": "", ".a": "from estiva.zz import b\nA = 1", ".b": "from estiva.zz import a\nB = 1"})
    assert importlib.import_module("estiva.zz.a").A == 1 and sys.modules["estiva.zz.b"].B == 1
    assert sorted(set(made.loaded)) == sorted(made.loaded)


@pytest.mark.parametrize(("threads", "told"), [(1, False), (0, True)])
def test_with_other_threads_or_for_who_wants_to_be_told_importlib_does_it(tree, monkeypatch, threads, told):
    """Each import has its lock then, and `python -v` and `-X importtime` tell of it."""
    made = tree(SOURCES, threads=threads)
    monkeypatch.setattr(quickload, "TOLD", told)
    asked = []
    plain = made.finder.load
    made.finder.load = lambda *words: asked.append(words) or plain(*words)
    assert importlib.import_module("estiva.zz.top").TOP == 9
    assert not asked and made.loaded[:2] == ["estiva.zz", "estiva.zz.top"]
