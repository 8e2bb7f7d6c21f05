"""What a build gives: -o in its forms, --push, --annotation, several platforms."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pathlib
import pty
import stat
import struct
import subprocess
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

from enginekit import IMAGE, Host, host

PLATFORMS = ("linux/amd64", "linux/arm64")


@pytest.fixture(scope="module")
def box() -> Iterator[Host]:
    with host() as made:
        yield made


@pytest.fixture
def context(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "tool").write_text("tool\n")
    (tmp_path / "tool").chmod(0o4755)
    write(
        tmp_path,
        f"FROM {IMAGE} AS made",
        "RUN mkdir -p /rootfs/a/b && cd /rootfs/a && echo 1 > b/f && ln b/f hard && ln -s b/f soft && mknod null c 1 3"
        " && mkfifo pipe && chown -R 1000:1001 b",
        "FROM scratch",
        "COPY --from=made /rootfs /",
        "COPY tool /tool",
    )
    return tmp_path


def write(context: pathlib.Path, *lines: str) -> None:
    (context / "Dockerfile").write_text("\n".join(lines) + "\n")


class Layout:
    """An OCI layout in a tar."""

    def __init__(self, data: bytes) -> None:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            files = [member for member in archive if member.isfile()]
            self.members = {member.name: archive.extractfile(member).read() for member in files}  # type: ignore
        for name, content in self.members.items():
            if name.startswith("blobs/sha256/"):
                assert hashlib.sha256(content).hexdigest() == name.rpartition("/")[2]
        self.manifests = json.loads(self.members["index.json"])["manifests"]

    def blob(self, descriptor: dict[str, Any]) -> Any:
        data = self.members["blobs/sha256/" + descriptor["digest"][7:]]
        assert len(data) == descriptor["size"]
        return json.loads(data)


def oci(box: Host, context: pathlib.Path, *words: str) -> Layout:
    return Layout(box.estiva("build", "-q", "-o", "type=oci,dest=-", *words, context, text=False).stdout)


def test_a_folder(box: Host, context: pathlib.Path) -> None:
    out = context / "out"
    done = box.estiva("build", "-o", out, context)
    assert "a/null" in done.stderr and "(a device)" in done.stderr
    assert done.stdout == "" and box.out("images", "-q") == box.out("images", "-q", IMAGE)
    found = sorted(str(path.relative_to(out)) for path in out.rglob("*"))
    assert found == ["a", "a/b", "a/b/f", "a/hard", "a/pipe", "a/soft", "tool"]
    assert (out / "a/hard").stat().st_ino == (out / "a/b/f").stat().st_ino
    assert os.readlink(out / "a/soft") == "b/f"
    owner = (out / "a/b/f").stat()
    assert (owner.st_uid, owner.st_gid) == (os.getuid(), os.getgid())
    assert stat.S_IMODE((out / "tool").stat().st_mode) == 0o755


def test_a_folder_s_links_lead_nowhere(box: Host, context: pathlib.Path) -> None:
    out, outside = context / "out", context / "outside"
    out.mkdir()
    outside.mkdir()
    (outside / "victim").write_text("mine")
    (out / "tool").symlink_to("../outside/victim")  # a file goes where a link is: the link is replaced
    (out / "mine").write_text("stays")
    box.out("build", "-q", "-o", f"type=local,dest={out}", context)
    assert (outside / "victim").read_text() == "mine"
    assert (out / "tool").read_text() == "tool\n" and not (out / "tool").is_symlink()
    assert (out / "mine").read_text() == "stays"
    (out / "a").rename(out / "was")
    (out / "a").symlink_to("../outside")  # a folder goes where a link is: refused
    assert "no folder is where the folder a goes" in box.estiva("build", "-o", out, context, status=1).stderr
    assert os.listdir(outside) == ["victim"]


def test_a_tar(box: Host, context: pathlib.Path) -> None:
    data = box.estiva("build", "-q", "-o", "-", context, text=False).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = {member.name: member for member in archive}
    assert sorted(members) == ["a", "a/b", "a/b/f", "a/hard", "a/null", "a/pipe", "a/soft", "tool"]
    assert members["a/hard"].islnk() and members["a/null"].ischr() and members["tool"].mode == 0o4755
    assert (members["a/b"].uid, members["a/b"].gid) == (1000, 1001)
    first, second = pty.openpty()
    child = box.start("build", "-o", "-", context, stdout=second, stderr=subprocess.PIPE, text=True)
    said = child.communicate(timeout=100)[1]
    assert child.returncode == 1 and "not written to a terminal" in said
    os.close(first)
    os.close(second)


def test_a_layout(box: Host, context: pathlib.Path) -> None:
    words = ("--annotation", "a=1", "--annotation", "manifest-descriptor:d=2", "--provenance=false")
    layout = oci(box, context, "-t", "web:1", "-t", "web:2", *words)
    said = [item["annotations"] for item in layout.manifests]
    assert [item["io.containerd.image.name"] for item in said] == [
        "docker.io/library/web:1",
        "docker.io/library/web:2",
    ]
    assert [item["org.opencontainers.image.ref.name"] for item in said] == ["1", "2"]
    assert said[0]["d"] == "2"
    manifest = layout.blob(layout.manifests[0])
    assert manifest["annotations"] == {"a": "1"}
    assert {layer["mediaType"].rpartition("+")[2] for layer in manifest["layers"]} == {"gzip"}
    assert "web" not in box.out("images")
    packed = oci(box, context, "-o", f"type=oci,compression=zstd,tar=false,dest={context}/layout")
    assert packed.manifests and json.loads((context / "layout/index.json").read_text())["manifests"]
    folder = json.loads((context / "layout/index.json").read_text())["manifests"][0]["digest"][7:]
    manifest = json.loads((context / f"layout/blobs/sha256/{folder}").read_text())
    while "manifests" in manifest:
        manifest = json.loads(
            (context / f"layout/blobs/sha256/{manifest['manifests'][0]['digest'][7:]}").read_text()
        )
    assert {layer["mediaType"].rpartition("+")[2] for layer in manifest["layers"]} == {"zstd"}
    docker = f"type=docker,dest={context}/d.tar"
    box.out("build", "-q", "-o", docker, "-t", "dock:1", "-o", "type=image", context)
    assert "dock" in box.out("images")
    box.out("rmi", "dock:1")
    assert box.out("load", "-i", f"{context}/d.tar") == "Loaded image: dock:1"


def test_several_platforms_and_a_registry(box: Host, context: pathlib.Path) -> None:
    write(
        context,
        "FROM --platform=$BUILDPLATFORM " + IMAGE + " AS made",
        "RUN uname -m > /machine",
        "FROM scratch",
        "ARG TARGETPLATFORM TARGETARCH TARGETVARIANT TARGETOS BUILDPLATFORM",
        "LABEL t=$TARGETPLATFORM a=$TARGETARCH v=$TARGETVARIANT o=$TARGETOS b=$BUILDPLATFORM",
        "COPY --from=made /machine /machine",
    )
    server = box.start("registry", "serve", "--listen", "127.0.0.1:5017", "--root", f"{box.folder}/registry",
                       stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert server.stdout.readline().startswith("serving ")  # type: ignore[union-attr]
    name = "localhost:5017/multi:1"
    box.out(
        "build", "-q", "--platform", ",".join(PLATFORMS), "--push", "-t", name, "--annotation", "index:i=1",
        "--annotation", "manifest[linux/arm64]:m=2", "--provenance=false", context,
    )  # fmt: skip
    index = json.loads(box.out("manifest", "inspect", name))
    assert index["annotations"] == {"i": "1"}
    assert [item["platform"] for item in index["manifests"]] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux"},
    ]
    box.out("rmi", name)
    box.out("pull", "-q", "--platform", "linux/arm64", name)
    found = json.loads(box.out("inspect", name))[0]
    assert found["Config"]["Labels"] == {
        "t": "linux/arm64", "a": "arm64", "v": "", "o": "linux", "b": "linux/amd64"
    }  # fmt: skip
    assert (found["Architecture"], found.get("Variant", "")) == ("arm64", "")
    out = context / "out"
    box.out("build", "-q", "--platform", PLATFORMS[0], "--platform", PLATFORMS[1], "-o", out, context)
    assert sorted(os.listdir(out)) == ["linux_amd64", "linux_arm64"]
    assert {(out / f"linux_{arch}/machine").read_text() for arch in ("amd64", "arm64")} == {
        os.uname().machine + "\n"
    }
    server.terminate()
    server.wait(60)


def test_an_index_on_this_machine(box: Host, context: pathlib.Path) -> None:
    write(context, "FROM scratch", "COPY tool /tool")
    image = box.out("build", "-q", "--platform", ",".join(PLATFORMS), "-t", "both:1", context)
    assert json.loads(box.out("inspect", "both:1"))[0]["Id"] == image
    index = json.loads(box.out("manifest", "inspect", "both:1"))
    assert len(index["manifests"]) == 2
    write(context, "FROM both:1", "COPY tool /more")
    layout = oci(box, context, "--platform", ",".join(PLATFORMS), "--provenance=false")
    architectures = []
    for item in layout.blob(layout.manifests[0])["manifests"]:
        manifest = layout.blob(item)
        assert len(manifest["layers"]) == 2
        architectures.append(layout.blob(manifest["config"])["architecture"])
    assert architectures == ["amd64", "arm64"]
    lines = box.out("rmi", "both:1").splitlines()
    assert len(lines) == len(set(lines))


def test_no_emulator(box: Host, context: pathlib.Path) -> None:
    header = (
        b"\x7fELF\x02\x01\x01"
        + b"\0" * 9
        + struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, 64, 64, 0, 0, 64, 56, 0, 64, 0, 0)
    )
    (context / "arm").write_bytes(header)
    (context / "arm").chmod(0o755)
    write(context, "FROM scratch", "COPY arm /bin/sh", "RUN true")
    said = box.estiva("build", "--platform", "linux/arm64", context, status=1).stderr
    assert "Dockerfile:3: " in said and "qemu-user-static" in said


def test_what_fails_before_anything_is_built(box: Host, context: pathlib.Path) -> None:
    write(context, "FROM scratch", "COPY nothing /")
    for words, said in (
        (("-o", "type=docker,dest=x", "--platform", ",".join(PLATFORMS)), "has one platform"),
        (("-o", "type=oci,dest=/"), "/ is a folder"),
        (("--push",), "needs a name"),
        (("--annotation", "index:a=b"), "needs an index"),
        (("--annotation", "manifest[linux/s390x]:a=b"), "which is not built"),
    ):
        done = box.estiva("build", *words, context, status=1)
        assert said in done.stderr and "nothing" not in done.stderr


def test_from_python(box: Host, context: pathlib.Path) -> None:
    write(context, "FROM scratch", "COPY tool /tool")
    box.python(
        f"""
import estiva, estiva.errors, pathlib, tarfile
folder = pathlib.Path({str(context)!r})
estiva.build(folder, output=folder / "py", network="none")
assert (folder / "py/tool").read_text() == "tool\\n"
estiva.build(folder, output=[{{"type": "oci", "dest": folder / "py.tar", "tar": True}}, "type=tar,dest=" + str(folder / "fs.tar")],
             tag="py:1", annotations=["a=b"], platforms=["linux/amd64", "linux/arm64"])
assert "index.json" in tarfile.open(folder / "py.tar").getnames()
assert "linux_arm64/tool" in tarfile.open(folder / "fs.tar").getnames()
try:
    estiva.build(folder, output="-")
except estiva.errors.InvalidInput as error:
    assert "give a file" in error.hint, error
else:
    raise AssertionError
"""
    )
