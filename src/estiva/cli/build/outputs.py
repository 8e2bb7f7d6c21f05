"""What `build` gives: -o/--output, --push, --load, --platform and --annotation."""

from __future__ import annotations

import os

from estiva.cmdline.parser import FLAG, LIST, TEXT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.cmdline.parser import Options

OPTIONS = (
    ("", "annotation", LIST, "[TYPE:]K=V", "say something of the image in its manifest or index"),
    ("", "attest", LIST, "type=KIND,...", "say provenance or sbom of the image, beside it"),
    ("", "load", FLAG, "", "keep the image on this machine, whatever else -o says"),
    (
        "o",
        "output",
        LIST,
        "type=KIND,...",
        "what it gives: image, oci, docker, local, tar, registry; or a FOLDER",
    ),
    ("", "platform", LIST, "OS/ARCH", "platforms of the image"),
    ("", "provenance", TEXT, "mode=min|max", "how the image was made; false for none"),
    ("", "push", FLAG, "", "send the image to its registry"),
    ("", "sbom", TEXT, "true", "what packages the image holds"),
)


def read(options: Options) -> dict[str, Any]:
    """Keywords of engine.builds.build.build. Raises InvalidInput for a tar that would go to a terminal."""
    from estiva.cli.standard import Standard

    if not _free(options) and os.isatty(1):
        Standard().output()  # which says it
    return {
        "outputs": options.many("output"),
        "annotations": options.many("annotation"),
        "push": options.flag("push"),
        "load": options.flag("load"),
        "attest": options.many("attest"),
        "provenance": options.text("provenance") if options.given("provenance") else None,
        "sbom": options.text("sbom") if options.given("sbom") else None,
        "platforms": options.many("platform"),
        "standard": Standard(),
    }


def _judged(options: Options) -> list[Any]:
    from estiva.engine.builds import build as builds

    return builds.outputs_of(
        options.many("output"),
        options.many("tag"),
        options.many("annotation"),
        push=options.flag("push"),
        load=options.flag("load"),
    )


def _free(options: Options) -> bool:
    """Whether stdout is not an output's."""
    return all(output.dest != "-" for output in _judged(options))


def tells(options: Options) -> bool:
    """Whether the image's id goes to stdout: there is an image, and nothing else goes there."""
    judged = _judged(options)
    return all(output.dest != "-" for output in judged) and any(
        output.kind not in ("local", "tar", "cacheonly") for output in judged
    )


def names(options: Options) -> bool:
    """Whether the image gets its names on this machine."""
    return any(output.image for output in _judged(options))


def named(options: Options) -> list[str]:
    """The names that the image gets, wherever."""
    return list(dict.fromkeys(name for output in _judged(options) for name in output.names))
