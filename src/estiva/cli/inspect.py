"""`inspect`: all that is known of containers, images, volumes and networks, as JSON or by a template."""

from __future__ import annotations

from estiva.cmdline.parser import FLAG, TEXT, Options, Verb
from estiva.errors import EstivaError, InvalidInput, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.cli.context import Context
    from estiva.engine import Engine

    Finder = Callable[[Engine, str], dict[str, Any]]

KINDS = ("container", "image", "volume", "network")


def _container(engine: Engine, ref: str) -> dict[str, Any]:
    from estiva.engine.containers import inspect as inspection

    return {**inspection.inspect(engine, ref)}


def _image(engine: Engine, ref: str) -> dict[str, Any]:
    from estiva.engine.images import inspect as image_inspection

    return image_inspection.inspect(engine, ref)


def _volume(engine: Engine, ref: str) -> dict[str, Any]:
    from estiva.engine import volumes

    return volumes.inspect(engine, ref)


def _network(engine: Engine, ref: str) -> dict[str, Any]:
    from estiva.engine.networks import look

    return look.inspect(engine, ref)


FINDERS: dict[str, Finder] = {
    "container": _container,
    "image": _image,
    "volume": _volume,
    "network": _network,
}


def find(engine: Engine, ref: str, kinds: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """(kind, thing): the first of `kinds` that has a thing called `ref`. Raises NotFound."""
    for kind in kinds:
        try:
            return kind, FINDERS[kind](engine, ref)
        except (NotFound, InvalidInput):
            if len(kinds) == 1:
                raise
    raise NotFound(f"no such object: {ref}", hint="a container, an image, a volume or a network")


def add_size(engine: Engine, record: dict[str, Any]) -> None:
    """SizeRw and SizeRootFs of a container: bytes that it has written, and those with its image."""
    from estiva.engine.containers import changes
    from estiva.engine.images import lookup

    found: Any = record
    record["SizeRw"] = changes.size(engine, found)
    record["SizeRootFs"] = record["SizeRw"] + lookup.resolve(engine, record["Image"]).size


def for_template(kind: str, item: dict[str, Any]) -> dict[str, Any]:
    """A thing as templates see it: with Docker's kinds, and the zero values of what is left out where it is
    empty."""
    from estiva.cli.format.declared import shape

    made: dict[str, Any] = shape(item, kind.capitalize())
    return made


def show(
    context: Context, refs: list[str], template: str, kinds: tuple[str, ...], *, size: bool = False
) -> int:
    """Print what is found, and tell what is not. The exit status."""
    from estiva.cli.context import tell, warn

    found: list[tuple[str, dict[str, Any]]] = []
    status = 0
    for ref in refs:
        try:
            kind, item = find(context.engine, ref, kinds)
            if size and kind == "container":
                add_size(context.engine, item)
            elif size:
                warn(f"--size ignored for {kind}s")
            found.append((kind, item))
        except EstivaError as error:
            tell(error)
            status = 1
    if template in ("", "json"):
        import json

        items = [item for _, item in found]
        if template == "json":
            print(json.dumps(items, ensure_ascii=False, separators=(",", ":")))
        else:
            print(json.dumps(items, ensure_ascii=False, indent=4))
        return status
    from estiva.cli.format.template import Template

    parsed = Template(template)
    for kind, item in found:
        print(parsed.render(for_template(kind, item)))
    return status


def inspect(context: Context, options: Options) -> int:
    kind = options.text("type")
    if kind and kind not in KINDS:
        raise InvalidInput(f'"{kind}" is not a valid value for --type', hint=", ".join(KINDS))
    return show(
        context,
        options.arguments,
        options.text("format"),
        (kind,) if kind else KINDS,
        size=options.flag("size"),
    )


def inspect_container(context: Context, options: Options) -> int:
    template, size = options.text("format"), options.flag("size")
    return show(context, options.arguments, template, ("container",), size=size)


def inspect_image(context: Context, options: Options) -> int:
    return show(context, options.arguments, options.text("format"), ("image",))


FORMAT = ("f", "format", TEXT, "TEMPLATE", "json, or a Go template such as '{{.Config.Image}}'")
SIZE = ("s", "size", FLAG, "", "of containers, what they have written, in bytes, too")

INSPECT = Verb(
    inspect,
    "NAME [NAME...]",
    "Show all that is known of containers, images, volumes or networks",
    (FORMAT, SIZE, ("", "type", TEXT, "KIND", "only a container, image, volume or network")),
    least=1,
    examples=(
        ("estiva inspect web", "as JSON"),
        ("estiva inspect -f '{{.State.Status}}' web", "one field"),
    ),
)
INSPECT_CONTAINER = Verb(
    inspect_container,
    "CONTAINER [CONTAINER...]",
    "Show all that is known of containers",
    (FORMAT, SIZE),
    least=1,
    examples=(("estiva container inspect -f '{{.NetworkSettings.IPAddress}}' web", "its address"),),
)
INSPECT_IMAGE = Verb(
    inspect_image,
    "IMAGE [IMAGE...]",
    "Show all that is known of images",
    (FORMAT,),
    least=1,
    examples=(("estiva image inspect -f '{{json .Config.Env}}' alpine", "its variables"),),
)
