"""Records of what a start does: how they are written, and read again. See recorder.py.

A record is (when, how long, who, kind, text, object, result): nanoseconds since the epoch, which no time
namespace changes; kind is STEP, CALL or MESSAGE; the result "" where there is nothing to say.
"""

from __future__ import annotations

from estiva import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    Record = tuple[int, int, str, str, str, str, str]

STEP, CALL, MESSAGE = "step", "call", "message"
MOST = 5000  # records of one process
_BETWEEN, _END = "\x1f", "\x1e"


def shown(text: str) -> str:
    """Fit for a record, and for people."""
    return errors.brief(text.replace(_BETWEEN, " ").replace(_END, " "), 200)


def packed(record: Record) -> bytes:
    line = _BETWEEN.join([str(record[0]), str(record[1]), *record[2:]]) + _END
    return line.encode("utf-8", "replace")


def unpacked(payload: bytes) -> list[Record]:
    """The records of a message. Those that make no sense are left out."""
    found = []
    for line in payload.decode("utf-8", "replace").split(_END):
        fields = line.split(_BETWEEN)
        if (
            len(fields) == 7
            and fields[0].isdigit()
            and fields[1].isdigit()
            and fields[3] in (STEP, CALL, MESSAGE)
        ):
            when, took, who, kind, text, thing, result = fields
            found.append((int(when), int(took), who, kind, text, shown(thing), shown(result)))
    return found[:MOST]
