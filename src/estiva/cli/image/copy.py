"""Verbs that move images past the store or ask registries: image copy, image referrers, search."""

from __future__ import annotations

from estiva.cli.standard import Standard
from estiva.cmdline.parser import FLAG, INT, LIST, TEXT, Options, Verb
from estiva.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.cli.context import Context

COMPRESSION = (
    (
        "",
        "compression",
        TEXT,
        "gzip|zstd|none",
        "how layers are compressed (default: as they came, else gzip)",
    ),
    ("", "compression-level", INT, "N", "gzip 1 to 9, zstd 1 to 22 (default: fast)"),
)


def level(options: Options) -> int | None:
    return options.number("compression-level") if options.given("compression-level") else None


def copy(context: Context, options: Options) -> None:
    from estiva.cli.format.progress import Progress
    from estiva.engine.images import copy as copying

    source, target = options.arguments
    quiet = options.flag("quiet")
    with Progress(2) as progress:
        digest = copying.copy(
            context.engine,
            source,
            target,
            platform=options.text("platform") or None,
            every=options.flag("all"),
            compression=options.text("compression"),
            level=level(options),
            progress=None if quiet else progress,
            standard=Standard(),
        )
    if copying.Place.parse(target).where != "-":  # there the archive is on stdout
        print(digest)


def referrers(context: Context, options: Options) -> None:
    from estiva import fastjson
    from estiva.cli.format import tables, units
    from estiva.engine.images import registry

    digest, found = registry.referrers(options.arguments[0], options.text("artifact-type"))
    if options.text("format") == "json":
        print(fastjson.dumps({"digest": digest, "referrers": found}))
        return
    rows: list[dict[str, Any]] = [
        {
            "Digest": item["digest"],
            "ArtifactType": item.get("artifactType") or item["mediaType"],
            "Size": units.size(item["size"], 3),
            "MediaType": item["mediaType"],
            "Annotations": item.get("annotations") or {},
        }
        for item in found
    ]
    headings = [("Digest", "DIGEST"), ("ArtifactType", "ARTIFACT TYPE"), ("Size", "SIZE")]
    tables.show(rows, headings, options.text("format"))


def search(context: Context, options: Options) -> None:
    from estiva.cli.format import tables, units
    from estiva.engine.images import registry

    wanted = tables.filters(options.many("filter"), SEARCH_FILTERS)
    asked = "".join(wanted.get("is-official", [])[-1:])
    if asked not in ("", "true", "false"):
        raise InvalidInput(f"invalid filter 'is-official={asked}'", hint="true or false")
    official = asked == "true" if asked else None
    stars = "".join(wanted.get("stars", [])[-1:]) or "0"
    if not stars.isdecimal() or len(stars) > 9:
        raise InvalidInput(f"invalid filter 'stars={stars}'", hint="a number")
    limit = options.number("limit") if options.given("limit") else 25
    rows = []
    for item in registry.search(options.arguments[0], limit, official, int(stars)):
        text = item["Description"].replace("\n", " ")
        shown = text if options.flag("no-trunc") else units.ellipsis(text, 45)
        row = {**item, "Description": shown, "IsOfficial": "[OK]" if item["IsOfficial"] else ""}
        rows.append({**row, "IsAutomated": ""})
    headings = [
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("StarCount", "STARS"),
        ("IsOfficial", "OFFICIAL"),
    ]
    tables.show(rows, headings, options.text("format"))


SEARCH_FILTERS = ("stars", "is-official")
FORMAT = ("", "format", TEXT, "TEMPLATE", "json, or a Go template such as '{{.Name}}'")

COPY = Verb(
    copy,
    "SOURCE TARGET",
    "Copy an image between registries, layout folders, archives and the local store",
    (
        ("a", "all", FLAG, "", "the images of all platforms, and what else the index names"),
        ("", "platform", TEXT, "OS/ARCH", "platform of the image (default: this machine's)"),
        *COMPRESSION,
        ("q", "quiet", FLAG, "", "print only the digest"),
    ),
    least=2,
    most=2,
    examples=(
        ("estiva image copy --all alpine:3.20 registry.example.org/base/alpine:3.20", "registry to registry"),
        ("estiva image copy docker://alpine:3.20 oci:./alpine:3.20", "into an OCI layout"),
        ("estiva image copy oci-archive:web.tar store:web:1", "into this machine's images"),
        ("estiva image copy store:web docker-archive:-:web:1 | ssh host docker load", "also to stdout"),
    ),
)
REFERRERS = Verb(
    referrers,
    "NAME[:TAG|@DIGEST]",
    "List what refers to an image at its registry: signatures, attestations, bills of material",
    (("", "artifact-type", TEXT, "TYPE", "only those of this type"), FORMAT),
    least=1,
    most=1,
    examples=(("estiva image referrers registry.example.org/web:1.2", "by the distribution spec"),),
)
SEARCH = Verb(
    search,
    "[HOST/]TERM",
    "Search Docker Hub, or the list of repositories of another registry",
    (
        ("f", "filter", LIST, "KEY=VALUE", "stars=N, is-official=true"),
        FORMAT,
        ("", "limit", INT, "N", "at most so many (default 25, at most 100)"),
        ("", "no-trunc", FLAG, "", "don't shorten descriptions"),
    ),
    least=1,
    most=1,
    examples=(("estiva search --limit 5 postgres", "at Docker Hub"),),
)
