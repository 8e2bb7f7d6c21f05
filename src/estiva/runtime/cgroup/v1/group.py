"""cgroup v1: one directory per hierarchy. Kernel: Documentation/admin-guide/cgroup-v1/."""

from __future__ import annotations

import errno
import os
import time

from estiva.errors import Conflict, EngineError, NotFound, Unsupported, reason
from estiva.runtime.cgroup.base import Cgroup, listed, make_directory, step_error, tree, unmake
from estiva.runtime.cgroup.control import pairs, put, read, read_or
from estiva.runtime.cgroup.layout import Layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class CgroupV1(Cgroup):
    """See `Cgroup`.

    In the hybrid layout the container has a place in the v2 tree too, the last of `directories`. There are no
    limits there, but systemd counts processes by that tree in this layout (a container left in its starter's
    session would be killed with it), and cgroup.kill is there. Processes come in by CLONE_INTO_CGROUP, which
    costs nothing; a later move (`adopt`) waits for an RCU grace period.
    """

    def __init__(self, path: str, places: Layout) -> None:
        super().__init__(path, places)
        self.entered = self.directories
        self.unified = places.hybrid + path if places.hybrid else ""
        if self.unified:
            self.directories += (self.unified,)

    @classmethod
    def make(cls, path: str, places: Layout, resources: dict[str, Any]) -> CgroupV1:
        """See factory.create."""
        self = cls(path, places)
        made: list[str] = []
        above: list[str] = []  # that was missing, and made
        try:
            for mount, directory in zip(places.mounts, self.entered, strict=True):
                if _make(mount, path, places, above):
                    made.append(directory)
            if self.unified:
                self._make_unified(made, above)
            if len(made) < len(self.directories):
                self._check_empty()
            cpuset = places.where.get("cpuset")
            if cpuset is not None and not read_or(f"{cpuset}{path}/cpuset.mems", "?"):
                # The parent had no clone_children when the directory was made.
                fill_cpuset(cpuset, path)
            if resources:
                self.update(resources)
        except BaseException:
            unmake(above + made)
            raise
        return self

    def _make_unified(self, made: list[str], above: list[str]) -> None:
        try:
            if _make(self.places.hybrid, self.path, self.places, above):
                made.append(self.unified)
        except Unsupported:
            # Read-only, say. It is not needed for anything that was asked.
            self.directories, self.unified = self.entered, ""

    def place(self, controller: str) -> str:
        """The cgroup's directory in a controller's hierarchy, "" when that is not mounted."""
        mount = self.places.where.get(controller)
        return "" if mount is None else mount + self.path

    def _listing(self) -> str:
        return self.place("freezer") or self.place("pids") or self.directories[0]

    def _listed(self) -> list[int]:
        """Also who was cloned into the v2 tree and has not entered the others yet: the child of somebody who
        was killed between the two."""
        found = super()._listed()
        if self.unified:
            for directory in tree(self.unified):
                found += [pid for pid in listed(directory) if pid not in found]
        return found

    def enter_fd(self) -> int:
        if not self.unified:
            return -1
        try:
            return os.open(self.unified, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return -1

    def enter(self) -> None:
        """A "0" to `tasks` moves the calling thread alone. The same to `cgroup.procs` moves a thread group,
        for which the kernel takes cgroup_threadgroup_rwsem for writing and waits for an RCU grace period.
        Measured on kernel 6.18, nine hierarchies, one move every 150 ms: 0.35-0.55 ms with `tasks`, 7-20 ms
        with `cgroup.procs`.
        """
        directory = ""
        try:
            for directory in self.entered:
                fd = os.open(directory + "/tasks", os.O_WRONLY | os.O_CLOEXEC)
                os.write(fd, b"0")
                os.close(fd)
        except OSError as error:
            raise self._not_entered(directory, error) from error

    def add(self, pid: int, *, one_thread: bool = False) -> None:
        directory = ""
        name = "/tasks" if one_thread else "/cgroup.procs"
        try:
            for directory in self.entered:
                put(directory + name, str(pid))
        except OSError as error:
            if error.errno == errno.ESRCH:
                raise NotFound(f"process {pid} is gone") from error
            raise self._not_entered(directory, error) from error

    def adopt(self, pid: int) -> None:
        self.add(pid)
        if not self.unified:
            return
        try:
            put(self.unified + "/cgroup.procs", str(pid))
        except OSError as error:
            if error.errno == errno.ESRCH:
                raise NotFound(f"process {pid} is gone") from error
            raise self._not_entered(self.unified, error) from error

    def _not_entered(self, directory: str, error: OSError) -> EngineError | NotFound | Conflict:
        if error.errno == errno.ENOSPC:
            return EngineError(f"cgroup {directory} can't be entered: its cpuset has no cpus or memory nodes")
        return step_error("can't enter cgroup", directory, error)

    def _kill_at_once(self) -> bool:
        """cgroup.kill of the hybrid layout's v2 tree. It misses who came by `add`: `kill` looks after
        them."""
        if not self.unified:
            return False
        try:
            put(self.unified + "/cgroup.kill", "1")
            return True
        except OSError:
            return False

    def freeze(self, timeout: float = 2.0) -> None:
        place = self.place("freezer")
        if not place:
            raise EngineError(f"cgroup {self.path} can't be frozen: no freezer is mounted")
        state = place + "/freezer.state"
        deadline = time.monotonic() + timeout
        pause = 0.0001
        try:
            # A child forked while the freezer went through the list keeps the state at FREEZING until
            # FROZEN is written again (freezer-subsystem.rst), hence a write in every round.
            while True:
                put(state, "FROZEN")
                now = read(state)
                if now == "FROZEN":
                    return
                if time.monotonic() > deadline:
                    break
                time.sleep(pause)
                pause = min(pause * 1.5, 0.01)
            put(state, "THAWED")
        except OSError as error:
            raise step_error("can't freeze cgroup", self.path, error) from error
        raise EngineError(f"cgroup {self.path} can't be frozen: a process stays in an uninterruptible call")

    def thaw(self) -> None:
        place = self.place("freezer")
        if not place:
            return
        try:
            put(place + "/freezer.state", "THAWED")
        except FileNotFoundError:
            pass
        except OSError as error:
            raise step_error("can't thaw cgroup", self.path, error) from error

    def update(self, resources: dict[str, Any]) -> None:
        from estiva.runtime.cgroup.v1.limits import apply

        apply(self.place, resources)

    def oom_kills(self) -> int:
        place = self.place("memory")
        if not place:
            return 0
        # On v1 the field counts this cgroup alone, not those below. Kernels before 4.13 don't have it.
        return sum(
            [pairs(read_or(below + "/memory.oom_control")).get("oom_kill", 0) for below in tree(place)]
        )

    def stats(self) -> dict[str, Any]:
        from estiva.runtime.cgroup.v1.stats import collect

        if not self.exists():
            raise NotFound(f"cgroup {self.path} is gone")
        return collect(self.place, self.oom_kills())


def _make(mount: str, path: str, places: Layout, above: list[str]) -> bool:
    """Make one hierarchy's directory, with its parents when they are missing, which are noted in `above`;
    False when it was there."""
    for _ in range(3):  # a parent may be removed by another between its making and ours
        try:
            return make_directory(mount + path)
        except FileNotFoundError:
            _make_parents(mount, path, places, above)
    raise EngineError(f"cgroup {mount}{path} can't be made: its parent is being removed")


def _make_parents(mount: str, path: str, places: Layout, above: list[str]) -> None:
    """Make the parents of `path`, so that tasks may enter what is made below them.

    A new cpuset is empty, and no task may enter it until it has cpus and memory nodes. They are copied from
    the parent, then clone_children makes the kernel do that for every later child, which spares each
    container three system calls. All of it may be done by several processes at once: each step gives the
    same result.
    """
    steps = path.strip("/").split("/")[:-1]
    place = ""
    for step in steps:
        place += "/" + step
        try:
            made = make_directory(mount + place)
        except FileNotFoundError:
            return  # removed by another meanwhile: the caller tries again
        if made:
            above.append(mount + place)
        if mount == places.where.get("cpuset"):
            fill_cpuset(mount, place)
            if made:
                put(f"{mount}{place}/cgroup.clone_children", "1")


def fill_cpuset(mount: str, path: str) -> None:
    """Give a cpuset that has none the cpus and memory nodes of its parent, which are filled first."""
    if path in ("", "/"):
        return
    for name in ("/cpuset.cpus", "/cpuset.mems"):
        if read_or(mount + path + name, "?"):
            continue
        above = path[: path.rindex("/")]
        fill_cpuset(mount, above)
        try:
            put(mount + path + name, read(mount + above + name))
        except OSError as error:
            raise EngineError(f"cpuset {mount}{path} can't be filled: {reason(error)}") from error
