"""Attestations of a build: what was asked for, the in-toto statements, and the manifest that holds them.

The form is BuildKit's (docs/attestations/attestation-storage.md): a manifest beside the image's in its index,
for the platform unknown/unknown, with one layer for each statement.
"""

from __future__ import annotations

from estiva.builder.fields import cells, pairs
from estiva.errors import InvalidInput, Unsupported, oneline
from estiva.oci import digest as digests
from estiva.oci import image as documents
from estiva.oci.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from estiva.oci.platform import Platform


STATEMENT = "https://in-toto.io/Statement/v1"
PAYLOAD = "application/vnd.in-toto+json"
ARTIFACT = "application/vnd.docker.attestation.manifest.v1+json"
UNKNOWN = {"architecture": "unknown", "os": "unknown"}
EMPTY = b"{}"
KINDS = ("provenance", "sbom")
FIELDS = {
    "provenance": ("mode", "builder-id", "filename", "reproducible", "inline-only", "version", "disabled"),
    "sbom": ("filename", "inline-only", "disabled"),
}
FILES = {"provenance": "provenance.json", "sbom": "sbom.spdx.json"}
TRUE = ("1", "t", "T", "TRUE", "true", "True")
FALSE = ("0", "f", "F", "FALSE", "false", "False")


class Statement:
    """A predicate of a type, and the file that it is in where there is no image to be beside of."""

    def __init__(self, kind: str, predicate: dict[str, Any], filename: str, inline: bool) -> None:
        self.kind, self.predicate = kind, predicate
        self.filename, self.inline = filename, inline

    def encoded(self, subjects: list[dict[str, Any]]) -> bytes:
        """The statement about these subjects."""
        said = {"_type": STATEMENT, "predicateType": self.kind, "subject": subjects}
        return documents.encode({**said, "predicate": self.predicate})


def judge(words: Sequence[str], provenance: str | None, sbom: str | None) -> dict[str, dict[str, str]]:
    """The fields of each attestation that is asked for, by its kind; {} for one that is not to be.

    `words` are those of --attest, `provenance` and `sbom` those of the options of these names, None where
    nothing was said. Raises InvalidInput, Unsupported.
    """
    found: dict[str, dict[str, str]] = {}
    for word in [*words, *_short("provenance", provenance), *_short("sbom", sbom)]:
        fields = _fields(word)
        kind = fields.pop("type", "")
        if kind not in KINDS:
            raise InvalidInput(f"unknown attestation {oneline(word)!r}", hint="type=provenance or type=sbom")
        if kind in found:
            raise InvalidInput(f"the attestation {kind} is asked for twice")
        found[kind] = _judged(kind, fields)
    return found


def _short(kind: str, value: str | None) -> list[str]:
    if value is None:
        return []
    if value in TRUE + FALSE:
        return [f"type={kind},disabled={str(value in FALSE).lower()}"]
    return [f"type={kind},{value}"]


def _fields(word: str) -> dict[str, str]:

    def wrong(error: str) -> InvalidInput:
        return InvalidInput(f"invalid attestation {oneline(word)!r}: {error}")

    return pairs(cells(word, wrong), wrong)


def _judged(kind: str, fields: dict[str, str]) -> dict[str, str]:
    if "generator" in fields and kind == "sbom":
        raise Unsupported(
            "sbom: generator= is not supported: no other program looks through the image",
            hint="leave it out",
        )
    for key, value in fields.items():
        if key not in FIELDS[kind]:
            raise InvalidInput(
                f"{kind} has no field {oneline(key)!r}", hint="it has " + ", ".join(FIELDS[kind])
            )
        if key in ("reproducible", "inline-only", "disabled") and value not in TRUE + FALSE:
            raise InvalidInput(f"{kind}: {key} is true or false, not {oneline(value)!r}")
    if fields.get("mode", "max") not in ("min", "max"):
        raise InvalidInput(f"provenance: mode is min or max, not {oneline(fields['mode'])!r}")
    if fields.get("version", "v1") not in ("v1", "v0.2"):
        raise InvalidInput(f"provenance: version is v1 or v0.2, not {oneline(fields['version'])!r}")
    name = fields.setdefault("filename", FILES[kind])
    if "/" in name or "\0" in name or name in ("", ".", ".."):
        raise InvalidInput(f"{kind}: filename is the name of a file, which {oneline(name)!r} is not")
    return {} if fields.get("disabled") in TRUE else fields


def by_default(fields: Mapping[str, Any]) -> dict[str, str]:
    """The provenance of an image that leaves this machine where nothing was said of it, as with buildx."""
    return {"mode": "min", "inline-only": "true", "filename": FILES["provenance"], **fields}


def on(fields: Mapping[str, str], key: str) -> bool:
    return fields.get(key) in TRUE


def subjects(names: Sequence[str], platform: Platform, digest: str) -> list[dict[str, Any]]:
    """What a statement about an image is of: the image by each of its names."""
    algorithm, encoded = digests.parse(digest)
    found = [purl("docker", Reference.parse(name), platform) for name in names] or ["_"]
    return [{"name": name, "digest": {algorithm: encoded}} for name in found]


def purl(kind: str, reference: Reference, platform: Platform | None) -> str:
    """The package URL of an image (github.com/package-url/purl-spec), as BuildKit writes it."""
    from urllib.parse import quote

    name = quote(reference.familiar_name, safe="/:")
    version = f"@{quote(reference.tag, safe='')}" if reference.tag else ""
    said = {"digest": reference.digest} if reference.digest else {}
    if platform is not None:
        said["platform"] = "/".join(platform.written().values())
    query = "&".join(f"{key}={quote(value, safe=':')}" for key, value in said.items())
    return f"pkg:{kind}/{name}{version}" + (f"?{query}" if query else "")


def manifest(
    target: dict[str, Any], statements: Sequence[tuple[str, bytes]], artifact: bool
) -> tuple[bytes, dict[str, bytes]]:
    """(the attestation manifest about a descriptor, the blobs of it by digest). `statements`: predicate type
    and bytes. Without `artifact` in the older form, as an image's that nobody runs.
    """
    blobs: dict[str, bytes] = {}
    layers = []
    for kind, data in statements:
        digest = digests.sha256(data)
        blobs[digest] = data
        said = {"in-toto.io/predicate-type": kind}
        layers.append(documents.descriptor(PAYLOAD, digest, len(data), annotations=said))
    extra: dict[str, Any] = {}
    if artifact:
        body = EMPTY
        config = documents.descriptor(documents.OCI_EMPTY, digests.sha256(body), len(body))
        extra = {
            "artifactType": ARTIFACT,
            "subject": {key: target[key] for key in ("mediaType", "digest", "size")},
        }
    else:
        rootfs = {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}
        body = documents.encode({**UNKNOWN, "config": {}, "rootfs": rootfs})
        config = documents.descriptor(documents.OCI_CONFIG, digests.sha256(body), len(body))
    blobs[config["digest"]] = body
    return documents.make_manifest(config, layers, **extra), blobs


def beside(target: str) -> dict[str, Any]:
    """What the descriptor of an attestation manifest has in the index."""
    said = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": target}
    return {"platform": UNKNOWN, "annotations": said}
