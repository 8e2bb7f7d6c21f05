"""JSON and tables for the verbs that print something."""

from __future__ import annotations

from estiva import fastjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def pretty(value: object, indent: str = "") -> str:
    """JSON with two blanks of indentation, as runc prints it."""
    inner = indent + "  "
    if isinstance(value, dict) and value:
        lines = [f"{inner}{fastjson.dumps(str(k))}: {pretty(v, inner)}" for k, v in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(inner + pretty(v, inner) for v in value) + f"\n{indent}]"
    return fastjson.dumps(value)


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC with fractions of a second."""
    import time

    whole = int(seconds)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{int((seconds - whole) * 1e6):06d}Z"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they must be, three blanks between them."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
