"""A build's progress as BuildKit's clients write it (client.SolveStatus): one JSON object in each line.

{"vertexes": [{"digest", "name", "started", "completed", "cached", "error"}]}
{"logs": [{"vertex", "stream", "data" in base64, "timestamp"}]}
{"statuses": [{"id", "vertex", "name", "current", "total", "timestamp", "started", "completed"}]}
{"warnings": [{"vertex", "level", "short" in base64}]}
"""

from __future__ import annotations

import json
import os

from estiva.cli.build.progress.steps import ENDED, WHOLE, Pull, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

STREAM = 1  # stdout: a step has one for both


class RawJson:
    """Writes to `stream`; `clock` gives nanoseconds since 1970."""

    def __init__(self, stream: TextIO, clock: Any, nonce: bytes | None = None) -> None:
        self.stream = stream
        self.clock = clock
        self.nonce = os.urandom(16) if nonce is None else nonce
        self.started: dict[str, str] = {}

    def show(self, event: dict[str, Any], about: Step | Pull | None, lines: list[str], now: float) -> None:
        if isinstance(about, Pull):
            self.pull(event, about)
        elif about is None:
            if event.get("status") == "warning":
                self.write(
                    "warnings",
                    {"vertex": self.digest("build"), "level": 1, "short": _base64(event["message"])},
                )
        elif event["status"] == "output":
            vertex = self.digest(about)
            self.write(
                "logs",
                {"vertex": vertex, "stream": STREAM, "data": _base64(event["data"]), "timestamp": self.now()},
            )
        else:
            self.step(about)

    def step(self, step: Step) -> None:
        vertex = self.digest(step)
        self.started.setdefault(vertex, self.now())
        name = f"{step.label} {step.instruction}"
        told: dict[str, Any] = {"digest": vertex, "name": name, "started": self.started[vertex]}
        if step.status in ENDED:
            told["completed"] = self.now()
        if step.status == "cached":
            told["cached"] = True
        elif step.status in ("error", "canceled"):
            told["error"] = step.error or ("context canceled" if step.status == "canceled" else "failed")
        self.write("vertexes", told)

    def pull(self, event: dict[str, Any], pull: Pull) -> None:
        """Each image is a vertex of its own, its layers are the statuses of that."""
        vertex = self.digest(f"{pull.verb} {pull.name}")
        new = vertex not in self.started
        self.started.setdefault(vertex, self.now())
        about = {"digest": vertex, "name": f"{pull.verb} {pull.name}", "started": self.started[vertex]}
        if new:
            self.write("vertexes", about)
        layer = event.get("id") or event.get("fetch")
        if layer and (not pull.whole or pull.verb == "fetch"):
            status, current, total = pull.layers[layer]
            key = f"{vertex} {layer}"
            self.started.setdefault(key, self.now())
            told = {
                "id": layer, "vertex": vertex, "name": status, "current": current, "total": total,
                "timestamp": self.now(), "started": self.started[key],
            }  # fmt: skip
            if status in WHOLE:
                told["completed"] = self.now()
            self.write("statuses", told)
        if pull.whole:
            self.write("vertexes", {**about, "completed": self.now()})
        elif pull.failed:
            error = str(event.get("error") or "context canceled")
            self.write("vertexes", {**about, "completed": self.now(), "error": error})

    def close(self, end: str, left: list[Step], now: float) -> None:
        for step in left:
            self.step(step)

    def digest(self, what: Step | str) -> str:
        """The name of a vertex, the same for all of a build."""
        import hashlib

        words = what if isinstance(what, str) else f"{what.platform} {what.number} {what.instruction}"
        return "sha256:" + hashlib.sha256(self.nonce + words.encode("utf-8", "surrogateescape")).hexdigest()

    def now(self) -> str:
        """RFC 3339 with nanoseconds."""
        import time

        seconds, rest = divmod(self.clock(), 10**9)
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"

    def write(self, key: str, value: dict[str, Any]) -> None:
        print(json.dumps({key: [value]}, separators=(",", ":")), file=self.stream, flush=True)


def _base64(data: bytes | str) -> str:
    import binascii

    raw = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    return binascii.b2a_base64(raw, newline=False).decode()
