"""One container's cgroup, whatever the version: the contract, and what both versions do alike.

The life of a cgroup: factory.create with limits, `enter` by the container's first process (or clone into
`enter_fd`), then `stats`, `update`, `freeze`, `thaw`, `kill` as wanted, and `remove` when no process is left.
"""

from __future__ import annotations

import errno
import os
import time
from _signal import pidfd_send_signal

from estiva.errors import Conflict, EngineError, NotFound, Unsupported, reason
from estiva.runtime.cgroup.control import read_or
from estiva.runtime.cgroup.layout import Layout, clean, layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SIGKILL = 9
_MISSING = (errno.ENOENT, errno.ENODEV)


class Cgroup:
    """A cgroup: `path` is its path from the hierarchies' root (keep it: on v2 `create` may place it under the
    caller's delegated cgroup), `directories` are its places in the filesystem."""

    path: str
    directories: tuple[str, ...]
    unit = ""  # systemd/scope.py: the scope that it is

    def __init__(self, path: str, places: Layout) -> None:
        self.path = path
        self.places = places
        self.directories = tuple([mount + path for mount in places.mounts])

    def exists(self) -> bool:
        """Whether it is there in any hierarchy."""
        return any(os.path.isdir(directory) for directory in self.directories)

    def settled(self) -> None:
        """Its first process is in it."""

    # --- what the versions do each their own way ----------------------------------------------------------

    def enter_fd(self) -> int:
        """A new close-on-exec fd for clone3's CLONE_INTO_CGROUP, or -1 where there is no v2 tree at all.

        In the hybrid layout it is the container's place in the v2 tree, which has no controllers. The child
        must call `enter` in every case.
        """
        raise NotImplementedError

    def enter(self) -> None:
        """Move the calling process, which has one thread, into the cgroup. Raises EngineError."""
        raise NotImplementedError

    def add(self, pid: int, *, one_thread: bool = False) -> None:
        """Move another process with all its threads.

        On v1 this waits for an RCU grace period in each hierarchy (7-20 ms together). A process that is known
        to have one thread only, such as a child before its execve, is moved without: `one_thread`. Raises
        NotFound when the process is gone, EngineError, Conflict.
        """
        raise NotImplementedError

    def adopt(self, pid: int) -> None:
        """Move a process that was cloned elsewhere: `add`, and into the v2 tree of the hybrid layout too.
        Raises as `add` does."""
        self.add(pid)

    def freeze(self) -> None:
        """Stop every process of the cgroup and of those below, and return when they stand. Raises
        EngineError."""
        raise NotImplementedError

    def thaw(self) -> None:
        """Undo `freeze`. Raises EngineError."""
        raise NotImplementedError

    def update(self, resources: dict[str, Any]) -> None:
        """Change limits while it runs; only what is named changes. Raises like `factory.create`."""
        raise NotImplementedError

    def oom_kills(self) -> int:
        """How many of its processes the out-of-memory killer has ended. 0 where that can't be told."""
        raise NotImplementedError

    def stats(self) -> dict[str, Any]:
        """What it uses: see v1/stats.py. Raises NotFound when it is gone."""
        raise NotImplementedError

    def _kill_at_once(self) -> bool:
        """SIGKILL the whole subtree by the kernel's own means; False when there are none."""
        return False

    # --- what is alike ------------------------------------------------------------------------------------

    def _listing(self) -> str:
        """The directory whose tree of cgroup.procs lists the processes."""
        return self.directories[0]

    def _listed(self) -> list[int]:
        """All that its cgroup.procs list. A 0 is a process that the caller's pid namespace does not show
        (cgroups(7): pids are the reader's own): never to be handed to kill(2), where it is the caller's
        own process group."""
        return [pid for directory in tree(self._listing()) for pid in listed(directory)]

    def processes(self) -> list[int]:
        """The pids in the cgroup and in all below it; zombies don't count. Empty when it is gone. Those of
        another pid namespace have none here: see `occupied`."""
        return [pid for pid in self._listed() if pid]

    def occupied(self) -> bool:
        """Whether any process is in it or below, be it of a pid namespace that can't be seen from here."""
        return bool(self._listed())

    def _check_empty(self) -> None:
        """Of one that was there before: nobody is in it, and who enters it would not stand still for ever.

        Raises Conflict, in runc's words.
        """
        if pids := self._listed():
            raise Conflict(
                f"container's cgroup is not empty: cgroup {self.path} has processes in it already: "
                + _named(pids)
            )
        if self.frozen():
            raise Conflict(
                f"container's cgroup unexpectedly frozen: {self.path}", hint="thaw it, or give another one"
            )

    def frozen(self) -> bool:
        """Whether it was frozen itself, not only a parent of it. False where that can't be told."""
        for directory in self.directories:
            if read_or(directory + "/freezer.state").startswith("FR"):  # v1: FROZEN, or FREEZING
                return True
            if read_or(directory + "/cgroup.freeze") == "1":  # v2
                return True
        return False

    def kill(self, timeout: float = 10.0) -> None:
        """SIGKILL every process of the cgroup and below; returns when none is left.

        They are frozen first, so that none can fork away from the list and no pid in the list can be reused
        while signals go out; the signals take effect when they are thawed. Raises EngineError when
        processes are left after `timeout` seconds (in uninterruptible sleep; of another pid namespace, which
        only cgroup.kill reaches, where there is none).
        """
        deadline = time.monotonic() + timeout
        pause = 0.0002
        at_once = True
        while left := self._listed():
            if time.monotonic() > deadline:
                raise EngineError(f"cgroup {self.path}: processes do not die: {_named(left)}")
            if not (at_once and self._kill_at_once()):
                self._kill_one_by_one()
            at_once = False
            # Exits take a moment: look again soon, then less often, before another round.
            for _ in range(8):
                if not self.occupied():
                    return
                time.sleep(pause)
                pause = min(pause * 1.5, 0.02)

    def strike(self) -> None:
        """SIGKILL to every process of the cgroup and below, once, without waiting: for those that can't die
        before they are thawed."""
        if not self._kill_at_once():
            self._kill_one_by_one()

    def _kill_one_by_one(self) -> None:
        try:
            self.freeze()
        except EngineError:
            # No freezer, or a task that can't be frozen now.
            return self._kill_running()
        try:
            for pid in self.processes():
                try:
                    os.kill(pid, _SIGKILL)
                except ProcessLookupError:
                    pass
        finally:
            self.thaw()

    def _kill_running(self) -> None:
        """SIGKILL what is not frozen, so that a pid may pass to a stranger at any moment: a pidfd is taken
        first, and a pid that is still listed after that is the one that the pidfd means."""
        held: dict[int, int] = {}
        try:
            for pid in self.processes():
                try:
                    held[pid] = os.pidfd_open(pid, 0)
                except ProcessLookupError:
                    pass
            for pid in self.processes():
                if pid in held:
                    try:
                        pidfd_send_signal(held[pid], _SIGKILL)
                    except ProcessLookupError:
                        pass
        finally:
            for fd in held.values():
                os.close(fd)

    def remove(self, timeout: float = 10.0) -> None:
        """Remove it and all below it from every hierarchy. Gone already is fine.

        A task that has just been reaped may still be leaving, and the kernel says EBUSY until it has: tried
        again for up to `timeout` seconds. Raises EngineError naming the processes that hold it.
        """
        deadline = 0.0
        pause = 0.0001
        left = self.directories
        while True:
            left = tuple([directory for directory in left if not _rmdir(directory)])
            if not left:
                return
            now = time.monotonic()
            if not deadline:
                deadline = now + timeout
            elif now > deadline:
                held = _named(self._listed())
                raise EngineError(
                    f"cgroup {self.path} can't be removed: "
                    + (f"processes are in it: {held}" if held else f"{left[0]} is busy")
                )
            time.sleep(pause)
            pause = min(pause * 2, 0.02)


def listed(directory: str) -> list[int]:
    """What one cgroup.procs lists, with 0 for each process of a pid namespace that is not below the
    caller's."""
    return [int(line) for line in read_or(directory + "/cgroup.procs").split()]


def _named(pids: list[int]) -> str:
    """Ten of them at most, for a message."""
    words = [str(pid) for pid in pids if pid][:10]
    unseen = pids.count(0)
    return " ".join(words + ([f"({unseen} of another pid namespace)"] if unseen else []))


def _rmdir(directory: str) -> bool:
    """rmdir(2), the cgroups below first when there are any. True when it is gone."""
    try:
        os.rmdir(directory)
        return True
    except OSError as error:
        if error.errno in _MISSING:
            return True
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise EngineError(f"cgroup {directory} can't be removed: {reason(error)}") from error
    below = tree(directory)
    if len(below) < 2:
        return False
    gone = True
    for child in reversed(below[1:]):
        try:
            os.rmdir(child)
        except OSError as error:
            gone = gone and error.errno in _MISSING
    return gone and _rmdir(directory)


def tree(directory: str) -> list[str]:
    """A cgroup's directory and all below it, parents before children; [] when it is gone.

    cgroupfs counts child directories in st_nlink (2 without any), which spares reading most directories.
    """
    found = [directory]
    for place in found:
        try:
            if os.stat(place).st_nlink <= 2:
                continue
            with os.scandir(place) as entries:
                found += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError as error:
            if error.errno not in _MISSING:
                raise
            if place == directory:
                return []
    return found


def make_directory(directory: str) -> bool:
    """mkdir(2); False when it was there. FileNotFoundError means that the parent is not; raises
    Unsupported."""
    try:
        os.mkdir(directory, 0o755)
        return True
    except FileExistsError:
        return False
    except FileNotFoundError:
        raise
    except OSError as error:
        raise denied(directory, error) from error


def unmake(directories: list[str]) -> None:
    """rmdir(2) of what was made, the last first, where it is empty still."""
    for directory in reversed(directories):
        try:
            os.rmdir(directory)
        except OSError:
            pass


def denied(directory: str, error: OSError) -> Unsupported | Conflict:
    """The error for a cgroup that can't be made."""
    if error.errno == errno.EAGAIN:
        return Conflict(f"cgroup {directory} can't be made: the limit on nested cgroups is reached")
    return Unsupported(
        f"cgroup {directory} can't be made: {os.strerror(error.errno or 0).lower()}",
        hint="as an ordinary user: systemd-run --user --scope -p Delegate=yes COMMAND, on cgroup v2"
        if error.errno in (errno.EACCES, errno.EPERM)
        else "",
    )


def step_error(doing: str, path: str, error: OSError) -> EngineError | NotFound | Conflict:
    """The error of a step on an existing cgroup, by errno."""
    if error.errno in _MISSING:
        return NotFound(f"cgroup {path} is gone")
    if error.errno == errno.EOPNOTSUPP:
        return Conflict(
            f"{doing} {path}: it is in a threaded subtree, which can't hold whole processes",
            hint="give --cgroup-parent a cgroup outside it",
        )
    return EngineError(f"{doing} {path}: {os.strerror(error.errno or 0).lower()}")


def children(under: str) -> list[str]:
    """The names of the cgroups right below `under`, in whatever hierarchy; none if it isn't there."""
    places = layout()
    under = clean(under)
    found: set[str] = set()
    for mount in (*places.mounts, *([places.hybrid] if places.hybrid else [])):
        try:
            with os.scandir(mount + under) as entries:
                found.update(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except OSError:
            continue  # not there, or not ours
    return sorted(found)


def sweep(under: str, keep: set[str], *, min_age: float = 10.0) -> list[str]:
    """Remove empty child cgroups of `under` whose names are not in `keep`; returns their names.

    What a killed engine left behind. A cgroup younger than `min_age` seconds may be one that another
    process has made and not entered yet, so it stays; one with processes stays because the kernel refuses
    to remove it.
    """
    places = layout()
    under = clean(under)
    removed: set[str] = set()
    # cgroupfs gives a directory the time of its first look-up, which is at or after its making: never too
    # old.
    newest = time.time() - min_age
    for mount in (*places.mounts, *([places.hybrid] if places.hybrid else [])):
        try:
            with os.scandir(mount + under) as entries:
                children = [
                    entry
                    for entry in entries
                    if entry.name not in keep
                    and entry.is_dir(follow_symlinks=False)
                    and entry.stat(follow_symlinks=False).st_mtime <= newest
                ]
        except OSError:
            continue  # not there, or not ours
        for entry in children:
            if mount == places.hybrid and os.path.exists(f"{places.mounts[0]}{under}/{entry.name}"):
                continue  # its processes may be in the v1 hierarchies only
            try:
                if _rmdir(entry.path):
                    removed.add(entry.name)
            except EngineError:
                pass
    return sorted(removed)
