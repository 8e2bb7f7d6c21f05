"""The anatomy on a terminal, by rich: panels with tables. What is shown is text, never rich's markup."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from estiva.view import words

if TYPE_CHECKING:
    from collections.abc import Callable

    from estiva.view.shapes import Anatomy

TONES = {words.PLAIN: "", words.GOOD: "green", words.BAD: "yellow", words.DIM: "dim"}


def show(body: Anatomy) -> None:
    Console(highlight=False).print(_whole(body))


def watch(look: Callable[[], Anatomy], seconds: float) -> None:
    """On a screen of its own, until Ctrl-C."""
    console = Console(highlight=False)
    with Live(_whole(look()), console=console, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(seconds)
            live.update(_whole(look()), refresh=True)


def _whole(body: Anatomy) -> Group:
    parts: list[Text | Table] = []
    for section in words.sections(body):
        parts += [Text(section.title, style="bold cyan"), _section(section), Text("")]
    return Group(*parts)


def _section(section: words.Section) -> Text | Table:
    if not section.heads:
        return Text("\n").join(Text("  " + row.cells[0], style=TONES[row.tone]) for row in section.rows)
    table = Table(
        box=None, show_header=any(section.heads), header_style="dim", padding=(0, 2, 0, 0), pad_edge=False
    )
    table.add_column("")
    for head in section.heads:
        table.add_column(Text(head), overflow="fold")
    for row in section.rows:
        cells = [*row.cells, *[""] * (len(section.heads) - len(row.cells))]
        table.add_row("", *(Text(cell) for cell in cells), style=TONES[row.tone] or None)
    return table
