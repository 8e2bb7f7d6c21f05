"""The verbs of `volume`: ls, create, inspect, rm, prune."""

from __future__ import annotations

from estiva.cmdline.parser import FLAG, LIST, TEXT, Options, UsageError, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.cli.context import Context


def ls(context: Context, options: Options) -> None:
    from estiva.cli.format import tables
    from estiva.engine import volumes

    wanted = tables.filters(options.many("filter"), volumes.FILTERS)
    listing = sorted(volumes.listing(context.engine, wanted), key=lambda entry: tables.natural(entry["Name"]))
    if options.flag("quiet") and options.text("format") in ("", "table"):
        for entry in listing:
            print(entry["Name"])
        return
    rows = [row(entry) for entry in listing]
    tables.show(rows, [("Driver", "DRIVER"), ("Name", "VOLUME NAME")], options.text("format"))


def row(entry: dict[str, Any]) -> dict[str, Any]:
    """A volume in the words of Docker's formatter."""
    from estiva.cli.format.struct import labelled

    unknown = dict.fromkeys(("Availability", "Group", "Links", "Size", "Status"), "N/A")
    return labelled(
        {**{key: entry[key] for key in ("Driver", "Name", "Mountpoint", "Scope")}, **unknown}, entry["Labels"]
    )


def create(context: Context, options: Options) -> None:
    from estiva.cli.options import values
    from estiva.engine import volumes

    try:
        labels = values.labels((), options.many("label"))
    except ValueError as error:
        raise UsageError(str(error)) from None
    given = {}
    for word in options.many("opt"):
        key, equals, value = word.partition("=")
        if not key:
            raise UsageError(f"invalid option '{word}': KEY=VALUE")
        given[key] = value
    name = options.text("name") or "".join(options.arguments)
    if options.text("name") and options.arguments and options.arguments[0] != name:
        raise UsageError("conflicting options: --name and a name as an argument")
    driver = options.text("driver", "local")
    print(volumes.create(context.engine, name or None, labels, driver=driver, options=given))


def export(context: Context, options: Options) -> None:
    from estiva.cli.standard import Standard
    from estiva.engine import volumes
    from estiva.engine.images.outfile import Output

    name = volumes.inspect(context.engine, options.arguments[0])["Name"]
    with Output(options.text("output"), Standard()) as stream:
        volumes.export(context.engine, name, stream)


def load(context: Context, options: Options) -> None:
    from estiva.cli.standard import Standard
    from estiva.engine import volumes
    from estiva.engine.images.outfile import open_source

    name, path = options.arguments
    volumes.inspect(context.engine, name)
    with open_source(path, Standard()) as stream:
        volumes.load(context.engine, name, stream)


def inspect(context: Context, options: Options) -> int:
    from estiva.cli.inspect import show

    return show(context, options.arguments, options.text("format"), ("volume",))


def rm(context: Context, options: Options) -> int:
    from estiva.engine import volumes

    force = options.flag("force")
    return context.each(options.arguments, lambda name: volumes.remove(context.engine, name, force=force))


def prune(context: Context, options: Options) -> None:
    from estiva.cli.format import tables, units
    from estiva.cli.image.images import confirm
    from estiva.engine import volumes

    wanted = tables.filters(options.many("filter"), volumes.PRUNE_FILTERS)
    everything = options.flag("all")
    if not confirm(options, f"{'all' if everything else 'anonymous'} volumes that no container uses"):
        return
    names, freed = volumes.prune(context.engine, all=everything, filters=wanted)
    if names:
        print("Deleted Volumes:", *names, "", sep="\n")
    print(f"Total reclaimed space: {units.size(freed)}")


FORMAT = ("f", "format", TEXT, "TEMPLATE", "json, or a Go template such as '{{.Mountpoint}}'")

LS = Verb(
    ls,
    "",
    "List volumes",
    (
        ("f", "filter", LIST, "KEY=VALUE", "name, label or dangling"),
        ("", "format", TEXT, "TEMPLATE", "json, or a Go template such as '{{.Name}}'"),
        ("q", "quiet", FLAG, "", "names only"),
    ),
    most=0,
    examples=(("estiva volume ls --filter dangling=true", "those that no container uses"),),
)
CREATE = Verb(
    create,
    "[NAME]",
    "Make a volume",
    (
        ("", "label", LIST, "K=V", "set a label"),
        ("d", "driver", TEXT, "DRIVER", "local, the only one"),
        ("o", "opt", LIST, "K=V", "type, device and o, as mount(8) has them"),
        ("", "name", TEXT, "", ""),
    ),
    most=1,
    examples=(
        ("estiva volume create data", "then: estiva run -v data:/data ..."),
        ("estiva volume create -o type=tmpfs -o device=tmpfs -o o=size=64m ram", "in memory"),
    ),
)
EXPORT = Verb(
    export,
    "VOLUME",
    "Write what a volume holds as a tar archive",
    (("o", "output", TEXT, "FILE", "write to a file instead of stdout"),),
    least=1,
    most=1,
    examples=(("estiva volume export -o data.tar data", "a backup"),),
)
IMPORT = Verb(
    load,
    "VOLUME FILE|-",
    "Unpack a tar archive into a volume",
    least=2,
    most=2,
    examples=(("estiva volume import data data.tar", "into a volume that is there"),),
)
INSPECT = Verb(
    inspect,
    "VOLUME [VOLUME...]",
    "Show all that is known of volumes",
    (FORMAT,),
    least=1,
    examples=(("estiva volume inspect -f '{{.Mountpoint}}' data", "where its files are"),),
)
RM = Verb(
    rm,
    "VOLUME [VOLUME...]",
    "Remove volumes and their files",
    (("f", "force", FLAG, "", "don't mind those that aren't there"),),
    least=1,
    examples=(("estiva volume rm data", "no container may have it"),),
)
PRUNE = Verb(
    prune,
    "",
    "Remove anonymous volumes that no container uses",
    (
        ("a", "all", FLAG, "", "named ones too"),
        ("", "filter", LIST, "KEY=VALUE", "only those that match: label, label!, all=true"),
        ("f", "force", FLAG, "", "don't ask"),
    ),
    most=0,
    examples=(("estiva volume prune -f", "in a script"),),
)
