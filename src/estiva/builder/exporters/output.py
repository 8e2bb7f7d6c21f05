"""Where a build's result goes: the words of -o/--output, --push and --load, as buildx has them, judged.

    type=image      an image of this machine's store, with push=true at its registry too
    type=registry   the same with push=true
    type=docker     an archive for docker load; without dest= an image of this machine's store
    type=oci        an OCI image layout: a tar, or with tar=false a folder
    type=local      the files of the root filesystem, in a folder
    type=tar        the same as a tar
    type=cacheonly  nothing: the steps are kept, as always

A word without "=" is a folder for type=local, and - a tar for stdout.
"""

from __future__ import annotations

from estiva import files
from estiva.builder import fields
from estiva.builder.exporters.annotations import Annotations
from estiva.errors import InvalidInput, Unsupported, oneline
from estiva.oci.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


KINDS = ("image", "registry", "docker", "oci", "local", "tar", "cacheonly")
IMAGES = ("image", "docker", "oci")
COMPRESSIONS = {"gzip": "gzip", "zstd": "zstd", "uncompressed": "tar", "none": "tar"}
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
_PACKING = {"compression", "compression-level", "force-compression", "oci-mediatypes"}
_IMAGE = {"name", "rewrite-timestamp", "source-date-epoch", "oci-artifact"}
ATTRIBUTES = {
    "image": _IMAGE | _PACKING | {"push", "push-by-digest", "name-canonical", "unpack", "store"},
    "docker": _IMAGE | {"dest", "tar", "compression", "compression-level", "force-compression"},
    "oci": _IMAGE | _PACKING | {"dest", "tar"},
    "local": {"dest", "platform-split", "attestation-prefix", "source-date-epoch", "mode"},
    "tar": {"dest", "platform-split", "attestation-prefix", "source-date-epoch"},
    "cacheonly": set(),
}
REFUSED = {
    "attestation-inline": "attestations are beside the image always",
    "buildinfo": "--provenance tells more",
    "buildinfo-attrs": "--provenance tells more",
    "compatibility-version": "images are made in one way here",
    "context": "there is no other daemon to load it into",
    "danging-name-empty-only": "give it a name",
    "dangling-name-prefix": "give it a name",
    "prefer-nondist-layers": "layers can be distributed here",
    "registry.insecure": "plain-http or verify of registries.toml says it of one registry",
}


class Output:
    """One output, judged. `names` are references as text; `level` is None for the usual one; `compression`
    "gzip", "zstd", "tar" or "" for what is usual."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.dest = ""  # a path, or "-"
        self.names: list[str] = []
        self.annotations = Annotations()
        self.push = self.by_digest = self.canonical = False
        self.tar = self.store = self.artifact = self.oci_types = True
        self.compression = ""
        self.level: int | None = None
        self.force = False
        self.rewrite = False
        self.split: bool | None = None
        self.prefix = ""
        self.epoch: int | None = None  # seconds

    @property
    def image(self) -> bool:
        """Whether it ends in this machine's store."""
        return self.kind == "image" or self.kind == "docker" and not self.dest

    @property
    def packed(self) -> bool:
        """Whether it asks for something that only a manifest of its own has."""
        return bool(self.annotations or self.compression or self.push or not self.oci_types) or self.force

    @property
    def references(self) -> list[Reference]:
        return [Reference.parse(name) for name in self.names]


def judge(
    words: Sequence[str | Mapping[str, object]],
    *,
    tags: Sequence[str] = (),
    annotations: Sequence[str] = (),
    push: bool = False,
    load: bool = False,
) -> list[Output]:
    """The outputs of a build; without any word an image of the store.

    `tags` name all images, instead of name=. `annotations` are words of --annotation. Raises InvalidInput,
    and Unsupported for what is refused by name.
    """
    for tag in tags:
        Reference.parse(tag)
    outputs = [_one(word) for word in words]
    if push:
        images = [output for output in outputs if output.kind == "image"] or [Output("image")]
        outputs += [output for output in images if output not in outputs]
        for output in images:
            output.push = True
    if not outputs or load and not any(output.image for output in outputs):
        outputs.append(Output("image"))
    for output in outputs:
        _complete(output, tags, annotations)
    if sum(output.dest == "-" for output in outputs) > 1:
        raise InvalidInput("several outputs can't go to stdout", hint="give files by dest=FILE")
    return outputs


def _complete(output: Output, tags: Sequence[str], annotations: Sequence[str]) -> None:
    if output.kind in IMAGES and tags:
        output.names = list(tags)
    for name in output.names:
        if Reference.parse(name).digest:
            raise InvalidInput(f"{oneline(name)} has a digest, which can't be given as a name")
    for word in annotations if output.kind in IMAGES else ():
        output.annotations.add(word)
    if output.kind == "docker" and output.dest and output.annotations:
        raise Unsupported("type=docker has no place for annotations", hint="type=oci has")
    if not output.oci_types and output.annotations:
        raise InvalidInput("oci-mediatypes=false has no place for annotations")
    if output.push and not output.names:
        raise InvalidInput("to push the image, it needs a name", hint="-t REGISTRY/NAME:TAG")


def _one(word: str | Mapping[str, object]) -> Output:
    given = _fields(word) if isinstance(word, str) else {key: _text(each) for key, each in word.items()}
    kind = given.pop("type", "")
    if not kind:
        raise InvalidInput(f"the output {oneline(str(word))} has no type", hint="type=" + "|".join(KINDS))
    if kind not in KINDS:
        raise InvalidInput(f"unknown output type {oneline(kind)!r}", hint="one of " + ", ".join(KINDS))
    output = Output("image" if kind == "registry" else kind)
    output.push = kind == "registry"
    for key, value in given.items():
        if output.kind in IMAGES and output.annotations.attribute(key, value):
            continue
        if key in REFUSED:
            raise Unsupported(f"the output attribute {key} is not supported: {REFUSED[key]}")
        if key not in ATTRIBUTES[output.kind]:
            raise InvalidInput(
                f"type={kind} has no attribute {oneline(key)!r}",
                hint="it has " + ", ".join(sorted(ATTRIBUTES[output.kind])),
            )
        _attribute(output, key, value)
    _place(output)
    return output


def _text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _fields(word: str) -> dict[str, str]:
    """A word of --output: fields as CSV has them (RFC 4180), so that one may hold a comma."""

    def wrong(error: str) -> InvalidInput:
        return InvalidInput(f"invalid output {oneline(word)!r}: {error}")

    cells = fields.cells(word, wrong)
    if cells == [word] and "=" not in word:
        return {"type": "tar", "dest": "-"} if word == "-" else {"type": "local", "dest": word}
    return fields.pairs(cells, wrong, exact="annotation")


def _attribute(output: Output, key: str, value: str) -> None:
    if key == "dest":
        if not files.nameable(value):
            raise InvalidInput(f"{oneline(value)!r} can't be the path of an output")
        output.dest = value
    elif key == "name":
        output.names = [name for name in value.split(",") if name]
    elif key == "compression":
        if value not in COMPRESSIONS:
            raise Unsupported(
                f"compression={oneline(value)} is not supported", hint="one of gzip, zstd, uncompressed"
            )
        output.compression = COMPRESSIONS[value]
    elif key in ("compression-level", "source-date-epoch"):
        if not (value.isascii() and value.isdecimal()) or len(value) > 11:
            raise InvalidInput(f"{key} must be a whole number, not {oneline(value)!r}")
        if key == "compression-level":
            output.level = int(value)
        else:
            output.epoch = int(value)
    elif key == "attestation-prefix":
        if "/" in value or "\0" in value:
            raise InvalidInput(f"{key} begins a file's name, which {oneline(value)!r} can't")
        output.prefix = value
    elif key == "mode":
        if value != "copy":
            raise Unsupported(f"mode={oneline(value)} is not supported: what is in the folder stays")
    else:
        _switch(output, key, _boolean(key, value))


def _switch(output: Output, key: str, on: bool) -> None:
    if key == "unpack":
        if not on:
            raise Unsupported("unpack=false is not supported: the store has layers unpacked always")
        return
    name = {
        "push-by-digest": "by_digest", "name-canonical": "canonical", "force-compression": "force",
        "oci-mediatypes": "oci_types", "oci-artifact": "artifact", "platform-split": "split",
        "rewrite-timestamp": "rewrite",
    }.get(key, key)  # fmt: skip
    setattr(output, name, on)


def _boolean(key: str, value: str) -> bool:
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise InvalidInput(f"{key} is true or false, not {oneline(value)!r}")


def _place(output: Output) -> None:
    """What the attributes say together."""
    from estiva.store.layers.compress import check_level

    kind = output.kind
    check_level(output.compression or "gzip", output.level)
    if kind == "local":
        if output.dest in ("", "-"):
            raise InvalidInput("type=local needs a folder", hint="dest=FOLDER")
    elif kind == "tar":
        output.dest = output.dest or "-"
    elif kind == "oci":
        if not output.tar and output.dest in ("", "-"):
            raise InvalidInput("type=oci,tar=false needs a folder", hint="dest=FOLDER")
        output.dest = output.dest or "-"
    elif kind == "docker":
        if not output.tar:
            raise Unsupported(
                "type=docker,tar=false is not supported", hint="type=oci,tar=false writes a folder"
            )
        if output.dest and output.compression not in ("", "tar"):
            raise Unsupported(
                "type=docker has its layers uncompressed",
                hint="type=oci is compressed, and docker load reads it",
            )
