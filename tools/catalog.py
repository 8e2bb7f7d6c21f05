#!/usr/bin/env python3
"""The catalogs of other languages: gather the sentences of the sources, tell what they lack, compile.

    tools/catalog.py            bring each estiva.po up to date, and estiva.mo beside it
    tools/catalog.py --check    change nothing; print what is missing or out of date, and end with 1 then

A message id is the English sentence. It is gathered from the sources: what `say` and `count` are given, the
summaries of verbs, the messages and hints of errors in the modules of COVERED, all sentences of those in
SPOKEN. The value that an f-string puts in becomes a placeholder with the name of what is put in: {name}.
"""

from __future__ import annotations

import argparse
import ast
import pathlib
import string
import struct
import sys
from collections.abc import Iterable, Iterator

ROOT = pathlib.Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src/estiva"
LOCALE = SOURCE / "locale"

sys.path.insert(0, str(ROOT / "src"))
from estiva.catalog import FEWEST, INDEX, PHRASES  # noqa: E402

# Modules and packages whose errors a beginner meets.
COVERED = (
    "builder.fetch", "builder.files.copier", "builder.files.destination", "builder.files.tree",
    "builder.frontend", "builder.solver.sources", "builder.steps", "cli.container", "cli.context",
    "cli.explain", "cli.format.tables", "cli.format.template", "cli.image.archives", "cli.build.build",
    "cli.build.sources", "cli.build.words", "cli.image.images", "cli.image.remote", "cli.inspect",
    "cli.main", "cli.network", "cli.options", "cli.refused", "cli.reset", "cli.volume", "cmdline.parser",
    "engine.builds.build", "engine.builds.ssh", "engine.containers.attach", "engine.containers.control",
    "engine.containers.cp.copying", "engine.containers.cp.place", "engine.containers.create",
    "engine.containers.exec", "engine.containers.inspect", "engine.containers.start", "engine.images.find",
    "engine.images.lookup", "engine.images.outfile", "engine.images.platforms", "engine.launch.launch",
    "engine.networks.asked", "engine.networks.connect", "engine.networks.create", "engine.networks.remove",
    "engine.spec.mounts", "engine.spec.ports", "engine.state.lookup", "engine.state.names",
    "engine.state.record", "engine.volumes", "errors", "files", "network.firewall", "network.networks",
    "network.pools", "network.ports", "oci.digest", "oci.platform", "oci.reference", "paths",
    "registry.client", "registry.http.errors", "registry.http.transport", "runtime.process.command",
    "runtime.process.user", "store.content", "store.database", "store.images", "store.volumes",
)  # fmt: skip
# Modules of which every sentence is shown to people: what has a blank in it, and is no docstring.
SPOKEN = (
    "builder.steps.statuses", "engine.explain.machine", "engine.explain.running", "engine.explain.why",
    "engine.state.life.certificate", "runtime.launch.whynot",
)  # fmt: skip
# Modules that name the steps of a container's start
STARTING = (
    "engine.monitor.explain", "runtime.launch", "runtime.records", "runtime.rootfs", "view.recording",
)  # fmt: skip
TITLED = ("cli.explain.steps",)  # whose public functions' docstrings are titles
# What others say and we pass on: the kernel, in lower case (strerror(3)), where it is part of a message.
KERNEL = (
    "address already in use", "argument list too long", "cannot allocate memory",
    "cannot assign requested address", "connection refused", "device or resource busy",
    "directory not empty", "disk quota exceeded", "exec format error", "file exists", "file name too long",
    "input/output error", "invalid argument", "is a directory", "network is unreachable",
    "no route to host", "no space left on device", "no such file or directory", "not a directory",
    "operation not permitted", "permission denied", "read-only file system", "text file busy",
    "too many levels of symbolic links",
)  # fmt: skip
# Parts of sentences that stand where nothing here looks for them; a test finds each in the sources.
PARTS = (
    "Common verbs", "Containers", "Images", "Registries", "Everything", "ok", "missing", "optional", "read",
    "written", "memory+swap",
    "not true or false", "not a whole number", "value out of range",
    "the image has no {name}", "the record of network {name}",
)  # fmt: skip
ANYWHERE = "{path}: {reason}"  # the one template that may be without a word of its own
SHOWN = (
    "brief",
    "oneline",
    "shorten",
    "str",
)  # functions that give their argument, or what can be shown of it
MAKERS = {
    "bad": 1,
    "unsupported": 1,
    "_range": 1,
}  # functions that make an error of a message, which is that argument
HEADER = """Project-Id-Version: estiva
Language: {language}
MIME-Version: 1.0
Content-Type: text/plain; charset=UTF-8
Content-Transfer-Encoding: 8bit
"""


# --- what the sources say ---------------------------------------------------------------------------------


def kinds() -> set[str]:
    """The names of all classes of errors: those of estiva.errors, and what is made from them."""
    found, trees = {"EstivaError"}, [ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))]
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while True:
        more = {node.name for node in classes if any(_last(base) in found for base in node.bases)}
        if more <= found:
            return found
        found |= more


def _last(node: ast.AST) -> str:
    """The last name of `a.b.c`."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


class Module:
    """The sentences of one module."""

    def __init__(self, path: pathlib.Path) -> None:
        self.name = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        self.tree = ast.parse(path.read_text())
        self.values: dict[str, list[ast.AST]] = {}  # what a name or a function may stand for
        self.speaks = False
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self.values.setdefault(_last(target), []).append(node.value)
            elif isinstance(node, ast.FunctionDef):
                returns = [each.value for each in ast.walk(node) if isinstance(each, ast.Return)]
                self.values.setdefault(f"{node.name}()", []).extend(filter(None, returns))
            elif isinstance(node, ast.ImportFrom):
                self.speaks |= any(each.name in ("say", "translated") for each in node.names)

    def said(self, finished: bool) -> Iterator[str]:
        """What goes through `say` and `count`, and summaries of verbs; if `finished`, what goes through
        `local` with its values in it."""
        for node in ast.walk(self.tree):
            name = _last(node.func) if isinstance(node, ast.Call) else ""
            if name == "local" and finished or not finished and self.speaks and name in ("say", "count"):
                words = node.args[1:3] if name == "count" else node.args[:1]
                for word in words:
                    yield from self.texts(word)
            elif name == "Verb" and not finished and _within(self.name, ("cli",)):
                yield from self.texts(node.args[2])

    def titles(self) -> Iterator[str]:
        """Of the lesson's steps, and of those of a container's start."""
        for node in ast.walk(self.tree):
            if self.name in TITLED and isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield ast.get_docstring(node) or ""
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute | ast.Name):
                name = _last(node.targets[0])
                if name == "step" and _within(self.name, STARTING):
                    yield from self.texts(node.value)
                elif name in ("STEPS", "WHO", "CHILD") and _within(self.name, STARTING):
                    strings = [each for each in ast.walk(node.value) if isinstance(each, ast.Constant)]
                    yield from (
                        str(each.value) for each in strings if name != "STEPS" or " " in str(each.value)
                    )

    def errors(self, classes: set[str]) -> Iterator[str]:
        """The messages and hints of errors."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Assign) and _last(node.targets[0]) in ("message", "hint"):
                yield from self.texts(node.value)
            if not isinstance(node, ast.Call):
                continue
            name = _last(node.func)
            if name in MAKERS:
                for word in node.args[MAKERS[name] :]:
                    yield from self.texts(word)
            if name not in classes:
                continue
            if name == "Missing":
                for kind in self.texts(node.args[0]):
                    yield f"no such {kind}: {{name}}"
            elif node.args:
                yield from self.texts(node.args[0])
            for keyword in node.keywords:
                if keyword.arg == "hint":
                    yield from self.texts(keyword.value)

    def sentences(self) -> Iterator[str]:
        """All that has a blank in it."""
        docs = {
            id(node.body[0].value)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        within: set[int] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.JoinedStr):
                within |= {id(part) for part in node.values}
            if id(node) in docs or id(node) in within:
                continue
            if isinstance(node, ast.JoinedStr | ast.Constant):
                for text in self.texts(node):
                    if " " in text.strip() and any(c.isalpha() for c in literal(text)):
                        yield text

    def texts(self, node: ast.AST, depth: int = 0) -> Iterator[str]:
        """What a literal, a choice of them, or what names one in this module, can be."""
        inner: list[ast.AST] = []
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield self.template(node, inner)
        elif isinstance(node, ast.IfExp):
            inner = [node.body, node.orelse]
        elif isinstance(node, ast.BoolOp | ast.Dict):
            inner = list(node.values)
        elif isinstance(node, ast.Subscript):
            inner = [node.value]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            for text in self.texts(node.left, depth):
                yield f"{text}{{{_called(node.right)}}}"
        elif isinstance(node, ast.Name):
            inner = self.values.get(node.id, [])
        elif isinstance(node, ast.Call):
            inner = self.values.get(f"{_last(node.func)}()", [])
            if _last(node.func) in SHOWN:
                inner = node.args[:1]
            if isinstance(node.func, ast.Attribute) and node.func.attr == "get":
                inner = [node.func.value]
            elif _last(node.func) == "fromkeys":
                inner = node.args[1:]
        for each in inner if depth < 9 else ():
            yield from self.texts(each, depth + 1)

    def template(self, node: ast.JoinedStr, phrases: list[ast.AST]) -> str:
        """An f-string with its values by name; those that are phrases themselves are added to `phrases`."""
        parts: list[str] = []
        names: dict[str, str] = {}
        for part in node.values:
            if not isinstance(part, ast.FormattedValue):
                parts.append(str(part.value).replace("{", "{{").replace("}", "}}"))  # type: ignore[attr-defined]
                continue
            what = ast.unparse(part.value)
            if what not in names:
                name = _called(part.value)
                same = sum(given.rstrip("0123456789") == name for given in names.values())
                names[what] = f"{name}{same + 1}" if same else name
                if name in PHRASES:
                    phrases.append(part.value)
            parts.append(f"{{{names[what]}}}")
        return "".join(parts)


def _called(node: ast.AST) -> str:
    """A name for a value: that of the variable, of the attribute, of the function that makes it."""
    if isinstance(node, ast.Name):
        return node.id.strip("_").lower()
    if isinstance(node, ast.Attribute):
        return node.attr.strip("_").lower()
    if isinstance(node, ast.Subscript):
        key = node.slice
        if isinstance(key, ast.Constant) and isinstance(key.value, str) and key.value.isidentifier():
            return key.value.lower()
        return _called(node.value)
    if isinstance(node, ast.Call):
        name = _last(node.func).strip("_")
        if name in (*SHOWN, "len", "sorted", "int", "abs", "fsdecode") and node.args:
            return _called(node.args[0])
        if isinstance(node.func, ast.Attribute) and name in (
            "strip",
            "decode",
            "lower",
            "upper",
            "removeprefix",
        ):
            return _called(node.func.value)
        if name == "join" and node.args:
            return _called(node.args[0])
        return name.lower() or "value"
    if isinstance(node, ast.BinOp):
        return _called(node.left)
    return _called(node.body) if isinstance(node, ast.IfExp) else "value"


def literal(text: str) -> str:
    """A template without its placeholders."""
    return "".join(part for part, *_ in string.Formatter().parse(text))


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def gathered() -> tuple[dict[str, list[str]], set[str]]:
    """({message id: the modules that say it}, those of them that are found in a finished text)."""
    classes, found, told = kinds() | {"ValueError"}, {}, set()
    for path in sorted(SOURCE.rglob("*.py")):
        module = Module(path)
        spoken = [*module.said(False), *module.titles()]
        whole = list(module.said(True))
        if _within(module.name, COVERED):
            whole += module.errors(classes)
        if _within(module.name, SPOKEN):
            whole += module.sentences()
        for text in [*spoken, *whole]:
            if not any(map(str.isalpha, literal(text))) or text not in spoken and not usable(text):
                continue
            if module.name not in found.setdefault(text, []):
                found[text].append(module.name)
        told |= set(whole)
    for text in (ANYWHERE, *KERNEL, *PARTS):
        found.setdefault(text, [])
    found = {text: names for text, names in found.items() if text}
    return found, {text for text in told | {ANYWHERE, *PARTS} if text in found and placeholders(text)}


def _within(name: str, modules: Iterable[str]) -> bool:
    return any(name == each or name.startswith(each + ".") for each in modules)


def usable(text: str) -> bool:
    """Whether a text with its values in it is known again, and can be taken apart: there is something between
    any two, and enough in all."""
    named = [fixed for fixed, name, _, _ in string.Formatter().parse(text) if name is not None]
    return not named or all(named[1:]) and sum(map(str.isalpha, literal(text))) >= FEWEST


# --- catalogs ---------------------------------------------------------------------------------------------


def read(path: pathlib.Path) -> dict[str, str]:
    """The translations of a .po; such as are empty too."""
    found: dict[str, str] = {}
    key = ""
    if not path.exists():
        return found
    for line in path.read_text(encoding="utf-8").splitlines():
        word, _, rest = line.partition(" ")
        if word == "msgid":
            key = ast.literal_eval(rest)
        elif word == "msgstr" and key:
            found[key] = ast.literal_eval(rest)
    return found


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def written(language: str, known: dict[str, str], found: dict[str, list[str]], templates: set[str]) -> str:
    """The text of a .po."""
    lines = ['msgid ""', f"msgstr {quoted(HEADER.format(language=language))}", ""]
    for text in sorted(found, key=lambda text: (found[text][:1], text)):
        lines += [f"#: {' '.join(found[text])}"] if found[text] else []
        lines += ["#, python-brace-format"] if placeholders(text) else []
        lines += [f"msgid {quoted(text)}", f"msgstr {quoted(known.get(text, ''))}", ""]
    return "\n".join(lines)


def _rank(text: str) -> int:
    """Where a template stands: of a whole sentence and more first, beginning with a name last."""
    fixed, name, _, _ = next(iter(string.Formatter().parse(text)))
    return 1 if fixed else 0 if name in PHRASES else 2


def compiled(language: str, known: dict[str, str], templates: set[str]) -> bytes:
    """The bytes of a .mo (GNU gettext manual, "The Format of GNU MO Files"), with an index of the templates:
    those that fix the most come first."""
    shown = {text: told for text, told in known.items() if told}
    index = sorted(templates & set(shown), key=lambda text: (_rank(text), -len(literal(text)), text))
    entries = {"": HEADER.format(language=language), "\x04".join(INDEX): "\n".join(index), **shown}
    pairs = sorted((key.encode(), value.encode()) for key, value in entries.items())
    table, texts, at = [], b"", 28 + 16 * len(pairs)
    for column in (0, 1):
        for pair in pairs:
            table.append((len(pair[column]), at + len(texts)))
            texts += pair[column] + b"\0"
    head = struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, at)
    return head + b"".join(struct.pack("<2I", *each) for each in table) + texts


def wrong(known: dict[str, str], found: dict[str, list[str]]) -> list[str]:
    """What is to be mended in a language's translations."""
    said = [f"no translation: {text}" for text in found if not known.get(text)]
    for text, told in known.items():
        if told and text in found and placeholders(text) != placeholders(told):
            said.append(f"other placeholders: {text}")
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description="The catalogs of other languages.")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; end with 1 if something is missing"
    )
    check = parser.parse_args().check
    found, templates = gathered()
    status = 0
    for path in sorted(LOCALE.glob("*/LC_MESSAGES/estiva.po")):
        language = path.parents[1].name
        known = {text: told for text, told in read(path).items() if text in found}
        results = {
            path: written(language, known, found, templates).encode(),
            path.with_suffix(".mo"): compiled(language, known, templates),
        }
        said = wrong(known, found)
        for file, data in results.items():
            if not check:
                file.write_bytes(data)
            elif not file.exists() or file.read_bytes() != data:
                said.append(f"out of date: {file.relative_to(ROOT)}")
        for line in said:
            print(f"{language}: {line}")
        status |= bool(said)
    return status if check else 0


if __name__ == "__main__":
    sys.exit(main())
