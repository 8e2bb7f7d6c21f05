"""Verbs that look into images: image layers, and diff of two images."""

from __future__ import annotations

from estiva.cmdline.parser import FLAG, TEXT, Options, Verb
from estiva.errors import oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.cli.context import Context


def layers(context: Context, options: Options) -> None:
    from estiva.cli.format import tables, units
    from estiva.engine.images import inspect

    truncate = not options.flag("no-trunc")
    found = inspect.layers(context.engine, options.arguments[0])
    template = options.text("format")
    if template == "json":
        from estiva import fastjson

        print(fastjson.dumps(found))
        return
    rows: list[dict[str, Any]] = [
        {
            "ID": units.short_id(each["diff_id"]) if truncate else each["diff_id"],
            "Size": units.size(each["size"], 3),
            "Added": str(each["added"]),
            "Changed": str(each["changed"]),
            "Removed": str(each["removed"]),
            "Wasted": units.size(each["wasted"], 3),
            "CreatedBy": units.ellipsis(_made(each), 60) if truncate else _made(each),
        }
        for each in found
    ]
    headings = [
        ("ID", "LAYER"),
        ("Size", "SIZE"),
        ("Added", "ADDED"),
        ("Changed", "CHANGED"),
        ("Removed", "REMOVED"),
        ("Wasted", "WASTED"),
        ("CreatedBy", "CREATED BY"),
    ]
    tables.show(rows, headings, template)
    if not template and found:
        size, wasted = sum(each["size"] for each in found), sum(each["wasted"] for each in found)
        print(f"total {units.size(size, 3)}, of which {units.size(wasted, 3)} overwritten or removed later")


def _made(layer: dict[str, Any]) -> str:
    from estiva.oci.image import instruction

    return instruction(str(layer["created_by"]))


def diff(context: Context, options: Options) -> None:
    from estiva.engine.images import inspect

    found = inspect.diff(context.engine, options.arguments[0], options.arguments[1])
    if options.text("format") == "json":
        from estiva import fastjson

        words = {"A": "added", "C": "changed", "D": "deleted"}
        grouped: dict[str, list[str]] = {word: [] for word in words.values()}
        for kind, path in found:
            grouped[words[kind]].append(path)
        print(fastjson.dumps(grouped))
        return
    for kind, path in found:
        print(kind, oneline(path))


LAYERS = Verb(
    layers,
    "IMAGE",
    "Show what each layer of an image adds, changes, removes, and what of it is overwritten later",
    (
        ("", "format", TEXT, "TEMPLATE", "json (bytes), or a Go template such as '{{.ID}} {{.Wasted}}'"),
        ("", "no-trunc", FLAG, "", "don't shorten ids and instructions"),
    ),
    least=1,
    most=1,
    examples=(("estiva image layers web", "the base first"),),
)
DIFF = Verb(
    diff,
    "IMAGE IMAGE",
    "Show what the second image has added (A), changed (C) and deleted (D)",
    (("", "format", TEXT, "json", "one object with three lists of paths"),),
    least=2,
    most=2,
    examples=(("estiva image diff web:1 web:2", "what the new version brings"),),
)
