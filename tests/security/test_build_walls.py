"""K3, K14: Dockerfiles that try ways out which other builders had (CVE-2024-9407, -9675, -21626, -1753)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bundle import requires_kernel
from enginekit import IMAGE, Host, host

pytestmark = requires_kernel


@pytest.fixture(scope="module")
def engine() -> Iterator[Host]:
    with host() as made:
        yield made


def build(engine: Host, folder: Path, *lines: str) -> tuple[int, str]:
    (folder / "Dockerfile").write_text("\n".join((f"FROM {IMAGE}", *lines, "")))
    done = engine.estiva("build", "--no-cache", "--network=none", folder, status=None)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("field", ["id", "source"])
@pytest.mark.parametrize("value", ["..", "../../../../../../../..{0}", "{0}", "a/../../../..{0}", "."])
def test_a_cache_mount_is_a_cache(engine: Host, tmp_path: Path, field: str, value: str) -> None:
    """Its id is data, never a path; its source lies in what it is taken from."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "unmistakable").write_text("x\n")
    words = value.format(secret)
    _, text = build(
        engine,
        tmp_path,
        f"RUN --mount=type=cache,{field}={words},target=/c ls -R /c; touch /c/made; ls /c/..",
    )
    assert "unmistakable" not in text and "blobs" not in text and "estiva.db" not in text, text
    assert [path.name for path in secret.iterdir()] == ["unmistakable"]
    assert not [*Path(engine.folder, "root").glob("made"), *Path(engine.folder, "root").glob("*/made")]


def test_a_cache_that_the_last_build_made_a_link_of(engine: Host, tmp_path: Path) -> None:
    """What is in a cache is a build's to change: a link in it must not become the source of the next mount."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "unmistakable").write_text("x\n")
    status, text = build(
        engine, tmp_path, f"RUN --mount=type=cache,id=x,target=/c ln -s {'../' * 12}{secret} /c/link"
    )
    assert status == 0, text
    for source in ("/link", "link", "/c/link"):
        _, text = build(
            engine,
            tmp_path,
            f"RUN --mount=type=cache,id=x,source={source},target=/d ls /d; touch /d/made; true",
        )
        assert "unmistakable" not in text, text
        assert [path.name for path in secret.iterdir()] == ["unmistakable"]


@pytest.mark.parametrize(
    "option", ["bind-propagation=rshared", "bind-propagation=shared", "suid", "dev", "z", "U"]
)
def test_a_dockerfile_can_not_choose_the_propagation(engine: Host, tmp_path: Path, option: str) -> None:
    status, text = build(
        engine, tmp_path, f"RUN --mount=type=bind,{option},target=/m grep ' /m' /proc/self/mountinfo"
    )
    assert status != 0 or "shared:" not in text, text


@pytest.mark.parametrize("number", [3, 5, 7, 8, 9, 11])
def test_a_workdir_of_a_magic_link(engine: Host, tmp_path: Path, number: int) -> None:
    status, text = build(engine, tmp_path, f"WORKDIR /proc/self/fd/{number}", "RUN ls ../../..")
    assert status != 0 and "boot" not in text, text
