"""K24: programs that work for the engine are the host's own, whatever stands first on the caller's PATH."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import ocikit
from bundle import requires_kernel
from enginekit import CHECKOUT, IMAGE, Host, busybox_tar, host
from estiva import programs

pytest_plugins = ["bundle"]

NAMES = [
    "nft",
    "iptables",
    "iptables-restore",
    "iptables-save",
    "ip",
    "mkfs.erofs",
    "setpriv",
    "ps",
    "criu",
    "dash",
    "newuidmap",
    "newgidmap",
    "tar",
    "cp",
    "mount",
    "umount",
    "fusermount3",
    "systemctl",
    "systemd-run",
    "modprobe",
    "conmon",
    "pasta",
    "git",
]


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """A folder of programs that leave a mark when they are run."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_text(f"#!/bin/sh\necho {name} >>{tmp_path}/mark\nexit 1\n")
        (folder / name).chmod(0o755)
    return folder


def path(evil: Path) -> dict[str, str]:
    return {"PATH": f"{evil}:{os.environ['PATH']}"}


@pytest.fixture(scope="module", params=["erofs", "erofs-lz4"])
def engine(request: pytest.FixtureRequest) -> Iterator[Host]:
    with host(request.param) as made:
        yield made


@requires_kernel
def test_of_the_engine(engine: Host, evil: Path, tmp_path: Path) -> None:
    env = path(evil)
    engine.estiva("import", busybox_tar(), "other:1", env=env)
    engine.estiva("run", "-d", "--name", "web", "-p", "127.0.0.1:8099:80", IMAGE, "sleep", "1000", env=env)
    assert "sleep" in engine.out("top", "web", env=env)
    engine.estiva("exec", "web", "true", env=env)
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN echo x >/file\n")
    engine.estiva("build", "-t", "built", tmp_path, env=env)
    engine.estiva("rm", "-f", "web", env=env)
    engine.estiva("system", "check", env=env)
    assert not (tmp_path / "mark").exists()


@requires_kernel
@pytest.mark.skipif(not programs.find("criu"), reason="criu is not installed")
def test_of_a_bundle(box: str, evil: Path, tmp_path: Path) -> None:
    with ocikit.runtime(box) as runtime:
        runtime.env |= path(evil)
        folder = runtime.bundle("sleep", "1000")
        runtime("run", "-d", "-b", folder, "web")
        assert "sleep" in runtime("ps", "web")
        runtime("checkpoint", "--image-path", f"{runtime.folder}/images", "web")
        assert not (tmp_path / "mark").exists()


def test_what_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "FOLDERS", (str(tmp_path / "none"), str(tmp_path)))
    (tmp_path / "folder").mkdir(mode=0o755)
    (tmp_path / "plain").write_text("")
    (tmp_path / "right").write_text("")
    (tmp_path / "right").chmod(0o755)
    assert [programs.find(name) for name in ("folder", "plain", "right", "none")] == [
        "",
        "",
        f"{tmp_path}/right",
        "",
    ]
    assert programs.environment(A="b")["PATH"] == f"{tmp_path}/none:{tmp_path}"


def test_nothing_is_started_by_its_name() -> None:
    """A program in a list of words is a path; shutil.which is for what users choose: credential helpers."""
    wrong = []
    for file in sorted((CHECKOUT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in (
                "shutil.which",
                "os.execvp",
                "os.execvpe",
            ):
                wrong.append(file.name)
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("subprocess.") and node.args:
                words = node.args[0]
                first = words.elts[0] if isinstance(words, ast.List) and words.elts else None
                if isinstance(first, ast.Constant) and not str(first.value).startswith("/"):
                    wrong.append(f"{file.name}:{node.lineno}")
    assert wrong == ["credentials.py"]
