"""K24: a state root that another user owns or may write to is refused, before anything in it is read."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from enginekit import CHECKOUT, ESTIVA
from estiva import files
from estiva.engine import Engine
from estiva.errors import Denied

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

VERBS = (["ps"], ["run", "--rm", "box", "true"], ["exec", "web", "id"], ["images"], ["system", "check"])


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    tmp_path.chmod(0o755)
    made = tmp_path / "state"
    made.mkdir(mode=0o700)
    yield made


def estiva(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*words], env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
@pytest.mark.parametrize("which", ["--root", "--run-root"])
def test_of_another_user(folder: Path, tmp_path: Path, which: str, verb: list[str]) -> None:
    """What lies in it is the attacker's: names that lead to a container of his making."""
    os.chown(folder, 65534, 65534)
    (folder / "names").mkdir()
    other = "--run-root" if which == "--root" else "--root"
    done = estiva(ESTIVA, which, str(folder), other, str(tmp_path / "own"), *verb)
    assert done.returncode
    first, hint = done.stderr.splitlines()
    assert first.startswith(f"estiva: {folder} belongs to nobody (uid 65534)")
    assert hint.startswith("hint: ")
    assert sorted(os.listdir(folder)) == ["names"]


def test_by_the_environment(folder: Path) -> None:
    os.chown(folder, 65534, 65534)
    for name in ("ESTIVA_ROOT", "ESTIVA_RUN_ROOT"):
        done = estiva(ESTIVA, "ps", env={name: str(folder)})
        assert done.returncode == 1
        assert "belongs to nobody" in done.stderr


@pytest.mark.parametrize(
    "verb", (["list"], ["state", "web"], ["delete", "--force", "web"]), ids=lambda verb: verb[0]
)
def test_of_an_oci_runtime(folder: Path, verb: list[str]) -> None:
    (folder / "web").mkdir()
    (folder / "web/state.json").write_text("{}")
    os.chown(folder, 65534, 65534)
    done = estiva(f"{CHECKOUT}/estiva-oci", "--root", str(folder), *verb)
    assert done.returncode == 1
    assert f"{folder} belongs to nobody (uid 65534)" in done.stderr
    assert os.listdir(folder) == ["web"]


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_that_others_may_write_to(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    with pytest.raises(Denied, match=f"mode {mode:04o}") as raised:
        Engine(str(folder), str(folder.parent / "run"))
    assert "chmod go-w" in raised.value.hint


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o1777])
def test_what_is_fine(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    files.refuse_others(str(folder))
    files.refuse_others(str(folder / "not/there"))


def test_an_ordinary_user_may_name_what_is_root_s() -> None:
    """He can't do anything there, and is told so by the verb; his own is his; another's is refused."""
    code = (
        "import os, sys; os.setuid(1000); sys.path.insert(0, sys.argv[1]);"
        "from estiva import errors, files\n"
        "for path in sys.argv[2:]:\n"
        "  try: files.refuse_others(path); print('fine')\n"
        "  except errors.Denied: print('denied')"
    )
    with tempfile.TemporaryDirectory(prefix="estiva-test-", dir="/var/tmp") as seen:
        parent = Path(seen)
        parent.chmod(0o755)
        paths = [parent / name for name in ("of-root", "own", "other")]
        for path, owner in zip(paths, (0, 1000, 65534), strict=True):
            path.mkdir()
            os.chown(path, owner, owner)
            path.chmod(0o755)
        done = estiva(sys.executable, "-c", code, f"{CHECKOUT}/src", *map(str, paths))
        assert done.stdout.split() == ["fine", "fine", "denied"], done.stderr


def replaceable(top: Path, how: str) -> str:
    """A state root of ours that another user could put his own in the place of; what is to be named."""
    (top / "way").mkdir(mode=0o755)
    (top / "real/state").mkdir(mode=0o700, parents=True)
    (top / "real").chmod(0o755)
    way = top / "way"
    if how == "link":
        (way / "state").symlink_to(top / "real/state")
        os.chown(way / "state", 65534, 65534, follow_symlinks=False)
        return f"{way}/state is a link of nobody"
    if how == "by a link":
        (way / "on").symlink_to("../real")
        (top / "real").chmod(0o777)
        (way / "state").symlink_to("on/state")
        return f"below {top}/real, which others may write to (mode 0777)"
    (way / "state").mkdir(mode=0o700)
    if how == "owner":
        os.chown(way, 65534, 65534)
        return f"below {way}, which belongs to nobody (uid 65534)"
    if how == "group":
        os.chown(way, 0, 100)
    way.chmod({"others": 0o757, "group": 0o775}[how])
    return f"below {way}, which others may write to (mode 07"


@pytest.mark.parametrize("how", ["owner", "others", "group", "link", "by a link"])
def test_that_another_could_replace(tmp_path: Path, how: str) -> None:
    tmp_path.chmod(0o755)
    told = replaceable(tmp_path, how)
    state = str(tmp_path / "way/state")
    own = str(tmp_path / "own")
    for words in (
        (ESTIVA, "--root", state, "--run-root", own, "ps"),
        (ESTIVA, "--root", own, "--run-root", state, "ps"),
        (ESTIVA, "--root", own, "--run-root", own + "-run", "registry", "serve", "--root", state),
        (f"{CHECKOUT}/estiva-oci", "--root", state, "list"),
    ):
        done = estiva(*words)
        assert done.returncode, words
        first, *hint = done.stderr.splitlines()
        assert told in first
        assert hint or words[0] != ESTIVA
    assert not os.listdir(state)


@pytest.mark.parametrize(("mode", "group"), [(0o1777, 0), (0o775, 0), (0o755, 100)])
def test_ways_that_are_fine(tmp_path: Path, mode: int, group: int) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "way/state").mkdir(parents=True, mode=0o700)
    os.chown(tmp_path / "way", 0, group)
    (tmp_path / "way").chmod(mode)
    (tmp_path / "link").symlink_to("way/../way/./state/")
    (tmp_path / "round").symlink_to("round")
    for name in ("way/state", "way/state/", "link", "way/none/x", "round"):
        files.refuse_others(str(tmp_path / name))


def test_a_root_that_another_was_first_to_make(tmp_path: Path) -> None:
    engine = Engine(str(tmp_path / "state"), str(tmp_path / "run"))
    (tmp_path / "state").mkdir()
    os.chown(tmp_path / "state", 65534, 65534)
    with pytest.raises(Denied, match="belongs to nobody"):
        engine.store.db.read("SELECT 1")
