"""What is said of a build's image: the words, the purls, the provenance, and the packages that are found."""

from __future__ import annotations

import json
import os
import pathlib

import pytest

from estiva.builder.exporters import attest, provenance
from estiva.builder.exporters.sbom import packages, spdx
from estiva.builder.request import Request
from estiva.errors import InvalidInput, Unsupported
from estiva.oci import image as documents
from estiva.oci.platform import Platform
from estiva.oci.reference import Reference

AMD64 = Platform.parse("linux/amd64")


def test_words():
    assert attest.judge([], None, None) == {}
    assert attest.judge([], "false", "0") == {"provenance": {}, "sbom": {}}
    assert attest.judge([], "true", None)["provenance"]["filename"] == "provenance.json"
    found = attest.judge(["type=provenance,mode=min,version=v0.2,builder-id=https://x/y"], None, "true")
    assert found["provenance"]["version"] == "v0.2" and found["sbom"]["filename"] == "sbom.spdx.json"
    assert attest.judge(["type=sbom,disabled=true"], None, None) == {"sbom": {}}


@pytest.mark.parametrize(
    ("words", "short", "said"),
    [
        (["type=vsa"], None, "unknown attestation"),
        (["mode=min"], None, "unknown attestation"),
        (["type=provenance", "type=provenance"], None, "asked for twice"),
        (["type=provenance"], "true", "asked for twice"),
        ([], "mode=all", "mode is min or max"),
        ([], "version=v2", "version is v1 or v0.2"),
        ([], "reproducible=perhaps", "reproducible is true or false"),
        ([], "colour=red", "no field 'colour'"),
        ([], "filename=../x", "filename is the name of a file"),
        ([], "yes", "not KEY=VALUE"),
    ],
)
def test_bad_words(words, short, said):
    with pytest.raises(InvalidInput) as caught:
        attest.judge(words, short, None)
    assert said in caught.value.message


def test_another_scanner_is_refused_by_name():
    with pytest.raises(Unsupported, match="generator="):
        attest.judge([], None, "generator=docker/scout-sbom-indexer")


def test_package_urls():
    parse = Reference.parse
    assert (
        attest.purl("docker", parse("alpine:3.20"), AMD64) == "pkg:docker/alpine@3.20?platform=linux%2Famd64"
    )
    assert attest.purl("docker", parse("localhost:5000/a/b"), None) == "pkg:docker/localhost:5000/a/b@latest"
    by_digest = parse("alpine@sha256:" + "0" * 64)
    assert attest.purl("docker", by_digest, None) == "pkg:docker/alpine?digest=sha256:" + "0" * 64


def run(**options):
    request = Request(**options)
    return provenance.Run(
        request,
        invocation="abc",
        started=0,
        finished=10**9,
        materials=[
            ("pkg:docker/alpine@3", "sha256:" + "1" * 64),
            ("https://x/y", "sha1:" + "2" * 40),
            ("z", ""),
        ],
        dockerfile=("Dockerfile", "FROM alpine\nARG TOKEN\n"),
        steps=[("ARG TOKEN=hunter2", None), ("COPY a b", {"digest": "sha256:" + "3" * 64})],
    )


ASKED = {
    "build_args": {"TOKEN": "hunter2"},
    "labels": {"owner": "somebody"},
    "secrets": {"netrc": b"machine x password sesame"},
    "ssh": {"default": "/agent"},
    "target": "last",
    "context": "/home/ana/project",
}


@pytest.mark.parametrize("version", ["v1", "v0.2"])
def test_min_says_no_values(version):
    kind, said = provenance.predicate(run(**ASKED), {"mode": "min", "version": version})
    text = json.dumps(said)
    assert kind == f"https://slsa.dev/provenance/{version}"
    for word in ("hunter2", "TOKEN", "owner", "somebody", "netrc", "sesame", "agent", "ana", "ARG"):
        assert word not in text
    assert "last" in text and "pkg:docker/alpine@3" in text


def test_max_says_what_was_asked_but_no_secret():
    _, said = provenance.predicate(
        run(**ASKED), {"mode": "max", "builder-id": "https://ci", "reproducible": "true"}
    )
    definition, details = said["buildDefinition"], said["runDetails"]
    asked = definition["externalParameters"]["request"]
    assert asked["args"] == {"target": "last", "build-arg:TOKEN": "hunter2", "label:owner": "somebody"}
    assert asked["secrets"] == [{"id": "netrc"}] and asked["ssh"] == [{"id": "default"}]
    assert definition["resolvedDependencies"][1] == {"uri": "https://x/y", "digest": {"sha1": "2" * 40}}
    assert details["builder"] == {"id": "https://ci"} and details["metadata"]["buildkit_reproducible"]
    assert list(details["metadata"]["buildkit_metadata"]["layers"]) == ["step1:0"]
    assert "sesame" not in json.dumps(said) and "/home/ana" not in json.dumps(said)


@pytest.mark.parametrize("artifact", [True, False])
def test_the_manifest_is_one_that_can_be_read(artifact):
    target = documents.descriptor(documents.OCI_MANIFEST, "sha256:" + "a" * 64, 10, platform={"os": "linux"})
    about = attest.subjects(["x:1", "y:1"], AMD64, target["digest"])
    data = attest.Statement("k", {"a": 1}, "f", False).encoded(about)
    body, blobs = attest.manifest(target, [("k", data)], artifact)
    parsed = documents.parse_manifest(body, artifact=True)
    assert {parsed["config"]["digest"], *(layer["digest"] for layer in parsed["layers"])} == set(blobs)
    assert parsed["layers"][0]["annotations"] == {"in-toto.io/predicate-type": "k"}
    assert ("subject" in parsed) == artifact and ("artifactType" in parsed) == artifact
    assert [each["name"] for each in json.loads(data)["subject"]] == [
        "pkg:docker/x@1?platform=linux%2Famd64",
        "pkg:docker/y@1?platform=linux%2Famd64",
    ]


# --- packages ---


def found(root: pathlib.Path) -> list[str]:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return [package.purl for package in packages.find(fd)]
    finally:
        os.close(fd)


def put(root: pathlib.Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_each_database(tmp_path):
    put(tmp_path, "etc/os-release", 'ID=debian\nVERSION_ID="12"\n')
    put(
        tmp_path,
        "var/lib/dpkg/status",
        "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u4\n"
        "Description: C\n Package: not-this\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n",
    )
    put(tmp_path, "var/lib/dpkg/status.d/tzdata", "Package: tzdata\nVersion: 2024a\n")
    put(
        tmp_path,
        "lib/apk/db/installed",
        "P:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\nF:lib\nR:x\n\nP:zlib\nV:1.3\n\n",
    )
    put(tmp_path, "opt/venv/lib/a_B-1.0.dist-info/METADATA", "Name: a_B\nVersion: 1.0\n\nName: not this\n")
    put(tmp_path, "app/node_modules/left-pad/package.json", '{"name": "left-pad", "version": "1.3.0"}')
    put(tmp_path, "app/node_modules/@x/y/package.json", '{"name": "@x/y", "version": "2.0.0"}')
    put(tmp_path, "app/node_modules/bad/package.json", "{")
    put(tmp_path, "app/package.json", '{"name": "the-app-itself", "version": "1.0.0"}')
    assert found(tmp_path) == [
        "pkg:apk/debian/musl@1.2.5-r0?arch=x86_64&distro=debian-12",
        "pkg:apk/debian/zlib@1.3?distro=debian-12",
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12",
        "pkg:deb/debian/tzdata@2024a?distro=debian-12",
        "pkg:npm/left-pad@1.3.0",
        "pkg:npm/%40x/y@2.0.0",
        "pkg:pypi/a-b@1.0",
    ]


def test_a_hostile_root(tmp_path):
    """What it holds is never followed out, waited for, or read without a bound (K1, K13, K21)."""
    outside = tmp_path / "outside"
    put(outside, "status", "Package: of-the-host\nStatus: install ok installed\nVersion: 1\n")
    root = tmp_path / "root"
    (root / "var/lib/dpkg/status.d").mkdir(parents=True)
    (root / "var/lib/dpkg/status").symlink_to(outside / "status")
    os.mkfifo(root / "var/lib/dpkg/status.d/pipe")
    (root / "lib/apk/db").mkdir(parents=True)
    with open(root / "lib/apk/db/installed", "wb") as file:
        file.truncate(packages.DATABASE + 1)
    (root / "x.dist-info").symlink_to(outside)
    (root / "node_modules/a").mkdir(parents=True)
    (root / "node_modules/a/package.json").symlink_to("../../../outside/status")
    (root / "b.dist-info").mkdir()
    (root / "b.dist-info/METADATA").write_bytes(b"Name: \xff\nVersion: \0\n")
    assert found(root) == ["pkg:pypi/%EF%BF%BD@%00"]


def test_one_file_of_many_names_is_not_read_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "ALL", 1 << 20)
    put(tmp_path, "var/lib/dpkg/status.d/a", "Package: a\n" + "x" * (300 << 10))
    for number in range(2):
        os.link(tmp_path / "var/lib/dpkg/status.d/a", tmp_path / f"var/lib/dpkg/status.d/b{number}")
    assert len(found(tmp_path)) == 3
    os.link(tmp_path / "var/lib/dpkg/status.d/a", tmp_path / "var/lib/dpkg/status.d/c")
    with pytest.raises(InvalidInput, match="more than 1 MiB"):
        found(tmp_path)


@pytest.mark.parametrize("path", ["var/lib/dpkg/status.d/a", "lib/apk/db/installed", "{}.dist-info/METADATA"])
def test_too_many_packages_are_said_not_left_out(tmp_path, monkeypatch, path):
    """Else an image could hide one behind others."""
    monkeypatch.setattr(packages, "MOST", 3)
    for number in range(1, 5):
        each = f"Package: {number}\n\n" if "dpkg" in path else f"P:{number}\n\n"
        each = f"Name: {number}\n" if "dist-info" in path else each
        put(tmp_path, path.format(number), each if "{" in path else each.replace(str(number), "1") * number)
        if number > 3:
            with pytest.raises(InvalidInput, match="more than 3 packages"):
                found(tmp_path)
        else:
            assert found(tmp_path)


def test_what_no_package_manager_writes_is_no_package(tmp_path):
    put(tmp_path, "a.dist-info/METADATA", f"Name: a\nVersion: {'1' * 5000}\n")
    put(tmp_path, "/".join(["d" * 200] * 15) + "/b.dist-info/METADATA", "Name: b\nVersion: 1\n")
    assert found(tmp_path) == ["pkg:pypi/b@1"]


def test_a_license_that_is_a_whole_text_hides_no_package(tmp_path):
    long = "all rights " * 200
    put(tmp_path, "a.dist-info/METADATA", f"Name: a\nVersion: 1\nLicense-Expression: {long}\n")
    put(tmp_path, "node_modules/b/package.json", json.dumps({"name": "b", "version": "1", "license": long}))
    put(tmp_path, "lib/apk/db/installed", f"P:c\nV:1\nA:x86_64\nL:{long}\n\n")
    assert [word.partition("?")[0] for word in found(tmp_path)] == [
        "pkg:apk/alpine/c@1", "pkg:npm/b@1", "pkg:pypi/a@1",
    ]  # fmt: skip


def test_a_document_of_spdx(tmp_path):
    put(tmp_path, "a.dist-info/METADATA", "Name: a\nVersion: 1\nLicense-Expression: MIT\n")
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    listed = packages.find(fd)
    os.close(fd)
    one, two = (spdx.document("web:1", "sha256:x", "2026-01-31T12:00:00.123Z", listed) for _ in range(2))
    assert one == two and one["creationInfo"]["created"] == "2026-01-31T12:00:00Z"
    assert [each["name"] for each in one["packages"]] == ["web:1", "a"]
    assert one["packages"][1]["licenseComments"] == "MIT"
    assert {each["relatedSpdxElement"] for each in one["relationships"]} == {
        each["SPDXID"] for each in one["packages"]
    }
