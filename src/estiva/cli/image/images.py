"""Verbs on local images: images, rmi, tag, history, prune."""

from __future__ import annotations

from estiva.cmdline.parser import FLAG, LIST, TEXT, Options, UsageError, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.cli.context import Context

NONE = "<none>"
FORMAT = ("", "format", TEXT, "TEMPLATE", "json, or a Go template such as '{{.Repository}}'")
NO_TRUNC = ("", "no-trunc", FLAG, "", "don't shorten ids and commands")
QUIET = ("q", "quiet", FLAG, "", "ids only")


def images(context: Context, options: Options) -> None:
    from estiva.cli.format import tables
    from estiva.engine.images import filters, inspect

    wanted = tables.filters(options.many("filter"), filters.FILTERS)
    if options.arguments:
        wanted.setdefault("reference", []).append(options.arguments[0])
    truncate, digests = not options.flag("no-trunc"), options.flag("digests")
    listing = inspect.listing(context.engine, all=options.flag("all"), filters=wanted)
    rows = [row for entry in listing for row in rows_of(entry, digests, truncate)]
    if options.flag("quiet") and options.text("format") in ("", "table"):
        for image_id in dict.fromkeys(row["ID"] for row in rows):
            print(image_id)
        return
    headings = [("Repository", "REPOSITORY"), ("Tag", "TAG")]
    headings += [("Digest", "DIGEST")] if digests else []
    headings += [("ID", "IMAGE ID"), ("CreatedSince", "CREATED"), ("Size", "SIZE")]
    known = [("CreatedAt", "CREATED AT"), ("Digest", "DIGEST"), ("Containers", "CONTAINERS")]
    tables.show(rows, headings, options.text("format"), known)


def rows_of(entry: dict[str, Any], digests: bool, truncate: bool) -> list[dict[str, Any]]:
    """One row for each name of an image, as Docker's formatter has them."""
    import time

    from estiva.cli.format import units
    from estiva.cli.format.struct import labelled

    known = dict(item.rsplit("@", 1) for item in entry["RepoDigests"])
    names: list[tuple[str, str, str]] = []
    for tag in entry["RepoTags"]:
        repository, _, name = tag.rpartition(":")
        names.append((repository, name, known.get(repository, NONE)))
    if not names:
        found = list(known.items()) if digests or not entry["RepoTags"] else []
        names = [(repository, NONE, digest) for repository, digest in found] or [(NONE, NONE, NONE)]
    created = entry["Created"]
    return [
        labelled(
            {
                "ID": units.short_id(entry["Id"]) if truncate else entry["Id"],
                "Repository": repository,
                "Tag": tag,
                "Digest": digest,
                "CreatedSince": units.ago(time.time() - created) if created else "N/A",
                "CreatedAt": units.local_time(created),
                "Size": units.size(entry["Size"], 3),
                "VirtualSize": units.size(entry["Size"], 3),
                "UniqueSize": "N/A",
                "SharedSize": "N/A",
                "Containers": str(entry["Containers"]),
            },
            entry["Labels"],
        )
        for repository, tag, digest in names
    ]


def rmi(context: Context, options: Options) -> int:
    from estiva.cli.context import tell
    from estiva.engine.images import lookup as verbs
    from estiva.errors import EstivaError, Missing

    status, force = 0, options.flag("force")
    for ref in options.arguments:
        try:
            print("\n".join(verbs.remove(context.engine, ref, force=force)))
        except EstivaError as error:
            tell(error)
            if not (force and isinstance(error, Missing) and error.name == ref):
                status = 1
    return status


def tag(context: Context, options: Options) -> None:
    from estiva.engine.images import lookup as verbs

    verbs.tag(context.engine, options.arguments[0], options.arguments[1])


def history(context: Context, options: Options) -> None:
    import time

    from estiva.cli.format import tables, units
    from estiva.engine.images import inspect

    truncate, human = not options.flag("no-trunc"), options.flag("human", True)
    rows = []
    for entry in inspect.history(context.engine, options.arguments[0]):
        created = entry["Created"]
        command = entry["CreatedBy"].replace("\t", " ")
        moment = units.local_time(created)
        rows.append(
            {
                "ID": units.short_id(entry["Id"]) if truncate else entry["Id"],
                "CreatedSince": (units.ago(time.time() - created) if human else moment) if created else "N/A",
                "CreatedAt": moment if created else "",
                "CreatedBy": units.ellipsis(command, 45) if truncate else command,
                "Size": units.size(entry["Size"], 3) if human else str(entry["Size"]),
                "Comment": entry["Comment"],
            }
        )
    if options.flag("quiet"):
        for row in rows:
            print(row["ID"])
        return
    headings = [
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ]
    tables.show(rows, headings, options.text("format"))


def confirm(options: Options, what: str) -> bool:
    """Ask before something is removed, unless --force was given. Raises UsageError where nobody answers."""
    import os
    import sys

    if options.flag("force"):
        return True
    if os.isatty(0):
        sys.stderr.write(f"WARNING! This will remove {what}.\nAre you sure you want to continue? [y/N] ")
        sys.stderr.flush()
    answer = sys.stdin.readline(80)
    if not answer and not os.isatty(0):
        raise UsageError("nobody can be asked here", hint="-f removes without asking")
    return answer.strip().lower() in ("y", "yes")


def prune(context: Context, options: Options) -> None:
    from estiva.cli.format import tables, units
    from estiva.engine.images import lookup as verbs
    from estiva.engine.state.prune_filters import FILTERS

    wanted = tables.filters(options.many("filter"), FILTERS)
    everything = options.flag("all")
    what = "all images that no container uses" if everything else "all images without a name"
    if not confirm(options, what):
        return
    lines, freed = verbs.prune(context.engine, all=everything, filters=wanted)
    if lines:
        print("Deleted Images:")
        print("\n".join(line[0].lower() + line[1:] for line in lines))
        print()
    print(f"Total reclaimed space: {units.size(freed)}")


IMAGES = Verb(
    images,
    "[REPOSITORY[:TAG]]",
    "List images",
    (
        ("a", "all", FLAG, "", "intermediate images of builds too"),
        ("", "digests", FLAG, "", "with their digests"),
        ("f", "filter", LIST, "KEY=VALUE", "reference, label, dangling, before, since or until"),
        FORMAT,
        NO_TRUNC,
        QUIET,
    ),
    most=1,
    examples=(
        ("estiva images --filter dangling=true", "images without a name"),
        ("estiva images --format '{{.Repository}}:{{.Tag}} {{.Size}}'", "one line for each"),
    ),
)
RMI = Verb(
    rmi,
    "IMAGE [IMAGE...]",
    "Remove images",
    (
        ("f", "force", FLAG, "", "with all its names, and though stopped containers use it"),
        ("", "no-prune", FLAG, "", ""),
    ),
    least=1,
    examples=(("estiva rmi alpine:3.20", "the name, and the image with its last name"),),
)
TAG = Verb(
    tag,
    "IMAGE NAME[:TAG]",
    "Give an image one more name",
    least=2,
    most=2,
    examples=(("estiva tag web registry.example.org/web:1.2", "before a push"),),
)
HISTORY = Verb(
    history,
    "IMAGE",
    "Show the steps that made an image",
    (FORMAT, ("H", "human", FLAG, "", "sizes and dates for people (default true)"), NO_TRUNC, QUIET),
    least=1,
    most=1,
    examples=(("estiva history --no-trunc web", "the whole commands"),),
)
PRUNE = Verb(
    prune,
    "",
    "Remove images that have no name",
    (
        ("a", "all", FLAG, "", "every image that no container uses"),
        ("", "filter", LIST, "KEY=VALUE", "only those that match: until, label, label!"),
        ("f", "force", FLAG, "", "don't ask"),
    ),
    most=0,
    examples=(("estiva image prune -af", "all that is not in use"),),
)
