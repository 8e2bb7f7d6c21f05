"""`events`: what happens to containers, images, volumes and networks."""

from __future__ import annotations

import sys

from estiva.cmdline.parser import LIST, TEXT, Options, Verb
from estiva.errors import oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from estiva.cli.context import Context


def events(context: Context, options: Options) -> None:
    from estiva.cli.container.logs import moment
    from estiva.engine import events as happening

    wanted: dict[str, list[str]] = {}
    if options.given("filter"):
        from estiva.cli.format.tables import filters

        wanted = filters(options.many("filter"), (*happening.FILTERS, *happening.FOREIGN))
    show = shown(options.text("format"))
    since, until = moment(options.text("since")), moment(options.text("until"))
    for event in happening.events(context.engine, since=since, until=until, filters=wanted):
        sys.stdout.write(show(event) + "\n")
        sys.stdout.flush()


def shown(template: str) -> Any:
    """What makes a line of an event."""
    if not template:
        return line
    from estiva.cli.format.struct import Struct
    from estiva.cli.format.template import Template

    parsed = Template("{{json .}}" if template == "json" else template)

    def render(event: dict[str, Any]) -> str:
        fields = {"Scope": "scope", "Time": "time", "TimeNano": "timeNano"}
        legacy = {"Status": "status", "ID": "id", "From": "from"}
        hidden: dict[str, Any] = {field: event[key] for field, key in fields.items()}
        hidden |= {field: event.get(key, "") for field, key in legacy.items()}
        return parsed.render(Struct(event, hidden))

    return render


def line(event: dict[str, Any]) -> str:
    """As docker shows it: 2026-01-31T12:00:00.000000001Z container start ID (image=alpine, name=web)."""
    attributes = sorted(event["Actor"]["Attributes"].items())
    words = [local(event["timeNano"]), event["Type"], event["Action"], event["Actor"]["ID"]]
    said = ", ".join(f"{key}={value}" for key, value in attributes)
    return oneline(" ".join(words) + (f" ({said})" if said else ""))


def local(nanoseconds: int) -> str:
    """RFC 3339 in this machine's time zone, nanoseconds always."""
    import time

    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    zone = time.strftime("%z", time.localtime(seconds))
    zone = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.localtime(seconds))}.{rest:09}{zone}"


EVENTS = Verb(
    events,
    "",
    "Show what happens to containers, images, volumes and networks",
    (
        (
            "f",
            "filter",
            LIST,
            "KEY=VALUE",
            "only those that match: container, event, label, type, ...",
        ),
        ("", "format", TEXT, "TEMPLATE", "json, or a Go template such as '{{.Action}} {{.Actor.ID}}'"),
        ("", "since", TEXT, "TIME", "from then on: 10m, a timestamp, or 2024-11-24T13:38:00"),
        ("", "until", TEXT, "TIME", "up to then, and end"),
    ),
    most=0,
    examples=(
        ("estiva events --since 10m --until 0s", "what has happened lately"),
        ("estiva events --filter event=die --format json", "containers as they end"),
    ),
)
