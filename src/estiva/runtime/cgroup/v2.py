"""cgroup v2: one directory in one tree. Kernel: Documentation/admin-guide/cgroup-v2.rst."""

from __future__ import annotations

import errno
import os
import time
from select import POLLERR, POLLPRI, poll

from estiva.errors import Conflict, EngineError, LimitRefused, NotFound
from estiva.runtime.cgroup.base import Cgroup, denied, step_error
from estiva.runtime.cgroup.control import pairs, put, read, read_or
from estiva.runtime.cgroup.layout import Layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What a container is measured and limited by; the rest is switched on when a limit asks for it.
USUAL = ("cpu", "io", "memory", "pids")
# Controllers that can divide between threads (cgroup-v2.rst, "Threads").
THREADED = ("cpu", "cpuset", "perf_event", "pids")
# Where processes go that stand in the way of the "no internal processes" rule in our own cgroup.
LEAF = "estiva.init"


class CgroupV2(Cgroup):
    """See `Cgroup`."""

    @property
    def directory(self) -> str:
        return self.directories[0]

    @classmethod
    def make(cls, path: str, places: Layout, resources: dict[str, Any]) -> CgroupV2:
        """See `Cgroup.create`. Without the right to write at the root the cgroup is made below the one that
        was delegated to the caller, and `path` says so."""
        root = places.mounts[0]
        try:
            made = _make(root, path)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise denied(root + path, error) from error
            below = own_cgroup()
            if not below or path.startswith(below + "/"):
                raise denied(root + path, error) from error
            path = below + path
            try:
                made = _make(root, path)
            except OSError as again:
                raise denied(root + path, again) from again
        self = cls(path, places)
        try:
            if not made:
                self._check_empty()
            self._prepare()
            if resources:
                self._limit(resources)
        except BaseException:
            if made:
                try:
                    os.rmdir(self.directory)
                except OSError:
                    pass
            raise
        return self

    def _prepare(self) -> None:
        """Have the usual controllers, where the machine has them; say so when no process could enter."""
        have = read(self.directory + "/cgroup.controllers").split()
        if all(name in have for name in USUAL):
            return
        enable(self.places.mounts[0], self.path, set(USUAL))
        if read_or(self.directory + "/cgroup.type", "domain").endswith("invalid"):
            raise Conflict(
                f"cgroup {self.path} is in a threaded subtree, which can't hold whole processes",
                hint="give --cgroup-parent a cgroup outside it",
            )

    def _limit(self, resources: dict[str, Any]) -> None:
        """Set the first limits. While another process is switching controllers on above us,
        cgroup.controllers has their names already and the control files are not there yet; a write to
        cgroup.subtree_control waits for that other write, even one that changes nothing."""
        try:
            self.update(resources)
        except LimitRefused as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            control = os.path.dirname(self.directory) + "/cgroup.subtree_control"
            try:
                put(control, " ".join(["+" + name for name in read(control).split()]))
            except OSError:
                raise error from error.__cause__
            self.update(resources)

    def enter_fd(self) -> int:
        """The caller closes it. Raises NotFound."""
        try:
            return os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise step_error("can't open cgroup", self.path, error) from error

    def enter(self) -> None:
        """Does nothing for a process that was cloned into it, which costs no system-wide lock."""
        if own_cgroup(strip=False) == self.path:
            return
        self.add(0)

    def add(self, pid: int, *, one_thread: bool = False) -> None:
        try:
            put(self.directory + "/cgroup.procs", str(pid))
        except OSError as error:
            if error.errno == errno.ESRCH:
                raise NotFound(f"process {pid} is gone") from error
            if error.errno == errno.EBUSY:
                raise Conflict(
                    f"cgroup {self.path} can't hold processes: it limits the cgroups below it"
                ) from error
            raise step_error("can't enter cgroup", self.path, error) from error

    # --- freeze, thaw, kill -------------------------------------------------------------------------------

    def freeze(self, timeout: float = 2.0) -> None:
        """cgroup.freeze is a wish; cgroup.events tells, and wakes a poll, when all processes stand."""
        self._set_frozen("1")
        if self._await_event("frozen", 1, timeout):
            return
        self._set_frozen("0")
        raise EngineError(f"cgroup {self.path} can't be frozen: a process stays in an uninterruptible call")

    def thaw(self, timeout: float = 2.0) -> None:
        try:
            self._set_frozen("0")
            self._await_event("frozen", 0, timeout)
        except NotFound:
            pass

    def _set_frozen(self, value: str) -> None:
        try:
            put(self.directory + "/cgroup.freeze", value)
        except OSError as error:
            raise step_error("can't freeze or thaw cgroup", self.path, error) from error

    def _await_event(self, name: str, value: int, timeout: float) -> bool:
        """Wait until `name` in cgroup.events is `value`; False after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        try:
            fd = os.open(self.directory + "/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
            try:
                waiter = poll()
                waiter.register(fd, POLLPRI | POLLERR)
                while pairs(os.pread(fd, 4096, 0).decode()).get(name) != value:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        return False
                    waiter.poll(min(left, 0.5) * 1000)
                return True
            finally:
                os.close(fd)
        except OSError as error:
            raise step_error("can't watch cgroup", self.path, error) from error

    def _kill_at_once(self) -> bool:
        """cgroup.kill (Linux 5.14) reaches the whole subtree, forks under way included."""
        try:
            put(self.directory + "/cgroup.kill", "1")
        except FileNotFoundError:
            return not self.exists()
        except OSError as error:
            if error.errno in (errno.ENODEV, errno.EOPNOTSUPP):
                return not self.exists()
            raise step_error("can't kill cgroup", self.path, error) from error
        try:
            self._await_event("populated", 0, 1.0)
        except NotFound:
            pass
        return True

    # --- limits and accounts ------------------------------------------------------------------------------

    def update(self, resources: dict[str, Any]) -> None:
        from estiva.runtime.cgroup.v2_limits import apply

        apply(self, resources)

    def oom_kills(self) -> int:
        return pairs(read_or(self.directory + "/memory.events")).get("oom_kill", 0)

    def stats(self) -> dict[str, Any]:
        from estiva.runtime.cgroup.v2_stats import collect

        return collect(self)


def own_cgroup(strip: bool = True) -> str:
    """The caller's cgroup in the v2 tree, from the mount's root; "" for the root. With `strip` the one that
    was delegated: the leaf that `evacuate` made is not counted."""
    for line in read("/proc/self/cgroup").split("\n"):
        if line.startswith("0::"):
            path = line[3:].rstrip("/")
            return path.removesuffix("/" + LEAF) if strip else path
    return ""


def _make(root: str, path: str) -> bool:
    """Make the cgroup and what is missing above it; False when it was there. Raises OSError."""
    directory = root + path
    for _ in range(3):  # a parent may be removed by another between its making and ours
        try:
            os.mkdir(directory, 0o755)
            return True
        except FileExistsError:
            return False
        except FileNotFoundError:
            place = ""
            for step in path.strip("/").split("/")[:-1]:
                place += "/" + step
                try:
                    os.mkdir(root + place, 0o755)
                except (FileExistsError, FileNotFoundError):
                    pass
                except PermissionError:
                    if not os.path.isdir(root + place):
                        raise
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), directory)


def enable(root: str, path: str, wanted: set[str]) -> None:
    """Switch controllers on for a cgroup: in cgroup.subtree_control of every cgroup above it, from the root
    down.

    What the machine has not, or what was not delegated to the caller, stays off: the limit that needs it is
    then refused by name. Raises Conflict for a cgroup that has processes of its own, or is threaded.
    """
    above = path.split("/")[:-1]
    for depth in range(1, len(above) + 1):
        place = "/".join(above[:depth])
        control = f"{root}{place}/cgroup.subtree_control"
        missing = wanted & set(read_or(f"{root}{place}/cgroup.controllers").split())
        missing -= set(read_or(control).split())
        # All in one write. Should one of them be impossible, the others are still to be had; those of
        # THREADED last, because with one of them alone a cgroup with processes turns into the root of a
        # threaded subtree.
        if missing and not _switch_on(control, missing, root, place):
            for name in sorted(missing, key=lambda name: (name in THREADED, name)):
                _switch_on(control, {name}, root, place)


def _switch_on(control: str, names: set[str], root: str, place: str) -> bool:
    """Write to cgroup.subtree_control; False when the kernel says no. Raises Conflict."""
    for _ in range(5):
        try:
            put(control, " ".join(["+" + name for name in sorted(names)]))
            return True
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.EOPNOTSUPP):
                return False
            # Our own delegated cgroup, or the root of our cgroup namespace: its processes may be moved.
            if place == own_cgroup() and evacuate(root + place):
                continue
            if error.errno == errno.EOPNOTSUPP:
                raise step_error("can't limit what is below cgroup", place, error) from error
            raise Conflict(
                f"cgroup {place} has processes of its own, so it can't limit the cgroups below it",
                hint="give --cgroup-parent a cgroup without processes",
            ) from error
    return False


def evacuate(directory: str) -> bool:
    """Move the processes of our own delegated cgroup into a leaf below it; False when there were none.

    A cgroup other than the real root hands out controllers only while it has no processes itself ("no
    internal processes" in cgroup-v2.rst). Its processes are the caller's and those it shares a scope or a
    container with.
    """
    pids = read_or(directory + "/cgroup.procs").split()
    if not pids:
        return False
    leaf = f"{directory}/{LEAF}"
    try:
        os.makedirs(leaf, 0o755, exist_ok=True)
    except OSError as error:
        raise denied(leaf, error) from error
    for pid in pids:
        try:
            put(leaf + "/cgroup.procs", pid)
        except OSError as error:
            # 0 is a process of an outer pid namespace; a kernel thread can't be moved; others may just have
            # ended.
            if error.errno not in (errno.ESRCH, errno.EINVAL):
                raise step_error("can't move a process to cgroup", leaf, error) from error
    return True
