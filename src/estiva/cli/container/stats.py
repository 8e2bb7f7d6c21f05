"""`stats`: what containers use, once or again and again."""

from __future__ import annotations

import os
import sys
import time

from estiva.cli.format import tables, units
from estiva.cmdline.parser import FLAG, TEXT, Options, Verb
from estiva.errors import Conflict, EstivaError, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.cli.context import Context
    from estiva.engine.state.types import Record

HEADINGS = [
    ("ID", "CONTAINER ID"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
]
KNOWN = [("Container", "CONTAINER")]
INTERVAL = 1.0  # seconds between two readings
CLEAR = "\033[2J\033[H"


class Watch:
    """The containers that are shown, with their last readings."""

    def __init__(self, context: Context, refs: list[str], all: bool, whole_ids: bool) -> None:
        self.engine = context.engine
        self.refs = refs
        self.all = all
        self.width = 64 if whole_ids else 12
        self.before: dict[str, dict[str, Any]] = {}

    def records(self) -> list[Record]:
        """Raises NotFound for a name that means no container."""
        from estiva.engine.containers import listing
        from estiva.engine.state import lookup

        if self.refs:
            return [lookup.resolve(self.engine, ref) for ref in self.refs]
        return list(listing.listing(self.engine, all=self.all))

    def read(self) -> list[dict[str, str]]:
        """One row for each container, in Docker's words."""
        from estiva.engine.containers import stats

        rows = []
        now: dict[str, dict[str, Any]] = {}
        for index, record in enumerate(self.records()):
            id = record["Id"]
            usage = None
            if record["State"]["Running"]:
                try:
                    usage = now[id] = stats.stats(self.engine, id)
                except (Conflict, NotFound):
                    pass  # it has ended just now
            figures = stats.figures(self.before.get(id), usage) if usage is not None else None
            rows.append(
                {
                    "Container": self.refs[index] if self.refs else id[: self.width],
                    "ID": id[: self.width],
                    "Name": record["Name"].removeprefix("/"),
                    **words(figures),
                }
            )
        self.before = now
        return rows


def words(figures: dict[str, Any] | None) -> dict[str, str]:
    if figures is None:
        return {
            **dict.fromkeys(("CPUPerc", "MemPerc"), "0.00%"),
            **dict.fromkeys(("MemUsage", "NetIO", "BlockIO"), "0B / 0B"),
            "PIDs": "0",
        }
    return {
        "CPUPerc": f"{figures['cpu']:.2f}%",
        "MemUsage": f"{units.binary_size(figures['memory'])} / {units.binary_size(figures['limit'])}",
        "MemPerc": f"{figures['percent']:.2f}%",
        "NetIO": f"{units.size(figures['received'], 3)} / {units.size(figures['sent'], 3)}",
        "BlockIO": f"{units.size(figures['read'], 3)} / {units.size(figures['written'], 3)}",
        "PIDs": str(figures["pids"]),
    }


def stats(context: Context, options: Options) -> int:
    watch = Watch(context, options.arguments, options.flag("all"), options.flag("no-trunc"))
    template = options.text("format")
    watch.read()  # the percentage of cpu needs two readings
    clear = CLEAR if os.isatty(1) else ""
    while True:
        time.sleep(INTERVAL)
        try:
            rows = watch.read()
        except EstivaError:
            if options.flag("no-stream"):
                raise
            return 0  # one that was named is removed
        sys.stdout.write(clear if not options.flag("no-stream") else "")
        tables.show(rows, HEADINGS, template, KNOWN)
        sys.stdout.flush()
        if options.flag("no-stream"):
            return 0


STATS = Verb(
    stats,
    "[CONTAINER...]",
    "Show what containers use, until it is interrupted",
    (
        ("a", "all", FLAG, "", "stopped ones too"),
        ("", "format", TEXT, "TEMPLATE", "json, or a Go template such as '{{.Name}} {{.MemUsage}}'"),
        ("", "no-stream", FLAG, "", "once"),
        ("", "no-trunc", FLAG, "", "don't shorten ids"),
    ),
    examples=(
        ("estiva stats --no-stream", "all that run, once"),
        ("estiva stats --format 'table {{.Name}}\\t{{.CPUPerc}}' web", "two columns of one"),
    ),
)
