"""`estiva` and `estiva-oci`, the scripts: where they find package and interpreter, and what they say if they don't."""

import pathlib
import subprocess

import pytest

CHECKOUT = pathlib.Path(__file__).parents[3]
PROGRAMS = {"estiva": ("launcher", 125), "estiva-oci": ("launcher_oci", 1)}
PYTHON = '#!/bin/sh\necho "$0" "$@"\n'  # tells what it was to execute


@pytest.fixture(params=PROGRAMS)
def program(request):
    return request.param


@pytest.fixture
def lab(tmp_path, program):
    return Lab(tmp_path, program)


class Lab:
    def __init__(self, folder, program):
        self.folder = folder
        self.program = program
        self.launcher, self.failure = PROGRAMS[program]
        self.path = folder / "empty"
        self.path.mkdir()
        for name in ("readlink",):
            (self.path / name).symlink_to(f"/usr/bin/{name}")

    def script(self, *parts):
        """The script, put somewhere."""
        path = self.folder.joinpath(*parts, self.program)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((CHECKOUT / self.program).read_bytes())
        path.chmod(0o755)
        return path

    def package(self, *parts):
        path = self.folder.joinpath(*parts, "estiva/boot", f"{self.launcher}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        return path

    def python(self, *parts):
        path = self.folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PYTHON)
        path.chmod(0o755)
        return path

    def start(self, script, status=0, cwd=None):
        done = subprocess.run(
            [script, "run", "a b"],
            capture_output=True,
            text=True,
            env={"PATH": str(self.path)},
            cwd=cwd or "/",
        )
        assert done.returncode == status, (done.stdout, done.stderr)
        return done.stderr if status else done.stdout

    def expect(self, script, python, launcher, **options):
        assert self.start(script, **options) == f"{python} -I -S {launcher} run a b\n"


def test_the_two_differ_in_what_they_start_alone():
    texts = [(CHECKOUT / name).read_text().splitlines() for name in PROGRAMS]
    differ = [pair for pair in zip(*texts, strict=True) if pair[0] != pair[1]]
    assert [first.split()[0] for first, _ in differ] == ["#", "program=estiva"]


def test_a_checkout(lab):
    lab.expect(lab.script(), lab.python(".venv/bin/python3"), lab.package("src"))


def test_a_link_to_a_checkout(lab):
    script, python, package = lab.script(), lab.python(".venv/bin/python3"), lab.package("src")
    (lab.folder / "other").mkdir()
    link = lab.folder / "other" / "renamed"
    link.symlink_to(f"../{script.name}")
    lab.expect(link, python, package)


def test_a_checkout_without_its_environment(lab):
    lab.package("src")
    told = lab.start(lab.script(), status=lab.failure)
    assert told == f"{lab.program}: {lab.folder}/.venv is missing; run {lab.folder}/quickstart first\n"


@pytest.mark.parametrize("packages", ["site-packages", "dist-packages"])
def test_a_prefix(lab, packages):
    package = lab.package("lib/python3.99", packages)
    lab.expect(lab.script("bin"), lab.python("bin/python3.99"), package)


def test_a_prefix_by_a_relative_path(lab):
    lab.package("lib/python3.99/site-packages")
    lab.script("bin")
    lab.python("bin/python3.99")
    assert " -I -S ./../lib/python3.99/" in lab.start(f"./{lab.program}", cwd=lab.folder / "bin")
    assert " -I -S ./lib/python3.99/" in lab.start(f"./bin/{lab.program}", cwd=lab.folder)


@pytest.mark.parametrize("linked", ["the script", "its folder"])
def test_a_link_to_an_installed_one(lab, linked):
    """As pipx and uv make them."""
    script, package = lab.script("tools/x/bin"), lab.package("tools/x/lib/python3.99/site-packages")
    python = lab.python("tools/x/bin/python3.99")
    if linked == "the script":
        (lab.folder / "bin").mkdir()
        (lab.folder / "bin" / lab.program).symlink_to(script)
        lab.expect(lab.folder / "bin" / lab.program, python, package)
    else:
        (lab.folder / "bin").symlink_to(script.parent)
        told = lab.start(lab.folder / "bin" / lab.program)
        assert told.startswith(f"{lab.folder}/bin/python3.99 -I -S {lab.folder}/bin/../lib/")


def test_a_prefix_without_an_interpreter_of_its_own(lab):
    package, script = lab.package("lib/python3.99/dist-packages"), lab.script("bin")
    lab.expect(script, lab.python("empty/python3.99"), package)


def test_the_version_whose_interpreter_is_there(lab):
    """After an upgrade of the distribution the packages of the former Python may still lie there."""
    lab.package("lib/python3.98/dist-packages")
    package, script = lab.package("lib/python3.99/dist-packages"), lab.script("bin")
    lab.expect(script, lab.python("empty/python3.99"), package)


@pytest.mark.parametrize("end", ["\n", ""])
def test_an_editable_installation(lab, end):
    package = lab.package("checkout/src")
    site = lab.folder / "v/lib/python3.99/site-packages"
    site.mkdir(parents=True)
    (site / "__editable__.estiva-1.0.pth").write_text(f"{lab.folder}/checkout/src{end}")
    lab.expect(lab.script("v/bin"), lab.python("v/bin/python3.99"), package)


def test_a_copy_asks_the_python_beside_it(lab):
    """Any layout that is not known here, and a script that was copied."""
    package = lab.package("far/away")
    python = lab.folder / "copied/python3"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\n[ "$1" = -I ] && echo "$0" "$@" || echo {lab.folder}/far/away/estiva\n')
    python.chmod(0o755)
    lab.expect(lab.script("copied"), python, package)


def test_a_copy_that_finds_nothing_says_where_it_looked(lab):
    script = lab.script("copied")
    told = lab.start(script, status=lab.failure)
    assert told.startswith(
        f"{lab.program}: the package estiva is not found: it is not in {lab.folder}/copied/src, not in"
    )
    assert f"{lab.folder}/copied/../lib/python3.*" in told and told.count("\n") == 1


def test_a_package_without_an_interpreter_is_named(lab):
    lab.package("lib/python3.99/site-packages")
    told = lab.start(lab.script("bin"), status=lab.failure)
    assert f"{lab.folder}/lib/python3.99/site-packages/estiva" in told and "python3.99" in told
