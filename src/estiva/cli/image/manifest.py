"""Verbs on manifest lists: manifest create, add, annotate, inspect, push, remove, rm, exists."""

from __future__ import annotations

from estiva.cmdline.parser import FLAG, LIST, TEXT, Options, Verb
from estiva.errors import InvalidInput, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.cli.context import Context


def _insecure(options: Options, *names: str) -> None:
    """--insecure is so anyway on loopback, and nowhere else. Raises Unsupported."""
    from estiva.engine.images import lookup

    for name in names if options.flag("insecure") else ():
        host = lookup.parse(name).registry
        if not host.startswith(("localhost", "127.", "[::1]")):
            raise Unsupported(
                f"--insecure is not supported for {host}",
                hint="plain-http or verify of registries.toml says it of one registry (docs/cli.md)",
            )


def create(context: Context, options: Options) -> None:
    from estiva.engine.images import manifest_lists

    name, *images = options.arguments
    _insecure(options, name, *images)
    print(
        manifest_lists.create(
            context.engine, name, images, amend=options.flag("amend"), every=options.flag("all")
        )
    )


def add(context: Context, options: Options) -> None:
    from estiva.engine.images import manifest_lists

    name, *images = options.arguments
    for image in images:
        for digest in manifest_lists.add(
            context.engine,
            name,
            image,
            every=options.flag("all"),
            platform=_platform(options),
            annotations=_annotations(options),
        ):
            print(digest)


def _platform(options: Options) -> dict[str, str]:
    keys = {"os": "os", "arch": "architecture", "variant": "variant", "os-version": "os.version"}
    found = {key: options.text(name) for name, key in keys.items() if options.given(name)}
    if options.given("platform"):
        system, _, rest = options.text("platform").partition("/")
        architecture, _, variant = rest.partition("/")
        found |= {"os": system, "architecture": architecture, **({"variant": variant} if variant else {})}
    for value in found.values():
        if not value.isascii() or not value.isprintable() or " " in value or "/" in value:
            raise InvalidInput(f"invalid platform {value!r}", hint="write it as linux/amd64 or linux/arm/v7")
    return found


def _annotations(options: Options) -> dict[str, str]:
    found = {}
    for word in options.many("annotation"):
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise InvalidInput(f"invalid annotation '{word}'", hint="an annotation is KEY=VALUE")
        found[key] = value
    return found


def annotate(context: Context, options: Options) -> None:
    from estiva.engine.images import manifest_lists

    platform, annotations = _platform(options), _annotations(options)
    if not platform and not annotations:
        raise InvalidInput("nothing to annotate", hint="give --os, --arch, --variant or --annotation")
    name, image = options.arguments
    print(manifest_lists.annotate(context.engine, name, image, platform, annotations))


def inspect(context: Context, options: Options) -> None:
    import json

    from estiva.engine.images import manifest_lists

    if options.flag("verbose"):
        raise Unsupported("manifest inspect --verbose is not supported yet", hint="leave it out")
    _insecure(options, options.arguments[0])
    print(
        json.dumps(manifest_lists.inspect(context.engine, options.arguments[0]), indent=2, ensure_ascii=True)
    )


def push(context: Context, options: Options) -> None:
    from estiva.cli.format.progress import Progress
    from estiva.engine.images import manifest_lists

    name, *target = options.arguments
    if not options.flag("all", True):
        raise Unsupported("manifest push --all=false is not supported: a list is sent with its images")
    _insecure(options, *(target or [name]))
    with Progress(2) as progress:
        digest = manifest_lists.push(
            context.engine, name, "".join(target), progress=None if options.flag("quiet") else progress
        )
    if options.flag("purge"):
        manifest_lists.remove(context.engine, name)
    print(digest)


def remove(context: Context, options: Options) -> None:
    from estiva.engine.images import manifest_lists

    print(manifest_lists.take(context.engine, options.arguments[0], options.arguments[1]))


def rm(context: Context, options: Options) -> int:
    from estiva.engine.images import manifest_lists

    return context.each(options.arguments, lambda name: manifest_lists.remove(context.engine, name))


def exists(context: Context, options: Options) -> int:
    from estiva.engine.images import manifest_lists

    return 0 if manifest_lists.find(context.engine, options.arguments[0]) is not None else 1


def ls(context: Context, options: Options) -> None:
    from estiva.engine.images import manifest_lists

    for name in manifest_lists.names(context.engine):
        print(name)


ALL = ("", "all", FLAG, "", "all images of an index, not only the one for this machine")
DESCRIBE = (
    ("", "os", TEXT, "OS", "its operating system"),
    ("", "arch", TEXT, "ARCH", "its architecture"),
    ("", "variant", TEXT, "VARIANT", "the architecture's variant"),
    ("", "os-version", TEXT, "VERSION", "the version of the operating system"),
    ("", "platform", TEXT, "OS/ARCH[/VARIANT]", "the first three in one"),
    ("", "annotation", LIST, "KEY=VALUE", "say something of it in the index"),
)

CREATE = Verb(
    create,
    "LIST [IMAGE...]",
    "Begin a manifest list, of local images or of images in registries",
    (("a", "amend", FLAG, "", "add to a list that is there"), ALL, ("", "insecure", FLAG, "", "")),
    least=1,
    examples=(
        ("estiva manifest create example.org/web:1 example.org/web:1-amd64 example.org/web:1-arm64", ""),
    ),
)
ADD = Verb(
    add,
    "LIST IMAGE [IMAGE...]",
    "Add images to a manifest list",
    (ALL, *DESCRIBE),
    least=2,
    examples=(("estiva manifest add --platform linux/arm64 web:1 web:arm", "a local image"),),
)
ANNOTATE = Verb(
    annotate,
    "LIST IMAGE",
    "Change the platform or the annotations of an image in a manifest list",
    DESCRIBE,
    least=2,
    most=2,
    examples=(("estiva manifest annotate --arch arm --variant v7 web:1 web:arm", ""),),
)
INSPECT = Verb(
    inspect,
    "NAME",
    "Show a manifest list, or the manifest or index that a registry has under a name",
    (("v", "verbose", FLAG, "", ""), ("", "insecure", FLAG, "", "")),
    least=1,
    most=1,
    examples=(("estiva manifest inspect alpine:3.20", "which platforms it has"),),
)
PUSH = Verb(
    push,
    "LIST [NAME]",
    "Send a manifest list with its images to a registry",
    (
        ("p", "purge", FLAG, "", "remove the list here afterwards"),
        ("", "all", FLAG, "", ""),
        ("q", "quiet", FLAG, "", "print only the digest"),
        ("", "insecure", FLAG, "", ""),
    ),
    least=1,
    most=2,
    examples=(("estiva manifest push web:1 registry.example.org/web:1", "under another name"),),
)
REMOVE = Verb(
    remove,
    "LIST IMAGE|DIGEST",
    "Take an image out of a manifest list",
    least=2,
    most=2,
    examples=(("estiva manifest remove web:1 web:arm", ""),),
)
RM = Verb(
    rm,
    "LIST [LIST...]",
    "Remove manifest lists; images stay",
    least=1,
    examples=(("estiva manifest rm web:1", ""),),
)
EXISTS = Verb(
    exists,
    "LIST",
    "End with 0 if there is such a manifest list, with 1 if not",
    least=1,
    most=1,
    examples=(("estiva manifest exists web:1 || estiva manifest create web:1", ""),),
)
LS = Verb(ls, "", "List the manifest lists", most=0, examples=(("estiva manifest ls", "their names"),))
