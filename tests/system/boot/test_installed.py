"""What pip installs starts as a checkout does, and leaves nothing behind. Nothing is fetched: no dependencies."""

import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

from enginekit import IMAGE, host

CHECKOUT = pathlib.Path(__file__).parents[3]
PARTS = ("pyproject.toml", "README.md", "LICENSE", "estiva", "estiva-oci", "src")
PROGRAMS = ("estiva", "estiva-oci")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input"]
BUILD = ["--no-index", "--no-deps", "--no-build-isolation"]  # with setuptools of the dev extra
LOCAL = ["--no-index", "--no-deps", "--root-user-action=ignore"]


def interpreters():
    """Those that are supported and here, by version."""
    found = {f"3.{sys.version_info.minor}": sys.executable}
    for minor in (11, 12, 13, 14):
        path = shutil.which(f"python3.{minor}")
        code = f"import sys, importlib.util as u; sys.exit(sys.version_info[:2] != (3, {minor}) or not u.find_spec('venv'))"
        if path and not subprocess.run([path, "-c", code], capture_output=True, check=False).returncode:
            found.setdefault(f"3.{minor}", path)
    return found


INTERPRETERS = interpreters()


def run(*words, **options):
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=600, **options)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def copied(folder):
    """The part of the checkout that an installation is made from: building writes into it."""
    for part in PARTS:
        source = CHECKOUT / part
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(source, folder / part, ignore=ignored)
        else:
            shutil.copy(source, folder / part)
    return folder


def built(tree, folder):
    run(*PIP, "wheel", *BUILD, "--wheel-dir", folder, tree)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    tree = copied(tmp_path_factory.mktemp("tree"))
    return built(tree, tmp_path_factory.mktemp("wheel"))


class Venv:
    def __init__(self, path, interpreter=sys.executable):
        self.path = path
        run(interpreter, "-m", "venv", "--without-pip", path)
        self.python = path / "bin/python3"
        self.before = set(path.rglob("*"))

    def pip(self, *words, **options):
        run(*PIP, "--python", self.python, *words, **options)

    def start(self, program, *words, **options):
        return run(self.path / "bin" / program, *(words or ("--version",)), cwd="/", **options)

    def modules_files(self):
        """The files of boot/quickload.py that are there, by launcher."""
        found = self.path.glob("lib/python3.*/site-packages/estiva/boot/__pycache__/launcher*")
        return sorted(file.name.partition(".")[0] for file in found if file.stat().st_size > 100_000)

    def left(self):
        """What was not there before the installation."""
        return sorted(set(self.path.rglob("*")) - self.before)


@pytest.fixture
def venv(tmp_path):
    return Venv(tmp_path / "venv")


@pytest.fixture(scope="module")
def with_it(tmp_path_factory, wheel):
    made = Venv(tmp_path_factory.mktemp("with-it") / "venv")
    made.pip("install", *LOCAL, "--no-compile", wheel)
    return made


@pytest.fixture
def installed(with_it):
    """A venv in which it has not been started yet."""
    for folder in with_it.path.glob("lib/python3.*/site-packages/estiva/**/__pycache__"):
        shutil.rmtree(folder)
    return with_it


@pytest.mark.parametrize(
    ("bytecode", "version"),
    [*(("compile", version) for version in INTERPRETERS), ("no-compile", next(iter(INTERPRETERS)))],
)
def test_installed_started_removed(tmp_path, wheel, version, bytecode):
    venv = Venv(tmp_path / "venv", INTERPRETERS[version])
    venv.pip("install", *LOCAL, f"--{bytecode}", wheel)
    assert venv.modules_files() == []
    for program in PROGRAMS:
        first = venv.start(program)
        assert first.startswith(f"{program} ") and venv.start(program) == first
    assert f"python: {version}." in first
    assert venv.modules_files() == ["launcher", "launcher_oci"]
    assert run(venv.python, "-m", "estiva", "--version", cwd="/").startswith("estiva ")
    venv.pip("uninstall", "--yes", "estiva")
    assert venv.left() == []


def test_it_starts_without_site(installed):
    hook = next(installed.path.glob("lib/python3.*/site-packages")) / "hook.pth"
    hook.write_text("import sys; sys.exit('site was imported')\n")
    try:
        for program in PROGRAMS:
            assert installed.start(program).startswith(f"{program} ")
    finally:
        hook.unlink()


def test_by_a_link_as_pipx_and_uv_make_them(tmp_path, installed):
    for program in PROGRAMS:
        (tmp_path / program).symlink_to(installed.path / "bin" / program)
        assert run(tmp_path / program, "--version", cwd="/").startswith(f"{program} ")


@pytest.fixture
def backend(tmp_path):
    """A folder with setuptools and nothing else, for an interpreter that has none."""
    folder = tmp_path / "backend"
    folder.mkdir()
    top = pathlib.Path(importlib.util.find_spec("setuptools").origin).parents[1]
    for path in (*top.glob("setuptools*"), top / "_distutils_hack"):
        (folder / path.name).symlink_to(path)
    return folder


@pytest.mark.parametrize("mode", ["lenient", "strict", "compat"])
def test_editable(tmp_path, venv, backend, mode):
    (tmp_path / "tree").mkdir()
    tree = copied(tmp_path / "tree")
    words = [
        "install",
        *BUILD,
        "--root-user-action=ignore",
        f"--config-settings=editable_mode={mode}",
        "--editable",
        tree,
    ]
    venv.pip(*words, env={**os.environ, "PYTHONPATH": str(backend)})
    version = tree / "src/estiva/version.py"
    for number in ("7.7", "8.8.8"):  # of another size: its .pyc is checked by that and the second
        version.write_text(f'__version__ = "{number}"\n')
        assert venv.start("estiva") == f"estiva {number}\n"
    venv.pip("uninstall", "--yes", "estiva")
    assert venv.left() == []


def test_an_upgrade_is_what_runs_next(tmp_path, venv, wheel):
    venv.pip("install", *LOCAL, wheel)
    before = venv.start("estiva-oci")
    upgrade = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(upgrade, "w") as new:
        for member in old.infolist():
            data = old.read(member)
            if member.filename == "estiva/ocicli/main.py":
                assert b"estiva-oci version" in data
                data = data.replace(b"estiva-oci version", b"estiva-oci verzion")  # of the same length
            new.writestr(member, data)
    venv.pip("install", *LOCAL, "--force-reinstall", upgrade)
    assert venv.start("estiva-oci") == before.replace("version", "verzion", 1)
    assert venv.modules_files() == ["launcher_oci"]


def test_many_first_starts_at_once(installed):
    words = [installed.path / "bin/estiva", "--version"]
    starts = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(12)]
    told = {start.communicate(timeout=300)[0] for start in starts}
    assert len(told) == 1 and told.pop().startswith(b"estiva ")
    assert installed.modules_files() == ["launcher"] and not list(installed.path.rglob("*.new"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_container(installed):
    with host() as box:
        words = [*box.prefix, installed.path / "bin/estiva", "run", "--rm", IMAGE, "echo", "from inside"]
        assert run(*words, env=box.env, cwd="/", stdin=subprocess.DEVNULL) == "from inside\n"
