"""Lists on stdout: aligned columns, or a Go template for each row (--format)."""

from __future__ import annotations

from estiva.cmdline.parser import FlagError
from estiva.errors import InvalidInput, oneline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

MIN_WIDTH = 10
PADDING = 3
SPACES = {ord("-"): " ", ord("_"): " "}  # in the heading of a label


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines; a column is as wide as its widest cell, the last one is not padded.

    Cells hold what images and containers say: control characters are shown escaped (K9).
    """
    rows = [[oneline(cell) for cell in row] for row in rows]
    count = max((len(row) for row in rows), default=0)
    widths = [
        max(MIN_WIDTH, PADDING + max(len(row[i]) for row in rows if len(row) > i)) for i in range(count)
    ]
    lines = []
    for row in rows:
        cells = [f"{cell:{width}}" for cell, width in zip(row[:-1], widths, strict=False)]
        lines.append("".join([*cells, *row[-1:]]))
    return "\n".join(lines)


def show(
    rows: Iterable[dict[str, Any]],
    headings: Sequence[tuple[str, str]],
    template: str = "",
    known: Sequence[tuple[str, str]] = (),
) -> None:
    """Print rows: the (field, heading) columns, or by a template as --format takes it.

    "table TEMPLATE" aligns and heads the template's fields; "json" is one object in a line. `known` has the
    headings of fields that are not columns.
    """
    rows = list(rows)
    if template in ("", "table"):
        body = [[str(row[field]) for field, _ in headings] for row in rows]
        print(columns([[heading for _, heading in headings], *body]))
        return
    from estiva.cli.format.struct import Struct

    if template in ("json", "{{json .}}"):  # as Docker's rows are: by the alphabet
        template = "{{json .}}"
        rows = [
            Struct(dict(sorted(row.items())), row.hidden if isinstance(row, Struct) else {}) for row in rows
        ]
    from estiva.cli.format.template import Template

    table = template.startswith("table ")
    if table:
        template = template[6:].replace("\\t", "\t").replace("\\n", "\n")
        names = {field: field.upper() for row in rows[:1] for field in row}
        names.update({**dict(known), **dict(headings)})
        parsed = Template(template)
        names = Struct(names, {"Label": lambda key: key.rpartition(".")[2].translate(SPACES)})
        lines = [parsed.heading(names), *(parsed.render(row) for row in rows)]
        print(columns([line.split("\t") for line in lines]))
        return
    parsed = Template(template.replace("\\t", "\t").replace("\\n", "\n"))
    for row in rows:
        print(parsed.render(row))


def natural(name: str) -> list[tuple[str, int, str]]:
    """A key to sort names by, as docker sorts them: digits by their number, v9 before v10."""
    import re

    key = []
    for part in re.findall(r"[0-9]+|[^0-9]", name):
        digits = part.lstrip("0")
        key.append(("0", len(digits), digits) if part.isdigit() and part.isascii() else (part, 0, ""))
    return key


def filters(words: Iterable[str], allowed: Sequence[str]) -> dict[str, list[str]]:
    """KEY=VALUE words of --filter, grouped by key. Raises InvalidInput."""
    result: dict[str, list[str]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise FlagError(f"invalid filter '{word}'", hint="a filter is KEY=VALUE")
        if key not in allowed:
            raise InvalidInput(f"invalid filter '{key}'", hint=f"one of {', '.join(allowed)}")
        result.setdefault(key, []).append(value)
    return result
