"""How the live view looks: rows of text for a terminal of some size. Nothing is written here.

Of a build that goes on, what matters most where not all has room: the steps that run, what they write, the
latest that have ended, in the order of the Dockerfile's stages. At the end every step is there.
"""

from __future__ import annotations

from estiva.cli.build.progress.lines import harmless
from estiva.cli.build.progress.steps import Pull, Step, Steps
from estiva.errors import oneline

LOG = 6  # lines of what a running step writes
MARKS = {"running": "»", "done": "✓", "cached": "=", "error": "✗", "canceled": "-", "log": "│", "more": "…"}
ASCII = {"running": ">", "done": "+", "cached": "=", "error": "x", "canceled": "-", "log": "|", "more": "..."}
COLOURS = {"head": "1", "running": "36", "done": "32", "cached": "2", "error": "31", "canceled": "33",
           "log": "2", "more": "2", "warning": "33"}  # fmt: skip
NARROW = 30  # columns below which no time is shown
LOW = 10  # lines below which no warning is shown before the end
BAR = 20  # columns


class Row:
    """`left`, cut where it is too long, and `right`, at the end of the line; `kind` gives the colour."""

    __slots__ = ("kind", "left", "right")

    def __init__(self, kind: str, left: str, right: str = "") -> None:
        self.kind = kind
        self.left = left
        self.right = right


def rows(
    steps: Steps, title: str, now: float, height: int, marks: dict[str, str], end: str = ""
) -> list[Row]:
    """The rows of a terminal with so many lines. `end` is how the build has ended: then there are as many as
    there is to show."""
    head = _head(steps, title, now, end)
    warnings = [Row("warning", f"warning: {oneline(text)}") for text in steps.warnings]
    if end:
        shown = [_step(step, now, marks) for step in _ordered(steps)]
        pulls = [_pull(pull, now, marks, over=True) for pull in steps.pulls.values()]
        return [head, *pulls, *shown, *warnings]
    pulls = [_pull(pull, now, marks) for pull in steps.pulls.values() if not pull.whole and not pull.failed]
    room = max(height - 1, 1)  # the cursor stands below the last
    fixed = [head, *pulls[: max(room // 3, 1)], *(warnings[-2:] if room >= LOW else ())]
    body = _body(_ordered(steps), now, room - len(fixed), marks)
    return [*fixed[:1], *body, *fixed[1:]][:room]


def _body(steps: list[Step], now: float, room: int, marks: dict[str, str]) -> list[Row]:
    """The steps, and the latest lines of those that run: first lines go, then the oldest steps that ended."""
    running = [step for step in steps if step.status == "running"]
    count = LOG
    while count and len(steps) + len(running) * count > room:
        count -= 1
    if not count and running and len(running) * 2 < room:
        count = 1  # a line of each, rather than steps that are over
    hidden = 0
    kept = list(steps)
    if len(kept) + len(running) * count > room:
        room_for_over = max(room - len(running) * (1 + count) - 1, 0)
        over = [step for step in kept if step.status != "running"]
        gone = set(map(id, sorted(over, key=lambda step: step.number)[: len(over) - room_for_over]))
        hidden = len(gone)
        kept = [step for step in kept if id(step) not in gone]
    found = [Row("more", f"{marks['more']} {hidden} steps are over")] if hidden else []
    for step in kept:
        found.append(_step(step, now, marks))
        if step.status == "running" and count:
            tail = [harmless(line).expandtabs() for line in step.lines.tail if line.strip()]
            found += [Row("log", f"  {marks['log']} {line}") for line in tail[-count:]]
    return found


def _ordered(steps: Steps) -> list[Step]:
    """By stage, the stages as they began."""
    first: dict[tuple[str, str], int] = {}
    for step in steps.steps.values():
        first.setdefault((step.platform, step.stage), step.number)
    return sorted(steps.steps.values(), key=lambda step: (first[step.platform, step.stage], step.number))


def _head(steps: Steps, title: str, now: float, end: str) -> Row:
    over = sum(step.status not in ("running", "canceled") for step in steps.steps.values())
    cached = sum(step.status == "cached" for step in steps.steps.values())
    words = f"{end or 'building'} {oneline(title)}".rstrip()
    counted = f"{over}/{max(steps.total, len(steps.steps))} steps" + (f", {cached} cached" if cached else "")
    kind = "error" if end in ("failed", "interrupted") else "head"
    return Row(kind, words, f"{counted} {clock(now - steps.started)}")


def _step(step: Step, now: float, marks: dict[str, str]) -> Row:
    text = f"{marks[step.status]} {step.label} {oneline(step.instruction)}"
    words = {"cached": "CACHED", "error": "ERROR ", "canceled": "CANCELED "}.get(step.status, "")
    return Row(step.status, text, words if step.status == "cached" else words + clock(step.took(now)))


def _pull(pull: Pull, now: float, marks: dict[str, str], over: bool = False) -> Row:
    came, total = pull.bytes
    status = "done" if pull.whole else pull.failed or ("canceled" if over else "running")
    left = f"{marks[status]} {pull.verb} {oneline(pull.name)}"
    if total and status == "running":
        full = min(came * BAR // total, BAR)
        left += f" {'#' * full}{'.' * (BAR - full)}"
    if total:
        left += f" {size(came)} of {size(total)}"
    elif came:
        left += f" {size(came)}"
    words = {"canceled": "CANCELED ", "error": "ERROR "}.get(status, "")
    return Row(status, left, words + clock(pull.took(now)))


def clock(seconds: float) -> str:
    """ "12.3s", "2m05s", "1h02m"."""
    if seconds < 60:
        return f"{max(seconds, 0.0):.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def size(count: int) -> str:
    """ "12.3 MB"."""
    number = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError


def painted(row: Row, width: int, colours: bool) -> str:
    """One line of at most `width` columns, with colours or without."""
    from rich.cells import cell_len, set_cell_size

    right = row.right if width >= NARROW else ""
    room = width - cell_len(right) - 1 if right else width
    left = row.left if cell_len(row.left) <= room else set_cell_size(row.left, max(room - 1, 0)) + "…"[:room]
    text = left + " " * (width - cell_len(left) - cell_len(right)) + right if right else left
    return f"\x1b[{COLOURS[row.kind]}m{text}\x1b[0m" if colours and row.kind in COLOURS else text
