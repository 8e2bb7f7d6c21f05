"""SOURCE_DATE_EPOCH: two machines make one image, and a cached build too."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pathlib
import shutil
import tarfile
import time

import pytest

from enginekit import IMAGE, Host, host

EPOCH = 1_700_000_000
DOCKERFILE = f"""
FROM {IMAGE} AS first
RUN mkdir -p /x/y && echo 1 > /x/y/f && ln /x/y/f /x/h && rm /etc/group && touch -d @1600000000 /x/old && umask > /x/umask
FROM {IMAGE}
LABEL a=b
COPY --from=first /x /x
COPY tree /tree
ADD pack.tar /packed
WORKDIR /w/z
RUN rm -r /tree/d2 && mkdir /tree/d2 && echo again > /tree/d2/f && rm -r /etc/group /tree/d1/fd1
COPY <<E /here
text
E
CMD ["true"]
"""


def context(folder: pathlib.Path, order: list[str]) -> pathlib.Path:
    """The same files, made in another order and at another time."""
    tree = folder / "tree"
    tree.mkdir(parents=True)
    for name in order:
        (tree / name).mkdir()
        for number in order:
            (tree / name / f"f{number}").write_text(number)
            (tree / name / f"f{number}").chmod(0o640)
    with tarfile.open(folder / "pack.tar", "w") as archive:
        member = tarfile.TarInfo("inner")
        member.size, member.mtime = 3, 1_800_000_000
        archive.addfile(member, io.BytesIO(b"abc"))
    (folder / "Dockerfile").write_text(DOCKERFILE)
    return folder


def built(machine: Host, where: pathlib.Path, *words: str, **env: str) -> dict[str, str]:
    """What one build gives, by what it is."""
    out = where / "out.tar"
    env = {"SOURCE_DATE_EPOCH": str(EPOCH), **env}
    done = machine.estiva(
        "build", "-q", "-t", "again:1", "-o", f"type=oci,dest={out}", "-o", "type=image", "-o", "type=tar,dest=fs.tar",
        *words, where, env=env,
    )  # fmt: skip
    image = done.stdout.strip()
    config = json.loads(machine.out("inspect", image))[0]
    assert config["Created"] == "2023-11-14T22:13:20Z"
    digest = lambda path: hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()  # noqa: E731
    return {"image": image, "oci": digest(out), "tar": digest(f"{machine.folder}/fs.tar")}


@pytest.mark.parametrize("other", ["dir", "erofs"])
def test_two_machines_make_one_image(tmp_path: pathlib.Path, other: str) -> None:
    one = context(tmp_path / "one", ["d1", "d2", "d3"])
    with host(driver="dir") as machine:
        base = machine.out("inspect", "--format", "{{.Id}}", IMAGE)
        first = built(machine, one)
        shutil.copy(f"{machine.folder}/fs.tar", tmp_path / "fs.tar")
        machine.out("save", "-o", tmp_path / "base.tar", IMAGE)
    time.sleep(1.1)
    two = context(tmp_path / "two", ["d3", "d1", "d2"])
    before = os.umask(0o077)
    try:
        with host(driver=other) as machine:
            machine.out("rmi", IMAGE)
            machine.out("load", "-i", tmp_path / "base.tar")
            assert machine.out("inspect", "--format", "{{.Id}}", IMAGE) == base
            second = built(machine, two, LC_ALL="tr_TR.UTF-8", TZ="Asia/Tokyo")
            assert second == first
            assert built(machine, two, "--no-cache") == first
            listed = machine.out(
                "history", "--no-trunc", "--format", "{{.CreatedAt}}", "again:1"
            ).splitlines()
            assert {line for line in listed if "2023" not in line} <= set(
                machine.out("history", "--no-trunc", "--format", "{{.CreatedAt}}", IMAGE).splitlines()
            )
    finally:
        os.umask(before)
    with tarfile.open(tmp_path / "fs.tar") as archive:
        assert {member.mtime for member in archive} == {EPOCH}


def test_the_time_misses_no_cache(tmp_path: pathlib.Path) -> None:
    where = tmp_path / "one"
    where.mkdir()
    (where / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN date +%s%N > /when\n")
    with host() as machine:

        def when(*words: str) -> str:
            image = machine.out("build", "-q", *words, where)
            return machine.out(
                "run", "--rm", "--network", "none", image, "sh", "-c", "cat /when; stat -c %Y /when"
            )

        plain = when()
        early = when("--build-arg", "SOURCE_DATE_EPOCH=1000")
        assert early.split() == [plain.split()[0], "1000"]
        assert when("--build-arg", "SOURCE_DATE_EPOCH=2000").split() == [plain.split()[0], "2000"]
        assert when() == plain
        late = when("-o", "type=image,source-date-epoch=3000,rewrite-timestamp=true")
        assert late.split()[0] == plain.split()[0]
        said = machine.estiva("build", "-o", "type=image,rewrite-timestamp=true", where).stderr
        assert "no SOURCE_DATE_EPOCH" in said
        wrong = machine.estiva("build", where, env={"SOURCE_DATE_EPOCH": "soon"}, status=1)
        assert "must be a number" in wrong.stderr
