"""What is said of a build's image: its provenance and what it holds, as files or beside it in its index."""

from __future__ import annotations

import os
import stat

from estiva.errors import InvalidInput, Unsupported
from estiva.oci import digest as digests
from estiva.oci.platform import Platform
from estiva.oci.reference import Reference
from estiva.timestamps import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from estiva.builder.exporters import attest, provenance
    from estiva.builder.exporters.output import Output
    from estiva.engine import Engine
    from estiva.engine.builds.built import Built
    from estiva.registry.transfer.plan import Plan
    from estiva.store.images import Image

VARIABLE = "BUILDX_NO_DEFAULT_ATTESTATIONS"
CHUNK = 1 << 20


class Attesting:
    """The attestations of one build, each made once for each image."""

    def __init__(
        self, engine: Engine, words: Sequence[str], provenance: str | None, sbom: str | None
    ) -> None:
        """Raises InvalidInput, Unsupported."""
        self.engine = engine
        self.asked: dict[str, dict[str, str]] = {}
        if words or provenance is not None or sbom is not None:
            from estiva.builder.exporters import attest

            self.asked = attest.judge(words, provenance, sbom)
        self.invocation = os.urandom(16).hex()
        self._sbom: dict[str, dict[str, Any]] = {}

    def fields(self, output: Output) -> dict[str, dict[str, str]]:
        """What an output is to have, by kind: what was asked for, and where the image leaves this machine the
        provenance that buildx adds."""
        found = {kind: fields for kind, fields in self.asked.items() if fields}
        leaves = output.push or output.kind == "oci"
        if leaves and output.oci_types and "provenance" not in self.asked:
            from estiva.builder.exporters import attest

            if os.environ.get(VARIABLE, "") in attest.TRUE:
                return found
            found["provenance"] = attest.by_default({})
        return found

    def check(self, output: Output) -> None:
        """Raise where what was asked for has no place."""
        if not self.fields(output):
            return
        if output.kind == "docker" and output.dest:
            raise Unsupported("type=docker has no place for attestations", hint="type=oci has")
        if output.kind in ("image", "docker", "oci") and not output.oci_types:
            raise InvalidInput("oci-mediatypes=false has no place for attestations")

    def manifest(self, each: Built, of: Plan, output: Output) -> tuple[Plan, dict[str, Any]] | None:
        """The attestation manifest about a planned image, and what its descriptor in the index has."""
        from estiva.builder.exporters import attest
        from estiva.oci import image as documents
        from estiva.registry.transfer.plan import Plan

        said = self._statements(each, of, output)
        if not said:
            return None
        about = attest.subjects(output.names, each.platform, of.digest)
        body, blobs = attest.manifest(
            of.descriptor(), [(one.kind, one.encoded(about)) for one in said], output.artifact
        )
        sizes = {digest: len(data) for digest, data in blobs.items()}
        plan = Plan(body, documents.OCI_MANIFEST, digests.sha256(body), sizes, blobs)
        return plan, attest.beside(of.digest)

    def files(self, each: Built, root: int, output: Output) -> list[tuple[str, bytes]]:
        """(name, bytes) of what is said of the files below `root` (fd), where there is no image."""
        said = [one for one in self._statements(each, None, output) if not one.inline]
        about = _subjects(root) if said else []
        return [(output.prefix + one.filename, one.encoded(about)) for one in said]

    def _statements(self, each: Built, of: Plan | None, output: Output) -> list[attest.Statement]:
        from estiva.builder.exporters import attest, provenance
        from estiva.builder.exporters.sbom import spdx

        found = []
        for kind, fields in sorted(self.fields(output).items(), reverse=True):
            if kind == "sbom":
                made = spdx.KIND, self._packages(each, output)
            else:
                made = provenance.predicate(self._run(each, of), fields)
            inline = attest.on(fields, "inline-only")
            found.append(attest.Statement(*made, fields["filename"], inline))
        return found

    def _packages(self, each: Built, output: Output) -> dict[str, Any]:
        from estiva.builder.exporters.sbom import packages, spdx
        from estiva.store.layers.descent import FOLDER

        image = each.image
        if image.id not in self._sbom:
            view = self.engine.store.snapshots.view(image.diff_ids)
            try:
                root = os.open(".", FOLDER, dir_fd=view)
            finally:
                os.close(view)
            try:
                found = packages.find(root)
            finally:
                os.close(root)
            name = output.names[0] if output.names else image.id
            created = str(image.config.get("created") or rfc3339(0))
            self._sbom[image.id] = spdx.document(name, image.id, created, found)
        return self._sbom[image.id]

    def _run(self, each: Built, of: Plan | None) -> provenance.Run:
        """With SOURCE_DATE_EPOCH that is when it ran, and its id is the image's: to be the same each time."""
        from estiva.builder.exporters import provenance

        started, finished, invocation = each.started, each.finished, self.invocation
        if each.epoch is not None:
            started = finished = each.epoch * 10**9
            invocation = each.image.id[7:39]
        materials = [
            provenance.image_material(name, Platform.of(image.config), self._digest(name, image))
            for name, image in dict(each.found).items()
            if not digests.valid(name)
        ]
        return provenance.Run(
            each.request,
            invocation=invocation,
            started=started,
            finished=finished,
            materials=sorted({*materials, *each.request.materials.items()}),
            dockerfile=each.request.read,
            steps=_steps(each.image, of),
        )

    def _digest(self, name: str, image: Image) -> str:
        """By what a base image is known: as its registry has it, else its manifest's or its own."""
        reference = Reference.parse(name)
        if reference.digest:
            return reference.digest
        prefix = reference.familiar_name + "@"
        known = self.engine.store.images.repo_digests(image.id)
        there = [text.removeprefix(prefix) for text in known if text.startswith(prefix)]
        return there[0] if there else image.manifest or image.id


def _steps(image: Image, of: Plan | None) -> list[tuple[str, dict[str, Any] | None]]:
    """The lines of an image's history, each with the descriptor of its layer, if it has one."""
    from estiva.oci import image as documents

    layers = iter(documents.parse_manifest(of.manifest)["layers"] if of is not None else [])
    return [
        (str(step.get("created_by") or ""), None if step.get("empty_layer") else next(layers, None))
        for step in image.config.get("history") or []
    ]


def _subjects(root: int) -> list[dict[str, Any]]:
    """The regular files below a folder, with their digests."""
    from estiva.store.layers.descent import walk

    found: list[dict[str, Any]] = []

    def look(fd: int, names: list[str]) -> list[str]:
        folders = []
        for name in sorted(os.listdir(fd)):
            mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                folders.append(name)
            elif stat.S_ISREG(mode):
                path = os.fsencode("/".join([*names, name])).decode("utf-8", "replace")
                found.append({"name": path, "digest": {"sha256": _hash(fd, name)}})
        return folders

    walk(root, look)
    return sorted(found, key=lambda one: str(one["name"]))


def _hash(folder: int, name: str) -> str:
    hasher = digests.hasher("sha256")
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        while data := os.read(fd, CHUNK):
            hasher.update(data)
    finally:
        os.close(fd)
    return hasher.hexdigest()
