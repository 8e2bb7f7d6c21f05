"""The types of the Python API, as a type checker and help() see them."""

import inspect
import pathlib
import pydoc
import subprocess
import sys
from typing import get_type_hints

import pytest

import estiva
from estiva.sdk import run_options, typed
from estiva.sdk.collections.containers import Containers
from estiva.sdk.collections.images import Images

PROGRAMS = pathlib.Path(__file__).parents[2] / "typing"
PROGRAM = pathlib.Path(__file__).parent / "typed_program.py"


@pytest.fixture(scope="module")
def told():
    """What mypy says of each of three programs, all in one run: it reads the whole package for any of them."""
    files = [PROGRAMS / "right.py", PROGRAMS / "wrong.py", PROGRAM]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", "--no-incremental", "--no-pretty",
         "--follow-imports=silent", *map(str, files)],
        capture_output=True,
        text=True,
        cwd=PROGRAMS,
        env={"MYPYPATH": str(pathlib.Path(estiva.__file__).parents[1]), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode in (0, 1) and done.stdout.endswith("(checked 3 source files)\n"), (
        done.stdout + done.stderr
    )
    lines = done.stdout.splitlines()[:-1]
    said = {
        path.name: [line for line in lines if pathlib.Path(line.split(":")[0]).name == path.name]
        for path in files
    }
    assert sum(map(len, said.values())) == len(lines), done.stdout
    return said


@pytest.mark.parametrize("program", ["right.py", "wrong.py"])
def test_types_are_those_that_are_taken(told, program):
    """What is wrong is marked so, and a mark where nothing is wrong is an error too."""
    assert told[program] == []


def test_what_a_program_gets_has_a_type(told):
    """A program with every public name: nothing in it is Any, but what is marked so, with a reason."""
    lines = PROGRAM.read_text().splitlines()
    assert "# mypy: disallow-any-expr" in lines
    marked = {number for number, line in enumerate(lines, 1) if "  # Any: " in line}
    found = set()
    for line in told[PROGRAM.name]:
        said = line.replace("Coroutine[Any, Any, ", "").replace('contains "Any"', "")  # as typing has it
        if "Any" in said or "Expression" not in said:
            found.add(int(line.split(":")[1]))
            assert int(line.split(":")[1]) in marked, line
    assert found == marked


def test_the_program_has_every_public_name():
    from estiva import aio
    from estiva.sdk.collections import containers, images, networks, registry, volumes
    from estiva.sdk.objects import files

    text = PROGRAM.read_text()
    missing = [f"estiva.{name}" for name in estiva.__all__ if f"estiva.{name}" not in text]
    missing += [f"aio.{name}" for name in aio.__all__ if f"aio.{name}" not in text]
    inner = {"begun", "engine", "gone", "own", "reading", "measuring", "ways"}  # not for programs
    inner |= {"history", "layers", "referrers", "search", "info", "df"}  # dicts of anything
    for kind in (
        estiva.Container, files.Files, containers.Containers, images.Images, volumes.Volumes, volumes.Volume,
        networks.Networks, networks.Network, registry.Registry, estiva.Image, estiva.Snapshot,
    ):  # fmt: skip
        names = {name for name in dir(kind) if not name.startswith("_")} - inner
        missing += [f"{kind.__name__}.{name}" for name in sorted(names) if f".{name}" not in text]
    assert not missing


def test_the_package_says_that_it_has_types():
    assert (pathlib.Path(estiva.__file__).parent / "py.typed").exists()


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (estiva.run, run_options.RunOptions),
        (estiva.container, run_options.RunOptions),
        (estiva.build, run_options.BuildOptions),
        (estiva.Container.update, run_options.UpdateOptions),
        (Containers.create, run_options.CreateOptions),
        (Containers.run, run_options.CreateOptions),
        (Images.build, run_options.BuildOptions),
    ],
)
def test_a_signature_shows_every_keyword(function, options):
    parameters = inspect.signature(function).parameters
    assert set(get_type_hints(options)) <= set(parameters)
    assert not [one for one in parameters.values() if one.kind is one.VAR_KEYWORD]
    shown = pydoc.plain(pydoc.render_doc(function))
    assert all(f"{name}: " in shown for name in get_type_hints(options))


def test_types_in_words():
    hints = get_type_hints(run_options.CreateOptions, include_extras=True)
    said = {name: typed.described(hint) for name, hint in hints.items()}
    assert said["memory"] == 'bytes or a size such as "256m"' and said["init"] == "True or False"
    assert said["pull"] == "'missing', 'always' or 'never'" and said["workdir"] == "text or a path"
    assert not [name for name, words in said.items() if "another type" in words]


def test_the_docs_list_every_option():
    text = (PROGRAMS.parents[1] / "docs/python.md").read_text()
    table = text.partition("## Options")[2].partition("\n## ")[0]
    options = {*get_type_hints(run_options.CreateOptions)}
    assert not [name for name in options if f"`{name}`" not in table]
    building = text.partition("## Images")[2].partition("\n## ")[0]
    hidden = {"cache_from", "cache_to"}  # taken and without effect: builder/request.py
    assert not [
        name for name in {*get_type_hints(run_options.BuildOptions)} - hidden if f"`{name}" not in building
    ]


def public():
    """(name, thing) of all that help(estiva) and its classes show."""
    from estiva.sdk import collections, objects

    for name in estiva.__all__:
        yield name, getattr(estiva, name)
    for package in (collections, objects):
        for path in pathlib.Path(package.__file__).parent.glob("[a-z]*.py"):
            module = __import__(f"{package.__name__}.{path.stem}", fromlist=["x"])
            for name, thing in vars(module).items():
                if inspect.isclass(thing) and thing.__module__ == module.__name__ and name[0] != "_":
                    yield name, thing
                    for inner, each in vars(thing).items():
                        if inner[0] != "_" and (inspect.isfunction(each) or isinstance(each, property)):
                            yield f"{name}.{inner}", each


def test_everything_public_says_what_it_is_for():
    """But for values whose names say it: fields, and small properties."""
    clear = {"Container.name", "Container.image", "Container.labels", "Container.short_id", "Container.rename",
             "Container.unpause", "Image.short_id", "Network.short_id", "FileInfo.is_dir", "FileInfo.is_file",
             "FileInfo.permissions", "Event.time", "Exit.ok"}  # fmt: skip
    without = {name for name, thing in public() if not (thing.__doc__ or "").strip()}
    assert {
        name
        for name in without
        if name.partition(".")[0] not in ("Modes", "Ends") and ("." in name or name in estiva.__all__)
    } <= clear


def test_no_function_takes_just_anything():
    loose = []
    for name, thing in public():
        if inspect.isfunction(thing):
            parameters = inspect.signature(thing).parameters.values()
            loose += [f"{name} {one}" for one in parameters if one.kind is one.VAR_KEYWORD]
    assert not loose
