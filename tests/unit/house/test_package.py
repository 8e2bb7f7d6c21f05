"""What a package of Estiva holds and says of itself."""

import email
import pathlib
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest

CHECKOUT = pathlib.Path(__file__).parents[3]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("package")
    for name in ("pyproject.toml", "README.md", "LICENSE", "estiva", "estiva-oci"):
        shutil.copy(CHECKOUT / name, folder)
    shutil.copytree(
        CHECKOUT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
    )
    build = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(folder / "dist" / done.stdout.splitlines()[-1]) as file:
        yield file


def test_it_holds_every_module_and_says_that_it_is_typed(wheel):
    names = set(wheel.namelist())
    catalog = "estiva/locale/pt_BR/LC_MESSAGES/estiva.mo"
    assert {"estiva/py.typed", "estiva/view/web/page.html", catalog} <= names
    assert {
        str(path.relative_to(CHECKOUT / "src")) for path in (CHECKOUT / "src/estiva").rglob("*.py")
    } <= names
    scripts = {name.partition("/scripts/")[2] for name in names if ".data/scripts/" in name}
    assert scripts == {"estiva", "estiva-oci"}


def test_what_it_says_of_itself(wheel):
    (text,) = [wheel.read(name).decode() for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    said = email.message_from_string(text)
    assert said["Name"] == "estiva" and said["Requires-Python"] == ">=3.11"
    assert "Typing :: Typed" in said.get_all("Classifier")
    assert not said.get_all("Project-URL"), "no address of the project is known"


def test_the_classifiers_agree_with_the_rest():
    classifiers = PROJECT["classifiers"]
    assert classifiers == sorted(classifiers) and len(set(classifiers)) == len(classifiers)
    versions = [
        each.rpartition(" ")[2]
        for each in classifiers
        if each.startswith("Programming Language :: Python :: 3.")
    ]
    assert f">={versions[0]}" == PROJECT["requires-python"]
    assert PROJECT["license"] == "Apache-2.0"
