"""A world in which a verb of the command line does nothing, and all that it would do can be seen.

Every function of the packages below the command lines is put aside for one that writes down what it is asked and gives
what a table says. `Stage.done` does a verb and tells what was asked, printed and written.
"""

import contextlib
import copy
import importlib
import inspect
import io
import pkgutil
import re
from unittest import mock

import pytest

from estiva import errors
from estiva.cmdline import parser


def functions(package):
    """(full name without "estiva.", module, name) of every function of a package."""
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        module = importlib.import_module(info.name)
        for name, value in list(vars(module).items()):
            if inspect.isfunction(value) and value.__module__ == module.__name__:
                yield f"{info.name.removeprefix('estiva.')}.{name}", module, name


class Journal(list):
    """What was asked for, in order: (name, arguments, keywords)."""

    def spy(self, name, answer=None):
        def call(*arguments, **keywords):
            self.append((name, shown(arguments), shown(keywords)))
            if answer is None:
                return Thing(self, name)
            return answer(self) if callable(answer) else copy.deepcopy(answer)

        return call


class Thing:
    """What an engine that is none gives: it has everything, holds nothing, and its calls are written down.

    `known` are attributes with a value of their own.
    """

    def __init__(self, journal, name, **known):
        self._journal, self._name = journal, name
        self.__dict__.update(known)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Thing(self._journal, f"{self._name}.{name}")

    def __call__(self, *arguments, **keywords):
        return self._journal.spy(self._name)(*arguments, **keywords)

    def __deepcopy__(self, memo):
        return self

    def __getitem__(self, key):
        return Thing(self._journal, self._name)

    def __iter__(self):
        return iter(())

    def __int__(self):
        return 7

    def __str__(self):
        return "thing"

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    __repr__ = __str__


def shown(value):
    """A value of a call as text that is the same in every run."""
    if isinstance(value, list | tuple):
        return [shown(each) for each in value]
    if isinstance(value, dict):
        return {key: shown(value[key]) for key in sorted(value)}
    if isinstance(value, str | bytes | int | float | None | Thing):
        return repr(value)
    if isinstance(value, io.IOBase):
        return type(value).__name__, str(getattr(value, "name", "")) if isinstance(
            getattr(value, "name", ""), str
        ) else "fd"
    if inspect.isroutine(value) or isinstance(value, Journal):
        return type(value).__name__
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    parts = {**{name: getattr(value, name, None) for name in slots}, **getattr(value, "__dict__", {})}
    return type(value).__name__, shown(parts)


@contextlib.contextmanager
def journal(packages, single, answers, pure):
    """A Journal that all functions of `packages`, and those of `single`, are written down in.

    `answers` maps their names to what they give, or to a function of the journal that makes it; what begins with one of `pure` stays as it is.
    """
    made = Journal()
    with pytest.MonkeyPatch.context() as patch:
        for package in packages:
            for full, module, name in list(functions(package)):
                if not full.startswith(pure):
                    patch.setattr(module, name, made.spy(full, answers.get(full)))
        for full in single:
            patch.setattr(f"estiva.{full}", made.spy(full, answers.get(full)))
        yield made


class Stage:
    """Does verbs in fresh folders that are alike in all but their names."""

    def __init__(self, journal, folder, monkeypatch, capsys, files=None, folders=()):
        self.journal, self.folder, self.patch, self.capsys = journal, folder, monkeypatch, capsys
        self.files, self.folders = files or {}, folders

    def done(self, verb, words, context):
        """(all that can be seen of it, the text of the error that it ended with or None)."""
        path = self.folder / f"stage{len(list(self.folder.iterdir()))}"
        path.mkdir()
        (path / "Dockerfile").write_text("FROM scratch\n")
        for name in ("env", "thing", "rootfs.tar", "other.tar"):
            (path / name).write_text("A=1\n")
        for name, text in self.files.items():
            (path / name).write_text(text)
        for name in self.folders:
            (path / name).mkdir()
        self.patch.chdir(path)
        # for verbs that go on until they are interrupted
        self.patch.setattr("time.sleep", mock.Mock(side_effect=[None, None, KeyboardInterrupt]))
        self.patch.setattr("sys.stdin", io.StringIO("secret"))
        self.journal.clear()
        text = None
        try:
            end = verb.action(context, parser.parse_verb(verb, words, "estiva"))
        except errors.EstivaError as error:
            end, text = None, f"{error.message} {error.hint}"
        except KeyboardInterrupt:
            end = "interrupted"
        files = {
            str(each.relative_to(path)): each.is_file() and each.read_bytes() for each in path.rglob("*")
        }
        told = self.capsys.readouterr()
        seen = repr((list(self.journal), end, files, told.out, told.err))
        return re.sub(rf"{path}|0x[0-9a-f]+", "", seen), text
