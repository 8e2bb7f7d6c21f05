"""A start written down by who asks for it and by the monitor; told once the command runs, or fails."""

from __future__ import annotations

import os

from estiva.engine.containers import create, folder
from estiva.engine.launch import launch
from estiva.engine.launch.start import Start
from estiva.runtime.recorder import Recorder
from estiva.runtime.records import packed, unpacked
from estiva.view import start as starts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from estiva.engine.state.types import Plan
    from estiva.view.start import Did

WHO = "command line"
STEPS = (
    (create, "judged", "judge every option"),
    (create, "find_beginning", "find the image"),
    (launch, "take_lock", "take the container's lock"),
    (folder, "make", "make its folder, with the read-write layer"),
    (create, "insert", "claim name and address, and write its row"),
    (Start, "lowerdirs", "mount the layers that are not mounted yet"),
    (Start, "plan", "make the plan"),
    (launch, "launch", "hand the plan to the monitor"),
    (Start, "started", "wait for the monitor"),
)


class Recording:
    """What is written down here, and what the monitor appends to a file in the container's folder."""

    def __init__(self, tell: Callable[[str, tuple[Did, ...]], None]) -> None:
        self.tell = tell
        self.id = ""
        self.file = -1
        self.recorder: Recorder | None = Recorder(WHO, STEPS)
        self._put(Start, "plan", self._planned(Start.plan))
        self._put(Start, "started", self._started(Start.started))

    def _put(self, owner: Any, name: str, value: Any) -> None:
        assert self.recorder is not None
        self.recorder._put(owner, name, value)

    def _planned(self, function: Callable[..., Plan]) -> Callable[..., Plan]:
        """The plan says where the monitor is to write."""

        def plan(start: Start, lowerdirs: list[str]) -> Plan:
            made = function(start, lowerdirs)
            self.id = start.id
            path = starts.path_of(start.engine, start.id)
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self.file = os.open(path, flags, 0o600)
            made["explain"] = path
            return made

        return plan

    def _started(self, function: Callable[[Start], int]) -> Callable[[Start], int]:
        def started(start: Start) -> int:
            try:
                return function(start)
            finally:
                self.finish()

        return started

    def finish(self) -> None:
        """All is as it was; what was done is told, once."""
        if self.recorder is None:
            return
        recorder, self.recorder = self.recorder, None
        recorder.end()
        records = list(recorder.records)
        if self.file >= 0:
            try:
                records += unpacked(os.pread(self.file, starts.LIMIT, 0))
                os.write(self.file, b"".join(map(packed, recorder.records)))
            except OSError:
                pass  # the disk is full: what is known here is told
            os.close(self.file)
        self.tell(self.id, starts.ordered(records))
