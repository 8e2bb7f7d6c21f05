"""Verbs on what builds keep: `builder du`, `prune`, `rm` and `export`."""

from __future__ import annotations

from estiva.cli.standard import Standard
from estiva.cmdline.parser import FLAG, LIST, TEXT, UsageError, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.cli.context import Context
    from estiva.cmdline.parser import Options
    from estiva.engine.builds.upkeep import Entry, Keep

COLUMNS = (
    ("ID", "ID"), ("Type", "TYPE"), ("Reclaimable", "RECLAIMABLE"), ("Size", "SIZE"),
    ("LastUsedAt", "LAST ACCESSED"), ("Description", "DESCRIPTION"),
)  # fmt: skip
KNOWN = (("CreatedAt", "CREATED"), ("Shared", "SHARED"), ("InUse", "IN USE"))
SHORT = 60  # characters of a description
FILTER = ("", "filter", LIST, "KEY=VALUE", "only what matches: id, type, until, description, shared, inuse")


def du(context: Context, options: Options) -> None:
    from estiva.cli.format import tables, units
    from estiva.engine.builds import upkeep

    found = upkeep.entries(context.engine, tables.filters(options.many("filter"), upkeep.FILTERS))
    rows = [_row(entry, options.flag("verbose") or options.given("format")) for entry in reversed(found)]
    tables.show(rows, COLUMNS, options.text("format"), KNOWN)
    if not options.given("format"):
        free = sum(entry.size for entry in found if not entry.busy)
        print(f"Reclaimable: {units.size(free)}\nTotal: {units.size(sum(entry.size for entry in found))}")


def _row(entry: Entry, whole: bool) -> dict[str, object]:
    import time

    from estiva.cli.format import units

    text = entry.description if whole else units.ellipsis(entry.description, SHORT)
    return {
        "ID": entry.id if whole else entry.id[:12],
        "Type": entry.type,
        "Reclaimable": str(not entry.busy).lower(),
        "Size": units.size(entry.size),
        "LastUsedAt": units.ago(time.time() - entry.used),
        "CreatedAt": units.local_time(entry.created),
        "Shared": str(entry.shared).lower(),
        "InUse": str(entry.busy).lower(),
        "Description": text,
    }


def prune(context: Context, options: Options) -> None:
    from estiva.cli.format import tables, units
    from estiva.cli.image.images import confirm
    from estiva.engine.builds import upkeep

    filters = tables.filters(options.many("filter"), upkeep.FILTERS)
    keep = _keep(options)
    some = bool(filters) or keep.says
    if not confirm(options, "a part of the build cache" if some else "all of the build cache"):
        return
    done = upkeep.prune(context.engine, filters=filters, keep=keep)
    if done["steps"]:
        print(f"Deleted build cache: {done['steps']} steps\n")
    if done["mounts"]:
        print("\n".join(["Deleted cache mounts:", *done["mounts"], ""]))
    if done["busy"]:
        print("Its content stays for now: another command is storing images.\n")
    print(f"Total reclaimed space: {units.size(done['bytes'])}")


def _keep(options: Options) -> Keep:
    from estiva.engine.builds import upkeep
    from estiva.oci import units

    given: dict[str, int] = {}
    for name in ("keep-storage", "reserved-space", "max-used-space", "min-free-space"):
        if options.given(name):
            try:
                given[name] = units.size(options.text(name), 1000)
            except ValueError as error:
                raise UsageError(f"--{name}: {error}", hint="10GB, 500MB") from None
    free = given.pop("min-free-space", None)
    return upkeep.Keep(max(given.values(), default=None), free)


def rm(context: Context, options: Options) -> None:
    from estiva.engine.builds import upkeep

    for name in upkeep.remove(context.engine, options.arguments):
        print(name)


def export(context: Context, options: Options) -> None:
    from estiva.engine.builds import upkeep
    from estiva.engine.images.outfile import Output

    with Output(options.text("output", "-"), Standard()) as out:
        upkeep.export(context.engine, options.arguments[0], out)


DU = Verb(
    du,
    "",
    "Show what builds keep for the next ones: steps and cache mounts",
    (
        FILTER,
        ("", "format", TEXT, "TEMPLATE", "a Go template for each, or json"),
        ("", "verbose", FLAG, "", "whole ids and descriptions"),
    ),
    most=0,
    examples=(("estiva builder du --filter type=exec.cachemount", "the folders of RUN --mount=type=cache"),),
)

PRUNE = Verb(
    prune,
    "",
    "Remove the build cache and cache mounts; images stay",
    (
        ("a", "all", FLAG, "", ""),  # Docker's word for what is done anyway
        FILTER,
        ("f", "force", FLAG, "", "don't ask"),
        ("", "keep-storage", TEXT, "SIZE", "remove what was used least recently, until no more is left"),
        ("", "max-used-space", TEXT, "SIZE", "the same"),
        ("", "min-free-space", TEXT, "SIZE", "the same, until so much of the disk is free"),
        ("", "reserved-space", TEXT, "SIZE", "the same as --keep-storage"),
    ),
    most=0,
    examples=(
        ("estiva builder prune -f", "the next build runs every step"),
        ("estiva builder prune -f --keep-storage 10GB --filter until=24h", "what is old, down to 10 GB"),
    ),
)

RM = Verb(
    rm,
    "ID...",
    "Remove cache mounts",
    (),
    least=1,
    examples=(("estiva builder rm 3f2a", "that of an id of `estiva builder du`"),),
)

EXPORT = Verb(
    export,
    "ID",
    "Write the files of a cache mount as a tar",
    (("o", "output", TEXT, "FILE", "where to (default stdout)"),),
    least=1,
    most=1,
    examples=(("estiva builder export 3f2a -o pip.tar", "what RUN --mount=type=cache has kept"),),
)
