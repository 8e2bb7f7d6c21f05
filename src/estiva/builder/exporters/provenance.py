"""The provenance of a build: SLSA v1 or v0.2, with the fields that BuildKit gives them
(docs/attestations/slsa-definitions.md).

With mode=min it says nothing that was a value of the caller's: no build arguments, no labels, no names of
secrets. No mode has a secret's content.
"""

from __future__ import annotations

import base64

from estiva.builder.exporters.attest import on, purl
from estiva.oci.platform import Platform
from estiva.oci.reference import Reference
from estiva.timestamps import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from estiva.builder.request import Request

SLSA = {"v1": "https://slsa.dev/provenance/v1", "v0.2": "https://slsa.dev/provenance/v0.2"}
TYPE_1 = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md"
TYPE_02 = "https://mobyproject.org/buildkit@v1"
METADATA = "https://mobyproject.org/buildkit@v1#metadata"


class Run:
    """One run of a build, as it is told: `started`, `finished` in nanoseconds since 1970.

    materials   (URI, digest) of what came from elsewhere
    dockerfile  (name, text)
    steps       the lines of the image's history that are its own, each with its layer's descriptor or None
    """

    def __init__(
        self,
        request: Request,
        *,
        invocation: str,
        started: int,
        finished: int,
        materials: Sequence[tuple[str, str]],
        dockerfile: tuple[str, str],
        steps: Sequence[tuple[str, dict[str, Any] | None]],
    ) -> None:
        self.request = request
        self.invocation = invocation
        self.started, self.finished = started, finished
        self.materials = materials
        self.dockerfile = dockerfile
        self.steps = steps


def image_material(name: str, platform: Platform, digest: str) -> tuple[str, str]:
    """A base image as a material."""
    return purl("docker", Reference.parse(name), platform), digest


def predicate(run: Run, fields: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """(its type, the predicate)."""
    version = fields.get("version", "v1")
    said = _first(run, fields)
    return SLSA[version], said if version == "v1" else _older(said)


def _first(run: Run, fields: Mapping[str, str]) -> dict[str, Any]:
    request, full = run.request, fields.get("mode", "max") == "max"
    asked: dict[str, Any] = {"frontend": "dockerfile.v0"}
    args = {"target": request.target} if request.target else {}
    if full:
        args |= {f"build-arg:{key}": value for key, value in request.build_args.items()}
        args |= {f"label:{key}": value for key, value in request.labels.items()}
        args |= {"no-cache": ""} if request.no_cache else {}
    if args:
        asked["args"] = args
    if full and request.secrets:
        asked["secrets"] = [{"id": name} for name in sorted(request.secrets)]
    if full and request.ssh:
        asked["ssh"] = [{"id": name} for name in sorted(request.ssh)]
    if request.context is not None:
        asked["locals"] = [{"name": "context"}, {"name": "dockerfile"}]
    internal: dict[str, Any] = {"builderPlatform": "/".join(Platform.host().written().values())}
    told: dict[str, Any] = {}
    if full:
        internal["buildConfig"] = {"llbDefinition": _steps(run)}
        told["source"] = {"infos": [_source(*run.dockerfile)]}
        told["layers"] = {f"step{n}:0": [[layer]] for n, (_, layer) in enumerate(run.steps) if layer}
    return {
        "buildDefinition": {
            "buildType": TYPE_1,
            "externalParameters": {"configSource": {"path": run.dockerfile[0]}, "request": asked},
            "internalParameters": internal,
            "resolvedDependencies": [
                {"uri": uri, **({"digest": _digest(digest)} if digest else {})}
                for uri, digest in run.materials
            ],
        },
        "runDetails": {
            "builder": {"id": fields.get("builder-id", "")},
            "metadata": {
                "invocationId": run.invocation,
                "startedOn": rfc3339(run.started),
                "finishedOn": rfc3339(run.finished),
                "buildkit_metadata": told,
                "buildkit_completeness": {
                    "request": full or not (request.build_args or request.labels),
                    "resolvedDependencies": False,
                },
                "buildkit_reproducible": on(fields, "reproducible"),
            },
        },
    }


def _older(said: dict[str, Any]) -> dict[str, Any]:
    """The same as SLSA v0.2 has it."""
    definition, details = said["buildDefinition"], said["runDetails"]
    source, metadata = definition["externalParameters"]["configSource"], details["metadata"]
    internal = definition["internalParameters"]
    found = {
        "builder": details["builder"],
        "buildType": TYPE_02,
        "materials": definition["resolvedDependencies"],
        "invocation": {
            "configSource": {"entryPoint": source["path"]},
            "parameters": definition["externalParameters"]["request"],
            "environment": {"platform": internal["builderPlatform"]},
        },
        "metadata": {
            "buildInvocationID": metadata["invocationId"],
            "buildStartedOn": metadata["startedOn"],
            "buildFinishedOn": metadata["finishedOn"],
            "completeness": {
                "parameters": metadata["buildkit_completeness"]["request"],
                "environment": True,
                "materials": metadata["buildkit_completeness"]["resolvedDependencies"],
            },
            "reproducible": metadata["buildkit_reproducible"],
            METADATA: metadata["buildkit_metadata"],
        },
    }
    if "buildConfig" in internal:
        found["buildConfig"] = internal["buildConfig"]
    return found


def _steps(run: Run) -> list[dict[str, Any]]:
    """The steps of the image, one after the other; a step has its line of history, as there is no LLB."""
    found = []
    for number, (line, _) in enumerate(run.steps):
        step: dict[str, Any] = {"id": f"step{number}", "description": line}
        if number:
            step["inputs"] = [f"step{number - 1}:0"]
        found.append(step)
    return found


def _source(name: str, text: str) -> dict[str, Any]:
    return {
        "filename": name,
        "language": "Dockerfile",
        "data": base64.b64encode(text.encode("utf-8", "surrogateescape")).decode(),
    }


def _digest(digest: str) -> dict[str, str]:
    algorithm, _, encoded = digest.partition(":")
    return {algorithm: encoded}
