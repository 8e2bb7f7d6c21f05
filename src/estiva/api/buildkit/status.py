"""How a build goes on, as buildx shows it: the engine's events -> vertexes, their statuses, logs, warnings.

The events come in threads, one after the other; who listens takes what there is.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from estiva.api.buildkit import asked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LOG = 2 << 20  # bytes of what one step writes that are told, as with BuildKit
LOGS = 64 << 20  # and of what all write
DEFINITION = "definition"  # the vertex of the Dockerfile
REMOTE = "remote"  # that of a context which is an address: it is there once the first step begins
PACE = 0.05  # seconds between two messages


def stamp(seconds: float) -> dict[str, int]:
    return {"seconds": int(seconds), "nanos": int(seconds % 1 * 10**9)}


class Progress:
    """One build's. What was told stays until the end, for who listens late."""

    def __init__(self, ref: str) -> None:
        self.ref = ref
        self.loop = asyncio.get_running_loop()
        self.over = False
        self.failed = ""  # the step that failed
        self._lock = threading.Lock()
        self._told: list[tuple[str, dict[str, Any]]] = []
        self._vertexes: dict[str, dict[str, Any]] = {}
        self._logged: dict[str, int] = {}
        self._all = 0  # bytes of logs
        self._more = asyncio.Event()
        self._looking: dict[str, str] = {}  # the vertexes of base images that are being looked for
        self._pulled: set[str] = set()  # the vertexes of base images that were not here
        self._closed = asyncio.Event()

    # --- who listens ---

    async def listen(self) -> AsyncIterator[dict[str, Any]]:
        """Messages of moby.buildkit.v1.StatusResponse, until the build is over."""
        at = 0
        while True:
            told = self._told[at:]
            at += len(told)
            if told:
                message: dict[str, Any] = {}
                for kind, what in told:
                    message.setdefault(kind, []).append(what)
                yield message
            elif self.over:
                return
            else:
                self._more.clear()
                if len(self._told) == at and not self.over:
                    await self._more.wait()
                    with contextlib.suppress(TimeoutError):
                        # the end is told at once: the client waits for it
                        await asyncio.wait_for(self._closed.wait(), PACE)

    def close(self) -> None:
        """The build is over; what has begun has ended with it."""
        for key, vertex in self._vertexes.items():
            if "completed" not in vertex:
                self.end(key)
        self.over = True
        self._closed.set()
        self._wake()

    def fail(self, message: str) -> None:
        """Why the build has failed."""
        if self.failed or "completed" not in self._vertexes.get(REMOTE, {"completed": {}}):
            self.end(self.failed or REMOTE, error=message)

    def missed(self) -> str:
        """The base image whose metadata the build has failed to load, if that is why."""
        return self.failed.removeprefix("pull ") if self.failed.startswith("pull ") else ""

    def _wake(self) -> None:
        try:
            self.loop.call_soon_threadsafe(self._more.set)
        except RuntimeError:  # the server has ended
            pass

    def _tell(self, kind: str, what: dict[str, Any]) -> None:
        self._told.append((kind, what))
        self._wake()

    # --- what there is to tell ---

    def digest(self, key: str) -> str:
        return "sha256:" + sha256(f"{self.ref}\0{key}".encode()).hexdigest()

    def begin(self, key: str, name: str) -> str:
        """A vertex starts; its digest."""
        with self._lock:
            digest = self.digest(key)
            if key not in self._vertexes:
                vertex = {"digest": digest, "name": name, "started": stamp(time.time())}
                self._vertexes[key] = vertex
                self._tell("vertexes", vertex)
            return digest

    def end(self, key: str, *, cached: bool = False, error: str = "") -> None:
        with self._lock:
            vertex = self._vertexes.get(key)
            if vertex is None or "completed" in vertex:
                return
            done = {**vertex, "completed": stamp(time.time()), "cached": cached, "error": error}
            self._vertexes[key] = done
            self._tell("vertexes", done)

    def status(self, key: str, name: str, *, current: int = 0, total: int = 0, done: bool = True) -> None:
        """A line of a vertex."""
        now = stamp(time.time())
        what = {
            "id": name, "vertex": self.digest(key), "current": current, "total": total, "timestamp": now,
            "started": now,
        }  # fmt: skip
        if done:
            what["completed"] = now
        self._tell("statuses", what)

    def log(self, key: str, data: bytes) -> None:
        with self._lock:
            known = self._logged.get(key, 0)
            if known > LOG or self._all > LOGS:
                return
            self._logged[key] = known + len(data)
            self._all += len(data)
            if known + len(data) > LOG:
                data = (
                    data[: LOG - known] + f"\n[output clipped, log limit {LOG >> 20}MiB reached]\n".encode()
                )
        what = {"vertex": self.digest(key), "timestamp": stamp(time.time()), "stream": 1, "msg": data}
        self._tell("logs", what)

    def warn(self, message: str, **more: Any) -> None:
        key = DEFINITION if DEFINITION in self._vertexes else next(iter(self._vertexes), "")
        self._tell("warnings", {"vertex": self.digest(key), "level": 1, "short": message.encode(), **more})

    # --- the engine's events ---

    def __call__(self, event: dict[str, Any]) -> None:
        if "step" in event:
            self.end(REMOTE)
            self._step(event)
        elif event["status"] == "warning":
            self._warning(event)
        elif "fetch" in event:
            self._fetch(event)
        elif "image" in event and "id" in event:
            self._pull(event)
        elif "id" in event:
            self._export(event)

    def _step(self, event: dict[str, Any]) -> None:
        name = str(event["vertex"])
        if not name:  # it changes the config alone, which BuildKit does not show
            return
        if str(event["instruction"])[:4].upper() == "FROM":
            self._base(name, event["status"])
            return
        platform = str(event.get("platform") or "")
        key = f"step {platform} {str(event['step']).partition('/')[0]}"
        status = event["status"]
        if status == "running":
            for number, beside in enumerate(event["beside"]):
                if beside.startswith("FROM "):
                    self.base(beside)
                else:
                    self.begin(f"{key} {number}", beside)
                    self.end(f"{key} {number}")
            self.begin(key, name)
        elif status == "output":
            self.log(key, event["data"])
        else:
            self._ended(key, status)

    def _ended(self, key: str, status: str) -> None:
        if status == "error":
            self.failed = key  # it ends with the build, for the same reason
        else:
            self.end(key, cached=status == "cached", error="context canceled" if status == "canceled" else "")

    def _base(self, name: str, status: str) -> None:
        """The image of a FROM: until it is known what that is, its metadata are loaded."""
        image = f"pull {name.rpartition(' ')[2]}"
        looking = "completed" not in self._vertexes.get(image, {"completed": {}})
        if status == "running":
            if looking:
                self._looking[image] = name
            else:
                self.begin(name, name)
        elif status in ("done", "cached"):
            self.end(image)
            self.begin(name, name)
            self._ended(name, "done" if name in self._pulled else "cached")
        else:
            self._ended(image if looking else name, status)

    def base(self, name: str) -> None:
        """The vertex of a base image that is here."""
        self.begin(name, name)
        self.end(name, cached=True)

    def metadata(self, platform: str, name: str, *, here: bool) -> None:
        """A base image is looking for, which is `here`, or is to be fetched."""
        key = f"pull {platform} {name}" if here else f"pull {asked.whole(name)}"
        where = f"{platform} internal" if platform else "internal"
        self.begin(key, f"[{where}] load metadata for {name}")
        if here:
            self.end(key)

    def _warning(self, event: dict[str, Any]) -> None:
        if event.get("check") and "rule" not in event:
            return  # how many there are: the client counts itself
        message = str(event["message"])
        more: dict[str, Any] = {}
        if "line" in event:
            place = {"line": int(event["line"]), "character": 0}
            more["ranges"] = [{"start": place, "end": place}]
        self.warn(message, **more)

    def _pull(self, event: dict[str, Any]) -> None:
        name = asked.whole(str(event["image"]))
        if not event["id"] and event["status"] == "starting":
            self.metadata("", name, here=False)
            return
        self.end(f"pull {name}")
        wanted = f"FROM {name}"
        known = next((each for each in self._vertexes if each.endswith(wanted)), wanted)
        key = self._looking.get(f"pull {name}", known)
        if key not in self._pulled:
            self._pulled.add(key)
            self.begin(key, key)
            self.status(key, f"resolve {name}")
        if event["id"]:
            done = event["status"] in ("complete", "exists", "done")
            self.status(key, str(event["id"]), current=event["current"], total=event["total"], done=done)

    def _fetch(self, event: dict[str, Any]) -> None:
        name, status = str(event["fetch"]), event["status"]
        key = f"fetch {name}"
        said = "load git source" if event["kind"] == "git" else "load"
        self.begin(key, f"[internal] {said} {name}")
        if event["current"]:
            done = status != "running"
            self.status(key, "transferring", current=event["current"], total=event["total"], done=done)
        if status != "running":
            error = "context canceled" if status == "canceled" else str(event.get("error") or "")
            self.end(key, error=error)

    def _export(self, event: dict[str, Any]) -> None:
        """What an export tells: which blob goes where."""
        self.begin("export", "exporting to image")
        if event["id"]:
            name = f"copying layer {event['id']}"
            done = event["status"] in ("complete", "exists", "done")
            self.status("export", name, current=event["current"], total=event["total"], done=done)
