"""Packages as an SPDX 2.3 document in JSON (spdx.github.io/spdx-spec/v2.3)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from estiva.builder.exporters.sbom.packages import Package
from estiva.version import __version__

KIND = "https://spdx.dev/Document"
NOTHING = "NOASSERTION"
IMAGE = "SPDXRef-Image"


def document(name: str, image: str, created: str, packages: Sequence[Package]) -> dict[str, Any]:
    """`name` and `image` are the image's name and digest, `created` a moment as RFC 3339 text. The same
    packages give the same document."""
    listed = [_package(package) for package in packages]
    relations = [
        {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": IMAGE}
    ]
    relations += [
        {"spdxElementId": IMAGE, "relationshipType": "CONTAINS", "relatedSpdxElement": each["SPDXID"]}
        for each in listed
    ]
    top = {
        **_plain(IMAGE, name, image, ""),
        "primaryPackagePurpose": "CONTAINER",
    }
    unique = hashlib.sha256("\n".join([image, *(each["SPDXID"] for each in listed)]).encode()).hexdigest()
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"https://spdx.org/spdxdocs/estiva-{unique}",
        "creationInfo": {"created": created[:19] + "Z", "creators": [f"Tool: estiva-{__version__}"]},
        "packages": [top, *listed],
        "relationships": relations,
    }


def _plain(place: str, name: str, version: str, license: str) -> dict[str, Any]:
    found = {
        "SPDXID": place,
        "name": name,
        "versionInfo": version,
        "downloadLocation": NOTHING,
        "filesAnalyzed": False,
        "licenseConcluded": NOTHING,
        "licenseDeclared": NOTHING,
        "copyrightText": NOTHING,
        "supplier": NOTHING,
    }
    if license:  # as the package says it, which need not be an expression of SPDX
        found["licenseComments"] = license
    return found


def _package(package: Package) -> dict[str, Any]:
    unique = hashlib.sha256(f"{package.purl}\n{package.where}".encode("utf-8", "surrogateescape")).hexdigest()
    name = (
        f"{package.namespace}/{package.name}" if package.kind == "npm" and package.namespace else package.name
    )
    where = package.where.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return {
        **_plain(f"SPDXRef-Package-{package.kind}-{unique[:16]}", name, package.version, package.license),
        "sourceInfo": f"told by /{where}",
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": package.purl,
            }
        ],
    }
