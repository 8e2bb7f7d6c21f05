"""Verbs that move images through files: save, load, import, and image from-host."""

from __future__ import annotations

import os

from estiva.cli.standard import Standard
from estiva.cmdline.parser import FLAG, LIST, TEXT, Options, Verb
from estiva.engine.images.outfile import Output, open_source
from estiva.errors import EstivaError, IntegrityError, InvalidInput, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.cli.context import Context

PLATFORM = ("", "platform", TEXT, "OS/ARCH", "platform of the image")


class Named:
    """A with-block in which what is wrong with an archive is said with the archive's name."""

    def __init__(self, path: str, *kinds: type[EstivaError]) -> None:
        self.path = "stdin" if path == "-" else path
        self.kinds = kinds

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, EstivaError) and isinstance(error, self.kinds):
            error.message = f"{self.path}: {error.message}"


def save(context: Context, options: Options) -> None:
    from estiva.engine.images import archive, lookup

    for ref in options.arguments:
        lookup.resolve(context.engine, ref)
    form, path = options.text("format", "docker-archive"), options.text("output")
    if form != "docker-archive":
        from estiva.engine.images import copy

        if form not in copy.FORMATS:
            raise InvalidInput(f"no format {form}", hint=f"one of {', '.join(copy.FORMATS)}")
        if form == "oci-dir" and path in ("", "-"):
            raise InvalidInput("a folder is not written to stdout", hint="use -o DIR")
        copy.save(context.engine, options.arguments, form, path or "-", Standard())
        return
    with Output(options.text("output"), Standard()) as stream:
        archive.save(context.engine, options.arguments, stream)


def load(context: Context, options: Options) -> None:
    from estiva.engine.images import archive

    path = options.text("input", "-")
    if path == "-" and os.isatty(0):
        raise InvalidInput("there is no archive on stdin", hint="use -i FILE, or redirect")
    platform = options.text("platform") or None
    if os.path.isdir(path):
        with Named(path, InvalidInput, IntegrityError, Unsupported):
            names = archive.load(context.engine, path, platform=platform)
    else:
        with open_source(path, Standard()) as source, Named(path, InvalidInput, IntegrityError, Unsupported):
            names = archive.load(context.engine, source, platform=platform)
    for name in names:
        _check_platform(context, name, platform)
        print(f"Loaded image ID: {name}" if name.startswith("sha256:") else f"Loaded image: {name}")


def _check_platform(context: Context, name: str, platform: str | None) -> None:
    """Say that an archive has an image for another platform than was asked for alone."""
    if platform:
        from estiva.cli.context import warn
        from estiva.engine.images import lookup, platforms

        image = lookup.find(context.engine, name)
        other = platforms.mismatch(image, name, platform) if image is not None else ""
        if other:
            warn(other)


def import_(context: Context, options: Options) -> None:
    from estiva.engine.images import archive

    path = options.arguments[0]
    if path == "-" and os.isatty(0):
        raise InvalidInput("there is no archive on stdin", hint="give a file, or redirect")
    with open_source(path, Standard()) as source, Named(path, IntegrityError):
        print(
            archive.import_(
                context.engine,
                source,
                options.arguments[1] if len(options.arguments) > 1 else None,
                changes=options.many("change"),
                message=options.text("message"),
                platform=options.text("platform") or None,
            )
        )


def from_host(context: Context, options: Options) -> None:
    from estiva.engine.images import archive

    print(
        archive.from_host(
            context.engine,
            options.arguments,
            name=options.text("tag") or None,
            files=options.many("file"),
            platform=options.text("platform") or None,
        )
    )


FROM_HOST = Verb(
    from_host,
    "PROGRAM [PROGRAM...]",
    "Make an image out of this machine's own programs, with the libraries they need",
    (
        ("f", "file", LIST, "PATH", "one more file or folder of this machine"),
        ("t", "tag", TEXT, "NAME[:TAG]", "name the image"),
        PLATFORM,
    ),
    least=1,
    examples=(("estiva image from-host -t base:host sh ls cat", "no registry needed"),),
)
SAVE = Verb(
    save,
    "IMAGE [IMAGE...]",
    "Write images to an archive that Docker and Podman load too",
    (
        ("o", "output", TEXT, "FILE", "write to a file (oci-dir: a folder) instead of stdout"),
        ("", "format", TEXT, "FORM", "docker-archive (an oci-archive too), oci-archive (as pulled), oci-dir"),
    ),
    least=1,
    examples=(
        ("estiva save web | ssh host estiva load", "to another machine"),
        ("estiva save --format oci-dir -o web.oci web", "the folder of an OCI layout"),
    ),
)
LOAD = Verb(
    load,
    "",
    "Read images from an archive, docker or oci, plain or compressed, or from an OCI layout's folder",
    (
        ("i", "input", TEXT, "FILE", "read a file instead of stdin"),
        ("q", "quiet", FLAG, "", "no progress (there is none anyway)"),
        PLATFORM,
    ),
    most=0,
    examples=(("estiva load -i web.tar", "what 'docker save' wrote"),),
)
IMPORT = Verb(
    import_,
    "FILE|- [REPOSITORY[:TAG]]",
    "Make an image out of a tar of a filesystem",
    (
        ("c", "change", LIST, "INSTRUCTION", "apply a Dockerfile instruction, such as 'CMD [\"sh\"]'"),
        ("m", "message", TEXT, "TEXT", "comment in the history"),
        PLATFORM,
    ),
    least=1,
    most=2,
    examples=(("estiva import -c 'CMD [\"/bin/sh\"]' rootfs.tar base", "what 'estiva export' wrote"),),
)
