"""A monitor's start, written down for `run --explain`: see runtime/recorder.py."""

from __future__ import annotations

import os

from estiva.engine.monitor import monitor as monitors
from estiva.engine.monitor.logs import log
from estiva.engine.monitor.network import endpoint
from estiva.engine.state import names
from estiva.runtime.cgroup import factory
from estiva.runtime.launch import clone, container
from estiva.runtime.recorder import Recorder
from estiva.runtime.records import packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiva.engine.monitor.monitor import Monitor
    from estiva.engine.state.types import Outcome
    from estiva.runtime.records import Record

WHO = "monitor"
STEPS = (
    (factory, "create", "make the cgroup with its limits"),
    (monitors, "seccomp_filter", "take the compiled seccomp filter"),
    (log, "open", "open the log"),
    (container, "create", "clone the first process, with its namespaces"),
    (monitors.Monitor, "connect", "plug in the network"),
    (endpoint, "publish", "publish the ports"),
    (clone.Init, "ready", "wait until its root filesystem stands"),
    (monitors.Monitor, "write_state", "write down that it runs"),
    (clone.Init, "start", "wait until the command is executed"),
    (names, "link_name", "have its name lead to it"),
)


def start(monitor: Monitor) -> None:
    """Monitor.start, with all that it does appended to the file plan["explain"] before the caller hears."""
    recorder = Recorder(WHO, STEPS)
    say = monitor.streams.say
    path = monitor.plan["explain"]

    def told(message: Outcome) -> None:
        finish()
        say(message)

    def finish() -> None:
        recorder.end()
        monitor.streams.say = say  # type: ignore[method-assign]
        write(path, recorder.records)
        recorder.records = []

    monitor.streams.say = told  # type: ignore[method-assign]
    try:
        monitor.start()
    except BaseException:
        finish()
        raise


def write(path: str, records: Sequence[Record]) -> None:
    """Append records to a file of the container's folder. Where that can't be, nothing is explained."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        data = b"".join(map(packed, records))
        while data:
            data = data[os.write(fd, data) :]
    except OSError:
        pass  # the disk is full
    finally:
        os.close(fd)
