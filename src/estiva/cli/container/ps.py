"""`ps`: the list of containers (cold path)."""

from __future__ import annotations

from estiva.cli.context import FORMAT_IGNORED, warn
from estiva.cmdline.parser import FLAG, INT, LIST, TEXT, Options, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.cli.context import Context
    from estiva.engine.state.types import Record
    from estiva.errors import EstivaError

HEADINGS = [
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("Ports", "PORTS"),
    ("Names", "NAMES"),
]
KNOWN = [
    ("CreatedAt", "CREATED AT"),
    ("Exit", "EXIT"),
    ("Labels", "LABELS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Mounts", "MOUNTS"),
    ("Networks", "NETWORKS"),
    ("Size", "SIZE"),
    ("State", "STATE"),
]


def ps(context: Context, options: Options) -> None:
    from estiva.engine.containers import listing as container_listing

    wanted: dict[str, list[str]] = {}
    if options.given("filter"):
        from estiva.cli.format.tables import filters

        wanted = filters(options.many("filter"), container_listing.FILTERS)
    last = 1 if options.flag("latest") else options.number("last", -1)
    everything = options.flag("all") or last > 0 or "status" in wanted or "exited" in wanted
    damaged: list[EstivaError] = []
    listing = container_listing.listing(context.engine, all=everything, filters=wanted, damaged=damaged)
    for error in damaged:
        warn(f"{error}: `estiva rm -f` removes it")
    if last > 0:
        listing = listing[:last]
    truncate = not options.flag("no-trunc")
    if options.flag("quiet"):
        if options.given("format"):
            warn(FORMAT_IGNORED)
        for record in listing:
            print(record["Id"][:12] if truncate else record["Id"])
        return
    from estiva.cli.format import tables

    template = options.text("format")
    sized = options.flag("size") or ".Size" in template
    headings = [*HEADINGS, ("Size", "SIZE")] if options.flag("size") else HEADINGS
    rows = [row(context, record, truncate, sized) for record in listing]
    tables.show(rows, headings, template, KNOWN)


def row(context: Context, record: Record, truncate: bool, sized: bool) -> dict[str, Any]:
    """A container in the words of Docker's formatter."""
    import time

    from estiva.cli.format import units
    from estiva.cli.format.struct import labelled
    from estiva.engine.containers import listing
    from estiva.timestamps import seconds

    config = record["Config"]
    created = seconds(record["Created"])
    command = listing.command(record)
    mounts = [mount.get("Name") or mount["Source"] or mount["Destination"] for mount in record["Mounts"]]
    image = config.get("Image") or record["Image"]
    shown = {
        "ID": record["Id"][:12] if truncate else record["Id"],
        "Image": units.short_id(image) if truncate and image.startswith("sha256:") else image,
        "Command": f'"{units.ellipsis(command, 20) if truncate else command}"',
        "CreatedAt": units.local_time(created),
        "RunningFor": units.ago(time.time() - created),
        "State": record["State"]["Status"],
        "Status": listing.status(record["State"]),
        "Exit": "" if record["State"]["Running"] else record["State"].get("Exit", {}).get("Meaning", ""),
        "Ports": ports(record["NetworkSettings"].get("Ports") or {}),
        "Names": record["Name"].removeprefix("/"),
        "LocalVolumes": str(sum(1 for mount in record["Mounts"] if mount["Type"] == "volume")),
        "Mounts": ",".join(units.ellipsis(name, 15) if truncate else name for name in mounts),
        "Networks": ",".join(_networks(record)),
        "Size": _size(context, record) if sized else "0B",
    }
    return labelled(shown, config.get("Labels"))


def _networks(record: Record) -> list[str]:
    shown = record["NetworkSettings"].get("Networks")
    return sorted(shown) if shown else [record["HostConfig"].get("NetworkMode") or ""]


def _size(context: Context, record: Record) -> str:
    from estiva.cli.format import units
    from estiva.engine.containers import changes
    from estiva.engine.images import lookup

    written = changes.size(context.engine, record)
    whole = written + lookup.resolve(context.engine, record["Image"]).size
    return f"{units.size(written, 3)} (virtual {units.size(whole, 3)})"


def ports(table: dict[str, Any]) -> str:
    """Published and exposed ports as docker has them, in order of the port inside; neighbours whose port
    outside is the same are a range: "90-91/tcp, 0.0.0.0:9000-9002->9000-9002/tcp, 0.0.0.0:8080->80/tcp".
    """
    found = [
        (int(key.partition("/")[0]), binding["HostIp"], binding["HostPort"], key.partition("/")[2])
        for key, bindings in table.items()
        for binding in bindings or [{"HostIp": "", "HostPort": ""}]
    ]
    ranges: dict[tuple[str, str], tuple[int, int]] = {}  # by address ("": exposed) and protocol
    words, others = [], []
    for inner, address, outer, protocol in sorted(found):
        place = (address, protocol)
        if outer not in ("", str(inner)):
            others.append(f"{address}:{outer}->{inner}/{protocol}")
        elif place in ranges and ranges[place][1] == inner - 1:
            ranges[place] = (ranges[place][0], inner)
        else:
            if place in ranges:
                words.append(_range(place, ranges[place]))
            ranges[place] = (inner, inner)
    return ", ".join([*words, *(_range(*item) for item in ranges.items()), *others])


def _range(place: tuple[str, str], ends: tuple[int, int]) -> str:
    address, protocol = place
    text = str(ends[0]) if ends[0] == ends[1] else f"{ends[0]}-{ends[1]}"
    return f"{address}:{text}->{text}/{protocol}" if address else f"{text}/{protocol}"


PS = Verb(
    ps,
    "",
    "List containers",
    (
        ("a", "all", FLAG, "", "stopped ones too"),
        ("f", "filter", LIST, "KEY=VALUE", "only those that match: name, label, status, ancestor, ..."),
        ("", "format", TEXT, "TEMPLATE", "json, or a Go template such as '{{.ID}}\\t{{.Names}}'"),
        ("n", "last", INT, "N", "the last N created, in any state"),
        ("l", "latest", FLAG, "", "the last created, in any state"),
        ("", "no-trunc", FLAG, "", "don't shorten ids and commands"),
        ("q", "quiet", FLAG, "", "ids only"),
        ("s", "size", FLAG, "", "with the size of what it has written"),
    ),
    most=0,
    examples=(
        ("estiva ps -a --filter status=exited", "what has ended"),
        ("estiva ps --format 'table {{.Names}}\\t{{.Status}}'", "two columns"),
    ),
)
