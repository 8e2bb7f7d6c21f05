"""One start of a container: an object that holds its lock, its layer mounts and the way to its monitor.

    with create.prepare(engine, config, host_config) as start:   a new container, or
    with start.again(engine, ref) as start:                      one that is there
        start.go(stdio)        its monitor has it; the caller's ends of `stdio` may be closed
        start.started()        the command runs; or the error that kept it from running
        start.wait()           how it ended

`close` may be called at any point, and again. Before `go` it undoes the start: the container is back to
created, or gone (--rm). After it, the container is left to its monitor, and only the caller stops listening.
"""

from __future__ import annotations

import os

from estiva.engine.launch import launch, plan
from estiva.engine.state import eventlog, locks, teardown
from estiva.store import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from estiva.engine import Engine
    from estiva.engine.state.net.addresses import Taken
    from estiva.engine.state.types import Outcome, Plan, Record
    from estiva.store.images import Image
    from estiva.store.layers.mounts import Lowerdirs

NOWHERE = (-1, -1, -1)
IDLE = "estiva-idle"  # the Path of a container without a command: its init only waits (sdk.container)


def idles(record: Record) -> bool:
    """Whether it has no command of its own."""
    return record["Path"] == IDLE and not record["Args"] and bool(record["HostConfig"].get("Init"))


class Start:
    """See above. `record` is the container's, `lock` the fd of its lock, which goes to the monitor."""

    first = True  # somebody asks for it, not the container's restart policy

    def __init__(
        self, engine: Engine, record: Record, lock: int, address: Taken, image: Image | None = None
    ) -> None:
        self.engine = engine
        self.record = record
        self.id: str = record["Id"]
        self.address = address
        self.image = image
        self._lock = lock
        self._launched: launch.Launched | None = None
        self._mounted: dict[str, int] = {}  # our own fds of what `mounted` made
        self.bound = False  # it ends, and is removed, with `close` or this process, however that ends
        self.agent = -1  # an end of the socket to an agent that its idle init is to be; closed by `go`
        self.lingers = False  # a bound one that has ended by itself is there until then
        self.guests: list[int] = []  # sockets of who is attached from the first byte on; closed by `go`
        self.ahead = False  # its time limit counts from the order "begin" on

    # --- what differs between a container and a step of a build ---

    def lowerdirs(self) -> Lowerdirs:
        """The mounts of its layers, made now where they are not there yet; held until they are released."""
        assert self.image is not None
        return self.engine.store.layers.mount(self.image.chain)

    def plan(self, lowerdirs: list[str]) -> Plan:
        """What the monitor must know."""
        return plan.make(self.engine, self.record, lowerdirs, self.address)

    def mounted(self) -> dict[str, int]:
        """By destination, fds of detached mounts that are attached in place of bind mounts' sources."""
        if any("Detached" in point for point in self.record["Mounts"]):
            from estiva.engine.mounts import detached

            self._mounted = detached.mounted(self.engine, self.record)
        if self.agent >= 0:
            from estiva.engine.monitor.protocol import AGENT

            self._mounted[AGENT], self.agent = self.agent, -1
        return self._mounted

    def prepare(self) -> None:
        """What is left to do before the plan can be made."""
        if any("Chown" in point for point in self.record["Mounts"]):
            from estiva.engine.mounts import chown

            assert self.image is not None
            chown.give(self.engine, self.record, self.image)
        for point in self.record["Mounts"]:
            if "Subpath" in point and "Detached" not in point:
                from estiva.engine.mounts import points

                points.look_for_subpath(point)

    def undo(self) -> None:
        """Before a monitor took over: the container is back to created or exited, or gone (--rm)."""
        from estiva.network import ipam

        engine = self.engine
        if self.record["HostConfig"].get("AutoRemove"):
            about = eventlog.about(self.record)
            teardown.forget(engine.paths, engine.db, self.id, about=about)
        else:
            with engine.db.write(freeing=True) as transaction:
                containers.set_unstarted(transaction, self.id)
                ipam.release_in(transaction, self.id)
        locks.leave(engine.paths, self.id)
        launch.give_up(engine, self.id)

    # --- the steps ---

    def go(
        self,
        stdio: tuple[int, int, int] = NOWHERE,
        *,
        stdin: bool | None = None,
        size: tuple[int, int] | None = None,
        detach: bool = False,
        detach_keys: str = "",
    ) -> None:
        """Launch it; returns at once. Errors up to here undo the start.

        `stdio` are the fds that its streams go to (-1: nowhere), `stdin` whether its input is open (as its
        config says), `size` the rows and columns of its terminal. One that `idles` has no command: its init
        only waits for what is executed in it later. With `detach` nobody listens after the start.
        `detach_keys` are typed to leave its terminal ("": ctrl-p ctrl-q).
        """
        config = self.record["Config"]
        if stdin is not None and stdin != bool(config.get("OpenStdin")):
            self.record["Config"] = {**config, "OpenStdin": stdin}
        if size is not None:
            self.record["HostConfig"]["ConsoleSize"] = list(size)
        try:
            self.prepare()
            lowerdirs = self.lowerdirs()
            try:
                wanted = self.plan(list(lowerdirs))
                wanted["detach"] = detach
                if self.bound:
                    wanted["bound"] = True
                    wanted["auto_remove"] = not self.lingers
                if self.ahead and "limits" in wanted:
                    wanted["limits"]["ahead"] = True
                if detach_keys:
                    wanted["detach_keys"] = detach_keys
                if idles(self.record):
                    wanted["config"]["process"]["args"] = []
                launched = launch.launch(self.engine, wanted, stdio, self._lock, self.mounted(), self.guests)
            except BaseException:
                lowerdirs.release()
                raise
            finally:
                while self._mounted:
                    os.close(self._mounted.popitem()[1])
                self._close_guests()
        except BaseException:
            self.close()
            raise
        launched.lowerdirs = lowerdirs
        self._launched = launched
        lock, self._lock = self._lock, -1
        launch.close_lock(self.engine, lock)
        launch.taken_over(self.engine, self.id)

    @property
    def launched(self) -> launch.Launched:
        """The way to the monitor, after `go`."""
        assert self._launched is not None, "go comes first"
        return self._launched

    @property
    def begun(self) -> bool:
        """Whether it has a monitor: after `go`."""
        return self._launched is not None

    def started(self) -> int:
        """Wait until the command runs; its pid in the host's numbering. Raises the error that kept it from
        that.
        """
        return self.launched.started()

    def heard(self, seconds: float = 0) -> bool:
        """Whether `started` need not wait, within so many seconds."""
        return self.launched.heard(seconds)

    def wait(self) -> Outcome:
        """How it ended: see Launched.wait."""
        return self.launched.wait()

    def signal(self, number: int) -> None:
        """Have the monitor send its init a signal."""
        self.launched.signal(number)

    def resize(self, rows: int, columns: int) -> None:
        """The size of its terminal."""
        self.launched.resize(rows, columns)

    def close(self) -> None:
        """Let go of everything: see above."""
        lock, self._lock = self._lock, -1
        self._close_guests()
        if self.agent >= 0:
            fd, self.agent = self.agent, -1
            os.close(fd)
        if lock >= 0:
            try:
                self.undo()
            finally:
                launch.close_lock(self.engine, lock)
        if self._launched is not None:
            self._launched.close()

    def _close_guests(self) -> None:
        while self.guests:
            os.close(self.guests.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
