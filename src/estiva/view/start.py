"""A start, step by step, from what was written down while it happened (runtime/recorder.py)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from estiva.files import read_bounded
from estiva.runtime.records import CALL, STEP, unpacked
from estiva.speech import count, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.engine import Engine
    from estiva.runtime.records import Record

FILE = "start.steps"  # in a container's folder
LIMIT = 8 << 20  # bytes of it
_SHORT = re.compile("[0-9a-f]{64}")  # ids, which lists show the beginning of


@dataclass(frozen=True, slots=True)
class Did:
    """One thing that was done. `at` and `took` are seconds, `at` from the first on. `kind` is step, call or
    message; `who` is command line, monitor or init. `result` is "" for what went well and gave nothing;
    `times`: how often in a row."""

    at: float
    took: float
    who: str
    kind: str
    text: str
    object: str
    result: str
    times: int


def path_of(engine: Engine, container_id: str) -> str:
    return f"{engine.paths.container(container_id)}/{FILE}"


def read(path: str) -> tuple[Did, ...]:
    """What was done, in order; nothing for a start that nobody wanted explained. Raises OSError."""
    try:
        return ordered(unpacked(read_bounded(path, LIMIT)))
    except FileNotFoundError:
        return ()


def ordered(records: list[Record]) -> tuple[Did, ...]:
    """By when it began; a step before what is done in it. The same call again and again is told once."""
    found: list[Did] = []
    first = min((record[0] for record in records), default=0)
    for when, took, who, kind, text, thing, result in sorted(
        records, key=lambda record: (record[0], record[3] != STEP, -record[1])
    ):
        did = Did((when - first) / 1e9, took / 1e9, who, kind, text, thing, result, 1)
        last = found[-1] if found else None
        if last is not None and kind == CALL and _same(last, did):
            found[-1] = Did(
                last.at, last.took + did.took, who, kind, text, last.object, last.result, last.times + 1
            )
        else:
            found.append(did)
    return tuple(found)


def _same(one: Did, other: Did) -> bool:
    one_call, other_call = (one.who, one.kind, one.text), (other.who, other.kind, other.text)
    return one_call == other_call and one.object == other.object and not one.result and not other.result


def lines(done: tuple[Did, ...]) -> list[str]:
    """For people: when, who, what, with what result, and how long it took."""
    found = []
    for each in done:
        text = _SHORT.sub(lambda found: found[0][:12], say(each.text) if each.kind == STEP else each.text)
        text = text if each.kind == STEP else f"  {text}"
        words = [text, _SHORT.sub(lambda found: found[0][:12], each.object)]
        if each.times > 1:
            words.append(count(each.times, "({n} time)", "({n} times)"))
        if each.result:
            words.append(each.result if each.result.startswith("=") else f"-> {each.result}")
        what = " ".join(word for word in words if word)
        found.append(f"{each.at * 1000:8.2f} ms  {say(each.who):<12}  {what}  [{each.took * 1000:.2f} ms]")
    return found
