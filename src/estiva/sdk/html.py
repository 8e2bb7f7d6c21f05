"""What a notebook shows of containers, images, results (`_repr_html_` of IPython): small tables, no script.

All text is somebody else's, a container's among it: it is escaped, shortened and stripped of what controls a
terminal or turns the direction of text.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from estiva.errors import EstivaError, oneline

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CELL = 200  # characters
LINES, WIDTH = 40, 400  # of a command's output
ROWS = 200
STYLE = "text-align:left;vertical-align:top;white-space:pre-wrap"


def text(value: object, limit: int = CELL) -> str:
    """One cell's."""
    plain = str(value)
    short = plain if len(plain) <= limit else plain[:limit] + "…"
    return html.escape(oneline(short))


def table(rows: Iterable[Sequence[object]], headings: Sequence[str] = ()) -> str:
    """Rows of cells; without headings the first cell of each is one."""
    lines = []
    if headings:
        cells = "".join(f'<th style="{STYLE}">{text(each)}</th>' for each in headings)
        lines.append(f"<tr>{cells}</tr>")
    for number, row in enumerate(rows):
        if number == ROWS:
            lines.append(f'<tr><td colspan="{len(row)}">…</td></tr>')
            break
        kinds = ["td" if headings or at else "th" for at in range(len(row))]
        cells = "".join(
            f'<{kind} style="{STYLE}">{text(each)}</{kind}>' for kind, each in zip(kinds, row, strict=True)
        )
        lines.append(f"<tr>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def output(data: bytes) -> str:
    """The end of what a command has written."""
    lines = data[-LINES * WIDTH :].decode(errors="replace").splitlines()
    shown = "\n".join(text(line, WIDTH) for line in lines[-LINES:])
    more = "…\n" if len(lines) > LINES or len(data) > LINES * WIDTH else ""
    return f'<pre style="{STYLE}">{more}{shown}</pre>'


def size(number: float) -> str:
    """Bytes in words."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def container(box: Any) -> str:
    """Of a Container."""
    try:
        record = box.inspect()
    except EstivaError:
        return table([("container", box.short_id), ("status", "gone")])
    state, config = record["State"], record["Config"]
    rows: list[tuple[str, object]] = [
        ("container", record["Name"].removeprefix("/")),
        ("id", box.short_id),
        ("image", config["Image"]),
        ("command", " ".join([record["Path"], *record["Args"]])),
        ("status", state["Status"] if state["Running"] else f"{state['Status']} ({state['ExitCode']})"),
    ]
    ports = [f"{port.address}:{port.host} → {port.container}/{port.protocol}" for port in box.ports]
    addresses = [f"{name}: {address}" for name, address in box.ips.items()]
    health = state.get("Health") or {}
    for name, found in (("address", addresses), ("ports", ports)):
        rows += [(name, ", ".join(found))] if found else []
    if health.get("Status"):
        rows.append(("health", health["Status"]))
    end = state.get("Exit") or {}
    if not state["Running"] and end.get("Meaning"):
        rows.append(("ended", end["Meaning"]))
    return table(rows)


def image(found: Any) -> str:
    """Of an Image, with its layers."""
    head = table(
        [
            ("image", ", ".join(found.tags) or "(no name)"),
            ("id", found.short_id),
            ("size", size(found.size)),
        ]
    )
    try:
        steps = found.history()
    except EstivaError:
        return head
    rows = [(size(step["Size"]), step["CreatedBy"]) for step in reversed(steps)]
    return head + table(rows, ("size", "instruction"))


def layers(found: Sequence[dict[str, Any]]) -> str:
    """Of an image's layers."""
    rows = [
        (
            each["diff_id"].removeprefix("sha256:")[:12],
            size(each["size"]),
            each["added"],
            each["changed"],
            each["removed"],
            size(each["wasted"]),
            each["created_by"],
        )
        for each in found
    ]
    return table(rows, ("layer", "size", "added", "changed", "removed", "wasted", "instruction"))


def result(found: Any) -> str:
    """Of a Result."""
    rows: list[tuple[str, object]] = [("status", found.status)]
    if found.oom:
        rows.append(("memory", "its limit was reached"))
    parts = [table(rows)]
    for name in ("stdout", "stderr"):
        if data := getattr(found, name):
            parts.append(f"<b>{name}</b>{output(data)}")
    return "".join(parts)
