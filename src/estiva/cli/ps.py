"""`ps`: the list of containers (cold path)."""

from __future__ import annotations

from estiva.cli.parser import FLAG, INT, LIST, TEXT, Options, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.cli.main import Context

FILTERS = (
    "id", "name", "label", "status", "ancestor", "exited", "volume", "network", "before", "since", "health",
    "publish", "expose",
)  # fmt: skip
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
    ("Labels", "LABELS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Mounts", "MOUNTS"),
    ("Networks", "NETWORKS"),
    ("Size", "SIZE"),
    ("State", "STATE"),
]


def ps(context: Context, options: Options) -> None:
    from estiva.engine import containers

    wanted: dict[str, list[str]] = {}
    if options.given("filter"):
        from estiva.cli.tables import filters

        wanted = filters(options.many("filter"), FILTERS)
    last = 1 if options.flag("latest") else options.number("last", -1)
    everything = options.flag("all") or last > 0 or "status" in wanted or "exited" in wanted
    listing = containers.listing(context.engine, all=everything, filters=wanted)
    if last > 0:
        listing = sorted(listing, key=lambda row: row["CreatedAt"], reverse=True)[:last]
    truncate = not options.flag("no-trunc")
    if options.flag("quiet") and not options.given("format"):
        for row in listing:
            print(row["ID"][:12] if truncate else row["ID"])
        return
    from estiva.cli import tables

    headings = [*HEADINGS, ("Size", "SIZE")] if options.flag("size") else HEADINGS
    rows = [_row(row, truncate) for row in listing]
    tables.show(rows, headings, options.text("format"), KNOWN)


def _row(entry: dict[str, Any], truncate: bool) -> dict[str, Any]:
    """A listing's entry in the words of Docker's formatter."""
    import time

    from estiva.cli import units

    row = {key: _words(value) for key, value in entry.items()}
    created = entry["CreatedAt"]
    row["CreatedAt"] = units.local_time(created)
    row["RunningFor"] = units.ago(time.time() - created)
    command = str(entry.get("Command") or "")
    row["Command"] = f'"{units.ellipsis(command, 20) if truncate else command}"'
    if truncate:
        row["ID"] = row["ID"][:12]
        if row["Image"].startswith("sha256:"):
            row["Image"] = units.short_id(row["Image"])
    if isinstance(entry.get("Size"), int):
        row["Size"] = units.size(entry["Size"], 3)
    row["Size"] = row.get("Size") or "0B"
    return row


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ",".join(f"{key}={text}" for key, text in sorted(value.items()))
    if isinstance(value, list | tuple):
        return ",".join(str(item) for item in value)
    return "" if value is None else str(value)


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
