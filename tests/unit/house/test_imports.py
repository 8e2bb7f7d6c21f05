"""Imports are part of the interface: who may import whom, and what a cold `estiva run` loads."""

import ast
import pathlib
import subprocess
import sys

import pytest

SOURCE = pathlib.Path(__file__).parents[3] / "src"
BASE = {"errors", "paths", "files", "fastjson"}  # used by all

# package -> the packages that it may import (docs/architecture.md)
ALLOWED = {
    "linux": set(),
    "oci": set(),
    "store": {"linux", "oci"},
    "runtime": {"linux", "oci"},
    "network": {"linux", "oci", "store"},  # store.database only, see below
    "registry": {"store", "oci"},
    "builder": {"store", "oci", "linux", "runtime"},  # runtime.user only: names in a rootfs
    "engine": {"builder", "registry", "network", "store", "runtime", "oci", "linux"},
    "cli": {"engine"},
}
EXCEPTIONS = {("estiva.cmdline.program.registry", "estiva.registry.server.server")}
OCI = {
    "runtime",
    "linux",
    "oci",
}  # what the runtime's command line, cli/oci, may import; nothing of the engine
ONLY = {("network", "store"): {"database"}, ("builder", "runtime"): {"user"}}


def modules():
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        yield name.removesuffix(".__init__"), path


def imported(path):
    """(module, name) of every import at any depth, but for those that only type checkers see."""

    class Visitor(ast.NodeVisitor):
        found: list

        def visit_If(self, node):
            if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
                self.generic_visit(node)

        def visit_Import(self, node):
            self.found += [alias.name for alias in node.names]

        def visit_ImportFrom(self, node):
            assert node.level == 0, f"{path}: relative import"
            self.found += [f"{node.module}.{alias.name}" for alias in node.names]

    visitor = Visitor()
    visitor.found = []
    visitor.visit(ast.parse(path.read_text()))
    return visitor.found


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_who_may_import_whom(package):
    wrong = []
    for name, path in modules():
        if not name.startswith(f"estiva.{package}"):
            continue
        for target in imported(path):
            parts = target.split(".")
            if parts[0] != "estiva" or len(parts) < 2 or parts[1] in BASE | {package}:
                continue
            if any(target.startswith(module) and name == user for user, module in EXCEPTIONS):
                continue
            only = ONLY.get((package, parts[1]))
            allowed = OCI | {"cli"} if name.startswith("estiva.cmdline.program.oci") else ALLOWED[package]
            if parts[1] not in allowed or (only and parts[2] not in only):
                wrong.append(f"{name} imports {target}")
    assert not wrong


def test_only_the_kernel_boundary_imports_ctypes():
    users = {name for name, path in modules() if any(t.split(".")[0] == "ctypes" for t in imported(path))}
    assert users and all(name.startswith("estiva.linux") for name in users)


def test_no_file_holds_two_concepts():
    long = {name: len(path.read_text().splitlines()) for name, path in modules()}
    assert not {name: lines for name, lines in long.items() if lines > 400}


# What costs milliseconds before anything has happened (measured on one machine, cold): typing 5, json 7, re 6,
# argparse 9, enum and what needs it (signal, socket) 5-7, contextlib 5, hashlib 3, dataclasses 17, subprocess 12.
DEAR = {
    "argparse", "asyncio", "collections", "contextlib", "dataclasses", "datetime", "enum", "functools", "hashlib",
    "inspect", "json", "logging", "pathlib", "random", "re", "shutil", "signal", "site", "socket", "sqlite3",
    "subprocess", "tempfile", "threading", "typing", "aiohttp", "rich", "yaml",
}  # fmt: skip


def loaded(code):
    """The modules that a fresh interpreter holds after `code`, started as ./estiva starts it."""
    program = f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n{code}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


RUN = "from estiva.cli import main; from estiva.cli.options import run; from estiva.cli.container import run as cli, foreground; from estiva.engine.containers import start"
STORE = "from estiva.store import database, images, snapshots, content; from estiva.store.layers import layers, mounts"
MONITOR = "from estiva.engine.monitor import main; from estiva.network import bridge"
EXEC = "from estiva.cli import main; from estiva.cli.container import exec; from estiva.engine.containers import exec"
OCI_RUN = "from estiva.ocicli import main, create, foreground, control, exec, inspect"


@pytest.mark.parametrize("code", [RUN, STORE, MONITOR, EXEC, OCI_RUN])
def test_the_cold_path_loads_nothing_dear(code):
    assert not loaded(code) & DEAR


def test_the_command_lines_half_of_a_run_does_without_ctypes():
    assert "ctypes" not in loaded(f"{RUN}\n{STORE}\nfrom estiva.network import ipam, resolvconf")
