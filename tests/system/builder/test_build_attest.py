"""Attestations: beside the image at a registry, in a layout, in a folder, and through the store."""

from __future__ import annotations

import hashlib
import io
import json
import pathlib
import subprocess
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

from enginekit import IMAGE, Host, host

NAME = "localhost:5018/said:1"


@pytest.fixture(scope="module")
def box() -> Iterator[Host]:
    with host() as made:
        server = made.start("registry", "serve", "--listen", "127.0.0.1:5018", "--root", f"{made.folder}/registry",
                            stdout=subprocess.PIPE, text=True)  # fmt: skip
        assert server.stdout.readline().startswith("serving ")  # type: ignore[union-attr]
        yield made
        server.terminate()
        server.wait(60)


@pytest.fixture
def context(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nARG TOKEN=none\nCOPY status /var/lib/dpkg/status\n")
    (tmp_path / "status").write_text("Package: tool\nStatus: install ok installed\nVersion: 1\n")
    return tmp_path


def layout(data: bytes) -> dict[str, Any]:
    """The JSON documents of an OCI layout by digest, and its index under ""."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = {}
        for member in archive:
            content = archive.extractfile(member).read()  # type: ignore[union-attr]
            if member.name == "index.json":
                found[""] = json.loads(content)
            elif content[:1] == b"{" and "blobs" in member.name:
                assert hashlib.sha256(content).hexdigest() == member.name.rpartition("/")[2]
                found["sha256:" + member.name.rpartition("/")[2]] = json.loads(content)
        return found


def oci(box: Host, context: pathlib.Path, *words: str, **env: str) -> dict[str, Any]:
    done = box.estiva("build", "-q", "-o", "type=oci,dest=-", *words, context, text=False, env=env)
    return layout(done.stdout)


def test_what_leaves_has_its_provenance(box: Host, context: pathlib.Path) -> None:
    found = oci(box, context, "-t", "x:1", "--build-arg", "TOKEN=hunter2")
    index = found[found[""]["manifests"][0]["digest"]]
    image, about = index["manifests"]
    assert about["platform"] == {"architecture": "unknown", "os": "unknown"}
    assert about["annotations"] == {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image["digest"],
    }
    manifest = found[about["digest"]]
    assert manifest["subject"]["digest"] == image["digest"]
    (layer,) = manifest["layers"]
    statement = found[layer["digest"]]
    assert statement["subject"] == [
        {"name": "pkg:docker/x@1?platform=linux%2Famd64", "digest": {"sha256": image["digest"][7:]}}
    ]
    assert statement["predicateType"] == layer["annotations"]["in-toto.io/predicate-type"]
    assert "hunter2" not in json.dumps(statement)
    (base,) = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert base["uri"].startswith("pkg:docker/") and len(base["digest"]["sha256"]) == 64
    for words, env in ((("--provenance=false",), {}), ((), {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"})):
        plain = oci(box, context, *words, **env)
        assert "layers" in plain[plain[""]["manifests"][0]["digest"]]


def test_a_registry_and_back(box: Host, context: pathlib.Path) -> None:
    box.out(
        "build", "-q", "--push", "-t", NAME, "--sbom=true", "--attest", "type=provenance,mode=max", context
    )
    index = json.loads(box.out("manifest", "inspect", f"docker://{NAME}"))
    assert [item.get("annotations", {}).get("vnd.docker.reference.type") for item in index["manifests"]] == [
        None,
        "attestation-manifest",
    ]
    box.out("rmi", NAME)
    box.out(
        "build", "-q", "-t", "here:1", "--sbom=true", context
    )  # in the store alone, and pushed from there
    assert box.out("run", "--rm", "--network", "none", "here:1", "cat", "/var/lib/dpkg/status").startswith(
        "Package: tool"
    )
    box.out("tag", "here:1", "localhost:5018/other:1")
    box.out("push", "-q", "localhost:5018/other:1")
    index = json.loads(box.out("manifest", "inspect", "docker://localhost:5018/other:1"))
    assert len(index["manifests"]) == 2
    box.out("system", "prune", "-af")
    box.estiva("system", "check")
    box.import_busybox()


def test_what_is_said_stays_while_its_index_does(box: Host, context: pathlib.Path) -> None:
    box.out("build", "-q", "-t", "kept:1", "--sbom=true", context)
    box.out("builder", "prune", "-f")
    box.out("image", "prune", "-f")
    data = box.estiva("save", "--format", "oci-archive", "kept:1", text=False).stdout
    found = layout(data)
    index = found[found[""]["manifests"][0]["digest"]]
    (layer,) = found[index["manifests"][1]["digest"]]["layers"]
    assert found[layer["digest"]]["predicate"]["spdxVersion"] == "SPDX-2.3"
    before = {path.name for path in pathlib.Path(box.folder, "root/blobs/sha256").iterdir()}
    assert layer["digest"][7:] in before
    box.out("rmi", "kept:1")
    box.out("builder", "prune", "-f")
    assert layer["digest"][7:] not in {
        path.name for path in pathlib.Path(box.folder, "root/blobs/sha256").iterdir()
    }


def test_files(box: Host, context: pathlib.Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY status /var/lib/dpkg/status\n")
    out = context / "out"
    (context / "victim").write_text("mine")
    out.mkdir()
    (out / "x-sbom.spdx.json").symlink_to("../victim")
    box.out(
        "build",
        "-o",
        f"type=local,dest={out},attestation-prefix=x-",
        "--sbom=true",
        "--provenance=mode=min",
        context,
    )
    said = json.loads((out / "x-sbom.spdx.json").read_text())
    assert [package["name"] for package in said["predicate"]["packages"]][1:] == ["tool"]
    assert said["subject"] == [
        {
            "name": "var/lib/dpkg/status",
            "digest": {"sha256": hashlib.sha256((context / "status").read_bytes()).hexdigest()},
        }
    ]
    assert (context / "victim").read_text() == "mine"
    assert (out / "x-provenance.json").exists()
    data = box.estiva("build", "-q", "-o", "-", "--sbom=true", context, text=False).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert "sbom.spdx.json" in archive.getnames()
    for words, message in (
        (("--sbom=true", "-o", "type=docker,dest=x.tar"), "no place for attestations"),
        (("--sbom=true", "-o", "type=oci,dest=x.tar,oci-mediatypes=false"), "no place for attestations"),
        (("--sbom=generator=x",), "generator= is not supported"),
    ):
        assert message in box.estiva("build", *words, context, status=1).stderr


def test_a_tar_has_what_is_said_alone_by_that_name(box: Host, context: pathlib.Path) -> None:
    """Of two members of one name the first may be a link, which the second is then written through."""
    (context / "Dockerfile").write_text("FROM scratch\nCOPY links /\n")
    (context / "links/sub").mkdir(parents=True)
    for name in ("sbom.spdx.json", "sub/sbom.spdx.json"):
        (context / "links" / name).symlink_to("/etc/victim")
    data = box.estiva("build", "-q", "-o", "-", "--sbom=true", context, text=False).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = [(member.name, member.type) for member in archive if "sbom" in member.name]
    assert sorted(found) == [("sbom.spdx.json", tarfile.REGTYPE), ("sub/sbom.spdx.json", tarfile.SYMTYPE)]
