"""builder du, prune, rm and export: what builds keep, looked at and removed."""

from __future__ import annotations

import io
import json
import pathlib
import tarfile
from collections.abc import Iterator

import pytest

from enginekit import IMAGE, Host, host
from estiva.builder.fetch.mirrors import Mirrors


@pytest.fixture(scope="module")
def box() -> Iterator[Host]:
    with host() as made:
        yield made


@pytest.fixture
def built(box: Host, tmp_path: pathlib.Path) -> str:
    """The context of a build with two steps of 1 MB and a cache mount."""
    box.estiva("builder", "prune", "-f")
    (tmp_path / "Dockerfile").write_text(
        f"FROM {IMAGE}\n"
        "RUN --mount=type=cache,target=/c,id=pips echo kept > /c/file && head -c 1m /dev/urandom > /one\n"
        "RUN head -c 1m /dev/urandom > /two\n"
    )
    box.estiva("build", "-q", "--network", "none", "-t", "built", str(tmp_path))
    return str(tmp_path)


def rows(box: Host, *words: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in box.out("builder", "du", "--format", "json", *words).splitlines()]


def test_what_is_kept_is_shown_and_goes(box: Host, built: str) -> None:
    found = rows(box)
    mounts = [row for row in found if row["Type"] == "exec.cachemount"]
    assert [row["Description"] for row in mounts] == ["cache mount pips"]
    steps = [row for row in found if row["Type"] == "regular" and "/two" in row["Description"]]
    assert len(steps) == 1 and steps[0]["Reclaimable"] == "true"
    assert not [row for row in found if "buildkit" in row["Description"]]
    assert [row["ID"] for row in rows(box, "--filter", "type=exec.cachemount")] == [mounts[0]["ID"]]
    assert "Total: " in box.out("builder", "du")
    archive = box.estiva("builder", "export", mounts[0]["ID"][:8], text=False).stdout
    assert tarfile.open(fileobj=io.BytesIO(archive)).extractfile("file").read() == b"kept\n"  # type: ignore[union-attr]
    assert box.out("builder", "rm", mounts[0]["ID"][:8]) == mounts[0]["ID"]
    assert rows(box, "--filter", "type=exec.cachemount") == []
    box.estiva("builder", "rm", mounts[0]["ID"][:8], status=1)
    box.out("rmi", "built")
    said = box.out("builder", "prune", "-f")
    assert "Deleted build cache" in said
    assert rows(box) == []
    again = box.estiva("build", "--network", "none", built).stderr
    assert "CACHED" not in again


def test_the_least_recently_used_goes_first(box: Host, built: str) -> None:
    box.out("rmi", "built")
    assert "0B" in box.out("builder", "prune", "-f", "--keep-storage", "1GB")
    assert "0B" in box.out("builder", "prune", "-f", "--filter", "until=1h")
    said = box.out("builder", "prune", "-f", "--filter", "type=regular", "--keep-storage", "1500kB")
    assert "1.06" in said
    left = [row["Description"] for row in rows(box) if row["Type"] == "regular"]
    assert len(left) == 1 and "/two" in left[0]
    again = box.estiva("build", "--network", "none", built).stderr
    assert "CACHED" not in again, "what stood on what has gone is made anew"


def test_one_that_is_used_stays(box: Host, tmp_path: pathlib.Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        f"FROM {IMAGE}\n"
        "RUN --mount=type=cache,target=/c,id=busy touch /c/here && until test -e /c/go; do sleep 0.05; done\n"
    )
    building = box.start("build", "-q", "--network", "none", str(tmp_path))
    mounts = pathlib.Path(box.folder, "root/cache/build/mounts")
    while not (found := list(mounts.glob("*/data/here"))):
        assert building.poll() is None
    try:
        (row,) = rows(box, "--filter", "description=busy")
        assert row["InUse"] == "true" and row["Reclaimable"] == "false"
        assert "in use" in box.estiva("builder", "rm", row["ID"], status=1).stderr
        box.out("builder", "prune", "-f", "--filter", "type=exec.cachemount")
        assert found[0].exists()
        box.estiva("builder", "export", row["ID"], "-o", str(tmp_path / "x.tar"))
    finally:
        (found[0].parent / "go").touch()
    assert building.wait(120) == 0


@pytest.mark.parametrize(
    "words",
    [
        ("du", "--filter", "odd=1"),
        ("du", "--filter", "type=odd"),
        ("prune", "-f", "--keep-storage", "much"),
        ("rm", "zz"),
        ("export", ".."),
    ],
)
def test_what_means_nothing_is_refused(box: Host, words: tuple[str, ...]) -> None:
    said = box.estiva("builder", *words, status=None)
    assert (
        said.returncode in (1, 125) and said.stderr.startswith("estiva: ") and "Traceback" not in said.stderr
    )
    if words[0] in ("rm", "export"):
        assert said.stderr.endswith("hint: `estiva builder du` shows them\n"), "a verb that there is"


def test_what_a_killed_removal_left_goes(box: Host, built: str) -> None:
    left = pathlib.Path(box.folder, "root/cache/build/mounts/.gone.x.1/data")
    left.mkdir(parents=True)
    box.out("builder", "prune", "-f", "--filter", "until=1h")
    assert not left.parent.exists()


def test_repositories_that_were_fetched_from(box: Host) -> None:
    mirrors = Mirrors(f"{box.folder}/root/cache/build")
    with mirrors.take(["a"], "https://h/a.git#main", wait=True, look=list) as mirror:
        pathlib.Path(mirror.path, "HEAD").write_text("x")
        (entry,) = rows(box, "--filter", "type=source.git.checkout")
        assert "https://h/a.git#main" in str(entry)
        box.estiva("builder", "prune", "-f", "--filter", "type=source.git.checkout")
        assert mirrors.kept(), "a build has it"
    box.estiva("builder", "prune", "-f", "--filter", "type=source.git.checkout")
    assert not mirrors.kept()
