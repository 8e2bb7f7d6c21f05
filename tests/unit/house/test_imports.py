"""Imports are part of the interface: who may import whom, and what a cold `estiva run` loads.

An import counts wherever it stands: at the top, inside a function, or for a type checker alone.
"""

import ast
import collections
import functools
import pathlib
import re
import subprocess
import sys

import pytest

SOURCE = pathlib.Path(__file__).parents[3] / "src"

# Folder or module -> what it may import, beside itself and what is below it. The longest name that fits counts, on
# both sides: a row for `runtime` is not one for `runtime.launch`. Used by all: BASE.
BASE = {
    *(
        "errors",
        "speech",
        "catalog",
        "files",
        "waiting",
        "paths",
        "programs",
        "fastjson",
        "timestamps",
        "version",
        "atfork",
        "held",
    ),
    "settings",
}
ENGINE = {"builder", "registry", "network", "store", "runtime", "oci", "linux"}
RUNTIME_BASE = {
    "runtime.sync",
    "runtime.child",
    "runtime.helper",
    "runtime.procfs",
    "runtime.state",
    "linux",
    "oci",
}
RULES = {
    "": {"sdk", "engine", "cli", "boot", "aio", "testing", "pytest_plugin"},  # the package itself and __main__
    **dict.fromkeys(BASE, BASE),
    "boot": {"cli", "ocicli"},
    "cmdline": set(),
    "linux": set(),
    "oci": set(),
    # --- programs ---
    "cli": {"engine", "view", "oci", "cmdline", "linux"},
    "cli.main": {"cli", "cmdline", "engine.launch.prefork", "ocicli.main"},
    "cli.manual": {"cli", "cmdline", "ocicli.main"},
    "cli.serve.registry": {"cli", "cmdline", "oci", "registry.server"},
    "cli.format": {"cmdline", "oci"},
    "cli.options": {"cmdline", "engine.spec", "oci", "linux"},
    "ocicli": {"runtime", "oci", "linux", "cmdline"},
    "sdk": {"engine", "view", "oci"},
    "api": {"engine", "oci"},
    "cli.serve.api": {"cli", "cmdline", "engine", "api"},
    "cli.serve.compose": {"cli", "cmdline", "engine", "linux", "api"},
    # --- what a container is made of ---
    "view": {"engine", "runtime", "network", "store", "oci", "linux"},
    # --- the engine ---
    "engine": ENGINE,
    "engine.state": ENGINE,
    "engine.spec": ENGINE | {"engine.state"},
    "engine.monitor": ENGINE | {"engine.state"},
    "engine.mounts": ENGINE | {"engine.state", "engine.spec", "engine.monitor"},
    "engine.launch": ENGINE | {"engine.state", "engine.spec", "engine.monitor", "engine.mounts"},
    "engine.images": ENGINE | {"engine.state"},
    "engine.containers": ENGINE
    | {"engine.state", "engine.spec", "engine.monitor", "engine.mounts", "engine.launch", "engine.images"},
    "engine.networks": ENGINE | {"engine.state", "engine.spec", "engine.mounts", "engine.containers", "engine.images"},
    "engine.builds": ENGINE
    | {"engine.state", "engine.spec", "engine.monitor", "engine.mounts", "engine.launch", "engine.images"},
    "engine.bake": {"oci"},
    "engine.explain": ENGINE
    | {"engine.state", "engine.spec", "engine.mounts", "engine.containers", "engine.images", "engine.networks",
       "engine.system"},
    # --- the builder ---
    "builder.frontend": {"builder.fields", "builder.struct", "linux", "oci"},
    "builder.cache": {"builder.frontend", "builder.struct", "store", "oci"},
    "builder.files": {"builder.frontend", "builder.once", "builder.struct", "builder.threads", "store", "oci", "linux"},
    "builder.fetch": {"builder.frontend", "builder.once", "builder.files", "builder.cache", "builder.request", "store", "oci", "linux"},
    "builder.steps": {"builder.frontend", "builder.files", "builder.cache", "builder.fetch", "builder.request", "builder.once", "builder.struct", "store", "oci", "linux",
                      "runtime.process.user"},
    "builder.solver": {"builder", "store", "oci", "linux"},
    "builder.exporters": {"builder.cache", "builder.fields", "builder.request", "store", "oci", "linux"},
    "builder.request": {"builder.frontend", "store", "oci"},
    # --- the registry ---
    "registry.http": {"registry.grammar", "store", "oci"},
    "registry.transfer": {"registry.grammar", "registry.http", "store", "oci"},
    "registry.server": {"registry.grammar", "registry.client", "registry.http", "registry.transfer", "store", "oci"},
    "registry": {"registry.http", "registry.transfer", "store", "oci"},
    # --- mechanisms ---
    "network": {"linux", "oci", "store.database"},
    "network.dns": {"network", "linux", "store.database", "store.containers", "store.schema"},
    "store": {"linux", "oci"},
    "store.tar": {"linux", "oci"},
    "store.layers": {"store.tar", "store.database", "store.containers", "store.content", "linux", "oci"},
    "store.archive": {"store", "linux", "oci"},
    "store.upkeep": {"store", "linux", "oci"},
    "runtime": {"linux", "oci"},
    "runtime.cgroup": RUNTIME_BASE,
    "runtime.security": RUNTIME_BASE | {"runtime.cgroup"},
    "runtime.process": RUNTIME_BASE | {"runtime.cgroup", "runtime.security"},
    "runtime.rootfs": RUNTIME_BASE | {"runtime.cgroup", "runtime.security", "runtime.process"},
    "runtime.launch": RUNTIME_BASE
    | {"runtime.cgroup", "runtime.security", "runtime.process", "runtime.rootfs", "runtime.netdevices", "runtime.rdt"},
    "runtime.bundle": {"runtime", "linux", "oci"},
    "runtime.lifecycle": {"runtime", "linux", "oci"},
}  # fmt: skip
NOT = {  # what a wide row above does not mean
    ("store", "store.archive"), ("store", "store.upkeep"),
    ("runtime.bundle", "runtime.lifecycle"),
    ("cli", "cli.main"),
    ("registry", "registry.server"),
    ("builder.steps", "builder.solver"),
}  # fmt: skip


@functools.cache
def modules():
    found = {}
    for path in sorted((SOURCE / "estiva").rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


@functools.cache
def imports(name):
    """The names of all that a module imports: modules, or names in them."""
    found = []
    for node in ast.walk(ast.parse(modules()[name].read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


@functools.cache
def imported(name):
    """The modules of ours that a module imports."""
    found = set()
    for target in imports(name):
        if target.split(".")[0] == "estiva":
            found.add(target if target in modules() else target.rpartition(".")[0])
    return found - {name}


def row(name):
    """The key of RULES that a module falls under."""
    inside = name.removeprefix("estiva").removeprefix(".")
    while inside not in RULES:
        inside = inside.rpartition(".")[0]
    return inside


def covers(wide, narrow):
    return narrow == wide or narrow.startswith(wide + ".")


def allowed(user, target):
    if user.startswith(target + ".") and target != "estiva":
        return True  # what the package itself holds, such as Engine and Store
    mine, inside = row(user), target.removeprefix("estiva").removeprefix(".")
    if inside.partition(".")[0] in BASE or covers(mine, inside) and (mine or row(target) == ""):
        theirs = row(target)
        return (
            theirs == mine or not covers(mine, theirs) or theirs in RULES[mine] or (mine, theirs) not in NOT
        )
    return any(covers(wide, inside) for wide in RULES[mine])


def test_who_may_import_whom():
    wrong = [
        f"{user} imports {target}"
        for user in modules()
        for target in imported(user)
        if not allowed(user, target)
    ]
    assert not wrong, "\n".join(sorted(wrong))


def circles(edges):
    """Every set of nodes that can reach each other (Tarjan)."""
    number, low, stack, found = {}, {}, [], []

    def visit(node):
        number[node] = low[node] = len(number)
        stack.append(node)
        for other in edges.get(node, ()):
            if other not in number:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], number[other])
        if low[node] == number[node]:
            position = stack.index(node)
            if len(stack) > position + 1:
                found.append(sorted(stack[position:]))
            del stack[position:]

    for node in edges:
        if node not in number:
            visit(node)
    return found


def test_no_circle_of_modules():
    edges = {name: imported(name) - {"estiva"} for name in modules()}
    assert not circles(edges)


def test_no_circle_of_folders():
    """A folder is one with the rules' row that it falls under; what is beside folders counts as itself."""
    edges = collections.defaultdict(set)
    for name in modules():
        for target in imported(name):
            if row(name) != row(target) and "" not in (row(name), row(target)):
                edges[place(name)].add(place(target))
    for node in list(edges):
        edges[node].discard(node)
    assert not circles(edges)


def place(name):
    """The folder of a module, as a node; a module that stands beside folders is a node of its own."""
    path = modules()[name]
    folder = name if path.name == "__init__.py" else name.rpartition(".")[0]
    beside = any(child.is_dir() and child.name != "__pycache__" for child in path.parent.iterdir())
    return name if beside else folder


def test_only_the_kernel_boundary_imports_ctypes():
    users = {name for name in modules() if any(target.split(".")[0] == "ctypes" for target in imports(name))}
    assert users and all(name.startswith("estiva.linux") for name in users)


def trees(word):
    """(name, syntax tree) of the modules whose text has the word: to parse them all takes seconds."""
    for name, path in modules().items():
        text = path.read_text()
        if word in text:
            yield name, ast.parse(text)


def test_the_sql_on_containers_stands_in_one_module():
    tables, found = "(containers|container_volumes)", set()
    for name, tree in trees("container"):
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and re.search(rf"\b(FROM|INTO|UPDATE|JOIN) {tables}\b", text):
                found.add(name)
    assert found == {"estiva.store.containers"}


TERMINALS = {  # what an engine that serves 300 clients must not touch
    "isatty", "get_terminal_size", "SIGWINCH", "stdin", "stdout", "stderr", "raw", "restore", "window_size",
    "print", "input", "exit", "SystemExit",
}  # fmt: skip


def test_the_engine_knows_no_terminal():
    """Terminals, standard streams and exit statuses are the command line's: the engine is handed fds and streams."""
    found = []
    for name, path in modules().items():
        if not name.startswith(
            ("estiva.engine", "estiva.builder", "estiva.registry.transfer", "estiva.store")
        ):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                owner, attribute = node.value.id, node.attr
                if owner in ("os", "sys", "tty", "terminals", "_signal", "signal") and attribute in TERMINALS:
                    found.append(f"{name}:{node.lineno} {owner}.{attribute}")
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in TERMINALS:
                found.append(f"{name}:{node.lineno} {node.func.id}()")
    assert not found


def test_no_file_holds_two_concepts():
    long = {name: len(path.read_text().splitlines()) for name, path in modules().items()}
    assert not {name: lines for name, lines in long.items() if lines > 400}


def test_no_function_does_two_things():
    long = {}
    for name, path in modules().items():
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if text.count("\n") > 80 else ():
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if lines > 80:
                    long[f"{name}.{node.name}"] = lines
    assert not long


def test_no_folder_holds_too_much():
    count = collections.Counter(path.parent for path in modules().values() if path.name != "__init__.py")
    assert not {str(folder): number for folder, number in count.items() if number > 18}


def test_no_module_binds_itself_over_a_public_name():
    """`estiva.build` the function, not the package: importing a sub-package sets it as an attribute."""
    import estiva

    inside = {path.stem for path in (SOURCE / "estiva").glob("*")}
    assert not inside & set(estiva.__all__)


def test_no_module_getattr_but_the_package_s_own():
    found = set()
    for name, tree in trees("__getattr__"):
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name == "__getattr__":
                found.add(name)
    assert found == {"estiva"}


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


RUN = (
    "from estiva.cli import main; from estiva.cli.options import run; from estiva.cli.container import run as cli, "
    "foreground; from estiva.engine.containers import start"
)
STORE = "from estiva.store import database, images, snapshots, content; from estiva.store.layers import layers, mounts"
MONITOR = "from estiva.engine.monitor import main; from estiva.network import bridge"
EXEC = "from estiva.cli import main; from estiva.cli.container import exec; from estiva.engine.containers import exec"
OCI_RUN = "from estiva.ocicli import main, create, start, foreground, control, exec, inspect"

BUILD = (  # one whose steps are in the cache: tests/system/builder/test_build_cold.py has a real one
    "from estiva.cli import main; from estiva.cli.build import build as cli; from estiva.engine.builds import "
    "build, exports, attesting, built, devices; from estiva.builder.exporters import output; "
    "from estiva.builder.solver import executor"
)


@pytest.mark.parametrize("code", [RUN, STORE, MONITOR, EXEC, OCI_RUN, BUILD])
def test_the_cold_path_loads_nothing_dear(code):
    assert not loaded(code) & DEAR


@pytest.mark.parametrize("code", [RUN, MONITOR, EXEC, OCI_RUN])
def test_the_cold_path_loads_nothing_that_explains(code):
    modules = loaded(code)
    assert len(modules) > 20
    assert not [name for name in modules if name.startswith(("estiva.view", "estiva.cli.explain"))]
    assert not modules & {
        "estiva.runtime.recorder",
        "estiva.runtime.records",
        "estiva.engine.monitor.explain",
        "estiva.speech",
        "estiva.catalog",
        "gettext",
    }


def test_a_build_loads_nothing_that_runs_a_command_or_writes_an_archive():
    modules = loaded(BUILD)
    assert len(modules) > 100
    apart = (
        "estiva.engine.launch", "estiva.engine.monitor", "estiva.engine.spec", "estiva.builder.frontend.lint",
        "estiva.builder.frontend.excerpt", "estiva.builder.exporters.attest", "estiva.builder.fetch.address",
        "estiva.builder.files.untar", "estiva.registry", "estiva.store.archive", "estiva.engine.builds.caches",
    )  # fmt: skip
    assert not [name for name in modules if name.startswith(apart)]


def test_the_command_lines_half_of_a_run_does_without_ctypes():
    assert "ctypes" not in loaded(f"{RUN}\n{STORE}\nfrom estiva.network import ipam, resolvconf")
