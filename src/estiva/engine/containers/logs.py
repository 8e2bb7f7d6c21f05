"""A container's log: Docker's json-file form, one object a line, rotated.

    {"log":"text with its newline\\n","stream":"stdout","time":"2026-01-31T12:00:00.000000001Z"}

`Writer` is the monitor's; `logs` is the verb.
"""

from __future__ import annotations

from estiva.engine.state.logfile import Follower, entries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.engine import Engine


def logs(
    engine: Engine,
    ref: str,
    out: Callable[[bytes], object],
    err: Callable[[bytes], object],
    *,
    follow: bool = False,
    tail: int | None = None,
    since: float | None = None,
    until: float | None = None,
    timestamps: bool = False,
) -> None:
    """Give a container's output to `out` and `err`. `since`, `until`: epoch seconds; `tail`: lines.

    With `follow`, until the container ends. Raises NotFound.
    """
    from estiva.engine.state import lookup
    from estiva.timestamps import seconds

    record = lookup.resolve(engine, ref)
    path = engine.paths.container(record["Id"]) + "/log.json"

    def show(entry: dict[str, Any]) -> None:
        if since is not None or until is not None:
            moment = seconds(entry["time"])
            if (since is not None and moment < since) or (until is not None and moment > until):
                return
        text = f"{entry['time']} {entry['log']}" if timestamps else entry["log"]
        (err if entry["stream"] == "stderr" else out)(text.encode())

    # the tail of the file first, then what is appended from the same offset on
    with_follow = Follower(path) if follow else None
    if tail is None or tail < 0:
        for entry in entries(path) if with_follow is None else with_follow.before():
            show(entry)
    elif tail:
        from collections import deque

        source = entries(path) if with_follow is None else with_follow.before()
        for entry in deque(source, maxlen=tail):
            show(entry)
    elif with_follow is not None:
        for _ in with_follow.before():
            pass
    if with_follow is not None:
        with_follow.follow(show, lambda: lookup.is_alive(engine, record["Id"]))
